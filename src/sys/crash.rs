//! The last words of a program that dies of itself: one line that says where.
//!
//! Routers' builds panic without a word, because texts and places of panics are a twelfth of the binary: what cannot
//! be is an instruction that the processor refuses. So is what is wrong in unsafe code or in the C library. The
//! signal that comes of it is met here, its place written to standard error as the distance from the beginning of the
//! program's image, and then it does what it would have done. `ci/build --place` makes a line of source of it.
//!
//! Whatever runs here may find the program in any state: nothing is allocated, nothing locked, nothing formatted.

use core::ffi::{c_int, c_void};

/// What a processor or the C library ends a program with.
const FATAL: [c_int; 6] =
    [libc::SIGILL, libc::SIGTRAP, libc::SIGABRT, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV];

/// The line, with blanks where signal and place come.
const LINE: &str =
    concat!("peervpn ", env!("CARGO_PKG_VERSION"), " crashed: signal    at          of its image\n");
const LENGTH: usize = LINE.len();
/// Counted from the end, for the version has no fixed length.
const PLACE: usize = LENGTH - " of its image\n".len() - DIGITS;
const SIGNAL: usize = PLACE - " at ".len() - 2;
const DIGITS: usize = 8;

unsafe extern "C" {
    /// Where the linker puts the first byte of the program's image.
    static __ehdr_start: u8;
}

/// From now on a crash says where it was, in this process and those that it forks.
pub fn install() {
    // SAFETY: all zeros are a valid action; the mask stays empty.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    let handler: extern "C" fn(c_int, *const libc::siginfo_t, *const c_void) = tell;
    action.sa_sigaction = handler as libc::sighandler_t;
    // The second time it does what it does without us; a stack that is used up is no place to speak from.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_ONSTACK;
    for signal in FATAL {
        // SAFETY: the action is complete, the old one not asked for. It fails for no signal of ours.
        unsafe { libc::sigaction(signal, &raw const action, core::ptr::null_mut()) };
    }
}

extern "C" fn tell(signal: c_int, info: *const libc::siginfo_t, context: *const c_void) {
    let mut line = [0; LENGTH];
    line.copy_from_slice(LINE.as_bytes());
    // SAFETY: the kernel hands a live context over.
    let place = unsafe { counter(context) }.wrapping_sub((&raw const __ehdr_start).addr());
    for (at, digit) in (PLACE..PLACE + DIGITS).rev().zip(0..) {
        line[at] = b"0123456789abcdef"[place >> (4 * digit) & 15];
    }
    // There are 64 signals.
    for (at, power) in [(SIGNAL, 10), (SIGNAL + 1, 1)] {
        line[at] = b"0123456789"[signal.unsigned_abs() as usize / power % 10];
    }
    // SAFETY: the buffer lives through the call, which reads it; the record is live too.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), LENGTH);
        // A faulty instruction is tried again when we return. What a process sent is not, so it is sent again.
        if (*info).si_code <= 0 {
            libc::raise(signal);
        }
    }
}

/// Where the program was when the signal came.
///
/// # Safety
/// `context` is what the kernel gave a handler.
#[allow(clippy::cast_possible_truncation, reason = "an address is as wide as the machine's words")]
unsafe fn counter(context: *const c_void) -> usize {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
    // SAFETY: the caller's promise; libc has the kernel's form of it for this processor.
    let machine = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    return machine.gregs[libc::REG_RIP as usize].cast_unsigned() as usize;
    #[cfg(target_arch = "aarch64")]
    return machine.pc as usize;
    #[cfg(target_arch = "arm")]
    return machine.arm_pc as usize;
    // libc has no form for it: five words and what aligns them to eight bytes (`struct ucontext`), two words, and
    // the counter with 64 bits (`struct sigcontext` in the kernel's asm/sigcontext.h for the o32 ABI).
    #[cfg(target_arch = "mips")]
    // SAFETY: the caller's promise; all of it is aligned.
    return unsafe { context.byte_add(32).cast::<u64>().read() } as usize;
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "mips"
    )))]
    {
        let _ = context;
        0
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read, pipe};
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::sys::child::forking;

    /// What a child says that installs the handler and then does `deed`, and what it ends of.
    fn last_words(deed: extern "C" fn()) -> (String, c_int) {
        let _guard = forking();
        let (mut reader, writer): (PipeReader, PipeWriter) = pipe().unwrap();
        // SAFETY: the child calls nothing but system calls and what is tested.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: both descriptors are open; nothing of the parent's is touched.
            unsafe { libc::dup2(writer.as_raw_fd(), libc::STDERR_FILENO) };
            install();
            deed();
            // SAFETY: ends this copy of the test program.
            unsafe { libc::_exit(0) }
        }
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let mut status = 0;
        // SAFETY: the pointer is to a live integer.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        (text, libc::WTERMSIG(status))
    }

    fn place_in(text: &str) -> usize {
        let digits = text.split(" at ").nth(1).unwrap();
        usize::from_str_radix(&digits[..DIGITS], 16).unwrap()
    }

    #[inline(never)]
    extern "C" fn read_nowhere() {
        let nowhere = std::hint::black_box(8) as *const u32;
        // SAFETY: it is not; that is the test.
        std::hint::black_box(unsafe { nowhere.read_volatile() });
    }

    #[test]
    fn a_crash_says_where_and_ends_the_program_by_its_signal() {
        let (text, signal) = last_words(read_nowhere);
        assert_eq!(signal, libc::SIGSEGV, "{text}");
        let begin = concat!("peervpn ", env!("CARGO_PKG_VERSION"), " crashed: signal 11 at ");
        assert!(text.starts_with(begin) && text.ends_with(" of its image\n"), "{text}");
        let base = (&raw const __ehdr_start).addr();
        let function = (read_nowhere as *const ()).addr();
        // In this function, or in the one that it calls in a build without optimisation.
        #[cfg(not(debug_assertions))]
        assert!(
            (function..function + 64).contains(&(base + place_in(&text))),
            "{text} {function:x} {base:x}"
        );
        #[cfg(debug_assertions)]
        assert!(function.abs_diff(base + place_in(&text)) < 64 << 20, "{text} {function:x} {base:x}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn what_another_process_sends_ends_it_too() {
        extern "C" fn be_killed() {
            // SAFETY: sends a signal to this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGABRT) };
        }
        let (text, signal) = last_words(be_killed);
        assert_eq!(signal, libc::SIGABRT, "{text}");
        assert!(text.contains("signal 06 at "), "{text}");
    }
}
