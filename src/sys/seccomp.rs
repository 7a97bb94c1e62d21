//! The filter of system calls: what the loop needs and nothing else (S23).
//!
//! It is a list of numbers ([`ALLOWED`]), of which the compiler makes a program for the kernel's filter machine
//! (seccomp(2), classic BPF): no instruction of ours runs for it but the call that hands it over. What the list does
//! not name ends the process by `SIGSYS`, at once and whatever it holds: a daemon that was taken over gets one try.
//! What libc or the runtime may try by themselves, a file to open above all, is refused as not permitted, so that a
//! panic can still say why. An `abort` ends by this filter too.
//!
//! Two calls are looked at closer. `ioctl` may ask whether the TAP is there, and set a socket non-blocking. Memory
//! may be mapped, but none that can be executed: code that was brought in does not run.
//!
//! The kernel walks the list for each call, so the data path's calls stand first. The calls of kernels and libcs
//! differ by machine: 32 bits have some twice since time has 64 (`time64`), younger machines have dropped old ones.

use core::ffi::{c_int, c_long, c_ulong};
use std::io;

use libc::sock_filter;

use crate::sys::check;

/// What the loop does, the way from here to the loop, and the way out.
const ALLOWED: &[c_long] = &[
    // The data path.
    libc::SYS_read,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_write,
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_epoll_pwait,
    libc::SYS_clock_gettime,
    // Control socket, children, netlink, the log, multicast groups.
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_close,
    libc::SYS_fcntl, // Rust's library asks, in debug builds, whether what it closes is open.
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_wait4,
    // Memory and chance.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    // Signals, being stopped and continued, the end; a panic says in which thread it is.
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Older calls for the same things, where the machine has them.
const OLDER: &[c_long] = &[
    #[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64")))]
    libc::SYS_epoll_wait,
    #[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64")))]
    libc::SYS_poll,
    #[cfg(any(target_arch = "arm", target_arch = "mips", target_arch = "x86", target_arch = "powerpc"))]
    libc::SYS_fcntl64,
];

/// The same with times of 64 bits, which 32-bit machines have beside the others; libc has no names for them. Their
/// numbers are the same everywhere, counted from where the machine begins to count.
#[cfg(target_pointer_width = "32")]
const TIME64: &[c_long] = &[
    FIRST_CALL + 403, // clock_gettime64
    FIRST_CALL + 414, // ppoll_time64
    FIRST_CALL + 417, // recvmmsg_time64
    FIRST_CALL + 422, // futex_time64
];
#[cfg(not(target_pointer_width = "32"))]
const TIME64: &[c_long] = &[];

#[cfg(target_pointer_width = "32")]
const FIRST_CALL: c_long = if cfg!(target_arch = "mips") { 4000 } else { 0 };

/// Refused with `EPERM`.
const REFUSED: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_readlinkat,
    #[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64")))]
    libc::SYS_open,
    #[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64")))]
    libc::SYS_readlink,
];

/// Allowed unless the third argument asks for memory that can be executed.
const MAPPINGS: &[c_long] = &[
    #[cfg(target_pointer_width = "64")]
    libc::SYS_mmap,
    #[cfg(target_pointer_width = "32")]
    libc::SYS_mmap2,
    libc::SYS_mprotect,
];

/// The requests that `ioctl` may carry.
#[expect(clippy::cast_possible_truncation, reason = "a request has 32 bits, whatever type libc gives it")]
const REQUESTS: [u32; 2] = [libc::TUNGETIFF as u32, libc::FIONBIO as u32];

/// The machine as the kernel tells it to filters (`AUDIT_ARCH_…` in linux/audit.h): its number in ELF headers, and
/// whether it has 64 bits and puts the small end first. Calls of any other kind are none of ours.
const MACHINE: u32 = ELF_MACHINE
    | if cfg!(target_pointer_width = "64") { 0x8000_0000 } else { 0 }
    | if cfg!(target_endian = "little") { 0x4000_0000 } else { 0 };

