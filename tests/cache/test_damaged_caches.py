"""Reading a damaged cache never returns wrong values, and errors and reports name the damage."""

import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import CacheError, DamagedSample, NotACache, catalog, open_cache, store
from cache.ledger import dump
from cache.verify import verify
from tests.helpers.caches import SHAPE, make_cache, volume


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@contextmanager
def temporarily_replaced(path, data):
    """`path` contains `data` inside the block."""
    original = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(original)


def make_folder(path):
    path.unlink()
    path.mkdir()


def make_loop(path):
    path.unlink()
    path.symlink_to(path)


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "another sample's": lambda path: shutil.copy(store.chunk_path(path.parents[5], 0), path),
    "missing": lambda path: path.unlink(),
    "folder missing": lambda path: shutil.rmtree(path.parents[2]),
    "a folder": make_folder,
    "a link to itself": make_loop,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_chunk_raises_and_is_reported_and_other_samples_stay_readable(tiny, kind):
    DAMAGE[kind](store.chunk_path(tiny, 1))
    cache = open_cache(tiny)
    with pytest.raises(DamagedSample, match=r"^s1: chunk .*; run `repair` to rebuild it from its source$") as caught:
        cache["s1"]
    assert isinstance(caught.value, OSError)
    assert np.abs(cache["s0"] - volume(0)).max() < 1e-5
    assert np.abs(cache["s2"] - volume(2)).max() < 1e-5
    report = verify(tiny)
    assert list(report.damaged | report.missing) == ["s1"]
    assert (report.ok, report.stale) == (2, {})


@given(st.data())
@settings(max_examples=50)
def test_a_bit_flipped_anywhere_in_a_chunk_raises(shared_tiny, data):
    path = store.chunk_path(shared_tiny, 1)
    bit = data.draw(st.integers(0, 8 * path.stat().st_size - 1))
    cache = open_cache(shared_tiny)
    message = r"^s1: .* digest"
    with temporarily_replaced(path, flipped(path.read_bytes(), bit)), pytest.raises(DamagedSample, match=message):
        cache[1]
    assert cache[1].shape == SHAPE


def test_reading_either_of_two_swapped_chunks_raises(tiny):
    first, second = store.chunk_path(tiny, 0), store.chunk_path(tiny, 1)
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    for name in ("s0", "s1"):
        with pytest.raises(DamagedSample):
            open_cache(tiny)[name]
    assert verify(tiny).damaged.keys() == {"s0", "s1"}


def test_a_sample_without_its_ledger_line_is_listed_but_reading_it_raises(tiny):
    path = catalog.ledger_path(tiny)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + flipped(lines[1], 100) + lines[2])
    path.with_name("snapshot.jsonl").unlink()
    cache = open_cache(tiny)
    assert (cache.ids, cache.labels.tolist()) == (["s0", "s1", "s2"], [0, 1, 0])
    with pytest.raises(DamagedSample, match=r"^s1: its ledger line is lost; run `repair`"):
        cache["s1"]
    assert verify(tiny).damaged == {
        "s1": "its ledger line is lost; run `repair` to rebuild it from its source",
        "ledger/snapshot.jsonl": "it has changed since it was published; run `repair` to publish it again",
    }


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), make_folder, lambda path: path.write_bytes(b"\xff" * 999)]
)
def test_without_a_ledger_samples_are_listed_but_cannot_be_read(tiny, damage):
    for name in ("entries.jsonl", "snapshot.jsonl"):
        damage(tiny / "ledger" / name)
    cache = open_cache(tiny)
    assert cache.ids == ["s0", "s1", "s2"]
    assert (cache.labels.tolist(), cache.groups) == ([0, 1, 0], ["patient 0", "patient 1", "patient 2"])
    with pytest.raises(DamagedSample):
        cache[0]
    assert {"s0", "s1", "s2"} <= verify(tiny).damaged.keys()


@pytest.mark.parametrize("file", ["entries.jsonl", "snapshot.jsonl"])
@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), make_folder, lambda path: path.write_bytes(b"\xff" * 999)]
)
def test_either_ledger_file_is_enough_to_read_and_the_damaged_one_is_reported(tiny, file, damage):
    damage(tiny / "ledger" / file)
    cache = open_cache(tiny)
    assert cache.ids == ["s0", "s1", "s2"]
    assert np.abs(cache["s1"] - volume(1)).max() < 1e-5
    assert verify(tiny).damaged.keys() == {f"ledger/{file}"}
    make_cache(tiny, 0)
    assert verify(tiny).sound


