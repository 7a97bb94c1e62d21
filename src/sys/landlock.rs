//! Landlock: the kernel's own fence around a process (landlock(7)), beside the filter of system calls.
//!
//! The filter knows calls, this knows what they are for: no file, no connection, no abstract socket and no process of
//! another can be reached any more, by whatever call. What is open already stays open. A kernel may have none of it
//! (before 5.13, or built without) or part of it; as much as there is gets used.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::sys::{check, told};

/// `struct landlock_ruleset_attr`: bits of what shall need a rule. We make no rule.
#[repr(C)]
struct Handled {
    files: u64,
    connections: u64,
    others: u64,
}

/// Asks for the version instead of making a set of rules.
const VERSION: u32 = 1;

/// What each version knows: bits for files, bits for connections, bits for what belongs to others, and how many bytes
/// of the structure.
const fn known(version: i64) -> (Handled, usize) {
    let (files, connections, others, length) = match version {
        1 => (0x1fff, 0, 0, 8),
        2 => (0x3fff, 0, 0, 8),
        3 => (0x7fff, 0, 0, 8),
        4 => (0x7fff, 3, 0, 16),
        5 => (0xffff, 3, 0, 16),
        _ => (0xffff, 3, 3, 24),
    };
    (Handled { files, connections, others }, length)
}

/// From now on this process reaches nothing that it has not open. `no_new_privs` must be set.
///
/// # Errors
/// The kernel's: it has no Landlock, or a filter around us does not let us ask for it.
pub fn fence_in() -> io::Result<()> {
    let nothing: *const Handled = core::ptr::null();
    // SAFETY: asked for its version, the kernel wants no structure.
    let version =
        check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, VERSION) })?;
    #[allow(clippy::useless_conversion, reason = "it is as long as a register")]
    let (handled, length) = known(version.into());
    // SAFETY: the structure lives through the call, has at least that length, and is only read.
    let made =
        check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, length, 0u32) })?;
    let made = i32::try_from(made).map_err(told)?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let rules = unsafe { OwnedFd::from_raw_fd(made) };
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0u32) }).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::net::TcpStream;

    use super::*;
    use crate::sys::child::{forking, in_child};
    use crate::sys::privileges::keep_rights;

    #[test]
    fn a_later_version_is_taken_for_the_latest_that_is_known_here() {
        for (version, files, length) in
            [(1, 0x1fff, 8), (3, 0x7fff, 8), (4, 0x7fff, 16), (6, 0xffff, 24), (99, 0xffff, 24)]
        {
            let (handled, known) = known(version);
            assert_eq!((handled.files, known), (files, length), "{version}");
        }
    }

    #[test]
    fn what_is_open_stays_open_and_nothing_else_opens() {
        // S23
        let _guard = forking();
        in_child(|| {
            let mut kept = File::open("/proc/self/status").unwrap();
            keep_rights().unwrap();
            if let Err(error) = fence_in() {
                eprintln!("SKIPPED: this kernel has no Landlock ({error})");
                return;
            }
            kept.read_exact(&mut [0; 8]).unwrap();
            let denied = |error: io::Error| error.raw_os_error() == Some(libc::EACCES);
            assert!(File::open("/etc/passwd").is_err_and(denied));
            assert!(File::create("/tmp/peervpn-landlock").is_err_and(denied));
            assert!(std::fs::read_dir("/").is_err_and(denied));
            // SAFETY: texts end with a zero, lists with a null.
            unsafe {
                let none = [core::ptr::null()];
                libc::execve(c"/bin/true".as_ptr(), none.as_ptr(), none.as_ptr());
            }
            assert!(denied(io::Error::last_os_error()));
            // Versions before 4 know nothing of connections: they are refused by the port then.
            assert!(TcpStream::connect("127.0.0.1:9").is_err());
        });
    }
}
