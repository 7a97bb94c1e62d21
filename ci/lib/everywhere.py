"""Breaks every operator and every function of some files, as cargo-mutants lists them, and looks whether a test notices.

cargo-mutants would compile the program once for each. Here all of them are compiled at once, as in ci/mutants: a function
asks the environment which of its broken copies it is to be. So a mutant costs no more than the tests it survives.
"""

import collections
import concurrent.futures
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tomllib

# What faces strangers, keys and configuration: these are broken when no file is named.
FILES = ["src/peer/handshake.rs", "src/peer/session.rs", "src/peer/sessions.rs", "src/peer/replay.rs",
         "src/mesh/access.rs", "src/mesh/admission.rs", "src/mesh/circuits.rs", "src/mesh/indexes.rs", "src/mesh/relay.rs",
         "src/wire/envelope.rs", "src/crypto/noise.rs", "src/crypto/schedule.rs", "src/crypto/suite.rs", "src/config/*.rs"]
# Test programs behind the unit tests, the quick ones first. The stories take minutes and are not asked.
PROGRAMS = ["config", "corpora", "manual", "uci", "noise_vectors", "batches", "protocol", "attacks"]
REASONS = "ci/lib/survivors.toml"
# A test program that takes so many seconds hangs; one that takes so much memory, in bytes, eats it.
PATIENCE = 600
MEMORY = 8 << 30


class Mutant:
    def __init__(self, told):
        self.file = told["file"]
        # Without line and column, which move with every change above.
        self.name = re.sub(r":\d+:\d+: ", ": ", told["name"])
        self.place = told["name"].split(": ")[0]
        self.replacement = told["replacement"]
        self.genre = told["genre"]
        self.span = ends(told["span"])
        self.function = ends(told["function"]["span"]) if told["function"] else None
        self.number = 0


def ends(span):
    return tuple((span[end]["line"], span[end]["column"]) for end in ("start", "end"))


def listed(root, files):
    """All that cargo-mutants would do to these files."""
    if not shutil.which("cargo-mutants"):
        sys.exit("This needs cargo-mutants, which lists what can be broken: cargo install --locked cargo-mutants")
    words = [word for file in files for word in ("-f", file)]
    told = subprocess.run(["cargo", "mutants", "--list", "--json", *words], cwd=root, check=True, capture_output=True, text=True)
    mutants = [Mutant(one) for one in json.loads(told.stdout)]
    # Of two that read alike in one function each needs a name of its own.
    seen = collections.Counter()
    for number, mutant in enumerate(mutants, 1):
        mutant.number = number
        seen[mutant.name] += 1
        if seen[mutant.name] > 1:
            mutant.name += f" ({seen[mutant.name]})"
    return mutants


# ---- the copy ----