def test_two_samples_with_the_same_row_are_distinguished(tiny):
    entries = catalog.read_entries(tiny)
    entries["s2"] = entries["s2"].replace(row=1)
    catalog.ledger_path(tiny).write_bytes(dump(entries.values()))
    (tiny / "ledger/snapshot.jsonl").unlink()
    cache = open_cache(tiny)
    assert np.abs(cache["s1"] - volume(1)).max() < 1e-5
    with pytest.raises(DamagedSample):
        cache["s2"]
    assert "s2" in verify(tiny).damaged


def test_an_index_with_unknown_ids_adds_no_sample(tiny, tmp_path):
    second = make_cache(tmp_path / "second", 3, names=["x0", "x1", "x2"])
    shutil.copytree(second / "sample_id", tiny / "sample_id", dirs_exist_ok=True)
    assert open_cache(tiny).ids == ["s0", "s1", "s2"]
    assert "sample_id/c/0" in verify(tiny).damaged


@pytest.mark.parametrize("key", ["depth", "dtype"])
def test_a_chunk_of_the_wrong_size_raises(tiny, key):
    document = json.loads((tiny / "zarr.json").read_bytes())
    document["attributes"]["recipe"] |= {"depth": {"depth": 40_000}, "dtype": {"dtype": "float32"}}[key]
    for name in ("zarr.json", "ledger/zarr.json"):
        (tiny / name).write_text(json.dumps(document))
    with pytest.raises(DamagedSample, match=r"^s0: its chunk holds 120 bytes of values, .* takes \d+$"):
        open_cache(tiny)[0]


def test_an_impossible_shape_is_rejected_before_memory_is_allocated(tiny):
    document = json.loads((tiny / "zarr.json").read_bytes())
    document["attributes"]["recipe"]["depth"] = 10**9
    for name in ("zarr.json", "ledger/zarr.json"):
        (tiny / name).write_text(json.dumps(document))
    with pytest.raises(NotACache, match="takes 40000000000 bytes a sample, at most 2147483631 fit"):
        open_cache(tiny)


@pytest.mark.parametrize("name", ["sample_id", "label", "group"])
@pytest.mark.parametrize(
    "change",
    [{"shape": [10**12]}, {"shape": []}, {"shape": [3, 10**6]}, {"shape": "x"}, {"data_type": "float64"},
     {"codecs": []}, {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**12]}}}],
)  # fmt: skip
def test_an_index_array_with_invalid_metadata_is_reported_and_not_read(tiny, name, change):
    path = tiny / name / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    assert len(open_cache(tiny)) == 3
    assert f"{name}/zarr.json" in verify(tiny).damaged


FILES = ["zarr.json", "volume/zarr.json", "sample_id/zarr.json", "label/c/0", "sample_id/c/0", "group/c/0",
         "ledger/entries.jsonl", "ledger/zarr.json"]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
@given(data=st.data())
@settings(max_examples=20)
def test_a_cache_with_any_file_damaged_opens_or_fails_with_a_one_line_error(shared_tiny, file, data):
    original = (shared_tiny / file).read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    junk = data.draw(st.binary(max_size=40))
    damaged = data.draw(st.sampled_from([
        original[:position], flipped(original, 8 * position + position % 8), junk,
        original[:position] + junk + original[position + len(junk):],
    ]))  # fmt: skip
    with temporarily_replaced(shared_tiny / file, damaged):
        try:
            cache = open_cache(shared_tiny)
            report = verify(shared_tiny)
        except CacheError as error:
            assert "\n" not in str(error)  # noqa: PT017 - it may open as well
            return
        for entry in cache.samples:
            try:
                assert np.abs(cache[entry.id] - volume(entry.row)).max() < 1e-5
            except DamagedSample:
                assert not report.sound
        assert len(cache) == 3
        assert damaged == original or not report.sound


def test_the_error_about_a_moved_cache_does_not_suggest_rebuilding(tiny, tmp_path):
    cache = open_cache(tiny)
    tiny.rename(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match=f"; {tiny} does not exist any more: "):
        cache[0]
