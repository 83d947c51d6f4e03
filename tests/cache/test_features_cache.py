"""A cache of features keeps every promise of one of volumes, and knows which volumes its features were made of."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cache import CacheError, DamagedSample, InvalidFeatures, RecipeMismatch, catalog, open_cache, store, write_features
from cache.feature_checks import checked_group
from cache.feature_writer import source_of, writing_features
from cache.features import feature_attributes, pending
from cache.fingerprint import digest_bytes, digest_files
from cache.removal import remove
from cache.schema import AUGMENTED, FEATURES, MAX_ID_BYTES, VOLUME, Attributes
from cache.verify import verify
from cache.writer import open_writer
from pipeline.jobs import repair
from pipeline.jobs.report import cache_json, cache_lines
from pipeline.jobs.summary import summarise
from tests.helpers.caches import make_cache, tiny_attributes, volume, write_sample

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("one", "two")


def some_features(count=5, shape=(4, 6), dtype=np.float16):
    """Features unlike any others: some zeros, some larger than 1, some negative."""
    values = np.random.default_rng(7).normal(0.5, 3, (count, *shape))
    return np.where(np.abs(values) < 0.5, 0, values).astype(dtype)


def write(path, array=None, ids=None, labels=None, groups=None, **more):
    array = some_features() if array is None else array
    ids = [f"s{number}" for number in range(len(array))] if ids is None else ids
    return write_features(path, ids, labels, groups, array, **{"class_names": NAMES, "extractor": "mine"} | more)


def entries_of(path):
    return catalog.read_entries(path)


def chunk_of(path, row, layout=FEATURES):
    return store.chunk_path(path, row, layout)


def times(path):
    return {file: file.stat().st_mtime_ns for file in (path / "features" / "c").rglob("*") if file.is_file()}


# -- what is written is read -------------------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=25)
def test_features_are_read_as_they_were_written(tmp_path_factory, data):
    dtype = data.draw(st.sampled_from([np.float16, np.float32]))
    shape = data.draw(array_shapes(min_dims=3, max_dims=3, max_side=5))
    width = np.dtype(dtype).itemsize * 8
    array = data.draw(arrays(dtype, shape, elements=st.floats(allow_nan=False, allow_infinity=False, width=width)))
    array = data.draw(st.sampled_from([array, array[:, ::-1], np.asfortranarray(array)]))
    cache = write(tmp_path_factory.mktemp("f") / "c", array)
    stored = np.stack([cache.stored(number) for number in range(len(cache))])
    assert stored.dtype == dtype
    assert (cache.shape, cache[0].dtype) == (shape[1:], np.float32)
    assert np.array_equal(stored, array)


def test_what_is_said_of_samples_is_kept(tmp_path):
    labels, groups = [0, np.int64(1), -1, None, 1], ["p1", "p1", None, "", np.str_("p2")]
    cache = write(str(tmp_path / "c"), labels=labels, groups=groups, ids=np.array(["a", "b/c", "d", "e", "Ж"]))
    assert (cache.kind, cache.ids, cache.class_names) == ("features", ["a", "b/c", "d", "e", "Ж"], ["one", "two"])
    assert (cache.labels.tolist(), cache.groups, cache.angles) == ([0, 1, -1, -1, 1], ["p1", "p1", "", "", "p2"], ())
    assert cache.recipe == {
        "kind": "features", "version": 1, "dtype": "float16", "depth": 4, "channels": 6, "extractor": "mine",
    }  # fmt: skip
    assert repr(cache) == f"<Cache {tmp_path / 'c'} · features · 5 samples of 4×6>"
    assert np.array_equal(cache["d"], some_features()[2].astype(np.float32))
    assert verify(cache.path).sound


@pytest.mark.parametrize(
    ("given", "asked", "stored"),
    [
        ("float16", None, "float16"), ("float32", None, "float32"), (">f2", None, "float16"),
        ("float64", None, "float32"), ("int8", None, "float32"),
        ("float32", "float16", "float16"), ("float16", "float32", "float32"),
    ],
)  # fmt: skip
def test_the_dtype_is_that_of_the_array_or_as_asked_for(tmp_path, given, asked, stored):
    array = some_features().astype(given)
    cache = write(tmp_path / "c", array, dtype=asked)
    assert cache.stored(0).dtype == stored
    assert np.allclose(cache[3], array[3].astype(np.float32), rtol=1e-3)


def test_rows_are_read_one_at_a_time(tmp_path):
    class Rows:
        shape, dtype = (3, 4, 6), np.dtype(np.float16)

        def __getitem__(self, number):
            assert type(number) is int
            return some_features()[number].tolist()

    assert np.array_equal(write(tmp_path / "c", Rows(), ids=["a", "b", "c"])["c"], some_features()[2])
    mapped = np.memmap(tmp_path / "file", np.float16, "w+", shape=(5, 4, 6))
    mapped[:] = some_features()
    assert np.array_equal(write(tmp_path / "d", mapped)["s4"], some_features()[4])


@pytest.mark.parametrize("angles", [(), (-20, 0, 0.5)])
def test_plain_zarr_and_xarray_read_the_same(tmp_path, angles):
    shape = (*((len(angles),) if angles else ()), 4, 6)
    attributes = feature_attributes(4, 6, NAMES, {"name": "net"}, dtype="float32", angles=angles)
    values = some_features(3, shape, np.float32)
    with writing_features(tmp_path / "c", attributes, ["s0", "s1", "s2"]) as features:
        assert [features.put(f"s{row}", values[row], row - 1) for row in range(3)] == [True] * 3
    cache, group = open_cache(tmp_path / "c"), zarr.open_group(tmp_path / "c", mode="r")
    assert (cache.angles, cache.shape) == (angles, shape)
    dimensions = ("sample", *(("angle",) if angles else ()), "depth", "channel")
    assert group["features"].metadata.dimension_names == dimensions
    assert group["features"].chunks == (1, *shape)
    assert dict(group.attrs) == attributes.to_json()
    assert np.array_equal(group["features"][:], values)
    opened, ours = xarray.open_zarr(tmp_path / "c").load(), cache.to_xarray()
    assert opened.features.dims == ours.features.dims == dimensions
    assert np.array_equal(opened.features.values, ours.features.values)
    assert ours.features.data.chunksize == (1, *shape)
    assert np.array_equal(ours.features.sel(sample="s1"), values[1])
    assert ("angle" in ours.coords) == bool(angles)
    if angles:
        assert np.array_equal(ours.features.sel(angle=0.5)[2], values[2, 2])
    assert verify(tmp_path / "c").sound


def test_no_features_at_all_make_an_empty_cache(tmp_path):
    cache = write(tmp_path / "c", np.empty((0, 4, 6), np.float16))
    assert (len(cache), cache.shape) == (0, (4, 6))
    assert cache.to_xarray().features.shape == (0, 4, 6)
    assert cache._repr_html_()


# -- what cannot be written --------------------------------------------------------------------------------------------


def spoiled(value, dtype=np.float32):
    array = some_features(dtype=dtype)
    array[3, 1, 2] = value
    return array


@pytest.mark.parametrize(
    ("array", "more", "message"),
    [
        (spoiled(np.nan), {}, "s3: nan at (1, 2), expected finite numbers that float32 can hold; leave"),
        (spoiled(-np.inf, np.float16), {}, "s3: -inf at (1, 2), expected finite numbers that float16 can hold; leave"),
        (spoiled(70000), {"dtype": "float16"}, "s3: 70000.0 at (1, 2), expected finite numbers that float16 can"),
        (spoiled(1e39, np.float64), {}, "s3: 1e+39 at (1, 2), expected finite numbers that float32 can hold"),
        (some_features().astype(complex), {}, "s0: features of dtype complex128; expected real numbers"),
        (some_features().astype(str), {}, "s0: features of dtype <U32; expected real numbers"),
        (some_features()[0], {"ids": ["a"]}, "array of shape (4, 6); expected (1 ids, depth, channels)"),
        (some_features()[None], {"ids": ["a"]}, "array of shape (1, 5, 4, 6); expected (1 ids, depth, channels)"),
        (None, {"ids": ["a", "b"]}, "array of shape (5, 4, 6); expected (2 ids, depth, channels)"),
        (np.empty((5, 0, 6)), {}, "shape (0, 6), expected 2 positive integers"),
        (None, {"dtype": "uint8"}, "dtype 'uint8', expected one of float16, float32"),
        (None, {"labels": [0, 1]}, "5 ids, 2 labels, 5 groups"),
        (None, {"groups": ["a"]}, "5 ids, 5 labels, 1 groups"),
        (None, {"labels": [0, 1, 2, 0, 0]}, "s2: label 2; expected 0 to 1 for the 2 class names, or None"),
        (None, {"labels": [0, True, 0, 0, 0]}, "s1: label True; expected 0 to 1 for the 2 class names, or None"),
        (None, {"labels": [0, 1.0, 0, 0, 0]}, "s1: label 1.0; expected 0 to 1 for the 2 class names, or None"),
        (None, {"labels": [0, -2, 0, 0, 0]}, "s1: label -2; expected 0 to 1 for the 2 class names, or None"),
        (None, {"groups": ["a", 1, "a", "a", "a"]}, "s1: group 1; expected"),
        (None, {"class_names": "ab"}, "class names 'ab'; expected a list of different names"),
        (None, {"class_names": ["a", "a"]}, "class names ['a', 'a']; expected a list of different names"),
        (None, {"extractor": ""}, "extractor ''; expected text or a dict"),
        (None, {"extractor": {"a": np.nan}}, "extractor {'a': nan} is not JSON"),
        (None, {"extractor": {"a": np}}, "is not JSON"),
    ],
)  # fmt: skip
def test_what_no_cache_can_hold_is_refused_in_one_line(tmp_path, array, more, message):
    with pytest.raises(InvalidFeatures) as caught:
        write(tmp_path / "c", array, **more)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", ["", "/etc/a", "../a", "a/../b", "a\nb", "\x1b[31m", "a\0", "\udcff", 7, None, b"a"])
def test_an_id_is_a_name_below_a_folder(tmp_path, name):
    with pytest.raises(InvalidFeatures, match=r"^id .*; expected "):
        write(tmp_path / "c", ids=["a", "b", name, "d", "e"])
    assert not (tmp_path / "c").exists()


def test_an_id_is_given_once(tmp_path):
    with pytest.raises(InvalidFeatures, match="id 'a' occurs twice"):
        write(tmp_path / "c", ids=["a", "b", "c", "d", "a"])


@pytest.mark.parametrize("angles", [[], 5, "12", [np.nan], [True], [None], [0, 0.0], [10**400], [400], {"a": 1}])
def test_angles_that_are_none_are_refused(angles):
    recipe = feature_attributes(4, 6, NAMES, "mine").recipe
    with pytest.raises(ValueError, match="angles"):
        Attributes("features", {**recipe, "angles": angles}, NAMES)


def test_attributes_survive_json_and_know_where_a_sample_is():
    plain = feature_attributes(70, 512, NAMES, "net")
    turned = feature_attributes(70, 512, NAMES, {"name": "net"}, angles=[-20, 0, 20])
    for attributes, shape, layout in ((plain, (70, 512), FEATURES), (turned, (3, 70, 512), AUGMENTED)):
        assert Attributes.from_json(json.loads(json.dumps(attributes.to_json()))) == attributes
        assert (attributes.shape, attributes.layout, attributes.sample_bytes) == (shape, layout, 2 * np.prod(shape))
    assert (FEATURES.chunk(3), AUGMENTED.chunk(3), VOLUME.chunk(3)) == (
        "features/c/3/0/0", "features/c/3/0/0/0", "volume/c/3/0/0/0",
    )  # fmt: skip


# -- writing again -----------------------------------------------------------------------------------------------------


def test_the_same_call_again_writes_nothing(tmp_path):
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


def test_samples_of_other_ids_keep_their_class_by_its_name(tmp_path):
    write(tmp_path / "c", labels=[0, 1, 0, 1, 0])
    cache = write(tmp_path / "c", some_features(1), ids=["s0"], labels=[1], class_names=["zero", "two"])
    assert cache.class_names == ["zero", "two", "one"]
    assert cache.labels.tolist() == [1, 1, 2, 1, 2]


def test_a_damaged_chunk_is_written_anew_by_the_same_call(tmp_path):
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
def test_features_that_are_not_as_they_were_written_are_not_returned(tmp_path, bit):
    cache = write(tmp_path / "c")
    data = bytearray(chunk_of(tmp_path / "c", 1).read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    chunk_of(tmp_path / "c", 1).write_bytes(data)
    with pytest.raises(DamagedSample, match=r"^s1: chunk .*; run `features`, or call `write_features`, once more"):
        cache["s1"]
    assert np.array_equal(cache["s2"], some_features()[2])


@pytest.mark.parametrize("file", ["zarr.json", "features/zarr.json", "label/c/0", "ledger/digests.json"])
def test_a_published_file_that_is_gone_is_named_and_written_by_the_same_call(tmp_path, file):
    write(tmp_path / "c")
    (tmp_path / "c" / file).unlink()
    assert list(verify(tmp_path / "c").damaged) == [file]
    write(tmp_path / "c")
    assert verify(tmp_path / "c").sound


def test_after_an_error_in_a_row_the_call_goes_on_where_it_was(tmp_path):
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
        if number == {last}:
            os.kill(os.getpid(), 9)
        return np.full((4, 6), number, np.float16)

write_features(sys.argv[1], [f"s{{n}}" for n in range(9)], None, None, Rows(), class_names=[], extractor="x")
"""