def offsets(text):
    """From line and column, counted from 1 in characters, to a place in the text."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return lambda at: starts[at[0] - 1] + at[1] - 1


def body_of(text, begin, end):
    """Where the body of the function at these places begins, behind its brace, and ends, before its brace."""
    depth = 0
    at = begin
    while at < end:
        here = text[at]
        if text.startswith("//", at):
            at = text.index("\n", at)
        elif here in "([<" and not text.startswith("->", at - 1):
            depth += 1
        elif here in ")]" or (here == ">" and text[at - 1] not in "-="):
            depth -= 1
        elif here == "{" and depth == 0:
            return at + 1, text.rindex("}", begin, end)
        at += 1
    return None


def broken(text, mutants):
    """The text with a switch in each function that has some of these mutants; and of each of them, its lines and those of
    the whole switch."""
    place = offsets(text)
    functions = collections.defaultdict(list)
    for mutant in mutants:
        functions[mutant.function].append(mutant)
    edits = []
    for span, here in functions.items():
        begin, end = body_of(text, place(span[0]), place(span[1]))
        body = text[begin:end]
        arms = []
        for mutant in here:
            if mutant.genre == "FnValue":
                arms.append((mutant, mutant.replacement))
            else:
                first, last = (place(at) - begin for at in mutant.span)
                arms.append((mutant, body[:first] + mutant.replacement + body[last:]))
        edits.append((begin, end, body, arms))
    out, done, lines = [], 0, {}
    for begin, end, body, arms in sorted(edits, key=lambda edit: edit[0]):
        out.append(text[done:begin])
        out.append("\nmatch crate::mutant::now() {\n")
        top = "".join(out).count("\n")
        for mutant, arm in arms:
            first = "".join(out).count("\n") + 1
            out.append(f"{mutant.number} => {{ {arm}\n}}\n")
            lines[mutant] = [(first, first + arm.count("\n") + 1)]
        out.append(f"_ => {{{body}}}\n}}\n")
        for mutant, _ in arms:
            lines[mutant].append((top, "".join(out).count("\n")))
        done = end
    out.append(text[done:])
    return "".join(out), lines


def nested(mutants):
    """Those in a function that holds, or stands in, another one with mutants: only one of the two can have a switch."""
    spans = {(mutant.file, mutant.function) for mutant in mutants if mutant.function}
    inner = {(file, span) for file, span in spans for other, outer in spans
             if file == other and span != outer and outer[0] <= span[0] and span[1] <= outer[1]}
    return [mutant for mutant in mutants if (mutant.file, mutant.function) in inner]


def is_const(text, mutant):
    place = offsets(text)
    head = text[place(mutant.function[0]):place(mutant.function[1])]
    return re.match(r"(?:#\[[^\n]*\]\s*|///[^\n]*\s*)*(?:pub(?:\([^)]*\))? )?const fn", head) is not None


def compiled(copy, mutants, write):
    """The test programs, and the mutants that compile; `write` puts them into the copy and tells their lines."""
    while True:
        lines = write(mutants)
        programs = [word for name in PROGRAMS for word in ("--test", name)]
        command = ["cargo", "test", "--locked", "--no-run", "--message-format=json", "--lib", *programs]
        environment = os.environ | {"CARGO_TARGET_DIR": str(copy.parent / "everywhere"), "RUSTFLAGS": "-Awarnings"}
        told = subprocess.run(command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found, wrong = {}, set()
        for line in told.stdout.splitlines():
            message = json.loads(line)
            if message.get("executable") and message["profile"]["test"]:
                kinds = message["target"]["kind"]
                found["lib" if "lib" in kinds else message["target"]["name"]] = message["executable"]
            if message["reason"] == "compiler-message" and message["message"]["level"] == "error":
                wrong |= blamed(message["message"], lines)
        if told.returncode == 0:
            return found, mutants
        if not wrong:
            sys.exit("The copy does not compile, and no mutant is to blame.")
        print(f"{len(wrong)} do not compile", flush=True)
        mutants = [mutant for mutant in mutants if mutant not in wrong]


def blamed(message, lines):
    """The mutants that an error points at: by its first place, by any other, or because it is about the whole switch."""
    primary = [span for span in message["spans"] if span["is_primary"]]
    for spans, which in [(primary, 0), (message["spans"], 0), (message["spans"], 1)]:
        found = {mutant for mutant, places in lines.items() for span in spans
                 if span["file_name"] == mutant.file and places[which][0] <= span["line_start"] <= places[which][1]}
        if found:
            return found
    return set()


# ---- running them ----

def noticed(copy, programs, mutant):
    """Which tests notice it: those of its own module are asked first."""
    module = mutant.file.removeprefix("src/").removesuffix(".rs").removesuffix("/mod").replace("/", "::")
    for name, words in [("lib", [module + "::"]), *((name, []) for name in ["lib", *PROGRAMS])]:
        command = [programs[name], *words, "--test-threads=2"]
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        try:
            told = subprocess.run(command, cwd=copy, env=os.environ | {"MUTANT": str(mutant.number), "RUST_BACKTRACE": "0"},
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE if not words else 60,
                                  preexec_fn=limit)
        except subprocess.TimeoutExpired:
            return name
        if told.returncode != 0:
            return name
    return None


def done_before(path):
    """What was found out in a run before, by the mutant and the state of its file."""
    if not path.exists():
        return {}
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return {(row[0], row[1]): row[2] for row in rows if len(row) == 3}


def reasons(root):
    """Why some need not be noticed, by name."""
    path = root / REASONS
    known = tomllib.loads(path.read_text())["survivor"] if path.exists() else []
    return {one["mutant"]: one["why"] for one in known}


def campaign(root, place, write_copy, shard, files):
    """Breaks them all, or one part of them; what is known from an earlier run is not done again."""
    digest = {}
    texts = {}
    every = listed(root, files or FILES)
    for mutant in every:
        if mutant.file not in texts:
            texts[mutant.file] = (root / mutant.file).read_text()
            digest[mutant.file] = format(hash_of(texts[mutant.file]), "016x")
    left_out = set(nested(every)) | {mutant for mutant in every if mutant.function is None or is_const(texts[mutant.file], mutant)}
    mutants = [mutant for mutant in every if mutant not in left_out]
    part, parts = shard
    mutants = [mutant for mutant in mutants if mutant.number % parts == part - 1]
    known = done_before(place / "everywhere.tsv")
    key = lambda mutant: (mutant.name, digest[mutant.file])
    # What survived may meet a new test by now.
    fresh = [mutant for mutant in mutants if known.get(key(mutant), "survived") == "survived"]
    print(f"{len(mutants)} to be broken, {len(mutants) - len(fresh)} known from before; "
          f"{len(left_out)} stand where nothing can be asked while it runs (const fn)", flush=True)
    if fresh:
        copy = place / "copy-everywhere"
        copy.mkdir(parents=True, exist_ok=True)

        def write(chosen):
            lines, changed = {}, {}
            for file in {mutant.file for mutant in chosen}:
                changed[file], here = broken(texts[file], [mutant for mutant in chosen if mutant.file == file])
                lines |= here
            write_copy(root, copy, changed)
            return lines

        programs, viable = compiled(copy, fresh, write)
        with (place / "everywhere.tsv").open("a") as log, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            def note(mutant, end):
                known[key(mutant)] = end
                log.write("\t".join([*key(mutant), end]) + "\n")
                log.flush()

            for mutant in set(fresh) - set(viable):
                note(mutant, "does not compile")
            print(f"{len(viable)} compile", flush=True)
            for mutant, by in zip(viable, pool.map(lambda one: noticed(copy, programs, one), viable)):
                note(mutant, by or "survived")
                if by is None:
                    print(f"survived: {mutant.place} {mutant.name}", flush=True)
    return summary([(mutant, known[key(mutant)]) for mutant in mutants], reasons(root), parts == 1 and not files)


def summary(ended, why, is_all):
    count = collections.Counter(end if end in ("survived", "does not compile") else "noticed" for _, end in ended)
    names = {mutant.name for mutant, end in ended if end == "survived"}
    for mutant, end in ended:
        if end == "survived" and mutant.name not in why:
            print(f"SURVIVED {mutant.place} {mutant.name}")
    stale = [name for name in why if is_all and name not in names]
    for name in stale:
        print(f"{REASONS}: this one is noticed, or gone: {name}")
    print(f"mutants: {count['noticed']} noticed, {count['does not compile']} do not compile, {count['survived']} survived, "
          f"of those {len(names - set(why))} without a reason")
    return 1 if names - set(why) or stale else 0


def hash_of(text):
    """The same in every run, which Python's own is not."""
    value = 0xcbf29ce484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001b3 % (1 << 64)
    return value


