"""The shim counts the file-system calls below a folder, and makes a chosen one fail, transfer less or kill."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import shim

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(shim.why_not() != "", reason=shim.why_not())

# Writes three files, one of them outside the folder; prints the results and the recorded calls.
PROGRAM = """
import json, os, sys
from tests.faults import shim
folder, number, fault = sys.argv[1:]
log = os.memfd_create("log")
shim.arm(folder, int(number), shim.Fault(fault) if fault else None, log)
results = []
for path in (folder + "-elsewhere", folder + "/a", folder + "/b"):
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
        results.append(os.write(descriptor, b"12345678"))
        os.fsync(descriptor)
        os.close(descriptor)
    except OSError as error:
        results.append(os.strerror(error.errno))
shim.arm("")
calls = os.pread(log, 10000, 0).decode().split()[::2]
print(json.dumps([results, calls]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return shim.build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def watched_folder(tmp_path):
    (tmp_path / "watched").mkdir()
    return tmp_path / "watched"


@pytest.fixture
def run_with_fault(library, watched_folder):
    """A function that runs the program with a fault at a numbered call; returns its exit code, results and calls."""

    def run(number=0, fault=""):
        settings = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", PROGRAM, watched_folder, str(number), fault]
        completed = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)
        assert completed.stderr == ""
        return completed.returncode, *json.loads(completed.stdout or "[[], []]")

    return run


def test_only_calls_below_the_folder_are_counted(run_with_fault):
    assert run_with_fault() == (0, [8, 8, 8], ["open", "write", "fsync", "close"] * 2)


@pytest.mark.parametrize(
    ("number", "fault", "results"),
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
def test_the_numbered_call_fails_and_with_a_lasting_error_all_later_ones(run_with_fault, number, fault, results):
    assert run_with_fault(number, fault)[:2] == (0, results)


@pytest.mark.parametrize(("fault", "content"), [("kill", b""), ("torn", b"1234"), ("killed", b"12345678")])
def test_a_kill_happens_before_during_or_after_the_call(run_with_fault, watched_folder, fault, content):
    assert run_with_fault(2, fault) == (-9, [], [])
    assert (watched_folder / "a").read_bytes() == content
    assert not (watched_folder / "b").exists()


def test_an_error_is_injected_only_into_calls_that_can_return_it():
    reading, opening, writing = shim.CANNOT_FAIL, shim.NEEDS_SPACE | shim.NEEDS_DESCRIPTOR, shim.NEEDS_SPACE
    assert [shim.Fault("ENOSPC").possible(traits) for traits in (reading, opening, writing)] == [False, True, True]
    assert [shim.Fault("EMFILE+").possible(traits) for traits in (reading, opening, writing)] == [False, True, False]
    assert [shim.Fault("torn").possible(traits) for traits in (shim.TRANSFERS, opening)] == [True, False]
    assert shim.Fault("kill").possible(reading)
