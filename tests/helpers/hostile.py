"""Hostile replacements of files and folders, and a server that runs commands on them with limited time and memory."""

import os
import shutil
from contextlib import closing, contextmanager

import pytest
from numcodecs.checksum32 import CRC32C
from numcodecs.zstd import Zstd

from tests.faults import world
from tests.faults.server import Server
from tests.helpers.archives import extract, fresh_copy
from tests.helpers.caches import make_cache

LINE = 2200  # characters that a line of output may have; escapes make names longer
GIGANTIC = 8 << 30  # bytes


@contextmanager
def limited(folder, part):
    """A server in `folder` that runs the commands of `part` with limited time and memory.

    Malloc uses one arena, so that the memory needed does not depend on the number of threads.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MALLOC_ARENA_MAX", "1")
        with closing(Server("tests.helpers.limited", folder, part)) as server:
            yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with limited(tmp_path_factory.mktemp("server"), world.LIGHT) as server:
        yield server


def in_place(path):
    """Delete what is at `path`, create its parent folder, and return `path`."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def sparse(path):
    """8 GB of zeros that take no space."""
    with in_place(path).open("wb") as file:
        file.truncate(GIGANTIC)


def with_zeros_appended(path):
    """The original content, followed by 8 GB of zeros."""
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.truncate(GIGANTIC)


def endless(path):
    in_place(path).symlink_to("/dev/zero")


def pipe(path):
    os.mkfifo(in_place(path))


def device(path):
    """/dev/zero itself."""
    try:
        os.mknod(in_place(path), 0o666 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can make a device")


def folder(path):
    in_place(path).mkdir()
    (path / "0").write_bytes(b"0")


def loop(path):
    in_place(path).symlink_to(path)


def nested(path):
    """8 MB of brackets."""
    in_place(path).write_bytes(b"[" * (1 << 23))


def junk(path):
    """80 MB without a line break."""
    with in_place(path).open("wb") as file:
        for _ in range(80):
            file.write(b"x" * 1_000_000)


REPLACEMENTS = {
    "8 GB of zeros as": sparse,
    "8 GB of zeros behind": with_zeros_appended,
    "a link to /dev/zero as": endless,
    "a pipe as": pipe,
    "a device as": device,
    "a folder as": folder,
    "a link to itself as": loop,
    "brackets as": nested,
    "a line of 80 MB as": junk,
}


def compressed(content):
    return bytes(CRC32C(location="end").encode(Zstd(3).encode(content)))


def check(server, *words):
    """Run a command, check its exit code and output, and return the exit code."""
    ((_, (code, out, err, processes)),) = server.run([[str(word) for word in words]])
    name, output = words[0], f"{out}{err}"
    assert code in (0, 1, 3), f"{name}: {code}, {output[:2000]}"
    assert processes == 0, name
    for word in ("Traceback", "please report", "MemoryError", "bad_alloc"):
        assert word not in output, f"{name}: {output[-2000:]}"
    assert err.count("\n") <= 1, f"{name}: {err[:2000]}"
    assert max(map(len, output.split("\n"))) <= LINE, f"{name}: {max(output.split(chr(10)), key=len)[:1000]}"
    return code


def check_feature_commands(server, folder, attacks):
    """Check commands on a cache of features in the new `folder`, each after one of `attacks` on its path."""
    make_cache(folder / "volumes", 2)
    extract(folder)
    features = folder / "features.zarr"
    features.rename(folder / "as made")
    for attack in attacks:
        for words in (("extract", folder), ("read", features), ("verify", features)):
            attack(fresh_copy(folder, features.name))
            check(server, *words)
