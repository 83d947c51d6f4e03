"""Sources that vanish, become unreadable or share an id: samples are kept and the ledger accounts for every file."""

import os
import re
from contextlib import nullcontext

import pytest

from cache import open_cache
from cache.catalog import read_entries
from cache.schema import Entry, Source
from cache.writer import open_writer
from pipeline.jobs import preprocess
from pipeline.recipes.ct import CtRecipe
from pipeline.workers.executors.serial import serial
from tests.helpers.bad_scans import GOOD, ZIPPED, place

RECIPE = CtRecipe(depth=8, height=16, width=16)


def run(job):
    return preprocess.run(job, nullcontext(serial))


def test_a_file_that_vanishes_during_a_run_is_quarantined_until_the_next_run(tmp_path):
    place(tmp_path / "scans", {"x.nii": GOOD, "y.nii": GOOD})
    job = preprocess.prepare(tmp_path / "scans", tmp_path / "ct.zarr", RECIPE)
    (tmp_path / "scans/0/x.nii").unlink()
    summary = run(job)
    assert summary.complete == 1
    assert summary.quarantined == {
        "0/x.nii": "it cannot be read (No such file or directory); expected a readable file; check it and run again"
    }
    summary = run(preprocess.prepare(tmp_path / "scans", tmp_path / "ct.zarr", RECIPE))
    assert (summary.complete, summary.quarantined, summary.vanished) == (1, {}, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_a_file_without_read_permission_is_quarantined_and_read_in_the_next_run(tmp_path):
    place(tmp_path / "scans", {"x.nii": GOOD})
    (tmp_path / "scans/0/x.nii").chmod(0)
    summary = run(preprocess.prepare(tmp_path / "scans", tmp_path / "ct.zarr", RECIPE))
    assert summary.quarantined == {
        "0/x.nii": "it cannot be read (Permission denied); expected a readable file; change the permissions"
    }
    (tmp_path / "scans/0/x.nii").chmod(0o600)
    assert run(preprocess.prepare(tmp_path / "scans", tmp_path / "ct.zarr", RECIPE)).complete == 1


@pytest.mark.parametrize(("first", "second"), [("x.nii.gz", "x.nii"), ("x.nii", "x.nii.gz")])
def test_a_second_file_with_the_same_id_is_quarantined_and_the_first_sample_is_kept(tmp_path, first, second):
    scans, cache = tmp_path / "scans", tmp_path / "ct.zarr"
    data = {"x.nii": GOOD, "x.nii.gz": ZIPPED}
    scans.mkdir()
    (scans / first).write_bytes(data[first])
    (scans / "y.nii").write_bytes(GOOD)
    run(preprocess.prepare(scans, cache, RECIPE))
    before = read_entries(cache)
    (scans / second).write_bytes(data[second])
    for _ in range(2):
        summary = run(preprocess.prepare(scans, cache, RECIPE))
        assert (summary.discovered, summary.complete, summary.made) == (3, 2, 0)
        assert list(summary.quarantined) == [second]
        assert re.match("two files would get the id 'x'.*; keep one of them", summary.quarantined[second])
        assert read_entries(cache).items() >= before.items()
    (scans / second).unlink()
    assert run(preprocess.prepare(scans, cache, RECIPE)).quarantined == {}
    assert read_entries(cache) == before


def test_two_files_with_the_same_id_are_both_quarantined_until_one_is_deleted(tmp_path):
    scans, cache = tmp_path / "scans", tmp_path / "ct.zarr"
    scans.mkdir()
    for name, data in {"x.nii": GOOD, "x.nii.gz": ZIPPED, "y.nii": GOOD}.items():
        (scans / name).write_bytes(data)
    for expected_made in (1, 0):
        summary = run(preprocess.prepare(scans, cache, RECIPE))
        assert (summary.discovered, summary.complete, summary.made) == (3, 1, expected_made)
        assert set(summary.quarantined) == {"x.nii", "x.nii.gz"}
    (scans / "x.nii").unlink()
    summary = run(preprocess.prepare(scans, cache, RECIPE))
    assert (summary.discovered, summary.complete, summary.made, summary.quarantined) == (2, 2, 1, {})
    assert sorted(open_cache(cache).ids) == ["x", "y"]


def test_exclusions_of_an_earlier_version_are_removed(tmp_path):
    scans, cache = tmp_path / "scans", tmp_path / "ct.zarr"
    (scans / ".git").mkdir(parents=True)
    (scans / "x.nii").write_bytes(GOOD)
    for number in range(5):
        (scans / ".git" / str(number)).touch()
    job = preprocess.prepare(scans, cache, RECIPE)
    run(job)
    root = str(scans)
    old = [
        Entry(
            f"{root}/.git/{number}",
            "excluded",
            reason="hidden or system file",
            source=Source(root, (f".git/{number}",)),
        )
        for number in range(5)
    ]
    with open_writer(cache, job.attributes, read_entries(cache)) as writer:
        writer.forget([f"{root}/.git"])
        writer.commit(old)
    summary = run(preprocess.prepare(scans, cache, RECIPE))
    assert summary.excluded == {".git": "hidden or system folder, not searched"}
    assert (summary.discovered, summary.complete, summary.made) == (2, 1, 0)


def test_excluded_lookalikes_are_in_the_ledger_until_they_are_deleted(tmp_path):
    scans, cache = tmp_path / "scans", tmp_path / "ct.zarr"
    place(scans, {"x.nii": GOOD, "x.nii.bz2": b"", "x.nii.gz.part": b"", "x.mha": b"", "IM0001": bytes(128) + b"DICM"})
    summary = run(preprocess.prepare(scans, cache, RECIPE))
    assert summary.excluded.keys() == {"1/x.nii.bz2", "2/x.nii.gz.part", "3/x.mha", "4"}
    assert summary.discovered == 5
    (scans / "4/IM0001").unlink()
    assert run(preprocess.prepare(scans, cache, RECIPE)).discovered == 4
