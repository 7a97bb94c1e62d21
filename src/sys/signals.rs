//! Signals as a descriptor, so that the loop meets them between two packets and never inside one.
//!
//! TERM, INT, HUP and USR1 are blocked and read from a signalfd. PIPE is ignored: a log reader that went away
//! must not end the VPN. Both are inherited by children, who call [`restore_for_child`] before they become
//! something else.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::sys::{Context, check};

/// What the daemon is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// TERM or INT: say goodbye and end.
    Stop,
    /// HUP: the network changed; try everybody again now.
    Retry,
    /// USR1: write the status to the log.
    Status,
}

/// The signals that wait to be read.
#[derive(Debug)]
pub struct Signals {
    descriptor: File,
}

const HANDLED: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];
const RECORD: usize = size_of::<libc::signalfd_siginfo>();

impl Signals {
    /// Blocks the signals in this thread and those it starts, and opens the descriptor. To be called before
    /// anything that a stop would have to clean up.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn install() -> io::Result<Signals> {
        let mask = set_of(&HANDLED);
        // SAFETY: `mask` is an initialised set; the old mask is not asked for.
        check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const mask, std::ptr::null_mut()) })
            .context("block signals")?;
        // SAFETY: SIG_IGN is no handler, nothing of ours will run.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        // SAFETY: `mask` is an initialised set that the kernel copies.
        let raw =
            check(unsafe { libc::signalfd(-1, &raw const mask, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) })
                .context("open a signal descriptor")?;
        // SAFETY: `raw` was just opened and belongs to nobody else.
        Ok(Signals { descriptor: File::from(unsafe { OwnedFd::from_raw_fd(raw) }) })
    }

    /// The next signal, none when all were read. Several of a kind that came together are one.
    ///
    /// # Errors
    /// None that the loop could do anything about.
    pub fn take(&mut self) -> io::Result<Option<Signal>> {
        let mut record = [0; RECORD];
        match self.descriptor.read(&mut record) {
            Ok(_) => Ok(meaning(&record)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

/// Gives a forked child back what a program expects to find: no blocked signals, and PIPE that ends it.
/// Calls nothing that would not be allowed between fork and exec.
///
/// # Errors
/// None with the arguments given here.
pub fn restore_for_child() -> io::Result<()> {
    let none = set_of(&[]);
    // SAFETY: `none` is an initialised set; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) })?;
    // SAFETY: SIG_DFL is no handler, nothing of ours will run.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    Ok(())
}

/// The signal's number stands in the first four bytes of the record (signalfd(2)).
fn meaning(record: &[u8; RECORD]) -> Option<Signal> {
    let number = u32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
    match libc::c_int::try_from(number).ok()? {
        libc::SIGTERM | libc::SIGINT => Some(Signal::Stop),
        libc::SIGHUP => Some(Signal::Retry),
        libc::SIGUSR1 => Some(Signal::Status),
        _ => None,
    }
}

fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the whole set.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for &signal in signals {
        // SAFETY: `set` is initialised and the numbers are libc's own.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send_to_this_thread(signal: libc::c_int) {
        // SAFETY: raise goes to the calling thread, which has blocked the signal.
        assert_eq!(unsafe { libc::raise(signal) }, 0);
    }

    fn is_blocked(signal: libc::c_int) -> bool {
        let mut mask = set_of(&[]);
        // SAFETY: a null set only asks; `mask` is ours to fill.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask) };
        // SAFETY: `mask` is initialised.
        unsafe { libc::sigismember(&raw const mask, signal) == 1 }
    }

    #[test]
    fn each_signal_is_read_as_what_it_asks_for() {
        // A thread of its own: the mask is a thread's.
        std::thread::spawn(|| {
            let mut signals = Signals::install().unwrap();
            assert_eq!(signals.take().unwrap(), None);
            let table = [
                (libc::SIGTERM, Signal::Stop),
                (libc::SIGINT, Signal::Stop),
                (libc::SIGHUP, Signal::Retry),
                (libc::SIGUSR1, Signal::Status),
            ];
            for (number, meaning) in table {
                send_to_this_thread(number);
                assert_eq!(signals.take().unwrap(), Some(meaning), "signal {number}");
                assert_eq!(signals.take().unwrap(), None);
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_child_gets_its_signals_back() {
        std::thread::spawn(|| {
            let _signals = Signals::install().unwrap();
            // SAFETY: the child calls only what is allowed after fork and ends with _exit.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let before = is_blocked(libc::SIGTERM);
                let restored = restore_for_child().is_ok();
                let after = HANDLED.iter().any(|&signal| is_blocked(signal));
                // SAFETY: ends the child without running the parent's destructors.
                unsafe { libc::_exit(i32::from(!(before && restored && !after))) };
            }
            let mut status = 0;
            // SAFETY: `child` is ours to wait for, `status` ours to fill.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
        })
        .join()
        .unwrap();
    }
}
