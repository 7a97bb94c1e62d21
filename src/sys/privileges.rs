//! Who the process becomes once everything is open, and what it can then no longer do.
//!
//! Two steps, so that a misspelt user is found before anything is opened: [`prepare`] looks names and
//! the new root up, [`Prepared::drop_rights`] changes the process. S23: after that it has no capability,
//! not even one it could gain (`no_new_privs`, an empty bounding set), no supplementary group, and it
//! has checked this itself. Any step that fails is an error and the program must not go on.
//!
//! With `enableprivdrop no` user and capabilities stay, but [`keep_rights`] still sets `no_new_privs`:
//! the daemon starts no program itself, and the helper, which does, was forked before.

use core::ffi::{c_int, c_ulong};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::base::settings::Privileges;
use crate::sys::failure;
use crate::sys::files::{because, read_bounded};

/// A user, a group and a root that exist.
#[derive(Debug)]
pub struct Prepared {
    uid: libc::uid_t,
    gid: libc::gid_t,
    root: Option<File>,
}

/// Looks up who the process is to become. Names come first, numbers stand for ids.
///
/// # Errors
/// A sentence that names the option to change.
pub fn prepare(wanted: &Privileges) -> io::Result<Prepared> {
    let uid = id_of(&wanted.user, USERS).ok_or_else(|| {
        failure(
            io::ErrorKind::NotFound,
            format!("user '{}' does not exist (set user, or enableprivdrop no)", wanted.user),
        )
    })?;
    let gid = id_of(&wanted.group, GROUPS).ok_or_else(|| unknown_group(&wanted.group))?;
    let root = wanted.chroot.as_deref().map(open_root).transpose()?;
    Ok(Prepared { uid, gid, root })
}

/// The number of the group whose members may ask for the status.
///
/// # Errors
/// A sentence that names the option to change.
pub fn status_group(name: &str) -> io::Result<u32> {
    id_of(name, GROUPS).ok_or_else(|| {
        failure(
            io::ErrorKind::NotFound,
            format!("group '{name}' does not exist (make it, or change statusgroup)"),
        )
    })
}

/// The group for nobody has two names; the sentence tells which one this system has.
fn unknown_group(name: &str) -> io::Error {
    let other = match name {
        "nogroup" => Some("nobody"),
        "nobody" => Some("nogroup"),
        _ => None,
    };
    let hint = match other.filter(|other| id_of(other, GROUPS).is_some()) {
        Some(other) => format!("this system has '{other}': set group {other}"),
        None => "set group, or enableprivdrop no".to_owned(),
    };
    failure(io::ErrorKind::NotFound, format!("group '{name}' does not exist ({hint})"))
}

/// Opens the new root already now: a path could name something else later.
fn open_root(path: &Path) -> io::Result<File> {
    super::open(path, libc::O_RDONLY | libc::O_DIRECTORY, 0).map_err(|error| {
        let shown = path.display();
        because(
            format!(
                "cannot use '{shown}' as the new root (make it: mkdir -p -m 755 {shown}, or unset chroot)"
            ),
            error,
        )
    })
}

// Where ids had 16 bits once, the calls of today have other numbers.
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
const SET_GROUPS: libc::c_long = libc::SYS_setgroups32;
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
const SET_GIDS: libc::c_long = libc::SYS_setresgid32;
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
const SET_UIDS: libc::c_long = libc::SYS_setresuid32;
#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
const SET_GROUPS: libc::c_long = libc::SYS_setgroups;
#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
const SET_GIDS: libc::c_long = libc::SYS_setresgid;
#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
const SET_UIDS: libc::c_long = libc::SYS_setresuid;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";
/// The longest of these that is read, in bytes.
const NAMES_MAX: usize = 1 << 20;

fn id_of(name: &str, file: &str) -> Option<u32> {
    // Without such a file there are no names.
    let text = super::open(Path::new(file), libc::O_RDONLY, 0)
        .and_then(|mut file| read_bounded(&mut file, NAMES_MAX));
    let text = text.unwrap_or_default();
    // The highest number means "leave as it is" to the kernel.
    id_in(&text, name).or_else(|| name.parse().ok()).filter(|id| *id != u32::MAX)
}

/// The number of a name in passwd(5) or group(5): lines of `NAME:PASSWORD:NUMBER` and more.
fn id_in(text: &[u8], name: &str) -> Option<u32> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        fields.next().filter(|field| *field == name.as_bytes())?;
        std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()
    })
}

impl Prepared {
    /// Changes root, user and group, gives every capability up for good, and checks it.
    ///
    /// # Errors
    /// A sentence on the step that failed. The process is then in between and must end.
    pub fn drop_rights(&self) -> io::Result<()> {
        if let Some(root) = &self.root {
            change_root(root).map_err(|error| because("cannot change the root directory", error))?;
        }
        self.drop_rights_but_root()
    }

