"""The format of apk-tools 3 (OpenWrt 25.12 and later), for packages and for indexes of them: a writer, and a reader that
believes nothing.

A file is "ADBd" and a raw deflate stream of: "ADB.", the schema ("pckg" or "indx"), one block with all metadata, a
block with a signature if there is one, and a block for each file that has contents. The metadata is a tree of words; a word is a kind in its top four bits and
a number or the place of a blob, an object or an array in the rest. All numbers are little-endian.

Written leaves first, nothing shared but equal blobs; paths and names sorted; so equal input gives equal bytes.
"""

import hashlib
import re
import struct
import subprocess
import tempfile
import zlib

import squeeze

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\Z")
VERSION = re.compile(r"\d+(\.\d+)*[a-z]?(_(alpha|beta|pre|rc|cvs|svn|git|hg|p)\d*)*(~[0-9a-f]+)?-r\d+\Z")

# Field numbers of the schema.
INFO = {"name": 1, "version": 2, "hashes": 3, "description": 4, "arch": 5, "license": 6, "origin": 7,
        "maintainer": 8, "url": 9, "installed-size": 12, "file-size": 13, "depends": 15, "provides": 16, "tags": 21}
SCRIPTS = {"pre-install": 2, "post-install": 3, "pre-deinstall": 4, "post-deinstall": 5, "pre-upgrade": 6,
           "post-upgrade": 7}
MATCHES = {"=": 1, "<": 2, ">": 4, "<=": 3, ">=": 5, "~": 9}
ADB, SIG, DATA = 0, 1, 2
UNIQUE_ID = 20


class Tree:
    """The payload of the metadata block while it grows."""

    def __init__(self):
        self.bytes = bytearray(8)
        self.blobs = {}

    def integer(self, number):
        if number < 1 << 28:
            return 1 << 28 | number
        self.align(4)
        self.bytes += struct.pack("<I", number)
        return 2 << 28 | len(self.bytes) - 4

    def blob(self, content, shared=True):
        content = content.encode() if isinstance(content, str) else bytes(content)
        if not content:
            return 0
        if shared and content in self.blobs:
            return self.blobs[content]
        kind, head = next((kind, head) for kind, head in [(8, "<B"), (9, "<H"), (10, "<I")]
                          if len(content) < 1 << 8 * struct.calcsize(head))
        self.align(struct.calcsize(head))
        place = len(self.bytes)
        self.bytes += struct.pack(head, len(content)) + content
        if shared:
            self.blobs[content] = kind << 28 | place
        return kind << 28 | place

    def slots(self, values):
        """An array, or an object whose first field is the first value."""
        while values and values[-1] == 0:
            values = values[:-1]
        if not values:
            return 0
        self.align(4)
        place = len(self.bytes)
        self.bytes += struct.pack(f"<{len(values) + 1}I", len(values) + 1, *values)
        return 14 << 28 | place

    def object(self, fields):
        return self.slots([fields.get(number, 0) for number in range(1, max(fields, default=0) + 1)])

    def align(self, to):
        self.bytes += bytes(-len(self.bytes) % to)


def stream(info, entries, scripts):
    """The uncompressed file. `info` is text by field name, lists for depends, provides, tags. `entries` are
    (path, mode, content), with content None for a directory; the ancestors of files must be among them."""
    if not NAME.match(info["name"]) or not VERSION.match(info["version"]):
        raise ValueError(f"apk would choke on the name or version: {info['name']} {info['version']}")
    tree = Tree()
    size = sum(len(content) for _, _, content in entries if content is not None)
    # With 0 nothing would be unpacked.
    fields = leaves(tree, info | {"installed-size": max(1, size)})
    paths, blocks = directories(tree, entries)
    # Its bytes are nobody else's: the hash of all is written over them.
    unique = tree.blob(bytes(UNIQUE_ID), shared=False)
    fields[INFO["hashes"]] = unique
    told = tree.object(fields)
    listed = tree.slots(paths)
    run = tree.object({SCRIPTS[name]: tree.blob(text) for name, text in sorted(scripts.items(),
                                                                            key=lambda item: SCRIPTS[item[0]])})
    root = tree.object({1: told, 2: listed, 3: run})
    tree.bytes[4:8] = struct.pack("<I", root)
    at = (unique & 0xfffffff) + 1
    tree.bytes[at:at + UNIQUE_ID] = hashlib.sha256(tree.bytes).digest()[:UNIQUE_ID]
    return b"ADB.pckg" + block(ADB, tree.bytes) + b"".join(blocks)