@pytest.mark.parametrize("last", [0, 5])
def test_after_a_kill_the_same_call_finishes(tmp_path, last):
    for end in (last, -1):
        code = subprocess.run([sys.executable, "-c", KILLED.format(last=end), tmp_path / "c"], cwd=ROOT, check=False)
        assert code.returncode == (0 if end < 0 else -9)
        if end > 0:
            assert len(entries_of(tmp_path / "c")) == 4
            kept = {file: times(tmp_path / "c")[file] for file in (chunk_of(tmp_path / "c", row) for row in range(4))}
    cache = open_cache(tmp_path / "c")
    assert [sample.mean() for sample in cache] == list(range(9))
    assert verify(tmp_path / "c").sound
    if last:
        assert kept.items() <= times(tmp_path / "c").items()


@pytest.mark.parametrize(
    ("more", "difference"),
    [
        ({"extractor": "other"}, "extractor mine → other"), ({"dtype": "float32"}, "dtype float16 → float32"),
        ({"array": some_features(5, (4, 7))}, "channels 6 → 7"),
        ({"extractor": {"name": "mine"}}, "extractor mine → {'name': 'mine'}"),
    ],
)  # fmt: skip
def test_a_cache_of_other_features_is_left_alone(tmp_path, more, difference):
    write(tmp_path / "c")
    with pytest.raises(RecipeMismatch) as caught:
        write(tmp_path / "c", **more)
    assert str(caught.value) == (
        f"{tmp_path / 'c'} has another recipe ({difference}); give the same options, or another path"
    )


