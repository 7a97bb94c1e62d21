//! The standard streams as plain descriptors: this program has one thread and writes whole texts, and Rust's own
//! streams, with their locks and buffers, are 5 kB on a router.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};

use zeroize::Zeroizing;

use super::failure;

/// The longest line that is read, in bytes.
const LINE_MAX: usize = 4096;

/// A stream, which is not closed in the end.
pub type Stream = ManuallyDrop<File>;

/// What is to be read.
pub fn input() -> Stream {
    stream(libc::STDIN_FILENO)
}

/// Where results go.
pub fn output() -> Stream {
    stream(libc::STDOUT_FILENO)
}

/// Where messages go.
pub fn errors() -> Stream {
    stream(libc::STDERR_FILENO)
}

fn stream(number: RawFd) -> Stream {
    // SAFETY: it is used as a number here and never closed. Rust's start opens the three if they are not there.
    ManuallyDrop::new(unsafe { File::from_raw_fd(number) })
}

/// Writes a line for a person, if anybody is there.
pub fn complain(text: &str) {
    let _ = errors().write_all([text, "\n"].concat().as_bytes());
}

/// The next line of the input, without its end; what follows it stays there. None after the last.
///
/// # Errors
/// The kernel's; a line longer than 4096 bytes, or one that is not UTF-8.
pub fn read_line() -> io::Result<Option<Zeroizing<String>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    let mut byte = [0];
    while line.len() < LINE_MAX {
        let end = match input().read(&mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => true,
            Ok(_) => byte == *b"\n",
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if end {
            // Checked first: what is no text is a secret all the same, and is wiped.
            if core::str::from_utf8(&line).is_err() {
                return Err(failure(io::ErrorKind::InvalidData, "the line is not UTF-8 text"));
            }
            let text = String::from_utf8(core::mem::take(&mut *line)).unwrap_or_default();
            return Ok(Some(Zeroizing::new(text)));
        }
        line.push(byte[0]);
    }
    Err(failure(io::ErrorKind::InvalidData, "the line is too long"))
}