def leaves(tree, info):
    """The fields of a package's info, in the order of their numbers."""
    fields = {}
    for name, number in sorted(INFO.items(), key=lambda item: item[1]):
        if name in ("installed-size", "file-size"):
            fields[number] = tree.integer(info[name]) if name in info else 0
        elif name in ("depends", "provides"):
            fields[number] = tree.slots([dependency(tree, text) for text in sorted(info.get(name, []))])
        elif name == "tags":
            fields[number] = tree.slots([tree.blob(tag) for tag in info.get(name, [])])
        else:
            fields[number] = tree.blob(info.get(name, ""))
    return fields


def dependency(tree, text):
    name, match, version = re.match(r"([^=<>~]+)([=<>~]*)(.*)", text).groups()
    fields = {1: tree.blob(name)}
    if version:
        fields[2] = tree.blob(version)
        if MATCHES[match] != 1:
            fields[3] = tree.integer(MATCHES[match])
    return tree.object(fields)


def directories(tree, entries):
    folders = {path: mode for path, mode, content in entries if content is None}
    inside = {path: [] for path in folders}
    for path, mode, content in entries:
        if content is not None:
            folder, _, name = path.rpartition("/")
            inside[folder].append((name, mode, content))
    paths, blocks = [], []
    for number, folder in enumerate(sorted(folders, key=str.encode), 1):
        files = []
        for place, (name, mode, content) in enumerate(sorted(inside[folder], key=lambda one: one[0].encode()), 1):
            fields = {1: tree.blob(name), 5: tree.blob(hashlib.sha256(content).digest()), 2: acl(tree, mode),
                      3: tree.integer(len(content)), 4: tree.integer(0)}
            files.append(tree.object(fields))
            if content:
                blocks.append(block(DATA, struct.pack("<II", number, place) + content))
        fields = {1: tree.blob(folder), 2: acl(tree, folders[folder]), 3: tree.slots(files)}
        paths.append(tree.object(fields))
    return paths, blocks


def acl(tree, mode):
    root = tree.blob("root")
    return tree.object({1: tree.integer(mode), 2: root, 3: root})


def block(kind, payload):
    return struct.pack("<I", kind << 30 | 4 + len(payload)) + payload + bytes(-(4 + len(payload)) % 8)


def pack(info, entries, scripts, key=None):
    return wrap(stream(info, entries, scripts), key)


def index(files, key=None):
    """The index of packages: what each says of itself, its size, and what makes it genuine without a signature of its
    own, the hash of its metadata."""
    tree, told = Tree(), []
    for file in files:
        info = unpack(file)[0] | {"file-size": len(file)}
        payload = next(read_blocks(plain(file)))[1]
        told.append((info, info | {"hashes": hashlib.sha256(payload).digest()}))
    told.sort(key=lambda one: (one[0]["name"].encode(), one[0]["version"].encode()))
    objects = [tree.object(leaves(tree, info)) for _, info in told]
    root = tree.object({2: tree.slots(objects)})
    tree.bytes[4:8] = struct.pack("<I", root)
    return wrap(b"ADB.indx" + block(ADB, tree.bytes), key)


def wrap(text, key):
    """The file of a stream, signed if there is a key for it."""
    if key:
        end = 8 + struct.unpack_from("<I", text, 8)[0]
        end += -end % 8
        text = text[:end] + block(SIG, signature(text, key)) + text[end:]
    return b"ADBd" + squeeze.deflate(text)


# ---- signatures: ECDSA on P-256 with SHA-512, by OpenSSL ----

