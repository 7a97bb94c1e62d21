"""The linker of ci/build:  python3 link.py ZIG TARGET CPU ARGUMENT…

Zig's compiler driver knows what belongs to a machine, start files, musl and compiler runtime, but hands on few words
to the linker that it carries. So it links once, and its linker once more with what it was called with and two
things more: functions of the same code become one, and those with similar code come to lie side by side. What is
alike nearby is what a package's compressor finds: together 4 % of a router's package.
"""

import os
import struct
import subprocess
import sys
import tempfile
from collections import Counter, deque

STRIP = "-s", "--strip-all", "--strip-debug"
# Leaves out what no stripping takes away: tables for debuggers, on MIPS a tenth of the file.
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "link.ld")
# What functions and Arm's tables for unwinding name, and nothing calls where a panic ends the program at once. The unwinder
# would bring the C library's printf and files, too: on Arm 4 % of the package.
NOWHERE = [f"--defsym={name}=abort" for name in (
    "__aeabi_unwind_cpp_pr0", "__aeabi_unwind_cpp_pr1", "__aeabi_unwind_cpp_pr2", "__gnu_unwind_frame", "_Unwind_GetDataRelBase",
    "_Unwind_GetIPInfo", "_Unwind_GetLanguageSpecificData", "_Unwind_GetRegionStart", "_Unwind_GetTextRelBase",
    "_Unwind_SetGR", "_Unwind_SetIP", "_Unwind_VRS_Get", "_Unwind_VRS_Set")]


def main(zig, target, cpu, *arguments):
    told = subprocess.run([*zig.split(), "cc", "-target", target, "-mcpu=" + cpu, *arguments], text=True,
                          stderr=subprocess.PIPE, env={**os.environ, "ZIG_VERBOSE_LINK": "1"})
    lines = told.stderr.splitlines()
    calls = [line.split() for line in lines if line.startswith("ld.lld ")]
    if told.returncode or not calls:
        sys.exit("\n".join(line[:2000] for line in lines) or "link: zig does not say how it links")
    objects = [word for word in arguments if word.endswith(".o")]
    names = [name for path in objects for name in by_likeness(functions_of(path), step_of(path))]
    with tempfile.NamedTemporaryFile("w", suffix=".order") as order:
        order.write("".join(f"{name}\n" for name in names))
        order.flush()
        words = [word for word in calls[-1][1:] if word not in STRIP]
        if not is_unwound(word for word in arguments if word.endswith((".o", ".rlib"))):
            words = [word for word in words if not word.endswith("/libunwind.a")] + NOWHERE
        linker = [*zig.split(), "ld.lld", *words, "--icf=all", "--pack-dyn-relocs=relr", "-T", SCRIPT,
                  "--symbol-ordering-file", order.name, "--no-warn-symbol-ordering"]
        if not set(STRIP).isdisjoint(calls[-1]):
            # The same with names and lines, for who wants to know what lies where.
            output = arguments[arguments.index("-o") + 1]
            place = os.path.join(os.path.dirname(os.path.dirname(output)), "peervpn.symbols")
            subprocess.run([*linker, "-o", place], check=True)
            linker.append("--strip-all")
        sys.exit(subprocess.run(linker).returncode)


def is_unwound(files):
    """Whether a panic in these unwinds, as in tests, or tells by what way the program came there."""
    for path in files:
        with open(path, "rb") as file:
            content = file.read()
        if any(name in content for name in (b"_Unwind_Resume\0", b"_Unwind_RaiseException\0", b"_Unwind_Backtrace\0")):
            return True
    return False


# ---- reading an object ----


def functions_of(path):
    """(name, code) of each function that has a section of its own, in their order."""
    with open(path, "rb") as file:
        content = file.read()
    if content[:4] != b"\x7fELF":
        return []
    wide, order = content[4] == 2, "<" if content[5] == 1 else ">"

    def numbers(form, at):
        return struct.unpack_from(order + form, content, at)

    table, = numbers("Q", 0x28) if wide else numbers("I", 0x20)
    size, count = numbers("HH", 0x3A if wide else 0x2E)
    sections = [numbers("IIQQQQIIQQ" if wide else "10I", table + size * at) for at in range(count)]
    found = {}
    for _, kind, _, _, start, length, link, _, _, entry in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        for at in range(start, start + length, entry):
            if wide:
                name, info, _, section, _, _ = numbers("IBBHQQ", at)
            else:
                name, _, _, info, _, section = numbers("IIIBBH", at)
            if info & 15 == 2 and 0 < section < count:  # STT_FUNC
                begin = sections[link][4] + name
                found.setdefault(section, content[begin:content.index(b"\0", begin)].decode())
    return [(found[at], content[sections[at][4]:sections[at][4] + sections[at][5]]) for at in sorted(found)]


def step_of(path):
    """The shortest instruction of the object's machine, in bytes; Arm's is that of Thumb."""
    with open(path, "rb") as file:
        machine = file.read(20)[18:]
    return {b"\x3e\0": 1, b"\x28\0": 2}.get(machine, 4)


# ---- an order ----

# As far as a package's compressor looks back, in bytes.
REACH = 1 << 15


def by_likeness(functions, step):
    """Their names in an order in which similar ones are near: next comes always the one that has most in common, for its
    length, with what lies within reach behind it. `step` is the shortest instruction, in bytes."""
    pieces = [{code[at:at + size] for size in (4, 8) for at in range(0, len(code) - size + 1, step)}
              for _, code in functions]
    users = {}
    for which, own in enumerate(pieces):
        for piece in own:
            users.setdefault(piece, []).append(which)
    # What only one has, or every third, tells nothing.
    pieces = [[piece for piece in own if 1 < len(users[piece]) < len(functions) * 0.3] for own in pieces]
    lengths = [max(len(code), 4) for _, code in functions]
    order, near, common, within = [], Counter(), [0] * len(functions), deque()
    left = set(range(len(functions)))
    while left:
        following = max(left, key=lambda which: (common[which] / lengths[which] ** 0.75, lengths[which], -which))
        left.remove(following)
        order.append(functions[following][0])
        within.append(following)
        for piece in pieces[following]:
            near[piece] += 1
            if near[piece] == 1:
                for user in users[piece]:
                    common[user] += 1
        while len(within) > 1 and sum(lengths[which] for which in within) > REACH:
            for piece in pieces[within.popleft()]:
                near[piece] -= 1
                if near[piece] == 0:
                    for user in users[piece]:
                        common[user] -= 1
    return order


if __name__ == "__main__":
    main(*sys.argv[1:])
