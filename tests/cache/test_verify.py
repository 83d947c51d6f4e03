"""`verify` reports everything that differs from what was written or from its source, and nothing else."""

import json
import os
import shutil
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import NotACache, catalog, open_cache, store
from cache import writer as cache_writer
from cache.fingerprint import digest_bytes
from cache.ledger import dump, dump_snapshot
from cache.progress import Callback
from cache.schema import Entry, Source
from cache.verify import source_change, verify
from cache.writer import open_writer
from tests.helpers.caches import make_cache, tiny_attributes, volume, write_sample


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("ten") / "c", 10)


def source_of(root, name):
    return catalog.read_entries(root)[name].source.paths[0]


def test_an_unchanged_cache_is_sound(ten):
    report = verify(ten)
    assert report.sound
    assert (report.ok, report.damaged, report.missing, report.stale, report.vanished) == (10, {}, {}, {}, [])


def test_a_folder_that_is_not_a_cache_cannot_be_verified(tmp_path):
    with pytest.raises(NotACache):
        verify(tmp_path)


@pytest.mark.parametrize(("percent", "count"), [(100, 10), (99, 10), (50, 5), (30, 3), (1, 1), (0.001, 1)])
def test_the_given_percentage_of_samples_is_read_and_at_least_one(ten, percent, count):
    assert verify(ten, percent).ok == count


def test_an_empty_cache_is_sound_whatever_the_percent(tmp_path):
    root = make_cache(tmp_path / "c", 0)
    assert verify(root).sound
    assert verify(root, 10).ok == 0


def test_samples_are_chosen_at_random_or_by_seed(ten, tmp_path):
    root = shutil.copytree(ten, tmp_path / "c")
    store.chunk_path(root, 4).write_bytes(b"")
    assert {verify(root, 10, seed).sound for seed in range(40)} == {True, False}
    assert len({verify(root, 10, 7).sound for _ in range(3)}) == 1
    assert not all(verify(root, 50).sound for _ in range(40))


def test_progress_is_reported_up_to_the_last_sample(ten):
    reported = []

    class Recorder(Callback):
        def on_progress(self, done, total, unit="samples", figures=None):
            reported.append((done, total))

    verify(ten, callback=Recorder())
    assert reported[-1] == (10, 10)


# -- stale and vanished ------------------------------------------------------------------------------------------------


def rewrite(path):
    old = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns + 1))


def make_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [rewrite, lambda path: path.write_bytes(b"longer than it was"), make_folder])
def test_a_sample_is_stale_when_the_bytes_of_its_source_have_changed(tiny, change):
    path = source_of(tiny, "s1")
    change(path)
    report = verify(tiny)
    assert report.stale == {"s1": f"its source {path} has changed since; run `repair`"}
    assert (report.ok, report.sound) == (2, False)


def test_touching_a_source_does_not_make_its_sample_stale(tiny):
    os.utime(source_of(tiny, "s1"))
    assert verify(tiny).sound


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: shutil.rmtree(path.parent)])
def test_a_sample_with_a_vanished_source_is_sound_and_listed(tiny, change):
    change(source_of(tiny, "s1"))
    report = verify(tiny)
    assert report.sound
    assert report.ok == 3
    assert "s1" in report.vanished


def test_a_sample_of_another_recipe_is_stale(tiny):
    old, new = catalog.read_attributes(tiny), tiny_attributes(order=1)
    with open_writer(tiny, new, catalog.read_entries(tiny)) as writer:
        writer.commit([write_sample(tiny, new, 1, volume(1))])
    assert old != new
    reason = "it was made by a recipe other than the cache's; run `repair`"
    assert verify(tiny).stale == {"s0": reason, "s2": reason}


def test_a_pair_of_files_is_one_source(tmp_path):
    header, image = tmp_path / "a.hdr", tmp_path / "a.img"
    header.write_bytes(b"12")
    image.write_bytes(b"345")
    os.utime(header, ns=(0, 5))
    os.utime(image, ns=(0, 7))
    source = Source(str(tmp_path), ("a.hdr", "a.img"), 5, 5 + 7)
    assert source_change(source) == ""
    image.write_bytes(b"34")
    assert source_change(source) == "changed"
    image.unlink()
    assert source_change(source) == "vanished"


@pytest.mark.parametrize("root", ["lone \ud800", "x" * 5000])
def test_a_source_with_an_impossible_path_has_vanished(root):
    assert source_change(Source(root, ("a",), 1, 1)) == "vanished"


# -- the ledger and the published arrays -------------------------------------------------------------------------------

