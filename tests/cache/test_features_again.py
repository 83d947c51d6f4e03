"""Repeated calls of write_features keep, replace or resume samples, or are rejected."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cache import CacheError, DamagedSample, InvalidFeatures, RecipeMismatch, catalog, open_cache
from cache.verify import verify
from tests.helpers.features import chunk_of, entries_of, some_features, spoiled, times, write

ROOT = Path(__file__).resolve().parents[2]


def test_repeating_the_same_call_writes_nothing(tmp_path):
    write(tmp_path / "c", labels=[0] * 5)
    before, ledger = times(tmp_path / "c"), catalog.ledger_path(tmp_path / "c").read_bytes()
    write(tmp_path / "c", labels=[0] * 5)
    assert times(tmp_path / "c") == before
    assert catalog.ledger_path(tmp_path / "c").read_bytes() == ledger


def test_changed_rows_are_replaced_new_ones_added_and_others_kept(tmp_path):
    write(tmp_path / "c", labels=[0, 1, 0, 1, 0])
    before = times(tmp_path / "c")
    array = some_features()
    array[1] += 1
    cache = write(tmp_path / "c", array[[1, 2, 0]], ids=["s1", "s2", "new"], labels=[1, 1, 0])
    assert cache.ids == ["s0", "s2", "s3", "s4", "s1", "new"]
    assert cache.labels.tolist() == [0, 1, 1, 0, 1, 0]
    assert np.array_equal(cache["s1"], array[1])
    after = times(tmp_path / "c")
    assert after.keys() - before.keys() == {chunk_of(tmp_path / "c", 5), chunk_of(tmp_path / "c", 6)}
    assert before.keys() - after.keys() == {chunk_of(tmp_path / "c", 1)}
    assert all(after[file] == before[file] for file in before.keys() & after.keys())
    assert verify(tmp_path / "c").sound


def test_samples_outside_the_call_keep_their_class_when_class_names_change(tmp_path):
    write(tmp_path / "c", labels=[0, 1, 0, 1, 0])
    cache = write(tmp_path / "c", some_features(1), ids=["s0"], labels=[1], class_names=["zero", "two"])
    assert cache.class_names == ["zero", "two", "one"]
    assert cache.labels.tolist() == [1, 1, 2, 1, 2]


def test_the_same_call_rewrites_a_damaged_chunk(tmp_path):
    write(tmp_path / "c")
    chunk = chunk_of(tmp_path / "c", 1)
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\xff")
    chunk_of(tmp_path / "c", 2).unlink()
    report = verify(tmp_path / "c")
    remedy = "run `features`, or call `write_features`, once more"
    assert report.missing == {"s2": f"its chunk {chunk_of(tmp_path / 'c', 2)} does not exist; {remedy}"}
    assert report.damaged["s1"].endswith(f"its digest differs; {remedy} to rebuild it from its source")
    write(tmp_path / "c")
    assert verify(tmp_path / "c").sound


@pytest.mark.parametrize("bit", [0, 37, 100, -3])
def test_reading_corrupted_features_raises(tmp_path, bit):
    cache = write(tmp_path / "c")
    data = bytearray(chunk_of(tmp_path / "c", 1).read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    chunk_of(tmp_path / "c", 1).write_bytes(data)
    with pytest.raises(DamagedSample, match=r"^s1: chunk .*; run `features`, or call `write_features`, once more"):
        cache["s1"]
    assert np.array_equal(cache["s2"], some_features()[2])


@pytest.mark.parametrize("file", ["zarr.json", "features/zarr.json", "label/c/0", "ledger/digests.json"])
def test_a_missing_published_file_is_reported_and_restored_by_the_same_call(tmp_path, file):
    write(tmp_path / "c")
    (tmp_path / "c" / file).unlink()
    assert list(verify(tmp_path / "c").damaged) == [file]
    write(tmp_path / "c")
    assert verify(tmp_path / "c").sound


def test_after_an_error_in_one_row_the_same_call_resumes_at_that_row(tmp_path):
    with pytest.raises(InvalidFeatures, match=r"^s3: nan"):
        write(tmp_path / "c", spoiled(np.nan, np.float16))
    assert open_cache(tmp_path / "c").ids == ["s0", "s1", "s2"]
    before = times(tmp_path / "c")
    assert len(write(tmp_path / "c")) == 5
    assert before.items() <= times(tmp_path / "c").items()
    assert verify(tmp_path / "c").sound


KILLED = """
import os, sys
import numpy as np
from cache import feature_writer, write_features
feature_writer.COMMIT_SAMPLES = 2

class Rows:
    shape, dtype = (9, 4, 6), np.dtype(np.float16)
    def __getitem__(self, number):
        if number == {killed_at}:
            os.kill(os.getpid(), 9)
        return np.full((4, 6), number, np.float16)

write_features(sys.argv[1], [f"s{{n}}" for n in range(9)], None, None, Rows(), class_names=[], extractor="x")
"""


@pytest.mark.parametrize("killed_at", [0, 5])
def test_after_a_kill_the_same_call_finishes(tmp_path, killed_at):
    for number in (killed_at, -1):
        script = KILLED.format(killed_at=number)
        process = subprocess.run([sys.executable, "-c", script, tmp_path / "c"], cwd=ROOT, check=False)
        assert process.returncode == (0 if number < 0 else -9)
        if number > 0:
            assert len(entries_of(tmp_path / "c")) == 4
            chunks = [chunk_of(tmp_path / "c", row) for row in range(4)]
            committed = {file: times(tmp_path / "c")[file] for file in chunks}
    cache = open_cache(tmp_path / "c")
    assert [sample.mean() for sample in cache] == list(range(9))
    assert verify(tmp_path / "c").sound
    if killed_at:
        assert committed.items() <= times(tmp_path / "c").items()


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"extractor": "other"}, "extractor mine → other"), ({"dtype": "float32"}, "dtype float16 → float32"),
        ({"array": some_features(5, (4, 7))}, "channels 6 → 7"),
        ({"extractor": {"name": "mine"}}, "extractor mine → {'name': 'mine'}"),
    ],
)  # fmt: skip
def test_a_cache_of_different_features_is_not_changed(tmp_path, options, difference):
    write(tmp_path / "c")
    with pytest.raises(RecipeMismatch) as caught:
        write(tmp_path / "c", **options)
    assert str(caught.value) == (
        f"{tmp_path / 'c'} has another recipe ({difference}); give the same options, or another path"
    )


def test_a_path_that_is_not_a_feature_cache_is_not_changed(tiny, tmp_path):
    with pytest.raises(RecipeMismatch, match="is a cache of kind ct, not features; give another path"):
        write(tiny)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("mine")
    for path in (tmp_path / "folder", tmp_path / "folder" / "file"):
        with pytest.raises(CacheError, match="exists and is not a cache"):
            write(path)
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["file"]
    assert verify(tiny).sound


def test_a_sample_without_its_ledger_line_is_reported_until_it_is_written_again(tmp_path):
    write(tmp_path / "c")
    path = catalog.ledger_path(tmp_path / "c")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    path.with_name("snapshot.jsonl").unlink()
    write(tmp_path / "c", some_features(2))
    assert verify(tmp_path / "c").damaged.keys() == {"s4"}
    write(tmp_path / "c")
    assert verify(tmp_path / "c").sound