def test_a_path_that_holds_something_else_is_left_alone(tiny, tmp_path):
    with pytest.raises(RecipeMismatch, match="is a cache of kind ct, not features; give another path"):
        write(tiny)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("mine")
    for path in (tmp_path / "folder", tmp_path / "folder" / "file"):
        with pytest.raises(CacheError, match="exists and is not a cache"):
            write(path)
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["file"]
    assert verify(tiny).sound


def test_samples_that_lost_their_ledger_line_are_not_forgotten(tmp_path):
    write(tmp_path / "c")
    path = catalog.ledger_path(tmp_path / "c")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    path.with_name("snapshot.jsonl").unlink()
    write(tmp_path / "c", some_features(2))
    assert verify(tmp_path / "c").damaged.keys() == {"s4"}
    write(tmp_path / "c")
    assert verify(tmp_path / "c").sound


# -- features of a volume cache ----------------------------------------------------------------------------------------


def extract(sample):
    return np.stack([sample.mean((1, 2)), 5 * sample.max((1, 2))], axis=1)


def attributes_for(volumes, **more):
    return feature_attributes(volumes.shape[0], 2, volumes.class_names, {"name": "net"}, volumes=volumes, **more)


def follow(root, path):
    """What a program does that makes features of a volume cache: the ids made, and how it had found things."""
    volumes = open_cache(root)
    attributes = attributes_for(volumes)
    work = pending(volumes, path, attributes)
    with writing_features(path, attributes, volumes.ids) as features:
        changed = features.follow(volumes)
        for name in work.to_make:
            entry, source = volumes.entry(name), source_of(volumes, name)
            features.put(name, extract(volumes[name]), entry.label, entry.group, source)
    return work, changed


