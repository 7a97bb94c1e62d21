//! Wing B: the kernel. The only unsafe code, sockets, files and processes. Knows floor 0 only.
//!
//! Every `unsafe` block holds one system call or one read of a kernel structure and says why it is sound.
//! Whatever fails comes back as an [`io::Error`]: at the start with what we were doing in front of it
//! ([`Context`]), in the loop as the kernel gave it, so that the owner of the descriptor can tell what
//! passes from what stays.
#![allow(unsafe_code, clippy::disallowed_methods, clippy::disallowed_types)]

mod batch;
mod child;
pub mod clock;
pub mod control;
pub mod crash;
pub mod datagram;
mod dns;
pub mod events;
pub mod files;
#[cfg(any(test, target_env = "musl"))]
mod heap;
pub mod helper;
pub mod landlock;
pub mod log;
mod lookup;
pub mod multicast;
pub mod nat64;
pub mod netlink;
mod offload;
pub mod privileges;
pub mod resolver;
pub mod seccomp;
pub mod signals;
mod socket;
pub mod sources;
pub mod streams;
pub mod tap;
pub mod udp;

use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::c_int;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

/// What a system call answered: -1 becomes the error that it left in `errno`.
///
/// # Errors
/// The kernel's own.
pub(crate) fn check<T: PartialEq + From<i8>>(answer: T) -> io::Result<T> {
    if answer == T::from(-1) { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// A variable of the environment, if it is there and is text. Not the library's, whose lock no thread of ours needs.
pub fn variable(name: &CStr) -> Option<String> {
    // SAFETY: the name ends with a zero; what it has stays as it is, for nothing here sets variables.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: where there is one, it ends with a zero.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_str().ok().map(str::to_owned)).flatten()
}

/// An error in words of ours.
///
/// A text will do for an `io::Error` as it is, but then brings along how it looks to a developer, quotation marks and
/// the tables of Unicode: 4 kB on a router that nobody sees.
#[cold]
#[inline(never)]
pub fn failure(kind: io::ErrorKind, words: impl Into<String>) -> io::Error {
    io::Error::new(kind, Words(words.into()))
}

/// Some error in its own words.
pub fn told(error: impl fmt::Display) -> io::Error {
    failure(io::ErrorKind::Other, error.to_string())
}

struct Words(String);

impl std::error::Error for Words {}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Puts what we were doing in front of an error: "cannot open /dev/net/tun: Permission denied".
pub(crate) trait Context<T> {
    /// The same result; `doing` completes the sentence "cannot …".
    fn context(self, doing: impl fmt::Display) -> io::Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, doing: impl fmt::Display) -> io::Result<T> {
        self.map_err(|error| explained(format_args!("cannot {doing}"), &error))
    }
}

/// In one place, for size.
#[cold]
#[inline(never)]
fn explained(what: fmt::Arguments<'_>, error: &io::Error) -> io::Error {
    failure(error.kind(), format!("{what}: {}", words(error)))
}

/// The kernel's words for an error, without the number that Rust appends.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind('(').filter(|_| error.raw_os_error().is_some()) {
        Some(at) => text[..at].trim_ascii_end().to_owned(),
        None => text,
    }
}

/// Opens a file by the kernel's flags, `O_CLOEXEC` among them always; a new one gets that mode.
///
/// # Errors
/// The kernel's; `InvalidInput` for a path with a zero in it.
pub(crate) fn open(path: &Path, flags: c_int, mode: libc::c_uint) -> io::Result<File> {
    let path = in_c(path)?;
    loop {
        // SAFETY: the path ends with a zero and lives through the call.
        match check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) }) {
            // SAFETY: the descriptor is new and nobody else owns it.
            Ok(fd) => return Ok(unsafe { File::from_raw_fd(fd) }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A path as the kernel wants it.
///
/// # Errors
/// `InvalidInput` for one with a zero in it.
pub(crate) fn in_c(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Sets a socket option whose value is a C integer or a plain structure.
pub(crate) fn set_option<T: Copy>(socket: &impl AsFd, level: c_int, name: c_int, value: T) -> io::Result<()> {
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: `value` lives through the call with the length given; the kernel only reads it.
    check(unsafe { libc::setsockopt(socket, level, name, (&raw const value).cast(), length_of::<T>()) })?;
    Ok(())
}

/// The size of a structure, as the kernel wants to be told it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "structures of the kernel have some hundred bytes at most"
)]
pub(crate) const fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// The number of an address family, as it stands in socket addresses.
#[expect(clippy::cast_possible_truncation, reason = "families have small numbers")]
pub(crate) const fn family_number(family: c_int) -> libc::sa_family_t {
    family as libc::sa_family_t
}

/// Has `source` wake the poll under `token` when it becomes readable. The poll is edge-triggered: whoever is
/// woken reads until "would block" or remembers that there is more.
///
/// # Errors
/// The kernel's, when it cannot watch one descriptor more.
pub fn watch(registry: &Registry, source: &impl AsFd, token: Token) -> io::Result<()> {
    registry.register(&mut SourceFd(&source.as_fd().as_raw_fd()), token, Interest::READABLE)
}

#[cfg(test)]
pub(crate) mod testing {
    //! Network namespaces for tests: what happens in there touches no network of the machine.

    use crate::sys::check;
    use crate::sys::netlink::{Link, Netlink};

    /// Runs `story` on a thread of its own with an empty network, loopback up. Without root it is skipped, loudly.
    pub(crate) fn in_namespace(name: &str, story: impl FnOnce() + Send + 'static) {
        // SAFETY: takes nothing and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("SKIPPED {name}: a network namespace needs root");
            return;
        }
        let thread = std::thread::spawn(move || {
            // SAFETY: moves the calling thread alone to a new network; no memory is involved.
            check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).expect("root may make a network namespace");
            let mut netlink = Netlink::open().unwrap();
            let lo = netlink.link("lo").unwrap().expect("every namespace has a loopback");
            netlink.set_up(&lo).unwrap();
            story();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    /// Gives an interface an address and waits until the kernel has ruled out duplicates of it.
    pub(crate) fn add_address_and_wait(netlink: &mut Netlink, link: &Link, address: &str, prefix: u8) {
        let address = address.parse().unwrap();
        netlink.add_address(link, address, prefix).unwrap();
        for _ in 0..500 {
            if netlink.addresses().unwrap().iter().any(|found| found.address == address) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{address} did not become ready");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_we_were_doing() {
        let missing = io::Error::from_raw_os_error(libc::ENOENT);
        let told = Err::<(), _>(missing).context(format_args!("open {}", "/dev/net/tun")).unwrap_err();
        assert_eq!(told.to_string(), "cannot open /dev/net/tun: No such file or directory");
        assert_eq!(told.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn minus_one_is_an_error_and_nothing_else_is() {
        // SAFETY: a descriptor that is never open; the kernel touches no memory.
        let refused = check(unsafe { libc::close(-1) }).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBADF));
        assert_eq!(check(0).unwrap(), 0);
        assert_eq!(check(-2).unwrap(), -2);
    }
}