# Version and hash; then come 16 bytes of the key's hash.
SIGNATURE = b"\0\4"


def signature(text, key):
    """The payload of a signature's block; `key` names a file in PEM."""
    head = SIGNATURE + key_id(openssl("ec", "-in", key, "-pubout", "-outform", "DER"))
    return head + openssl("dgst", "-sha512", "-sign", key, feed=signed(text, head))


def verify(file, public):
    """Whether one of the file's signatures is that of the key; `public` names a file in PEM."""
    text = plain(file)
    wanted = SIGNATURE + key_id(openssl("ec", "-pubin", "-in", public, "-outform", "DER"))
    for kind, payload in read_blocks(text):
        if kind == SIG and payload[:18] == wanted:
            with tempfile.NamedTemporaryFile() as made:
                made.write(payload[18:])
                made.flush()
                words = ["openssl", "dgst", "-sha512", "-verify", public, "-signature", made.name]
                done = subprocess.run(words, input=signed(text, wanted), capture_output=True, check=False)
            return done.returncode == 0
    return False


def signed(text, head):
    """What is signed: the schema, the head, and the hash of the metadata."""
    return text[4:8] + head + hashlib.sha512(next(read_blocks(text))[1]).digest()


def key_id(der):
    # The point stands at the end, uncompressed.
    return hashlib.sha512(der[-65:]).digest()[:16]


def openssl(*words, feed=None):
    return subprocess.run(["openssl", *map(str, words)], input=feed, capture_output=True, check=True).stdout


# ---- reading back ----


class Broken(Exception):
    """What is wrong with a package."""


def unpack(file):
    """(info, entries, scripts) as `stream` takes them; raises `Broken` for whatever a router would refuse."""
    try:
        return read(file)
    except (zlib.error, struct.error, KeyError, UnicodeDecodeError) as problem:
        raise Broken(f"it cannot be read: {problem}") from problem


def plain(file):
    return zlib.decompress(file[4:], -15) if file[:4] == b"ADBd" else file


def read(file):
    text = plain(file)
    if text[:8] != b"ADB.pckg":
        raise Broken("it does not begin as a package")
    blocks = [(kind, payload) for kind, payload in read_blocks(text) if kind != SIG]
    if [kind for kind, _ in blocks] != [ADB] + [DATA] * (len(blocks) - 1):
        raise Broken("its blocks are not one of metadata and then data")
    payload = blocks[0][1]
    root = fields_of(payload, struct.unpack_from("<I", payload, 4)[0])
    raw = fields_of(payload, root[1])
    check_unique_id(payload, raw[INFO["hashes"]])
    info = read_info(payload, raw)
    entries = read_entries(payload, items_of(payload, root[2]), iter(blocks[1:]))
    if info["installed-size"] != max(1, sum(len(content or b"") for _, _, content in entries)):
        raise Broken("its installed size is not that of its files")
    texts = fields_of(payload, root.get(3, 0))
    scripts = {name: blob_of(payload, texts[number]).decode() for name, number in SCRIPTS.items() if texts.get(number)}
    return info, entries, scripts


def read_info(payload, raw):
    info = {}
    for name, number in INFO.items():
        value = raw.get(number, 0)
        if name in ("depends", "provides"):
            info[name] = [read_dependency(payload, fields_of(payload, one)) for one in items_of(payload, value)]
        elif name == "tags":
            info[name] = [blob_of(payload, one).decode() for one in items_of(payload, value)]
        elif name in ("installed-size", "file-size"):
            if value:
                info[name] = number_of(payload, value)
        elif name != "hashes":
            info[name] = blob_of(payload, value).decode()
    return info


def unpack_index(file):
    """(info, hash) of each package in an index."""
    text = plain(file)
    if text[:8] != b"ADB.indx":
        raise Broken("it does not begin as an index")
    payload = next(read_blocks(text))[1]
    root = fields_of(payload, struct.unpack_from("<I", payload, 4)[0])
    found = []
    for one in items_of(payload, root[2]):
        raw = fields_of(payload, one)
        found.append((read_info(payload, raw), blob_of(payload, raw[INFO["hashes"]])))
    return found


