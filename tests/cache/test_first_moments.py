"""A run that dies or fails at any system call is finished by the same command, to the same bytes."""

import errno
import os
from contextlib import nullcontext

import numpy as np
import pytest

from cache import CacheError, write_features
from cache.oserrors import REMEDIES
from cache.verify import verify
from pipeline.jobs import preprocess
from pipeline.recipes.ct import CtRecipe
from pipeline.workers.executors.serial import serial
from tests.faults.calls import Calls, Killed, watched
from tests.helpers.interruptions import documents_built_once
from tests.helpers.small_sources import CLIPS, SMALL, clip, scan

__all__ = ["documents_built_once"]  # fixtures

ERRORS = (errno.ENOSPC, errno.EIO, errno.EMFILE)


def scans(source, root):
    recipe = CtRecipe(**SMALL)
    preprocess.run(preprocess.prepare(source, root, recipe), nullcontext(serial))


def clips(source, root):
    preprocess.run(preprocess.prepare(source, root, CLIPS), nullcontext(serial))


def features(source, root):
    write_features(root, ["a"], [0], None, np.ones((1, 2, 3), np.float16), class_names=["one"], extractor="mine")


@pytest.fixture(params=[scans, clips, features])
def command(request, tmp_path):
    """Runs one of the commands into a folder that is given."""
    scan(tmp_path / "scans" / "a.nii")
    clip(tmp_path / "clips", "A/1")
    return lambda root: request.param(tmp_path / request.param.__name__, root)


def contents(root):
    return {str(path.relative_to(root)): path.is_file() and path.read_bytes() for path in root.rglob("*")}


def calls_of(command, folder, reads=False):
    with watched(Calls(folder, reads=reads)) as calls:
        command(folder / "deep" / "c")
    assert calls.count > 40
    assert verify(folder / "deep" / "c").ok == 1
    return calls.count


def test_a_run_killed_at_any_system_call_is_finished_by_the_same_command(command, tmp_path):
    total = calls_of(command, tmp_path / "whole")
    whole = contents(tmp_path / "whole/deep/c")
    for number in range(total):
        folder = tmp_path / f"{number}"
        with watched(Calls(folder, number)), pytest.raises(Killed):
            command(folder / "deep" / "c")
        command(folder / "deep" / "c")
        assert contents(folder / "deep" / "c") == whole, number


@pytest.mark.parametrize("left", ["lock", "unpublished", "readers", "entries.jsonl"])
def test_after_a_power_cut_at_any_first_file_the_same_command_completes(command, tmp_path, left):
    root = tmp_path / "c"
    (root / "ledger" / "partial").mkdir(parents=True)
    (root / "ledger" / left).touch()
    command(root)
    assert verify(root).ok == 1


def fails_and_is_finished(command, folder, calls, whole):
    said = ""
    with watched(calls):
        try:
            command(folder / "deep" / "c")
        except CacheError as failed:
            said = str(failed)
    assert not said or said.endswith(f": {os.strerror(calls.error)}; {REMEDIES[calls.error]}"), calls.at
    command(folder / "deep" / "c")
    assert contents(folder / "deep" / "c") == whole, calls.at


def test_a_run_that_fails_at_any_system_call_says_why_and_is_finished_by_the_same_command(command, tmp_path):
    total = calls_of(command, tmp_path / "whole")
    whole = contents(tmp_path / "whole/deep/c")
    for number in range(total):
        folder = tmp_path / f"{number}"
        calls = Calls(folder, number, ERRORS[number % 3], on=number // 3 % 2)
        fails_and_is_finished(command, folder, calls, whole)


@pytest.mark.slow
@pytest.mark.parametrize("on", [True, False], ids=["from then on", "once"])
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_a_run_that_fails_so_at_any_system_call_even_one_that_reads_is_finished(command, tmp_path, error, on):
    total = calls_of(command, tmp_path / "whole", reads=True)
    whole = contents(tmp_path / "whole/deep/c")
    for number in range(total):
        folder = tmp_path / f"{number}"
        fails_and_is_finished(command, folder, Calls(folder, number, error, on, reads=True), whole)


def test_empty_files_in_a_begun_cache_are_as_good_as_none_but_records_are_never_given_up(tiny, tmp_path):
    """Some file systems leave files of no bytes after a power cut."""
    (tmp_path / "scans").mkdir()
    scan(tmp_path / "scans/a.nii.gz")
    root = tmp_path / "c"
    for name in ("zarr.json", "ledger/zarr.json", "ledger/lock", "ledger/entries.jsonl", "ledger/unpublished"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    scans(tmp_path / "scans", root)
    assert verify(root).sound
    for lost in (tiny / "zarr.json", tiny / "ledger/zarr.json"):
        lost.write_bytes(b"")
    with pytest.raises(CacheError, match=r"no readable zarr\.json; restore it, or delete the cache and build"):
        scans(tmp_path / "scans", tiny)
