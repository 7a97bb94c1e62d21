"""The linker of ci/build:  python3 link.py ZIG TARGET CPU ARGUMENT…

Zig's compiler driver knows what belongs to a machine, start files, musl and compiler runtime, but hands on few words
to the linker that it carries. So it links once, and its linker once more with what it was called with and two
things more: functions of the same code become one, and those with similar code come to lie side by side. What is
alike nearby is what a package's compressor finds: together 3 % of a router's package.
"""

import os
import struct
import subprocess
import sys
import tempfile
from math import log2

STRIP = "-s", "--strip-all", "--strip-debug"
# Leaves out what no stripping takes away: tables for debuggers, on MIPS a tenth of the file.
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "link.ld")


def main(zig, target, cpu, *arguments):
    told = subprocess.run([*zig.split(), "cc", "-target", target, "-mcpu=" + cpu, *arguments], text=True,
                          stderr=subprocess.PIPE, env={**os.environ, "ZIG_VERBOSE_LINK": "1"})
    lines = told.stderr.splitlines()
    calls = [line.split() for line in lines if line.startswith("ld.lld ")]
    if told.returncode or not calls:
        sys.exit("\n".join(line[:2000] for line in lines) or "link: zig does not say how it links")
    objects = [word for word in arguments if word.endswith(".o")]
    names = [name for path in objects for name in by_likeness(functions_of(path))]
    with tempfile.NamedTemporaryFile("w", suffix=".order") as order:
        order.write("".join(f"{name}\n" for name in names))
        order.flush()
        words = [word for word in calls[-1][1:] if word not in STRIP]
        linker = [*zig.split(), "ld.lld", *words, "--icf=all", "--pack-dyn-relocs=relr", "-T", SCRIPT,
                  "--symbol-ordering-file", order.name, "--no-warn-symbol-ordering"]
        if len(words) < len(calls[-1]) - 1:
            # The same with names and lines, for who wants to know what lies where.
            output = arguments[arguments.index("-o") + 1]
            place = os.path.join(os.path.dirname(os.path.dirname(output)), "peervpn.symbols")
            subprocess.run([*linker, "-o", place], check=True)
            linker.append("--strip-all")
        sys.exit(subprocess.run(linker).returncode)


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


# ---- an order ----


def by_likeness(functions):
    """Their names in an order in which similar ones are near: halves are exchanged between until each has more of its
    own kind, and so on within the halves (balanced partitioning, Dhulipala and others 2016)."""
    users = {}
    for at, (_, code) in enumerate(functions):
        for place in range(0, len(code) - 3, 4):
            users.setdefault(code[place:place + 4], set()).add(at)
    # What only one has, or every other, tells nothing.
    telling = [who for who in users.values() if 1 < len(who) < len(functions) / 2]
    words = [[] for _ in functions]
    for number, who in enumerate(sorted(telling, key=sorted)):
        for at in who:
            words[at].append(number)
    return [functions[at][0] for at in halve(list(range(len(functions))), words)]


def halve(members, words):
    if len(members) < 3:
        return members
    middle = len(members) // 2
    left, right = members[:middle], members[middle:]
    for _ in range(12):
        counts = count(left, words), count(right, words)
        goes = sorted(((gain(at, words, *counts), at) for at in left), reverse=True)
        comes = sorted(((gain(at, words, *reversed(counts)), at) for at in right), reverse=True)
        pairs = [(a[1], b[1]) for a, b in zip(goes, comes) if a[0] + b[0] > 0]
        if not pairs:
            break
        out, back = {a for a, _ in pairs}, {b for _, b in pairs}
        left = [at for at in left if at not in out] + [b for _, b in pairs]
        right = [at for at in right if at not in back] + [a for a, _ in pairs]
    return halve(left, words) + halve(right, words)


def count(members, words):
    counts = {}
    for at in members:
        for word in words[at]:
            counts[word] = counts.get(word, 0) + 1
    return counts


LOG = [log2(number + 1) for number in range(1 << 16)]


def gain(at, words, here, there):
    """How much better it is on the other side."""
    total = 0.0
    for word in words[at]:
        a, b = here[word], there.get(word, 0)
        total += (a - 1) * LOG[a - 1] + (b + 1) * LOG[b + 1] - a * LOG[a] - b * LOG[b]
    return total


if __name__ == "__main__":
    main(*sys.argv[1:])