#[cfg(target_arch = "x86_64")]
const ELF_MACHINE: u32 = 62;
#[cfg(target_arch = "x86")]
const ELF_MACHINE: u32 = 3;
#[cfg(target_arch = "arm")]
const ELF_MACHINE: u32 = 40;
#[cfg(target_arch = "aarch64")]
const ELF_MACHINE: u32 = 183;
#[cfg(any(target_arch = "mips", target_arch = "mips64"))]
const ELF_MACHINE: u32 = 8;
#[cfg(target_arch = "powerpc")]
const ELF_MACHINE: u32 = 20;
#[cfg(target_arch = "powerpc64")]
const ELF_MACHINE: u32 = 21;
#[cfg(target_arch = "riscv64")]
const ELF_MACHINE: u32 = 243;
#[cfg(target_arch = "loongarch64")]
const ELF_MACHINE: u32 = 258;

// What is to be seen of a call (`struct seccomp_data`): its number, the machine, and six arguments of 64 bits.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// The half of an argument that holds small numbers.
const fn argument(index: u32) -> u32 {
    16 + 8 * index + if cfg!(target_endian = "big") { 4 } else { 0 }
}

// Where the parts of the program begin. Jumps go forward only, so the answers stand last.
const LIST: usize = 4;
const REFUSALS: usize = LIST + ALLOWED.len() + OLDER.len() + TIME64.len();
const CLOSER: usize = REFUSALS + REFUSED.len();
const IOCTL: usize = CLOSER + 1 + MAPPINGS.len() + 1;
const MAPPING: usize = IOCTL + 1 + REQUESTS.len();
const REFUSE: usize = MAPPING + 2;
const ALLOW: usize = REFUSE + 1;
const LENGTH: usize = ALLOW + 1;

static PROGRAM: [sock_filter; LENGTH] = assemble();

const fn assemble() -> [sock_filter; LENGTH] {
    let mut program = [answer(libc::SECCOMP_RET_KILL_PROCESS); LENGTH];
    program[0] = load(ARCH);
    program[1] = jump(1, EQUAL, MACHINE, 3, 2);
    program[3] = load(NUMBER);
    let mut at = LIST;
    at = jumps(&mut program, at, ALLOWED, ALLOW);
    at = jumps(&mut program, at, OLDER, ALLOW);
    at = jumps(&mut program, at, TIME64, ALLOW);
    at = jumps(&mut program, at, REFUSED, REFUSE);
    at = jumps(&mut program, at, &[libc::SYS_ioctl], IOCTL);
    jumps(&mut program, at, MAPPINGS, MAPPING);
    program[IOCTL] = load(argument(1));
    let mut index = 0;
    while index < REQUESTS.len() {
        let at = IOCTL + 1 + index;
        let other = if index + 1 < REQUESTS.len() { at + 1 } else { REFUSE };
        program[at] = jump(at, EQUAL, REQUESTS[index], ALLOW, other);
        index += 1;
    }
    program[MAPPING] = load(argument(2));
    program[MAPPING + 1] = jump(MAPPING + 1, ANY_BIT, libc::PROT_EXEC.unsigned_abs(), REFUSE, ALLOW);
    program[REFUSE] = answer(libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs());
    program[ALLOW] = answer(libc::SECCOMP_RET_ALLOW);
    program
}

/// From each of these calls to `target`; the next free place.
const fn jumps(program: &mut [sock_filter; LENGTH], at: usize, calls: &[c_long], target: usize) -> usize {
    let mut index = 0;
    while index < calls.len() {
        let from = at + index;
        #[expect(clippy::cast_possible_truncation, reason = "calls have small numbers")]
        let call = calls[index] as u32;
        program[from] = jump(from, EQUAL, call, target, from + 1);
        index += 1;
    }
    at + calls.len()
}

/// Conditions of a jump: what was loaded is that number, or has one of its bits.
const EQUAL: u32 = libc::BPF_JEQ;
const ANY_BIT: u32 = libc::BPF_JSET;

const fn load(from: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, from)
}

const fn answer(with: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, with)
}

