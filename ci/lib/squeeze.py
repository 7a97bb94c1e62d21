"""The smallest deflate streams that there are, which any reader takes: by zopfli, 4 % below zlib's best. That is
10 kB of a router's package. Neither names nor times get into them."""

import subprocess
import tempfile
from pathlib import Path

SETUP = ". ci/lib/say.sh; . ci/lib/setup.sh; need_programs zopfli"


def gzip(content):
    return by_zopfli("--gzip", content)


def deflate(content):
    return by_zopfli("--deflate", content)


def by_zopfli(form, content):
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return subprocess.run(["zopfli", "--i100", form, "-c", file.name], check=True, capture_output=True).stdout


def need():
    """Installs the program if it can be had, or says what is missing and ends."""
    root = Path(__file__).resolve().parent.parent.parent
    if subprocess.run(["bash", "-c", SETUP, "package"], cwd=root).returncode:
        raise SystemExit(1)