def read_blocks(text):
    at = 8
    while at < len(text):
        head, = struct.unpack_from("<I", text, at)
        length, end = head & 0x3fffffff, at + (head & 0x3fffffff)
        padded = end + -length % 8
        if length < 4 or padded > len(text) or any(text[end:padded]):
            raise Broken(f"the block at {at} does not fit or is badly padded")
        yield head >> 30, text[at + 4:end]
        at = padded


def read_entries(payload, folders, blocks):
    entries, before = [], None
    for number, folder in enumerate(folders, 1):
        fields = fields_of(payload, folder)
        path = blob_of(payload, fields.get(1, 0)).decode()
        if before is not None and path.encode() <= before.encode():
            raise Broken(f"'{path}' is out of order")
        before = path
        entries.append((path, mode_of(payload, fields), None))
        last = b""
        for place, file in enumerate(items_of(payload, fields.get(3, 0)), 1):
            file = fields_of(payload, file)
            name, size = blob_of(payload, file[1]), number_of(payload, file[3])
            if name <= last or b"/" in name:
                raise Broken(f"'{path}/{name.decode()}' is out of order")
            last = name
            content = b""
            if size:
                kind, data = next(blocks, (None, b""))
                if kind != DATA or data[:8] != struct.pack("<II", number, place) or len(data) - 8 != size:
                    raise Broken(f"the data of '{path}/{name.decode()}' is not where it belongs")
                content = data[8:]
            if hashlib.sha256(content).digest() != blob_of(payload, file[5]):
                raise Broken(f"'{path}/{name.decode()}' has another hash")
            entries.append((f"{path}/{name.decode()}".lstrip("/"), mode_of(payload, file), content))
    if next(blocks, None):
        raise Broken("there is data of no file")
    return entries


def mode_of(payload, fields):
    owner = fields_of(payload, fields[2])
    if {blob_of(payload, owner[2]), blob_of(payload, owner[3])} != {b"root"}:
        raise Broken("something in it is not root's")
    return number_of(payload, owner[1])


def read_dependency(payload, fields):
    version = blob_of(payload, fields.get(2, 0)).decode()
    match = number_of(payload, fields[3]) if fields.get(3) else 1
    sign = {number: text for text, number in MATCHES.items()}[match] if version else ""
    return blob_of(payload, fields[1]).decode() + sign + version


def check_unique_id(payload, value):
    found = blob_of(payload, value)
    at = (value & 0xfffffff) + 1
    blank = payload[:at] + bytes(UNIQUE_ID) + payload[at + UNIQUE_ID:]
    if found != hashlib.sha256(blank).digest()[:UNIQUE_ID]:
        raise Broken("its id is not the hash of its metadata")


def number_of(payload, value):
    if value >> 28 == 1:
        return value & 0xfffffff
    if value >> 28 != 2 or value % 4:
        raise Broken("a number is wanted")
    return struct.unpack_from("<I", payload, value & 0xfffffff)[0]


def blob_of(payload, value):
    if value == 0:
        return b""
    heads = {8: "<B", 9: "<H", 10: "<I"}
    kind, at = value >> 28, value & 0xfffffff
    if kind not in heads or at % struct.calcsize(heads[kind]):
        raise Broken("a blob is wanted")
    length, = struct.unpack_from(heads[kind], payload, at)
    at += struct.calcsize(heads[kind])
    if at + length > len(payload):
        raise Broken("a blob runs over the end")
    return bytes(payload[at:at + length])


def items_of(payload, value):
    if value == 0:
        return []
    at = value & 0xfffffff
    if value >> 28 not in (13, 14) or at % 4:
        raise Broken("a list is wanted")
    count, = struct.unpack_from("<I", payload, at)
    return list(struct.unpack_from(f"<{count - 1}I", payload, at + 4))


def fields_of(payload, value):
    return dict(enumerate(items_of(payload, value), 1))