def self_test():
    text = "fn f<const N: usize>(a: [u8; N]) -> u8\nwhere\n    A: B,\n{\n    a + b\n}\nconst fn g() -> u8 { 1 }\n"
    lines = lambda first, last: {"start": {"line": first[0], "column": first[1]}, "end": {"line": last[0], "column": last[1]}}
    told = {"file": "src/a.rs", "name": "src/a.rs:5:7: replace + with - in f", "replacement": "-", "genre": "BinaryOperator",
            "span": lines((5, 7), (5, 8)), "function": {"span": lines((1, 1), (6, 2))}}
    value = told | {"name": "src/a.rs:5:5: replace f with 0", "replacement": "0", "genre": "FnValue", "span": lines((5, 5), (5, 10))}
    other = value | {"function": {"span": lines((7, 1), (7, 27))}}
    one, two = Mutant(told), Mutant(value)
    one.number, two.number = 1, 2
    made, places = broken(text, [one, two])
    arms = made[made.index("match"):made.index("const fn")].split()
    assert arms == ("match crate::mutant::now() { 1 => { a - b } 2 => { 0 } _ => { a + b } } }").split(), made
    assert places[one][0][0] < places[two][0][0] and one.name == "src/a.rs: replace + with - in f"
    assert [is_const(text, Mutant(told)), is_const(text, Mutant(other))] == [False, True]
    error = {"spans": [{"is_primary": True, "file_name": "src/a.rs", "line_start": places[two][0][0]}]}
    assert blamed(error, places) == {two}
    assert summary([(one, "lib"), (two, "survived")], {two.name: "equal"}, True) == 0
    assert summary([(one, "survived"), (two, "survived")], {two.name: "equal"}, True) == 1
    assert summary([(one, "lib"), (two, "lib")], {two.name: "equal"}, True) == 1