@pytest.fixture
def both(tiny, tmp_path):
    """A volume cache, and one of its features."""
    follow(tiny, tmp_path / "f")
    return tiny, tmp_path / "f"


def remake(root, row):
    """Make the sample of `row` again, from other values."""
    attributes = catalog.read_attributes(root)
    with open_writer(root, attributes, entries_of(root)) as writer:
        writer.commit([write_sample(root, attributes, row, volume(row + 100))])


def test_features_follow_the_volumes_they_come_from(both):
    volumes, features = map(open_cache, both)
    assert (features.ids, features.labels.tolist(), features.groups) == (
        volumes.ids, volumes.labels.tolist(), volumes.groups,
    )  # fmt: skip
    assert features.recipe["source"] == volumes.recipe
    assert features.attributes.sources == (str(both[0].resolve()),)
    assert np.allclose(features["s1"], extract(volumes["s1"]), rtol=1e-3)
    assert features.record("s1")["file"] == str(store.chunk_path(both[0], 1))


def test_the_source_of_features_is_the_chunk_as_its_digest_is_on_record(both):
    for entry in entries_of(both[1]).values():
        (chunk,) = entry.source.paths
        recorded = entries_of(both[0])[entry.id].digest
        assert entry.source.digest == recorded == digest_files([chunk]) == digest_bytes(chunk.read_bytes())


