#!/usr/bin/env python3
"""Takes a running process over and tries what an intruder would: makes system calls in its place.

    intrude.py PID             tries what is refused at most: a line for each attempt, `WHAT: ANSWER`
    intrude.py PID DEATH       tries one of what `intrude.py --deaths` lists, which may end the process

It stops the process in the system call that it sleeps in, writes the arguments on its stack, points its registers at
another call, and lets it make that one. So nothing needs to be compiled into what is tried, and the kernel judges as
if the process had been broken into. Then all is put back, and it sleeps on. For x86_64, as root.
"""

import ctypes
import errno
import os
import signal
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
POKEDATA, SINGLESTEP, GETREGS, SETREGS, ATTACH, DETACH = 5, 9, 12, 13, 16, 17

NAMES = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base "
         "ds es fs gs").split()


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in NAMES]


def ptrace(request, pid, address=None, data=None):
    ctypes.set_errno(0)
    answer = libc.ptrace(request, pid, address, data)
    if answer == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


class Taken:
    def __init__(self, pid):
        self.pid = pid
        ptrace(ATTACH, pid)
        os.waitpid(pid, 0)
        self.before = Registers()
        ptrace(GETREGS, pid, None, ctypes.addressof(self.before))
        # It sleeps in a system call: the instruction that made it, of two bytes, lies before.
        self.syscall = self.before.rip - 2
        with open(f"/proc/{pid}/mem", "rb") as memory:
            memory.seek(self.syscall)
            assert memory.read(2) == b"\x0f\x05", "it does not sleep in a system call"

    def write(self, data, below):
        at = (self.before.rsp - 4096 - below) & ~15
        data += bytes(-len(data) % 8)
        for offset in range(0, len(data), 8):
            word = int.from_bytes(data[offset:offset + 8], "little")
            ptrace(POKEDATA, self.pid, at + offset, word)
        return at

    def call(self, number, *arguments):
        """What the call answered, or the signal that it ended the process by."""
        now = Registers.from_buffer_copy(self.before)
        now.rip, now.rax, now.orig_rax = self.syscall, number, ctypes.c_uint64(-1).value
        below = 0
        for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments):
            if isinstance(value, bytes):
                value = self.write(value, below)
                below += 256
            setattr(now, name, ctypes.c_uint64(value).value)
        ptrace(SETREGS, self.pid, None, ctypes.addressof(now))
        ptrace(SINGLESTEP, self.pid)
        status = os.waitpid(self.pid, 0)[1]
        if os.WIFSIGNALED(status):
            return "killed by " + signal.Signals(os.WTERMSIG(status)).name
        ptrace(GETREGS, self.pid, None, ctypes.addressof(now))
        answer = ctypes.c_int64(now.rax).value
        return errno.errorcode.get(-answer, str(answer)) if -4096 < answer < 0 else str(answer)

    def leave(self):
        again = Registers.from_buffer_copy(self.before)
        # A call that was broken off is made again.
        again.rip, again.rax, again.orig_rax = self.syscall, self.before.orig_rax, ctypes.c_uint64(-1).value
        ptrace(SETREGS, self.pid, None, ctypes.addressof(again))
        ptrace(DETACH, self.pid)


AT_FDCWD = -100
# What can be tried again and again, for it is refused at most.
REFUSALS = [
    ("open the password file", 257, AT_FDCWD, b"/etc/passwd\0", 0, 0),
    ("open its own memory", 257, AT_FDCWD, b"/proc/self/mem\0", 2, 0),
    ("make a file", 257, AT_FDCWD, b"/tmp/intruder\0", 0o101, 0o600),
    ("memory for code", 9, 0, 4096, 7, 0x22, -1, 0),
    ("change the interface", 16, 0, 0x8922, b"peervpn0\0"),
]
# What the process may not survive: one of these each time.
DEATHS = {
    "socket": ("a socket", 41, 2, 2, 0),
    "exec": ("a program", 59, b"/bin/true\0", 0, 0),
    "fork": ("a process", 57),
    "trace": ("trace another process", 101, 16, os.getpid(), 0, 0),
    "kill": ("send a signal", 62, os.getpid(), 0),
    "mount": ("mount", 165, b"none\0", b"/\0", b"tmpfs\0", 0, 0),
    "unlink": ("remove a file", 87, b"/etc/passwd-\0"),
}


def main():
    if os.uname().machine != "x86_64":
        sys.exit(77)
    pid, death = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    taken = Taken(pid)
    for what, *call in [DEATHS[death]] if death else REFUSALS:
        answer = taken.call(*call)
        print(f"{what}: {answer}")
        if answer.startswith("killed"):
            return
    taken.leave()


if sys.argv[1:] == ["--deaths"]:
    print(*DEATHS)
else:
    main()
