"""The shim counts the file-system calls below a folder, and makes the one named fail, fall short or kill."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import shim

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(shim.why_not() != "", reason=shim.why_not())

# Writes two files, one of them elsewhere; says what came of it.
PROGRAM = """
import json, os, sys
from tests.faults import shim
folder, number, fault = sys.argv[1:]
log = os.memfd_create("log")
shim.arm(folder, int(number), shim.Fault(fault) if fault else None, log)
said = []
for path in (folder + "-elsewhere", folder + "/a", folder + "/b"):
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
        said.append(os.write(descriptor, b"12345678"))
        os.fsync(descriptor)
        os.close(descriptor)
    except OSError as error:
        said.append(os.strerror(error.errno))
shim.arm("")
calls = os.pread(log, 10000, 0).decode().split()[::2]
print(json.dumps([said, calls]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return shim.build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def watched_folder(tmp_path):
    (tmp_path / "watched").mkdir()
    return tmp_path / "watched"


@pytest.fixture
def tried(library, watched_folder):
    """A function: how the program ends whose call of that number meets a fault, what it said and its calls."""

    def run(number=0, fault=""):
        settings = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", PROGRAM, watched_folder, str(number), fault]
        ended = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)
        assert ended.stderr == ""
        return ended.returncode, *json.loads(ended.stdout or "[[], []]")

    return run


def test_only_calls_below_the_folder_count_in_their_order(tried):
    assert tried() == (0, [8, 8, 8], ["open", "write", "fsync", "close"] * 2)


@pytest.mark.parametrize(
    ("number", "fault", "said"),
    [
        (1, "EMFILE", [8, "Too many open files", 8]),
        (2, "ENOSPC", [8, "No space left on device", 8]),
        (3, "EIO", [8, 8, "Input/output error", 8]),
        (2, "EIO+", [8, "Input/output error", "Input/output error"]),
        (2, "EMFILE+", [8, 8, "Too many open files"]),
        (6, "short", [8, 8, 4]),
        (9, "EIO", [8, 8, 8]),
    ],
)
def test_the_call_of_that_number_fails_and_all_later_ones_where_the_error_lasts(tried, number, fault, said):
    assert tried(number, fault)[:2] == (0, said)


@pytest.mark.parametrize(("fault", "left"), [("kill", b""), ("torn", b"1234"), ("killed", b"12345678")])
def test_a_kill_comes_before_amid_or_after_the_call(tried, watched_folder, fault, left):
    assert tried(2, fault) == (-9, [], [])
    assert (watched_folder / "a").read_bytes() == left
    assert not (watched_folder / "b").exists()


def test_an_error_meets_only_calls_that_can_have_it():
    read, created, closed = shim.CANNOT_FAIL, shim.NEEDS_SPACE | shim.NEEDS_DESCRIPTOR, shim.NEEDS_SPACE
    assert [shim.Fault("ENOSPC").possible(traits) for traits in (read, created, closed)] == [False, True, True]
    assert [shim.Fault("EMFILE+").possible(traits) for traits in (read, created, closed)] == [False, True, False]
    assert [shim.Fault("torn").possible(traits) for traits in (shim.TRANSFERS, created)] == [True, False]
    assert shim.Fault("kill").possible(read)