def test_nothing_is_made_where_nothing_changed(both):
    before = times(both[1])
    work, changed = follow(*both)
    assert (work.to_make, work.vanished, work.kept, changed) == ([], [], 3, [])
    assert times(both[1]) == before


def test_missing_stale_and_damaged_features_are_to_be_made(both):
    remake(both[0], 0)
    make_cache(both[0], 1)
    chunk_of(both[1], 2).write_bytes(b"")
    stale = verify(both[1]).stale
    assert stale["s0"] == (
        f"its source {store.chunk_path(both[0], 0)} has changed since; "
        "run `features`, or call `write_features`, once more"
    )
    work, _ = follow(*both)
    assert (work.to_make, work.kept) == (["s0", "s2", "s3"], 1)
    assert verify(both[1]).sound
    assert np.allclose(open_cache(both[1])["s0"], extract(open_cache(both[0])["s0"]), rtol=1e-3)


def test_a_corrected_label_changes_the_ledger_and_no_features(both):
    before = times(both[1])
    old = catalog.read_attributes(both[0])
    entries = entries_of(both[0])
    with open_writer(both[0], old.replace(class_names=("three", "two", "one")), entries) as writer:
        writer.commit([entries["s1"].replace(label=0, group="other")])
    work, changed = follow(*both)
    assert (work.to_make, changed) == ([], ["s1"])
    cache = open_cache(both[1])
    assert (cache.labels.tolist(), cache.groups[1]) == ([0, 0, 0], "other")
    assert cache.class_names == ["three", "two", "one"]
    assert times(both[1]) == before
    assert verify(both[1]).sound


def test_features_of_samples_that_vanished_are_kept_and_reported(both, tmp_path):
    other = make_cache(tmp_path / "other", [volume(0), volume(1)], tiny_attributes(class_names=("two", "new")))
    before = open_cache(both[1])["s2"]
    work, _ = follow(other, both[1])
    assert work.vanished == ["s2"]
    cache = open_cache(both[1])
    assert np.array_equal(cache["s2"], before)
    assert cache.class_names == ["two", "new", "one"]
    assert cache.attributes.class_name(cache.labels[2]) == "one"


def test_features_of_a_removed_sample_are_not_stale_when_another_gets_its_row(both):
    remove(both[0], ["s1"])
    assert verify(both[1]).vanished == ["s1"]
    attributes = catalog.read_attributes(both[0])
    with open_writer(both[0], attributes, entries_of(both[0])) as writer:
        writer.commit([write_sample(both[0], attributes, 1, volume(7), name="new")])
    follow(*both)
    report = verify(both[1])
    assert (report.ok, report.vanished, report.stale) == (3, ["s1"], {})
    remake(both[0], 0)
    report = verify(both[1])
    assert (list(report.stale), report.vanished) == (["s0"], ["s1"])


def test_volumes_that_were_moved_are_still_the_source(both, tmp_path):
    shutil.move(both[0], tmp_path / "moved")
    assert verify(both[1]).vanished == ["s0", "s1", "s2"]
    work, changed = follow(tmp_path / "moved", both[1])
    assert (work.to_make, changed) == ([], [])
    assert verify(both[1]).vanished == []
    remake(tmp_path / "moved", 1)
    assert list(verify(both[1]).stale) == ["s1"]


def test_a_volume_that_is_gone_makes_no_features_stale(both):
    store.chunk_path(both[0], 1).unlink()
    work, _ = follow(*both)
    assert (work.to_make, verify(both[1]).vanished) == ([], ["s1"])


def test_features_of_volumes_by_another_recipe_are_refused(both, tmp_path):
    other = open_cache(make_cache(tmp_path / "other", 1, tiny_attributes(order=1)))
    for call in (pending, lambda volumes, path, attributes: writing_features(path, attributes, []).__enter__()):
        with pytest.raises(RecipeMismatch, match=r"another recipe \(source.order None → 1\)"):
            call(other, both[1], attributes_for(other))