    /// The same without the new root: for the child that resolves names, which needs /etc.
    pub(super) fn drop_rights_but_root(&self) -> io::Result<()> {
        // The bounding set first: only a process with capabilities may empty it.
        empty_bounding_set().map_err(|error| because("cannot empty the capability bounding set", error))?;
        self.become_user().map_err(|error| {
            because("cannot change user and group (start as root, or set enableprivdrop no)", error)
        })?;
        set_capabilities_to_none().map_err(|error| because("cannot give up capabilities", error))?;
        keep_rights()?;
        self.verify()
    }

    fn become_user(&self) -> io::Result<()> {
        let (uid, gid) = (self.uid, self.gid);
        // The kernel's own calls, which change the calling thread alone: there is no other. libc's have means to
        // change all, which are 3 kB on a router.
        // SAFETY: no memory is involved; a list of no groups may be a null pointer.
        unsafe {
            check_long(libc::syscall(SET_GROUPS, 0, core::ptr::null::<libc::gid_t>()))?;
            check_long(libc::syscall(SET_GIDS, gid, gid, gid))?;
            check_long(libc::syscall(SET_UIDS, uid, uid, uid))
        }
    }

    /// S23: believes the kernel's answer only, not that the calls above succeeded.
    fn verify(&self) -> io::Result<()> {
        let (mut users, mut groups) = ([u32::MAX; 3], [u32::MAX; 3]);
        let [a, b, c] = users.each_mut().map(core::ptr::from_mut);
        let [d, e, f] = groups.each_mut().map(core::ptr::from_mut);
        // SAFETY: six pointers to live integers; a count of zero only asks for the number of groups.
        let others = unsafe {
            check(libc::getresuid(a, b, c))?;
            check(libc::getresgid(d, e, f))?;
            libc::getgroups(0, core::ptr::null_mut())
        };
        let left = capabilities()?;
        let ids_changed = users == [self.uid; 3] && groups == [self.gid; 3] && others == 0;
        if ids_changed
            && left == [CapabilityWord::default(); 2]
            && bounding_set_is_empty()
            && !can_return(self.uid)
        {
            return Ok(());
        }
        let ([a, b, c], [d, e, f]) = (users, groups);
        Err(failure(
            io::ErrorKind::Other,
            format!(
                "rights were not dropped: users {a} {b} {c}, groups {d} {e} {f} and {others} more, or capabilities"
            ),
        ))
    }
}

/// Whether a process that is not root can become root again.
fn can_return(uid: libc::uid_t) -> bool {
    // SAFETY: no memory is involved.
    uid != 0 && unsafe { libc::syscall(SET_UIDS, 0, 0, 0) } == 0
}

/// Leaves user and capabilities as they are, but nothing can be gained any more and memory with keys in
/// it is neither dumped nor traced by others (S16).
///
/// # Errors
/// The kernel's.
pub fn keep_rights() -> io::Result<()> {
    set(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(|error| because("cannot set no_new_privs", error))?;
    forbid_core_dumps()
}

/// S16: from now on a crash leaves no image of the memory. To be called before the first secret is read;
/// changing the user resets it, which is why [`keep_rights`] and [`Prepared::drop_rights`] do it again.
///
/// # Errors
/// The kernel's.
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = [0_u64; 2];
    let nowhere: *mut u64 = core::ptr::null_mut();
    // By number: musl's setrlimit asks all threads, and the code for that is 3 kB.
    // SAFETY: two numbers of 64 bits, now and at most, live through the call, which reads them.
    let answer = unsafe { libc::syscall(libc::SYS_prlimit64, 0, libc::RLIMIT_CORE, none.as_ptr(), nowhere) };
    check_long(answer)
        .and_then(|()| set(libc::PR_SET_DUMPABLE, 0))
        .map_err(|error| because("cannot forbid core dumps", error))
}

fn change_root(root: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open, the strings end with a zero.
    unsafe {
        check(libc::fchdir(root.as_raw_fd()))?;
        check(libc::chroot(c".".as_ptr()))?;
        check(libc::chdir(c"/".as_ptr()))
    }
}

/// Capability numbers that the calls can carry; the kernel knows fewer and refuses the rest.
const CAPABILITIES: c_int = 64;
/// The call's version with two words of 32 capabilities each (`capset(2)`).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct` of the kernel.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

/// `struct __user_cap_data_struct` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn set_capabilities_to_none() -> io::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let none = [CapabilityWord::default(); 2];
    // SAFETY: both structures have the kernel's form for this version and live through the call.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) })
}

fn capabilities() -> io::Result<[CapabilityWord; 2]> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let mut words = [CapabilityWord::default(); 2];
    // SAFETY: as above; the kernel writes two words for this version.
    check_long(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) })?;
    Ok(words)
}

