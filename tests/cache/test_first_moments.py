"""A run that is killed or fails at any system call is finished by the same command, with the same bytes."""

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
    """A function that runs one of the commands on a given cache folder."""
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
    total = calls_of(command, tmp_path / "uninterrupted")
    expected = contents(tmp_path / "uninterrupted/deep/c")
    for number in range(total):
        folder = tmp_path / f"{number}"
        with watched(Calls(folder, number)), pytest.raises(Killed):
            command(folder / "deep" / "c")
        command(folder / "deep" / "c")
        assert contents(folder / "deep" / "c") == expected, number


@pytest.mark.parametrize("file", ["lock", "unpublished", "readers", "entries.jsonl"])
def test_a_new_cache_with_only_an_empty_ledger_file_is_completed(command, tmp_path, file):
    root = tmp_path / "c"
    (root / "ledger" / "partial").mkdir(parents=True)
    (root / "ledger" / file).touch()
    command(root)
    assert verify(root).ok == 1


def check_error_and_completion(command, folder, calls, expected):
    message = ""
    with watched(calls):
        try:
            command(folder / "deep" / "c")
        except CacheError as error:
            message = str(error)
    assert not message or message.endswith(f": {os.strerror(calls.error)}; {REMEDIES[calls.error]}"), calls.at
    command(folder / "deep" / "c")
    assert contents(folder / "deep" / "c") == expected, calls.at


def test_a_run_that_fails_at_any_system_call_reports_the_error_and_is_finished_by_the_same_command(command, tmp_path):
    total = calls_of(command, tmp_path / "uninterrupted")
    expected = contents(tmp_path / "uninterrupted/deep/c")
    for number in range(total):
        folder = tmp_path / f"{number}"
        calls = Calls(folder, number, ERRORS[number % 3], on=number // 3 % 2)
        check_error_and_completion(command, folder, calls, expected)


@pytest.mark.slow
@pytest.mark.parametrize("persistent", [True, False], ids=["persistent", "once"])
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_a_run_that_fails_at_any_system_call_including_reads_is_finished(command, tmp_path, error, persistent):
    total = calls_of(command, tmp_path / "uninterrupted", reads=True)
    expected = contents(tmp_path / "uninterrupted/deep/c")
    for number in range(total):
        folder = tmp_path / f"{number}"
        check_error_and_completion(command, folder, Calls(folder, number, error, persistent, reads=True), expected)


def test_empty_files_count_as_missing_in_a_new_cache_but_a_cache_with_records_is_not_overwritten(tiny, tmp_path):
    """Some file systems leave empty files after a power cut."""
    (tmp_path / "scans").mkdir()
    scan(tmp_path / "scans/a.nii.gz")
    root = tmp_path / "c"
    for name in ("zarr.json", "ledger/zarr.json", "ledger/lock", "ledger/entries.jsonl", "ledger/unpublished"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    scans(tmp_path / "scans", root)
    assert verify(root).sound
    for path in (tiny / "zarr.json", tiny / "ledger/zarr.json"):
        path.write_bytes(b"")
    with pytest.raises(CacheError, match=r"no readable zarr\.json; restore it, or delete the cache and build"):
        scans(tmp_path / "scans", tiny)
