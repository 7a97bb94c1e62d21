//! Files: configurations, the pre-shared key, the node's key, and the cache of keys that lasts until the next
//! boot.
//!
//! The rules. What others can read is no secret: a key file with such a mode is refused, a configuration
//! is reported (S16). What is read is bounded. What is written is written beside its place, synced and
//! then renamed, so that the loss of power or `kill -9` at any moment leaves either the old file or the
//! new one, never half of one (S24). A file that exists but makes no sense is an error, never overwritten.
//! Secrets are wiped from memory when dropped.

use core::fmt::Display;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::{check, failure, in_c, open, streams};
use zeroize::Zeroizing;

/// The longest configuration, in bytes.
pub const CONFIGURATION_MAX: usize = 1 << 20;
/// What room a file is given at first, in bytes: most need no more.
const FIRST_PART: usize = 4096;
/// The longest file of what is remembered, in bytes.
pub const STATE_MAX: usize = 1 << 13;
/// The longest file with a key in it, in bytes.
const SECRET_MAX: usize = 4096;
/// Length of a node's secret key and of what is kept in the cache, in bytes.
const KEY: usize = 32;
/// Mode bits that let anybody but the owner in.
const OTHERS: u32 = 0o077;

/// A configuration as it was read.
#[derive(Debug)]
pub struct Configuration {
    /// The whole text; wiped when dropped, as it may hold the network's key.
    pub text: Zeroizing<String>,
    /// The file's mode when others than its owner can read it: worth a warning if the text has a key in it.
    pub exposed: Option<u32>,
}

/// Reads a configuration from a regular file, or from the standard input where the path is `-`.
///
/// # Errors
/// A sentence with the path: missing, not a regular file, longer than [`CONFIGURATION_MAX`], not UTF-8.
pub fn read_configuration(path: &Path) -> io::Result<Configuration> {
    if path == Path::new("-") {
        let text = read_bounded(&mut &*streams::input(), CONFIGURATION_MAX)
            .and_then(into_text)
            .map_err(|error| because("cannot read the configuration from the standard input", error))?;
        return Ok(Configuration { text, exposed: None });
    }
    let read = || {
        let (mut file, meta) = open_regular(path, 0)?;
        let text = into_text(read_bounded(&mut file, CONFIGURATION_MAX)?)?;
        let exposed = (meta.mode() & 0o044 != 0).then_some(meta.mode() & 0o7777);
        Ok(Configuration { text, exposed })
    };
    read().map_err(|error| because(format!("cannot read {}", path.display()), error))
}

/// A UCI file as it was read, in whatever code its comments are.
#[derive(Debug)]
pub struct UciFile {
    /// The whole text; wiped when dropped, as it may hold the network's key.
    pub bytes: Zeroizing<Vec<u8>>,
    /// As in [`Configuration`].
    pub exposed: Option<u32>,
}

/// Reads a UCI file.
///
/// # Errors
/// A sentence with the path: missing, not a regular file, longer than [`CONFIGURATION_MAX`].
pub fn read_uci(path: &Path) -> io::Result<UciFile> {
    let read = || {
        let (mut file, meta) = open_regular(path, 0)?;
        let exposed = (meta.mode() & 0o044 != 0).then_some(meta.mode() & 0o7777);
        Ok(UciFile { bytes: read_bounded(&mut file, CONFIGURATION_MAX)?, exposed })
    };
    read().map_err(|error| because(format!("cannot read {}", path.display()), error))
}

/// Writes a configuration, 0600, in place of the one that is there or, if that is to be kept, only where none is.
/// The directory is made, 0755, if it is missing.
///
/// # Errors
/// A sentence; `AlreadyExists` when a file is there that is to be kept. Nothing half written stays.
pub fn store_configuration(path: &Path, text: &str, replace: bool) -> io::Result<()> {
    let existing = if replace { Existing::Replace } else { Existing::Keep };
    make_directory(apart(path).0, 0o755)
        .and_then(|()| write_whole(path, text.as_bytes(), existing))
        .map_err(|error| because(format!("cannot write {}", path.display()), error))
}

/// Gives a file another name in its directory, in place of what has that name.
///
/// # Errors
/// A sentence.
pub fn keep_beside(path: &Path, kept: &Path) -> io::Result<()> {
    std::fs::rename(path, kept)
        .map_err(|error| because(format!("cannot keep {} as {}", path.display(), kept.display()), error))
}