fn empty_bounding_set() -> io::Result<()> {
    // Kernels before 4.3 have no ambient set and say EINVAL.
    let _ = set(libc::PR_CAP_AMBIENT, c_ulong::from(libc::PR_CAP_AMBIENT_CLEAR_ALL.unsigned_abs()));
    for number in (0..CAPABILITIES).filter(|number| is_in_bounding_set(*number)) {
        set(libc::PR_CAPBSET_DROP, c_ulong::from(number.unsigned_abs()))?;
    }
    Ok(())
}

fn bounding_set_is_empty() -> bool {
    !(0..CAPABILITIES).any(is_in_bounding_set)
}

fn is_in_bounding_set(number: c_int) -> bool {
    // SAFETY: no memory is involved; an unknown number is answered with an error.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, c_ulong::from(number.unsigned_abs())) == 1 }
}

/// `prctl` for the options that take one number. All five arguments are given: some options insist on zeros.
fn set(option: c_int, value: c_ulong) -> io::Result<()> {
    let zero: c_ulong = 0;
    // SAFETY: none of the options used takes a pointer.
    check(unsafe { libc::prctl(option, value, zero, zero, zero) })
}

fn check(code: c_int) -> io::Result<()> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn check_long(code: libc::c_long) -> io::Result<()> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    use super::*;
    use crate::sys::child::{forking, in_child, root_or_skip};
    use crate::sys::files::tests::Scratch;

    fn wanted(user: &str, group: &str, chroot: Option<PathBuf>) -> Privileges {
        Privileges { user: user.into(), group: group.into(), chroot }
    }

    fn complaint(user: &str, group: &str, chroot: Option<PathBuf>) -> String {
        prepare(&wanted(user, group, chroot)).unwrap_err().to_string()
    }

    fn line<'a>(status: &'a str, field: &str) -> &'a str {
        status.lines().find_map(|line| line.strip_prefix(field)).unwrap().trim()
    }

    #[test]
    fn names_and_numbers_are_looked_up() {
        let found = prepare(&wanted("root", "root", None)).unwrap();
        assert_eq!((found.uid, found.gid), (0, 0));
        let found = prepare(&wanted("4242", "4243", None)).unwrap();
        assert_eq!((found.uid, found.gid), (4242, 4243));
    }

    #[test]
    fn a_name_is_the_first_field_of_a_line_and_its_number_the_third() {
        let text = b"root:x:0:0:root:/root:/bin/sh\n# a comment\n\nnobody:*:65534:65534::/:\nodd:x:many\nshort:x\n\xff:x:3";
        for (name, id) in
            [("root", Some(0)), ("nobody", Some(65_534)), ("no", None), ("x", None), ("odd", None)]
        {
            assert_eq!(id_in(text, name), id, "{name}");
        }
        assert_eq!((id_in(text, "short"), id_in(text, ""), id_in(b"", "root")), (None, None, None));
    }

    #[test]
    fn what_does_not_exist_is_said_with_the_option_to_change() {
        let text = complaint("no-such-user", "root", None);
        assert_eq!(text, "user 'no-such-user' does not exist (set user, or enableprivdrop no)");
        let text = complaint("root", "no-such-group", None);
        assert_eq!(text, "group 'no-such-group' does not exist (set group, or enableprivdrop no)");
        let text = complaint("root", "root", Some("/no/such/place".into()));
        assert!(text.contains("mkdir -p -m 755 /no/such/place"), "{text}");
        assert!(complaint("root", "root", Some("/etc/passwd".into())).contains("/etc/passwd"));
        // "Leave as it is" would keep root.
        assert!(complaint("4294967295", "root", None).contains("does not exist"));
    }

    #[test]
    fn after_the_drop_nothing_is_left() {
        let _guard = forking();
        // S23: root, groups, capabilities and the way back are all gone.
        if !root_or_skip("after_the_drop_nothing_is_left") {
            return;
        }
        let place = Scratch::new();
        let prepared = prepare(&wanted("4242", "4243", Some(place.path().into()))).unwrap();
        let inode = std::fs::metadata(place.path()).unwrap().ino();
        in_child(|| {
            // As a login shell's groups would be.
            // SAFETY: the pointer and the count are those of a live array.
            assert_eq!(unsafe { libc::setgroups(2, [5, 6].as_ptr()) }, 0);
            // Opened before the root changes, read after.
            let mut status = File::open("/proc/self/status").unwrap();
            prepared.drop_rights().unwrap();
            let mut text = String::new();
            status.read_to_string(&mut text).unwrap();
            for field in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
                assert_eq!(line(&text, field), "0000000000000000", "{field}");
            }
            assert_eq!(line(&text, "NoNewPrivs:"), "1");
            assert_eq!(line(&text, "Groups:"), "");
            assert_eq!(line(&text, "Uid:"), "4242\t4242\t4242\t4242");
            assert_eq!(line(&text, "Gid:"), "4243\t4243\t4243\t4243");
            assert_eq!(std::fs::metadata("/").unwrap().ino(), inode);
            assert_eq!(std::env::current_dir().unwrap(), Path::new("/"));
            // SAFETY: no memory is involved.
            assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }, 0);
        });
    }

    #[test]
    fn root_without_capabilities_is_possible_too() {
        let _guard = forking();
        if !root_or_skip("root_without_capabilities_is_possible_too") {
            return;
        }
        let prepared = prepare(&wanted("root", "root", None)).unwrap();
        in_child(|| {
            prepared.drop_rights().unwrap();
            assert_eq!(capabilities().unwrap(), [CapabilityWord::default(); 2]);
        });
    }

    #[test]
    fn who_may_not_drop_is_told_so() {
        let _guard = forking();
        if !root_or_skip("who_may_not_drop_is_told_so") {
            return;
        }
        in_child(|| {
            prepare(&wanted("4242", "4242", None)).unwrap().drop_rights().unwrap();
            let again = prepare(&wanted("4243", "4243", None)).unwrap().drop_rights();
            assert!(again.unwrap_err().to_string().contains("enableprivdrop no"));
        });
    }

    #[test]
    fn verification_notices_what_is_left() {
        let _guard = forking();
        if !root_or_skip("verification_notices_what_is_left") {
            return;
        }
        let prepared = prepare(&wanted("root", "root", None)).unwrap();
        // Right user and group, but every capability is still there.
        in_child(|| {
            // SAFETY: no memory is involved.
            unsafe { libc::setgroups(0, core::ptr::null()) };
            let text = prepared.verify().unwrap_err().to_string();
            assert!(text.starts_with("rights were not dropped"), "{text}");
        });
        // No capability now, but programs started later could have some.
        in_child(|| {
            // SAFETY: no memory is involved.
            unsafe { libc::setgroups(0, core::ptr::null()) };
            set_capabilities_to_none().unwrap();
            prepared.verify().unwrap_err();
        });
    }

    /// From now on the kernel says that this call was done, and does nothing.
    fn pretend(call: libc::c_long) {
        let filter = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let mut program = [
            // The number of the call; is it this one? It is answered with "no error", all others are let through.
            filter(0x20, 0, 0, 0),
            filter(0x15, 0, 1, u32::try_from(call).unwrap()),
            filter(0x06, 0, 0, libc::SECCOMP_RET_ERRNO),
            filter(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
        let mode = c_ulong::from(libc::SECCOMP_MODE_FILTER);
        set(libc::PR_SET_NO_NEW_PRIVS, 1).unwrap();
        // SAFETY: the kernel copies the program, of which pointer and length are right.
        let answer = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0) };
        assert_eq!(answer, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_kernel_that_only_says_so_is_not_believed() {
        let _guard = forking();
        // S23: a container or a tracer may do as if. An emulator of programs has no such filter: on one machine only.
        if !root_or_skip("a_kernel_that_only_says_so_is_not_believed") {
            return;
        }
        let prepared = prepare(&wanted("4242", "4243", None)).unwrap();
        for call in [SET_GROUPS, SET_GIDS, SET_UIDS, libc::SYS_capset] {
            in_child(|| {
                // SAFETY: the pointer and the count are those of a live array.
                assert_eq!(unsafe { libc::setgroups(2, [5, 6].as_ptr()) }, 0);
                pretend(call);
                let dropped = prepared.drop_rights().map_err(|error| error.to_string());
                // Without its user a process loses its capabilities all the same.
                let fine = call == libc::SYS_capset;
                assert_eq!(dropped.is_ok(), fine, "{call}: {dropped:?}");
                assert!(fine || dropped.unwrap_err().starts_with("rights were not dropped"), "{call}");
            });
        }
    }

    #[test]
    fn keeping_rights_still_ends_gaining_them() {
        let _guard = forking();
        in_child(|| {
            keep_rights().unwrap();
            let text = std::fs::read_to_string("/proc/self/status").unwrap();
            assert_eq!(line(&text, "NoNewPrivs:"), "1");
            // S16: root that stays root leaves no image of its memory either.
            let mut limit = libc::rlimit { rlim_cur: 9, rlim_max: 9 };
            // SAFETY: the kernel fills in two numbers.
            unsafe {
                assert_eq!(libc::prctl(libc::PR_GET_DUMPABLE), 0);
                assert_eq!(libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit), 0);
            }
            assert_eq!((limit.rlim_cur, limit.rlim_max), (0, 0));
        });
    }
}
