"""The older package formats, .ipk (opkg) and .deb: tar archives with fixed owners, times and order, and readers of
both. Entries are (path, mode, content), sorted, with content None for a folder."""

import gzip
import io
import tarfile
import zlib

import squeeze

STAMP = 0


class Broken(Exception):
    """What is wrong with a package."""


def ipk(entries, members, executable):
    """A gzipped tar (opkg takes nothing else) of three members in the order that opkg's own builder has."""
    data = squeeze.gzip(tar(entries, "./"))
    control = squeeze.gzip(tar(control_entries(members, executable), "./"))
    outer = [("debian-binary", 0o644, b"2.0\n"), ("data.tar.gz", 0o644, data), ("control.tar.gz", 0o644, control)]
    return squeeze.gzip(tar(outer, "./", folder=False))


def deb(entries, members, executable):
    """An ar archive (deb(5)): version, control, data, in this order."""
    parts = [("debian-binary", b"2.0\n"), ("control.tar.gz", squeeze.gzip(tar(control_entries(members, executable), "./"))),
             ("data.tar.gz", squeeze.gzip(tar(entries, "./")))]
    out = b"!<arch>\n"
    for name, content in parts:
        out += f"{name:<16}{STAMP:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        out += b"\n" * (len(content) % 2)
    return out


def control_entries(members, executable):
    return [(name, 0o755 if name in executable else 0o644, text.encode()) for name, text in sorted(members.items())]


def tar(entries, prefix, folder=True):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, mode, content in ([("", 0o755, None)] if folder else []) + entries:
            one = tarfile.TarInfo(prefix + path if path else "./")
            one.mode, one.mtime, one.uname, one.gname = mode, STAMP, "", ""
            if content is None:
                one.type = tarfile.DIRTYPE
                archive.addfile(one)
            else:
                one.size = len(content)
                archive.addfile(one, io.BytesIO(content))
    return out.getvalue()


# ---- reading back ----


def unpack_ipk(content):
    """(entries, control members as text)."""
    outer = read_tar(content)
    if [path for path, _, _ in outer] != ["debian-binary", "data.tar.gz", "control.tar.gz"]:
        raise Broken(f"its members are {[path for path, _, _ in outer]}")
    return read_parts(outer[0][2], outer[2][2], outer[1][2])


def unpack_deb(content):
    if content[:8] != b"!<arch>\n":
        raise Broken("it is no ar archive")
    members, at = [], 8
    while at < len(content):
        head = content[at:at + 60]
        if len(head) < 60 or head[58:] != b"`\n":
            raise Broken("an ar head is broken")
        size = int(head[48:58])
        members.append((head[:16].decode().strip(), content[at + 60:at + 60 + size]))
        if len(members[-1][1]) != size:
            raise Broken("an ar member is cut off")
        at += 60 + size + size % 2
    if [name for name, _ in members] != ["debian-binary", "control.tar.gz", "data.tar.gz"]:
        raise Broken(f"its members are {[name for name, _ in members]}")
    return read_parts(*(content for _, content in members))


def read_parts(version, control, data):
    if version != b"2.0\n":
        raise Broken(f"its format is {version}")
    members = {path: (mode, content) for path, mode, content in read_tar(control) if content is not None}
    for name, (mode, content) in members.items():
        if mode != (0o755 if content.startswith(b"#!") else 0o644):
            raise Broken(f"{name} has mode {mode:04o}")
    return read_tar(data), {name: content.decode() for name, (_, content) in members.items()}


def read_tar(content):
    """Its entries, checked for owner, time and order. The first may be the root folder, which is left out."""
    entries = []
    try:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content)), mode="r:") as archive:
            for one in archive:
                if (one.uid, one.gid, one.uname, one.gname, one.mtime) != (0, 0, "", "", STAMP):
                    raise Broken(f"{one.name} is not root's, or has a time")
                if not (one.isfile() or one.isdir()):
                    raise Broken(f"{one.name} is neither file nor folder")
                name = one.name.removeprefix("./").rstrip("/")
                if name not in ("", "."):
                    entries.append((name, one.mode, archive.extractfile(one).read() if one.isfile() else None))
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as problem:
        raise Broken(f"it cannot be read: {problem}") from problem
    if len(entries) > 3 and [path for path, _, _ in entries] != sorted(path for path, _, _ in entries):
        raise Broken("its files are not sorted")
    return entries