/// Where the settings of the networks of a router are put for their daemons, and nobody else: in memory, by name.
///
/// # Errors
/// A sentence; also when somebody else could have put things there.
pub fn store_export(name: &str, text: &str) -> io::Result<()> {
    let directory = Path::new("/var/run/peervpn");
    make_directory(directory, 0o755)
        .and_then(|()| check_private(directory))
        .map_err(|error| because(format!("cannot use {}", directory.display()), error))?;
    store_configuration(&directory.join(format!("{name}.conf")), text, true)
}

/// Reads a pre-shared key: the one line of a file that nobody but its owner can read.
///
/// # Errors
/// A sentence with the path and, for a wrong mode, the command that mends it.
pub fn read_psk(path: &Path) -> io::Result<Zeroizing<String>> {
    let text = read_secret(path)?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains('\n') {
        return Err(failure(
            io::ErrorKind::InvalidData,
            format!("{} must hold the key in one line and nothing else", path.display()),
        ));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Reads a node's secret key; none when there is no such file yet.
///
/// # Errors
/// A sentence: others can read it, it cannot be read, or it is damaged. None of these is a reason to
/// make a new key, which would be another node in the eyes of all others.
pub fn load_key(path: &Path) -> io::Result<Option<Zeroizing<[u8; KEY]>>> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let text = read_secret(path)?;
    let damaged = || {
        let hint = "it should hold 64 hexadecimal digits; restore it, or remove it to become a new node";
        failure(io::ErrorKind::InvalidData, format!("key file {} is damaged: {hint}", path.display()))
    };
    parse_key(&text).ok_or_else(damaged).map(Some)
}

/// Reads what a node remembers; nothing when there is no file.
///
/// # Errors
/// The kernel's; and too long a file.
pub fn load_state(path: &Path) -> io::Result<Zeroizing<String>> {
    let read = || read_bounded(&mut open_regular(path, 0)?.0, STATE_MAX).and_then(into_text);
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Zeroizing::default()),
        read => read,
    }
}

/// Writes what a node remembers, 0600, in place of what was there. Nothing half written stays.
pub(super) fn store_state(path: &Path, text: &[u8]) -> io::Result<()> {
    write_whole(path, text, Existing::Replace)
}

/// Stores a new node's secret key, 0600, in directories made 0700 where they are missing.
///
/// # Errors
/// A sentence; `AlreadyExists` when a file is there, which is left as it is. Nothing half written stays.
pub fn create_key(path: &Path, key: &[u8; KEY]) -> io::Result<()> {
    let mut text = Zeroizing::new(String::with_capacity(160));
    text.push_str("# Secret key of this PeerVPN node. Whoever has it can pretend to be this node.\n");
    for byte in key {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text.push('\n');
    make_directories(path)
        .and_then(|()| write_whole(path, text.as_bytes(), Existing::Keep))
        .map_err(|error| because(format!("cannot store the node's key in {}", path.display()), error))
}

/// The key that was kept under this tag since the last boot, if it is in the cache and nobody else can
/// have put it there or read it. Anything wrong with it is the same as nothing there.
pub fn load_cached(tag: &[u8]) -> Option<Zeroizing<[u8; KEY]>> {
    load_cached_in(&cache_directory(), tag)
}

/// Keeps a key until the next boot: a stretched passphrase, because stretching costs seconds on a small router,
/// or the key of a node that has no key file.
///
/// # Errors
/// A sentence for a notice; the program works without.
pub fn store_cached(tag: &[u8], key: &[u8; KEY]) -> io::Result<()> {
    store_cached_in(&cache_directory(), tag, key)
}

/// `/run/peervpn`, or `/var/run/peervpn` on systems without `/run`.
pub fn runtime_directory() -> PathBuf {
    let run = Path::new("/run");
    if run.is_dir() { run.join("peervpn") } else { PathBuf::from("/var/run/peervpn") }
}

fn cache_directory() -> PathBuf {
    runtime_directory().join("cache")
}

fn load_cached_in(directory: &Path, tag: &[u8]) -> Option<Zeroizing<[u8; KEY]>> {
    check_private(directory).ok()?;
    let (mut file, meta) = open_regular(&directory.join(hex(tag)), libc::O_NOFOLLOW).ok()?;
    if meta.uid() != effective_user() || meta.mode() & OTHERS != 0 {
        return None;
    }
    let bytes = read_bounded(&mut file, KEY).ok()?;
    let key: [u8; KEY] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(key))
}