def test_a_sample_put_twice_is_that_put_last(tmp_path):
    attributes = feature_attributes(4, 6, NAMES, "net")
    values = some_features(2)
    with writing_features(tmp_path / "c", attributes, ["a"]) as features:
        assert [features.put("a", values[number]) for number in (0, 1, 1)] == [True, True, False]
    assert np.array_equal(open_cache(tmp_path / "c")["a"], values[1])
    assert verify(tmp_path / "c").sound


def test_a_label_is_followed_before_and_after_its_features_are_put(tiny, tmp_path):
    volumes = open_cache(tiny)
    values = extract(volumes["s1"])
    with writing_features(tmp_path / "f", attributes_for(volumes), volumes.ids) as features:
        features.put("s1", values, np.int64(0), "", source_of(volumes, "s1"))
        assert features.follow(volumes) == ["s1"]
        assert features.follow(volumes) == []
    cache = open_cache(tmp_path / "f")
    assert (cache.labels.tolist(), cache.groups) == ([1], ["patient 1"])
    assert np.allclose(cache["s1"], values, rtol=1e-3)


# -- looking at it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("angles", "what"), [((), "features"), ((-20, 0), "features, at -20 degrees")])
def test_a_montage_of_features_is_one_image_with_its_axes(tmp_path, angles, what):
    values = some_features(1, (*((2,) if angles else ()), 4, 6))[0]
    with writing_features(tmp_path / "c", feature_attributes(4, 6, NAMES, "net", angles=angles), ["a"]) as features:
        features.put("a", values, 1)
    figure = open_cache(tmp_path / "c").montage("a")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("channel", "depth")
    assert np.array_equal(axes.images[0].get_array(), values[0] if angles else values)
    assert figure.get_suptitle() == f"a · two · {what}"
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_summary_of_features_has_their_shape_and_thumbnails(tmp_path):
    cache = write(tmp_path / "c", labels=[0, 1, 0, 1, None], extractor={"name": "<b>net"})
    chunk_of(tmp_path / "c", 1).write_bytes(b"")
    html = cache._repr_html_()
    for text in ("features cache", "5 × 4 × 6, stored as float16", "one 2, two 2", "&lt;b&gt;net", "s1: damaged"):
        assert text in html
    assert html.count("<img ") == 4


def test_info_tells_what_the_features_are_and_how_they_were_made(both):
    attributes, entries = catalog.read_attributes(both[1]), entries_of(both[1])
    summary = summarise(attributes, entries)
    lines = list(cache_lines("f", summary, attributes, unpublished=True))
    assert lines == [
        "f: features, 3 samples of 3×2",
        "recipe: kind features, version 1, dtype float16, depth 3, channels 2",
        "extractor: name net",
        "source: kind ct, depth 3, height 4, width 5, dtype uint16",
        "  one: 2",
        "  two: 1",
        "  unlabelled: 0",
        "A run is writing to it, or was interrupted: the same `features` command or `write_features` call resumes it.",
        "3 discovered = 3 complete + 0 quarantined + 0 excluded",
    ]
    told = json.loads(json.dumps(cache_json(summary, attributes)))
    assert (told["kind"], told["shape"], told["complete"]) == ("features", [3, 2], 3)
    assert told["recipe"] == attributes.recipe


def test_repair_says_what_to_do_instead(both, tmp_path):
    with pytest.raises(CacheError) as ours:
        repair.prepare(both[1])
    assert str(ours.value) == (
        f"{both[1]} is a feature cache, which `repair` cannot rebuild; run `features {both[0]} {both[1]}` again"
    )
    write(tmp_path / "c")
    with pytest.raises(CacheError, match=r"write it again with `write_features`$"):
        repair.prepare(tmp_path / "c")


def test_a_sample_of_full_size_takes_at_most_a_thirtieth_of_its_volume(tmp_path):
    dense = np.random.default_rng(0).random((1, 70, 512), np.float32).astype(np.float16)  # nothing to compress
    write(tmp_path / "c", dense)
    assert chunk_of(tmp_path / "c", 0).stat().st_size <= 70 * 224 * 224 / 30


def test_a_group_may_be_as_long_as_any_path():
    assert len(checked_group("s", "é" * (MAX_ID_BYTES // 2))) == MAX_ID_BYTES // 2
    with pytest.raises(InvalidFeatures, match="expected at most 4096 bytes"):
        checked_group("s", "é" * (MAX_ID_BYTES // 2) + "a")