const fn jump(from: usize, condition: u32, number: u32, yes: usize, no: usize) -> sock_filter {
    instruction(libc::BPF_JMP | condition | libc::BPF_K, yes - from - 1, no - from - 1, number)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "codes are 16 bits, and the program is short enough for jumps of 8"
)]
const fn instruction(code: u32, yes: usize, no: usize, number: u32) -> sock_filter {
    assert!(yes < 256 && no < 256);
    sock_filter { code: code as u16, jt: yes as u8, jf: no as u8, k: number }
}

/// From now on this process may make these calls only, and there is no way back. `no_new_privs` must be set.
///
/// # Errors
/// The kernel's: `EINVAL` from one that was built without filters.
pub fn filter_calls() -> io::Result<()> {
    #[allow(clippy::cast_possible_truncation, reason = "it is made here, and short")]
    let program =
        libc::sock_fprog { len: const { LENGTH as libc::c_ushort }, filter: PROGRAM.as_ptr().cast_mut() };
    let zero: c_ulong = 0;
    // SAFETY: the kernel copies the program, of which pointer and length are right, and changes nothing.
    let answer: c_int = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            c_ulong::from(libc::SECCOMP_MODE_FILTER),
            &raw const program,
            zero,
            zero,
        )
    };
    check(answer).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::child::{forking, in_child};
    use crate::sys::privileges::keep_rights;

    /// What the kernel would do with a call, by the machine of linux/filter.h.
    fn run(machine: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [number.to_ne_bytes(), machine.to_ne_bytes()].concat();
        data.extend([0; 8]);
        data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = PROGRAM[at];
            let from = k as usize;
            at += 1;
            let yes = match u32::from(code) {
                0x20 => {
                    loaded = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
                    continue;
                }
                0x15 => loaded == k,
                0x45 => loaded & k != 0,
                0x06 => return k,
                other => panic!("{other:#x} is no instruction of ours"),
            };
            at += usize::from(if yes { jt } else { jf });
        }
    }

    const KILL: u32 = 0x8000_0000;
    const REFUSED_BY_US: u32 = 0x0005_0001;
    const ALLOWED_BY_US: u32 = 0x7fff_0000;

    fn call(number: c_long, arguments: [u64; 6]) -> u32 {
        run(MACHINE, u32::try_from(number).unwrap(), arguments)
    }

    #[test]
    fn what_the_list_names_passes_and_all_else_ends_the_process() {
        // S23
        let closer = [&[libc::SYS_ioctl], MAPPINGS].concat();
        let allowed = [ALLOWED, OLDER, TIME64].concat();
        let numbers = (0..600).chain(4000..4600).chain(0x4000_0000..0x4000_0300);
        for number in numbers.filter(|number| !closer.contains(number)) {
            let wanted = match number {
                _ if allowed.contains(&number) => ALLOWED_BY_US,
                _ if REFUSED.contains(&number) => REFUSED_BY_US,
                _ => KILL,
            };
            assert_eq!(call(number, [u64::MAX; 6]), wanted, "{number}");
        }
        for number in [
            libc::SYS_execve,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_clone,
            libc::SYS_ptrace,
            libc::SYS_kill,
            libc::SYS_mount,
            libc::SYS_bpf,
            libc::SYS_memfd_create,
            libc::SYS_setuid,
            libc::SYS_unlinkat,
        ] {
            assert_eq!(call(number, [0; 6]), KILL, "{number}");
        }
    }

    #[test]
    fn calls_of_another_machine_end_the_process() {
        // Their numbers mean something else: on a PC, 1 is exit to 32 bits and write to 64.
        for machine in [0, MACHINE ^ 0x8000_0000, MACHINE ^ 0x4000_0000, MACHINE + 1] {
            for number in 0..600 {
                assert_eq!(run(machine, number, [0; 6]), KILL, "{machine:#x} {number}");
            }
        }
    }

    #[test]
    fn memory_can_be_had_but_not_executed() {
        for &number in MAPPINGS {
            for (protection, wanted) in
                [(0, ALLOWED_BY_US), (3, ALLOWED_BY_US), (4, REFUSED_BY_US), (7, REFUSED_BY_US)]
            {
                assert_eq!(
                    call(number, [u64::MAX, u64::MAX, protection, 0, 0, 0]),
                    wanted,
                    "{number} {protection}"
                );
            }
        }
    }

    #[test]
    fn a_panic_may_ask_for_the_thread_that_it_names() {
        assert_eq!(call(libc::SYS_gettid, [0; 6]), ALLOWED_BY_US);
    }

    #[test]
    fn two_requests_can_be_made_of_devices() {
        for (request, wanted) in [
            (u64::from(REQUESTS[0]), ALLOWED_BY_US),
            (u64::from(REQUESTS[1]), ALLOWED_BY_US),
            (libc::TUNSETIFF.into_request(), REFUSED_BY_US),
            (libc::SIOCSIFMTU.into_request(), REFUSED_BY_US),
            (0, REFUSED_BY_US),
        ] {
            assert_eq!(call(libc::SYS_ioctl, [3, request, 0, 0, 0, 0]), wanted, "{request:#x}");
        }
    }

    /// libc's type of a request differs by machine and by libc.
    trait IntoRequest {
        fn into_request(self) -> u64;
    }

    impl IntoRequest for c_int {
        fn into_request(self) -> u64 {
            u64::from(self.cast_unsigned())
        }
    }

    impl IntoRequest for c_ulong {
        #[allow(clippy::useless_conversion, reason = "it has 32 bits on some machines")]
        fn into_request(self) -> u64 {
            self.into()
        }
    }

    /// How a child ended that did this behind the filter: with `PASSED` if the deed did not end it, with `UNKNOWN` if
    /// there is no filter to be had.
    fn ending(deed: fn()) -> i32 {
        // SAFETY: as in `in_child`; the child makes system calls only and ends.
        match unsafe { libc::fork() } {
            0 => {
                let set = keep_rights().and_then(|()| filter_calls()).is_ok();
                if set {
                    deed();
                }
                // SAFETY: ends the process.
                unsafe { libc::_exit(if set { PASSED } else { UNKNOWN }) }
            }
            pid => {
                let mut status = 0;
                // SAFETY: the pointer is to a live integer.
                assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                status
            }
        }
    }

    const PASSED: i32 = 77;
    const UNKNOWN: i32 = 78;

    fn is_known_here() -> bool {
        // An emulator of programs refuses filters, as a kernel does that was built without them.
        let refused = ending(|| ()) == UNKNOWN << 8;
        if refused {
            eprintln!("SKIPPED: this kernel, or emulator, has no filter of system calls");
        }
        !refused
    }

    #[test]
    fn the_kernel_takes_the_program_and_keeps_to_it() {
        let _guard = forking();
        if !is_known_here() {
            return;
        }
        let deeds: [fn(); 4] = [
            // SAFETY: no memory is involved, or texts that end with a zero and a list that ends with a null.
            || unsafe {
                libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
            },
            // SAFETY: as above.
            || unsafe {
                libc::execve(
                    c"/bin/true".as_ptr(),
                    [core::ptr::null()].as_ptr(),
                    [core::ptr::null()].as_ptr(),
                );
            },
            // SAFETY: as above.
            || unsafe {
                libc::fork();
            },
            // SAFETY: as above.
            || unsafe {
                libc::kill(libc::getppid(), 0);
            },
        ];
        for (number, deed) in deeds.into_iter().enumerate() {
            let status = ending(deed);
            assert!(
                libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS,
                "{number}: {status}"
            );
        }
        in_child(|| {
            let mut kept = std::fs::File::open("/proc/self/status").unwrap();
            keep_rights().unwrap();
            filter_calls().unwrap();
            let denied = |error: io::Error| error.raw_os_error() == Some(libc::EPERM);
            assert!(std::fs::File::open("/etc/passwd").is_err_and(denied));
            assert!(std::fs::read_link("/proc/self/exe").is_err_and(denied));
            // What is open already can be used, and memory can be had.
            let mut text = [0; 4096];
            let length = std::io::Read::read(&mut kept, &mut text).unwrap();
            assert!(String::from_utf8_lossy(&text[..length]).contains("Seccomp:\t2"));
            assert!(vec![1u8; 8 << 20].iter().all(|byte| *byte == 1));
        });
    }
}
