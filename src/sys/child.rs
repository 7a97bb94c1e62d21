//! Forked children: how they begin, and the socket over which they and the daemon exchange messages.
//!
//! A child inherits everything and keeps only its standard streams and its end of the socket. That
//! matters twice: a TAP or listener left open in a child that outlives the daemon would keep the next
//! start from using it, and the end of the daemon shows as the end of the socket only when nobody else
//! holds the daemon's end. All signals are blocked in a child: a terminal sends its Ctrl-C to the whole
//! group, but it is the daemon that says when a child ends, by closing its end.

use core::ffi::CStr;
use core::time::Duration;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sys::failure;

/// A child as the daemon sees it.
pub(super) struct Child {
    /// The daemon's end.
    pub(super) channel: Channel,
    pid: libc::pid_t,
}

#[cfg(test)]
impl Child {
    /// Ends it as the kernel does for want of memory.
    pub(super) fn kill(&self) {
        // SAFETY: no memory is involved; the number is that of our own child.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
    }
}

impl Drop for Child {
    /// Takes the exit status of a child that is gone already; one that still runs is left to `init`.
    fn drop(&mut self) {
        // SAFETY: no memory is involved; the number is that of our own child.
        unsafe { libc::waitpid(self.pid, core::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// Why a daemon ends whose child is gone: it could not fork another, and without one it would go on deaf (S24).
pub(super) fn ended(which: &str) -> io::Error {
    failure(
        io::ErrorKind::BrokenPipe,
        ["the ", which, " was ended from outside; start again to have a new one"].concat(),
    )
}

/// Forks a child that runs `body` with its end of the socket and then ends. Both ends block until
/// [`Channel::set_nonblocking`]. `name` is what `ps` shows, at most 15 bytes.
pub(super) fn spawn(name: &CStr, body: impl FnOnce(Channel)) -> io::Result<Child> {
    let (ours, theirs) = Channel::pair()?;
    // SAFETY: the daemon is single-threaded, so its copy finds no lock held by a thread that is not there.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: the name ends with a zero and outlives the call.
            unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
            set_signal_mask(true);
            close_all_but(theirs.fd.as_raw_fd());
            core::mem::forget(ours);
            let _ = catch_unwind(AssertUnwindSafe(|| body(theirs)));
            // SAFETY: ends the process without running what the parent registered for its own end.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(Child { channel: ours, pid }),
    }
}

/// Starts `/bin/sh -c COMMAND` in a process group of its own, whose leader it is: in `/`, with these variables
/// (`NAME=VALUE`) and no others, with nothing to read, and its output where ours tells of errors. If there is no
/// such shell, the process ends with 127, as a shell does that finds no program.
pub(super) fn start_shell(command: &str, variables: &[String]) -> io::Result<libc::pid_t> {
    let command = CString::new(command)?;
    let texts = variables.iter().map(|text| CString::new(text.as_str())).collect::<Result<Vec<_>, _>>()?;
    let mut variables: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
    variables.push(core::ptr::null());
    let words = [c"sh".as_ptr(), c"-c".as_ptr(), command.as_ptr(), core::ptr::null()];
    // SAFETY: one thread, as in `spawn`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: all texts end with a zero, both lists with a null, and all outlive the calls; the descriptors
            // are numbers to this process, whose owners never run here.
            unsafe {
                libc::setpgid(0, 0);
                libc::chdir(c"/".as_ptr());
                let nothing = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
                libc::dup2(nothing, 0);
                if libc::dup2(2, 1) < 0 {
                    libc::dup2(nothing, 1);
                    libc::dup2(nothing, 2);
                }
                // Rust ignores this one, which a program would inherit.
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                set_signal_mask(false);
                libc::execve(c"/bin/sh".as_ptr(), words.as_ptr(), variables.as_ptr());
                libc::_exit(127)
            }
        }
        pid => Ok(pid),
    }
}

/// Blocks all signals, or none.
pub(super) fn set_signal_mask(blocked: bool) {
    // SAFETY: the set is filled in by libc before it is used; a zeroed one is room enough.
    unsafe {
        let mut set: libc::sigset_t = core::mem::zeroed();
        if blocked {
            libc::sigfillset(&raw mut set);
        } else {
            libc::sigemptyset(&raw mut set);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, core::ptr::null_mut());
    }
}

/// Waits until a child of this process ends, at most `limit`; may come back early. Signals are blocked
/// here, so an end that came before the call is found pending.
pub(super) fn wait_for_end(limit: Duration) {
    let set = end_of_children();
    // SAFETY: a zeroed time is valid; set and time live through the call, which is asked for no details.
    unsafe {
        let mut time: libc::timespec = core::mem::zeroed();
        // Its width is the machine's: 32 or 64 bits.
        time.tv_sec = limit.as_secs().try_into().unwrap_or(i32::MAX.into());
        time.tv_nsec = libc::c_long::from(i32::try_from(limit.subsec_nanos()).unwrap_or(0)) as _;
        libc::sigtimedwait(&raw const set, core::ptr::null_mut(), &raw const time);
    }
}

/// A descriptor that becomes readable when a child of this process ends.
pub(super) fn watch_for_ends() -> io::Result<OwnedFd> {
    let set = end_of_children();
    // SAFETY: the set lives through the call; the descriptor is new and nobody else owns it.
    unsafe {
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

fn end_of_children() -> libc::sigset_t {
    // SAFETY: libc fills in the set, for which a zeroed one is room enough.
    unsafe {
        let mut set: libc::sigset_t = core::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        set
    }
}

/// Closes all descriptors but the standard streams and `keep`.
fn close_all_but(keep: RawFd) {
    let (Ok(before), Ok(after)) = (u32::try_from(keep - 1), u32::try_from(keep + 1)) else { return };
    if close_range(3, before) && close_range(after, u32::MAX) {
        return;
    }
    // Kernels before 5.9. The limit may be huge, the daemon's own numbers are small.
    for fd in 3..RawFd::try_from(descriptors_max().clamp(1024, 65_536)).unwrap_or(1024) {
        if fd != keep {
            // SAFETY: this child uses no descriptor but `keep`; owners of the others never run here.
            unsafe { libc::close(fd) };
        }
    }
}

fn descriptors_max() -> libc::rlim_t {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the numbers.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur
}

/// False when the kernel does not know the call. An empty range is fine.
fn close_range(first: u32, last: u32) -> bool {
    // SAFETY: as above; by number, as musl has no name for the call.
    first > last || unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0
}

/// One end of a socket pair that keeps messages apart (`SOCK_SEQPACKET`). No message is empty.
pub(super) struct Channel {
    fd: OwnedFd,
}

/// What [`Channel::receive`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A message of so many bytes; what did not fit is lost.
    Message(usize),
    /// Nothing yet.
    Nothing,
    /// The other side is gone.
    Closed,
}

impl Channel {
    fn pair() -> io::Result<(Channel, Channel)> {
        let mut fds: [RawFd; 2] = [0; 2];
        // SAFETY: the array has room for the two descriptors.
        let failed = unsafe {
            libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr())
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both were just opened and nobody else owns them.
        let [a, b] = fds.map(|fd| Channel { fd: unsafe { OwnedFd::from_raw_fd(fd) } });
        Ok((a, b))
    }

    /// From now on calls answer instead of waiting.
    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: no memory is involved; the descriptor is open.
        let failed = unsafe {
            let flags = libc::fcntl(fd, libc::F_GETFL);
            flags < 0 || libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) < 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends one message, whole or not at all.
    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer and the length are those of a live slice.
        let sent = unsafe {
            libc::send(self.fd.as_raw_fd(), message.as_ptr().cast(), message.len(), libc::MSG_NOSIGNAL)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Takes one message.
    pub(super) fn receive(&self, room: &mut [u8]) -> Received {
        loop {
            // SAFETY: the pointer and the length are those of a live, exclusive slice.
            let got = unsafe { libc::recv(self.fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), 0) };
            return match usize::try_from(got) {
                Ok(0) => Received::Closed,
                Ok(n) => Received::Message(n),
                Err(_) => match io::Error::last_os_error().kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => Received::Nothing,
                    _ => Received::Closed,
                },
            };
        }
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Waits until one of `fds` can be read or has ended, at most `limit_ms` (none: for ever). A bit is set
/// in the answer for each that has.
pub(super) fn wait_readable<const N: usize>(fds: [RawFd; N], limit_ms: Option<u32>) -> [bool; N] {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let limit = limit_ms.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
    // SAFETY: the array lives through the call and its true length is given.
    unsafe { libc::poll(polled.as_mut_ptr(), libc::nfds_t::try_from(N).unwrap_or(0), limit) };
    polled.map(|each| each.revents != 0)
}

/// Tests that fork and tests that depend on a descriptor being closed keep out of each other's way: a
/// child has copies of all descriptors for a moment.
#[cfg(test)]
static FORKS: std::sync::RwLock<()> = std::sync::RwLock::new(());

/// Held by a test that forks.
#[cfg(test)]
pub(super) fn forking() -> std::sync::RwLockReadGuard<'static, ()> {
    FORKS.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Held by a test during which no other forks.
#[cfg(test)]
pub(super) fn no_forks() -> std::sync::RwLockWriteGuard<'static, ()> {
    FORKS.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs a test's `body` in a child of its own, because it changes the process for good. What it
/// panics with goes to the standard error; the test fails with it.
#[cfg(test)]
pub(super) fn in_child(body: impl FnOnce()) {
    // SAFETY: the child uses nothing but what its own thread holds, and the allocator, which libc readies.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => {
            let fine = catch_unwind(AssertUnwindSafe(body)).is_ok();
            // SAFETY: ends this copy of the test program here.
            unsafe { libc::_exit(if fine { 0 } else { 1 }) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: the pointer is to a live integer.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert_eq!(status, 0, "the child's own words are above");
        }
    }
}

/// Whether the test runs as root; says so when it is skipped.
#[cfg(test)]
pub(super) fn root_or_skip(test: &str) -> bool {
    // SAFETY: no memory is involved.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("SKIPPED, needs root: {test}");
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_answers_and_its_end_shows() {
        let _guard = forking();
        let child = spawn(c"peervpn-test", |channel| {
            let mut room = [0; 8];
            let Received::Message(n) = channel.receive(&mut room) else { return };
            room[..n].reverse();
            let _ = channel.send(&room[..n]);
        })
        .unwrap();
        child.channel.send(b"abc").unwrap();
        let mut room = [0; 8];
        assert_eq!(child.channel.receive(&mut room), Received::Message(3));
        assert_eq!(&room[..3], b"cba");
        assert_eq!(child.channel.receive(&mut room), Received::Closed);
    }

    #[test]
    fn a_child_keeps_only_its_streams_and_its_socket() {
        let _guard = forking();
        let held = std::fs::File::open("/dev/null").unwrap();
        let number = held.as_raw_fd();
        let child = spawn(c"peervpn-test", move |channel| {
            // SAFETY: no memory is involved.
            let open = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
            let others = (3..256).filter(|fd| *fd != channel.as_raw_fd() && open(*fd)).count();
            let _ = channel.send(&[u8::from(open(2)), u8::from(open(number)), u8::try_from(others).unwrap()]);
        })
        .unwrap();
        let mut room = [0; 8];
        assert_eq!(child.channel.receive(&mut room), Received::Message(3));
        assert_eq!(room[..3], [1, 0, 0]);
    }

    #[test]
    fn a_quiet_channel_does_not_hold_up_the_loop() {
        let (ours, _theirs) = Channel::pair().unwrap();
        ours.set_nonblocking().unwrap();
        assert_eq!(ours.receive(&mut [0; 4]), Received::Nothing);
    }
}