fn store_cached_in(directory: &Path, tag: &[u8], key: &[u8; KEY]) -> io::Result<()> {
    let path = directory.join(hex(tag));
    make_directory(apart(directory).0, 0o755)
        .and_then(|()| make_directory(directory, 0o700))
        .and_then(|()| check_private(directory))
        .and_then(|()| write_whole(&path, key, Existing::Replace))
        .map_err(|error| because(format!("cannot keep a key in {}", path.display()), error))
}

/// Refuses a directory that somebody else owns or can write to: what is in it could be theirs.
pub(super) fn check_private(directory: &Path) -> io::Result<()> {
    let meta = directory.symlink_metadata()?;
    if meta.is_dir() && meta.uid() == effective_user() && meta.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(failure(
        io::ErrorKind::PermissionDenied,
        format!(
            "{} is not a directory that only its owner, who runs this, can write to",
            directory.display()
        ),
    ))
}

/// Makes one directory with just this mode, whatever the umask; one that is there stays as it is.
pub(super) fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    match new_directory(path, mode) {
        Ok(()) => std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn make_directories(file: &Path) -> io::Result<()> {
    let parents: Vec<&Path> = file.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    for directory in parents.into_iter().rev() {
        match new_directory(directory, 0o700) {
            Err(_) if directory.is_dir() => {}
            done => done?,
        }
    }
    Ok(())
}

fn new_directory(path: &Path, mode: u32) -> io::Result<()> {
    let path = in_c(path)?;
    // SAFETY: the path ends with a zero and lives through the call.
    check(unsafe { libc::mkdir(path.as_ptr(), mode) }).map(|_| ())
}

/// S16: reads a small file that nobody but its owner can read.
fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    let shown = path.display();
    let failed = |error| because(format!("cannot read {shown}"), error);
    let (mut file, meta) = open_regular(path, 0).map_err(failed)?;
    let mode = meta.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(failure(
            io::ErrorKind::PermissionDenied,
            format!(
                "others can use {shown} (mode {mode:04o}), so what it holds is no secret: chmod 600 {shown}"
            ),
        ));
    }
    read_bounded(&mut file, SECRET_MAX).and_then(into_text).map_err(failed)
}

/// Opens for reading without ever waiting (a FIFO would), and looks at what was opened, not at the path.
fn open_regular(path: &Path, flags: i32) -> io::Result<(File, Metadata)> {
    let file = open(path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | flags, 0)?;
    let meta = file.metadata()?;
    if meta.is_file() {
        return Ok((file, meta));
    }
    Err(failure(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

/// All that there is to read, at most `max` bytes.
pub(super) fn read_bounded(from: &mut dyn Read, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // A vector that grows by itself leaves copies of a secret behind, and one with room for the longest file, once given
    // back, is memory that the allocator hands out again as if it had been used.
    let mut bytes = Zeroizing::new(vec![0; FIRST_PART.min(max + 1)]);
    let mut length = 0;
    loop {
        length += match from.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        if length > max {
            return Err(failure(io::ErrorKind::InvalidData, format!("it is longer than {max} bytes")));
        }
        if length == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; (4 * length).min(max + 1)]);
            larger[..length].copy_from_slice(&bytes);
            bytes = larger;
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn into_text(mut bytes: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<String>> {
    match String::from_utf8(core::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let bytes = Zeroizing::new(error.into_bytes());
            let line = 1 + bytes[..good].iter().filter(|byte| **byte == b'\n').count();
            Err(failure(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8 text")))
        }
    }
}

/// One line of 64 hexadecimal digits; lines that begin with `#` are comments.
fn parse_key(text: &str) -> Option<Zeroizing<[u8; KEY]>> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (digits, None) = (lines.next()?.as_bytes(), lines.next()) else { return None };
    if digits.len() != 2 * KEY {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY]);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?];
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    // A file full of zeros is what some file systems leave after a loss of power.
    (*key != [0; KEY]).then_some(key)
}

/// What happens to a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Keep,
    Replace,
}

/// Writes a file so that it is there whole or not at all (S24): beside its place, synced, renamed,
/// and the directory synced. A rest of an earlier, interrupted try is removed first.
fn write_whole(path: &Path, bytes: &[u8], existing: Existing) -> io::Result<()> {
    let unfinished = unfinished_name(path)?;
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_new(&unfinished, bytes).and_then(|()| rename(&unfinished, path, existing));
    if written.is_err() {
        let _ = std::fs::remove_file(&unfinished);
        return written;
    }
    open(apart(path).0, libc::O_RDONLY, 0)?.sync_all()
}

/// The name under which a file is written: hidden, in the same directory, the same at each try.
fn unfinished_name(path: &Path) -> io::Result<PathBuf> {
    let (directory, name) = apart(path);
    if name.is_empty() {
        return Err(failure(io::ErrorKind::InvalidInput, "it has no file name"));
    }
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".unfinished");
    Ok(directory.join(hidden))
}