PUBLISHED = [
    "zarr.json", "volume/zarr.json", "label/zarr.json", "label/c/0", "sample_id/zarr.json", "sample_id/c/0",
    "group/zarr.json", "group/c/0", "ledger/zarr.json", "ledger/snapshot.jsonl", "ledger/digests.json",
]  # fmt: skip


def test_a_cache_contains_only_the_listed_files(tiny):
    files = {path.relative_to(tiny).as_posix() for path in tiny.rglob("*") if path.is_file()}
    chunks = {f"volume/c/{row}/0/0/0" for row in range(3)}
    assert files == {*PUBLISHED, *chunks, "ledger/entries.jsonl", "ledger/lock", "ledger/readers"}


@pytest.mark.parametrize("file", PUBLISHED)
@given(data=st.data())
@settings(max_examples=20)
def test_a_bit_flipped_in_any_published_file_is_reported(ten, file, data):
    path = ten / file
    before = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(before) - 1))
    flipped = bytearray(before)
    flipped[bit // 8] ^= 1 << bit % 8
    path.write_bytes(flipped)
    try:
        damaged = verify(ten).damaged
        assert file in damaged or (file == catalog.DIGESTS and damaged)
    except NotACache as error:
        assert str(path) in str(error)  # noqa: PT017 - without valid metadata it is not a cache
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("file", PUBLISHED)
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), make_folder, lambda path: path.write_bytes(b"")])
def test_a_lost_published_file_is_reported_and_restored_by_the_next_writer(tiny, file, damage):
    damage(tiny / file)
    assert verify(tiny).damaged == {file: "it has changed since it was published; run `repair` to publish it again"}
    make_cache(tiny, 0)
    assert verify(tiny).sound


def test_published_values_that_contradict_the_ledger_are_reported(tiny):
    entries = catalog.read_entries(tiny)
    entries["s1"] = entries["s1"].replace(label=0)
    log = dump(entries.values())
    catalog.ledger_path(tiny).write_bytes(log)
    snapshot = dump_snapshot(list(entries.values()), len(log), zlib.crc32(log))
    (tiny / "ledger/snapshot.jsonl").write_bytes(snapshot)
    digests = json.loads((tiny / catalog.DIGESTS).read_bytes()) | {catalog.SNAPSHOT: digest_bytes(snapshot)}
    (tiny / catalog.DIGESTS).write_text(json.dumps(digests))
    assert list(verify(tiny).damaged) == ["sample_id", "label", "group"]


def test_an_index_that_may_lag_behind_the_ledger_is_not_compared(tiny):
    (tiny / "ledger/unpublished").touch()
    shutil.rmtree(tiny / "label")
    assert verify(tiny).sound


def test_metadata_written_by_another_version_of_zarr_is_not_damage(tmp_path, monkeypatch):
    original = cache_writer.documents_of

    def other_version(*arguments):
        return {key: data + b" " * key.endswith("json") for key, data in original(*arguments).items()}

    monkeypatch.setattr(cache_writer, "documents_of", other_version)
    root = make_cache(tmp_path / "c")
    monkeypatch.undo()
    assert verify(root).sound


def test_a_garbage_line_is_reported_even_with_a_damaged_sample(tiny):
    with catalog.ledger_path(tiny).open("ab") as file:
        file.write(b"junk\n")
    store.chunk_path(tiny, 0).write_bytes(b"")
    assert verify(tiny).damaged.keys() == {"s0", "ledger line 4"}


def test_quarantined_and_excluded_inputs_are_not_faults(tiny):
    with open_writer(tiny, catalog.read_attributes(tiny), catalog.read_entries(tiny)) as writer:
        writer.commit([Entry("bad", "quarantined", row=3, reason="r"), Entry("x.txt", "excluded")])
    assert verify(tiny).sound


def test_an_entry_takes_less_than_3_kilobytes_of_memory(tmp_path):
    details = {"shape": [512, 512, 130], "spacing": [0.7, 0.7, 2.0], "software": "0.1.0"}
    entries = [
        Entry(
            f"TRN_{row:05d}", "complete", row=row, group=f"p{row}", recipe="6" * 32, nbytes=row, digest=f"{row:032x}",
            source=Source("/data", (f"TRN_{row:05d}.nii.gz",), row, row, "a" * 32), details=details,
        )
        for row in range(5000)
    ]  # fmt: skip
    root = make_cache(tmp_path / "c", 0)
    catalog.ledger_path(root).write_bytes(dump(entries))
    assert len(catalog.read_entries(root)) == 5000
    tracemalloc.start()
    cache = open_cache(root)
    assert tracemalloc.get_traced_memory()[1] < 5000 * 3e3
    tracemalloc.stop()
    assert cache.ids[-1] == "TRN_04999"