/// The directory of a path, and the name that it has in there. By its bytes: the library's way of taking a path to pieces is
/// five times as long in the program.
fn apart(path: &Path) -> (&Path, &OsStr) {
    let bytes = path.as_os_str().as_bytes();
    let slash = bytes.iter().rposition(|byte| *byte == b'/');
    let (directory, name) = match slash {
        None => (&b"."[..], bytes),
        Some(0) => (&b"/"[..], &bytes[1..]),
        Some(place) => (&bytes[..place], &bytes[place + 1..]),
    };
    (Path::new(OsStr::from_bytes(directory)), OsStr::from_bytes(name))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, 0o600)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn rename(from: &Path, to: &Path, existing: Existing) -> io::Result<()> {
    if existing == Existing::Replace {
        return std::fs::rename(from, to);
    }
    match rename_to_free_place(from, to) {
        // Some file systems have no such rename (EINVAL), some kernels no such call.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        done => done,
    }
}

fn rename_to_free_place(from: &Path, to: &Path) -> io::Result<()> {
    let [from, to] = [in_c(from)?, in_c(to)?];
    let here = libc::AT_FDCWD;
    // SAFETY: both strings end with a zero and live through the call; by number, as old musl lacks the name.
    let failed = unsafe {
        libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), libc::RENAME_NOREPLACE)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The number of the user whose rights the process has; 0 is root.
pub fn effective_user() -> libc::uid_t {
    // SAFETY: no memory is involved.
    unsafe { libc::geteuid() }
}

/// The kernel's error with what was being done in front of it.
pub(super) fn because(what: impl Display, error: io::Error) -> io::Error {
    super::explained(format_args!("{what}"), &error)
}

#[cfg(test)]
pub(super) mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::sys::child::{forking, in_child, root_or_skip};

    /// A directory of a test's own, removed at its end.
    pub(in crate::sys) struct Scratch(PathBuf);

    impl Scratch {
        pub(in crate::sys) fn new() -> Scratch {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name =
                format!("peervpn-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            Scratch(path)
        }

        pub(in crate::sys) fn path(&self) -> &Path {
            &self.0
        }

        /// A file in it with that mode.
        fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            write(&path, content).unwrap();
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        }

        fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(&self.0).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const SOME_KEY: [u8; KEY] = [0xa5; KEY];

    /// Gives a few bytes at a time, after a signal each.
    struct Dripping<'a> {
        rest: &'a [u8],
        interrupted: bool,
    }

    impl Read for Dripping<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = self.rest.len().min(into.len()).min(997);
            let (now, later) = self.rest.split_at(length);
            into[..length].copy_from_slice(now);
            self.rest = later;
            Ok(length)
        }
    }

    #[test]
    fn a_file_is_read_whole_whatever_room_it_was_given_at_first() {
        let content: Vec<u8> = (0..70_000_u32).map(|at| (at % 251) as u8).collect();
        for length in [0, 1, 4095, 4096, 4097, 16_383, 16_384, 16_385, 70_000] {
            let rest = &content[..length];
            for max in [length, length + 1, CONFIGURATION_MAX] {
                let read = read_bounded(&mut Dripping { rest, interrupted: false }, max).unwrap();
                assert_eq!(*read, rest, "{length} of {max}");
            }
            if let Some(less) = length.checked_sub(1) {
                let error = read_bounded(&mut Dripping { rest, interrupted: false }, less).unwrap_err();
                assert_eq!(error.to_string(), format!("it is longer than {less} bytes"));
            }
        }
    }

    #[test]
    fn a_configuration_that_others_can_read_is_reported() {
        // S16
        let place = Scratch::new();
        for (mode, exposed) in [(0o600, None), (0o644, Some(0o644)), (0o640, Some(0o640)), (0o400, None)] {
            let path = place.file("conf", "port 7000\n", mode);
            let read = read_configuration(&path).unwrap();
            assert_eq!((read.text.as_str(), read.exposed), ("port 7000\n", exposed), "{mode:o}");
        }
    }

    #[test]
    fn a_configuration_must_be_a_bounded_text_file() {
        let place = Scratch::new();
        let complaint = |path: &Path| read_configuration(path).unwrap_err().to_string();
        assert!(complaint(&place.path().join("none")).contains("none"));
        assert!(complaint(place.path()).contains("not a regular file"));
        let long = place.file("long", vec![b'#'; CONFIGURATION_MAX + 1], 0o600);
        assert!(complaint(&long).contains("longer than 1048576 bytes"));
        let full = place.file("full", vec![b'#'; CONFIGURATION_MAX], 0o600);
        assert_eq!(read_configuration(&full).unwrap().text.len(), CONFIGURATION_MAX);
        let latin = place.file("latin", b"port 7000\n# caf\xe9\n", 0o600);
        assert!(complaint(&latin).contains("line 2"));
        // A FIFO without a writer must not hold the start up.
        let fifo = place.path().join("fifo");
        let name = in_c(&fifo).unwrap();
        // SAFETY: the string ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        assert!(complaint(&fifo).contains("not a regular file"));
    }

    #[test]
    fn a_uci_file_may_be_in_any_code() {
        let place = Scratch::new();
        let path = place.file("network", b"# caf\xe9\n", 0o644);
        let read = read_uci(&path).unwrap();
        assert_eq!((read.bytes.as_slice(), read.exposed), (b"# caf\xe9\n".as_slice(), Some(0o644)));
        let long = place.file("long", vec![b'#'; CONFIGURATION_MAX + 1], 0o600);
        assert!(read_uci(&long).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn a_configuration_is_written_for_its_owner_alone() {
        // S16, S24
        let place = Scratch::new();
        let path = place.path().join("run").join("home.conf");
        for text in ["one\n", "two\n"] {
            store_configuration(&path, text, true).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        }
        let kept = store_configuration(&path, "three\n", false).unwrap_err();
        assert_eq!(kept.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_psk_file_that_others_can_read_is_refused() {
        // S16
        let place = Scratch::new();
        for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
            let path = place.file("psk", "correct horse battery\n", mode);
            let text = read_psk(&path).unwrap_err().to_string();
            assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
            assert!(!text.contains("horse"));
        }
        for (content, key) in [("key one\n", "key one"), ("key two", "key two"), (" k \r\n", " k ")] {
            assert_eq!(read_psk(&place.file("psk", content, 0o600)).unwrap().as_str(), key);
        }
        for content in ["", "\n", "one\ntwo\n"] {
            let text = read_psk(&place.file("psk", content, 0o600)).unwrap_err().to_string();
            assert!(text.contains("one line"), "{text}");
        }
    }

    #[test]
    fn a_node_keeps_its_key() {
        let place = Scratch::new();
        let path = place.path().join("deep").join("node.key");
        assert!(load_key(&path).unwrap().is_none());
        create_key(&path, &SOME_KEY).unwrap();
        assert_eq!(*load_key(&path).unwrap().unwrap(), SOME_KEY);
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_key_once_stored_is_never_overwritten() {
        let place = Scratch::new();
        let path = place.path().join("node.key");
        create_key(&path, &SOME_KEY).unwrap();
        let again = create_key(&path, &[1; KEY]).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(*load_key(&path).unwrap().unwrap(), SOME_KEY);
        assert_eq!(place.names(), ["node.key"]);
    }

    #[test]
    fn a_damaged_key_is_an_error_and_stays() {
        let place = Scratch::new();
        let good = "a5".repeat(KEY);
        let zeros = "0".repeat(64);
        for content in ["", "\n", "# only a comment\n", &good[1..], &format!("{good}{good}"), &zeros, "zz"]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("{good}\n{good}\n"), format!("{}g", &good[1..]), "\0".repeat(64)])
        {
            let path = place.file("node.key", &content, 0o600);
            let text = load_key(&path).unwrap_err().to_string();
            assert!(text.contains("is damaged"), "{text}");
            assert!(create_key(&path, &SOME_KEY).is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        for content in
            [good.clone(), format!("# a comment\n{good}\n"), format!("{}\r\n", good.to_uppercase())]
        {
            let path = place.file("node.key", &content, 0o600);
            assert_eq!(*load_key(&path).unwrap().unwrap(), SOME_KEY, "{content}");
        }
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        // S16: and not taken for a missing one.
        let place = Scratch::new();
        let path = place.file("node.key", "a5".repeat(KEY), 0o640);
        assert!(load_key(&path).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_dangling_link_is_not_a_missing_key() {
        let place = Scratch::new();
        let path = place.path().join("node.key");
        symlink("/no/such/place", &path).unwrap();
        assert!(load_key(&path).is_err());
    }

    #[test]
    fn death_at_any_step_of_storing_loses_nothing() {
        // S24: what each step leaves when it is the last one.
        let whole = format!("# comment\n{}\n", "a5".repeat(KEY));
        for left in ["", &whole[..20], &whole] {
            let place = Scratch::new();
            let path = place.path().join("node.key");
            place.file(".node.key.unfinished", left, 0o600);
            // Not stored yet: the next start makes a key as if nothing had been.
            assert!(load_key(&path).unwrap().is_none());
            create_key(&path, &SOME_KEY).unwrap();
            assert_eq!(*load_key(&path).unwrap().unwrap(), SOME_KEY);
            assert_eq!(place.names(), ["node.key"]);
        }
    }

    #[test]
    fn an_unwritable_place_is_told_and_left_clean() {
        let place = Scratch::new();
        let blocked = place.file("file", "", 0o600).join("node.key");
        let text = create_key(&blocked, &SOME_KEY).unwrap_err().to_string();
        assert!(text.starts_with("cannot store the node's key in"), "{text}");
        assert!(create_key(Path::new("/proc/node.key"), &SOME_KEY).is_err());
    }

    #[test]
    fn the_cache_gives_back_what_was_kept() {
        let place = Scratch::new();
        let cache = place.path().join("run").join("cache");
        assert!(load_cached_in(&cache, b"tag").is_none());
        store_cached_in(&cache, b"tag", &SOME_KEY).unwrap();
        store_cached_in(&cache, b"tag", &[7; KEY]).unwrap();
        assert_eq!(*load_cached_in(&cache, b"tag").unwrap(), [7; KEY]);
        assert!(load_cached_in(&cache, b"other").is_none());
        assert_eq!(cache.metadata().unwrap().mode() & 0o7777, 0o700);
        assert_eq!(cache.join("746167").metadata().unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn what_others_may_have_put_into_the_cache_is_ignored() {
        // S16: a link, a wrong mode, a wrong length, an open directory, a foreign owner.
        let place = Scratch::new();
        let cache = place.path().join("run").join("cache");
        store_cached_in(&cache, b"t", &SOME_KEY).unwrap();
        let entry = cache.join("74");
        let there = || load_cached_in(&cache, b"t").is_some();
        assert!(there());

        set_permissions(&entry, Permissions::from_mode(0o640)).unwrap();
        assert!(!there());
        set_permissions(&entry, Permissions::from_mode(0o600)).unwrap();
        write(&entry, [1; KEY + 1]).unwrap();
        assert!(!there());
        write(&entry, [1; KEY - 1]).unwrap();
        assert!(!there());
        write(&entry, [1; KEY]).unwrap();
        assert!(there());

        set_permissions(&cache, Permissions::from_mode(0o770)).unwrap();
        assert!(!there());
        assert!(store_cached_in(&cache, b"t", &SOME_KEY).is_err());
        set_permissions(&cache, Permissions::from_mode(0o700)).unwrap();
        assert!(there());

        std::fs::rename(&entry, cache.join("real")).unwrap();
        symlink("real", &entry).unwrap();
        assert!(!there());
        // Replacing puts a file in the link's place and does not write through it.
        store_cached_in(&cache, b"t", &SOME_KEY).unwrap();
        assert_eq!(std::fs::read(cache.join("real")).unwrap(), [1; KEY]);
        assert!(there());

        if root_or_skip("foreign owner of a cache entry") {
            std::os::unix::fs::chown(&entry, Some(4242), None).unwrap();
            assert!(!there());
        }
    }

    #[test]
    fn directories_get_their_mode_whatever_the_umask() {
        let _guard = forking();
        let place = Scratch::new();
        let run = place.path().join("run");
        in_child(|| {
            // SAFETY: no memory is involved.
            unsafe { libc::umask(0o077) };
            make_directory(&run, 0o755).unwrap();
        });
        assert_eq!(run.metadata().unwrap().mode() & 0o7777, 0o755);
    }
}
