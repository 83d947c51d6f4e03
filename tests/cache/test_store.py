"""Committed samples are read back unchanged, and plain Zarr and xarray read the same values."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cache import NotACache, catalog, index, ledger, open_cache, store
from cache.schema import DTYPES, Entry, Source, scale_factor
from cache.verify import verify
from cache.writer import open_writer
from tests.helpers.caches import SHAPE, files_of, make_cache, tiny_attributes, volume, write_sample

ERROR = {"uint8": 0.51 / 255, "uint16": 0.51 / 65535, "float16": 2.5e-4, "float32": 0}


def round_trip(root, values, dtype):
    """Write one sample and read it back as stored."""
    (root / "ledger/partial").mkdir(parents=True, exist_ok=True)
    nbytes, digest = store.write_chunk(root, 0, values, dtype)
    return store.read_chunk(root, Entry("s", "complete", row=0, nbytes=nbytes, digest=digest), values.shape, dtype)


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chunks")


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@settings(max_examples=40)
def test_written_values_are_read_within_the_precision_of_the_dtype(folder, dtype, data):
    source = data.draw(st.sampled_from([np.float32, np.float64]))
    shape = data.draw(array_shapes(min_dims=3, max_dims=3, max_side=7))
    values = data.draw(arrays(source, shape, elements=st.floats(0, 1, width=32)))
    values = data.draw(st.sampled_from([values, values[::-1, :, ::-1], np.asfortranarray(values)]))
    stored = round_trip(folder, values, dtype)
    decoded = stored * np.float64(scale_factor(dtype) or 1)
    assert stored.dtype == dtype
    assert np.abs(decoded - values).max() <= ERROR[dtype]
    assert np.array_equal(round_trip(folder, stored, dtype), stored)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_a_constant_sample_is_stored_in_a_chunk_and_keeps_its_value(tmp_path, dtype, value):
    constant = np.full(SHAPE, value, np.float32)
    root = make_cache(tmp_path / "c", [constant, constant], tiny_attributes(dtype))
    assert catalog.rows_present(root) == {0, 1}
    assert np.allclose(open_cache(root)[1], value, atol=ERROR[dtype])
    plain = zarr.open_group(root, mode="r")["volume"]
    assert np.allclose(plain[1] * plain.attrs.get("scale_factor", 1), value, atol=ERROR[dtype])


@pytest.mark.parametrize("invalid", [1.001, -0.001, np.nan, np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_outside_0_to_1_are_rejected(dtype, invalid):
    values = volume(0)
    values[1, 2, 3] = invalid
    with pytest.raises(ValueError, match="expected 0 to 1"):
        store.encode(values, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_zarr_and_xarray_read_the_same_after_every_append(tmp_path, dtype):
    attributes = tiny_attributes(dtype)
    for count in (0, 2, 2, 1):  # warnings are errors
        root = make_cache(tmp_path / "c", [volume(row) for row in range(count)], attributes)
        cache = open_cache(root)
        group = zarr.open_group(root, mode="r")
        plain = group["volume"]
        dataset = xarray.open_zarr(root).load()
        assert dict(group.attrs) == attributes.to_json()
        assert plain.shape == (len(cache), *SHAPE)
        assert plain.chunks == (1, *SHAPE)
        assert plain.metadata.dimension_names == ("sample", "depth", "height", "width")
        assert plain.attrs.asdict() == ({"scale_factor": scale_factor(dtype)} if scale_factor(dtype) else {})
        assert dataset.volume.dims == plain.metadata.dimension_names
        assert dataset.label.dims == dataset.sample_id.dims == ("sample",)
        for number, sample in enumerate(cache):
            assert np.array_equal(plain[number], cache.stored(number))
            assert np.allclose(dataset.volume[number], sample, rtol=0, atol=1e-7)
        assert dataset.label.values.tolist() == group["label"][:].tolist() == cache.labels.tolist()
        assert dataset.sample_id.values.tolist() == group["sample_id"][:].tolist() == cache.ids
        assert group["group"][:].tolist() == cache.groups


def test_without_consolidated_metadata_zarr_finds_the_same_members(tiny):
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")  # Zarr does not know the files in `ledger`
        members = dict(zarr.open_group(tiny, mode="r", use_consolidated=False).members())
    assert members.keys() == dict(zarr.open_group(tiny, mode="r").members()).keys()


def test_rows_that_are_not_complete_have_no_id_and_no_label(tmp_path):
    root, attributes = tmp_path / "c", tiny_attributes()
    with open_writer(root, attributes, {}) as writer:
        writer.commit([write_sample(root, attributes, 2, volume(2), label=1)])
        writer.commit([Entry("bad", "quarantined", row=0, label=1), Entry("x.txt", "excluded")])
    group = zarr.open_group(root, mode="r")
    assert group["sample_id"][:].tolist() == ["", "", "s2"]
    assert group["label"][:].tolist() == [-1, -1, 1]
    assert open_cache(root).ids == ["s2"]


def test_an_index_of_several_chunks_grows_by_appends(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "ROWS", 2)
    for count in (1, 2, 2):
        root = make_cache(tmp_path / "c", [volume(row) for row in range(count)])
        cache = open_cache(root)
        assert zarr.open_group(root, mode="r")["sample_id"][:].tolist() == cache.ids
        assert verify(root).sound
    assert len(cache) == 5


# -- the ledger and the index ------------------------------------------------------------------------------------------


def test_new_labels_do_not_touch_the_volume_array(tiny):
    before = {path: path.stat().st_mtime_ns for path in (tiny / "volume").rglob("*")}
    with open_writer(tiny, catalog.read_attributes(tiny), catalog.read_entries(tiny)) as writer:
        writer.commit([entry.replace(label=1) for entry in writer.entries.values()])
    assert {path: path.stat().st_mtime_ns for path in (tiny / "volume").rglob("*")} == before
    assert zarr.open_group(tiny, mode="r")["label"][:].tolist() == [1, 1, 1]
    assert verify(tiny).sound


def test_a_ledger_with_many_outdated_lines_is_compacted(tmp_path):
    root, attributes = tmp_path / "c", tiny_attributes()
    entry = Entry("a.txt", "excluded", source=Source("/", ("a.txt",)))
    with open_writer(root, attributes, {}) as writer:
        writer.commit([entry] * 1005)
    with open_writer(root, attributes, {entry.id: entry}) as writer:
        writer.commit([entry])
    assert ledger.read(root / "ledger").lines == 2


def test_forgotten_entries_are_removed_and_the_others_stay(tiny):
    with open_writer(tiny, catalog.read_attributes(tiny), catalog.read_entries(tiny)) as writer:
        writer.commit([Entry("a", "quarantined"), Entry("b", "quarantined")])
        writer.forget(["a", "unknown"])
        writer.commit([Entry("c", "quarantined")])
    assert list(catalog.read_entries(tiny)) == ["s0", "s1", "s2", "b", "c"]


def test_rows_that_readers_may_have_open_are_reserved_while_their_chunk_exists(tiny):
    layout = catalog.read_attributes(tiny).layout
    contents = catalog.read_contents(tiny)
    old = list(contents.entries.values())
    contents.ledger.superseded = old
    assert catalog.reserved_rows(tiny, contents, layout) == {entry.row for entry in old} == {0, 1, 2}
    store.chunk_path(tiny, 1, layout).unlink()
    assert catalog.reserved_rows(tiny, contents, layout) == {0, 2}


# -- metadata ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:99]),
        lambda path: path.write_bytes(b"[" * 10**6),
        lambda path: path.write_bytes(b"\xff"),
    ],
)
def test_a_cache_opens_without_its_zarr_json_and_the_next_run_restores_it(tiny, damage):
    before = files_of(tiny)
    damage(tiny / "zarr.json")
    assert len(open_cache(tiny)) == 3
    assert list(verify(tiny).damaged) == ["zarr.json"]
    make_cache(tiny, 0)
    assert files_of(tiny) == before


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"[]", b"5", b'{"attributes": null}', b'{"attributes": {"kind": 1}}', b'{"attributes": []}',
     b'{"attributes": {"kind": "ct", "recipe": {"dtype": []}, "class_names": [], "format_version": 1}}',
     b'{"attributes": {"kind": "ct", "recipe": {"dtype": "uint8"}, "class_names": 5, "format_version": 1}}'],
)  # fmt: skip
def test_a_folder_that_is_not_a_cache_is_reported_in_one_line(tmp_path, document):
    (tmp_path / "zarr.json").write_bytes(document)
    with pytest.raises(NotACache) as caught:
        open_cache(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_path_is_not_a_cache(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(NotACache) as caught:
            open_cache(str(path))
        assert str(caught.value) == f"{path} is not a cache: it has no readable zarr.json; build one with `preprocess`"
        assert isinstance(caught.value, FileNotFoundError)


def test_a_cache_can_be_moved(tiny, tmp_path):
    shutil.move(tiny, tmp_path / "moved")
    assert verify(tmp_path / "moved").sound


@pytest.mark.parametrize("name", ["zarr.json", "ledger/zarr.json"])
def test_a_damaged_class_name_is_ignored_if_a_digest_shows_it_and_rejected_if_not(tiny, name):
    path = tiny / name
    path.write_bytes(path.read_bytes().replace(b'"one"', b'"ona"'))
    assert open_cache(tiny).class_names == ["one", "two"]
    (tiny / catalog.DIGESTS).unlink()
    with pytest.raises(NotACache, match="describe different caches, and no digest says which is right"):
        open_cache(tiny)
    path.unlink()
    assert open_cache(tiny).class_names == ["one", "two"]


def test_a_sample_found_only_in_the_published_arrays_is_lost_but_keeps_its_row_and_label(tiny):
    assert catalog.read_contents(tiny).lost == []
    log = tiny / "ledger/entries.jsonl"
    log.write_bytes(b"".join(line for line in log.read_bytes().splitlines(keepends=True) if b'"s1"' not in line))
    (tiny / "ledger/snapshot.jsonl").unlink()
    contents = catalog.read_contents(tiny)
    assert [(entry.id, entry.row, entry.label, entry.group) for entry in contents.lost] == [("s1", 1, 1, "patient 1")]
    assert contents.entries.keys() == {"s0", "s1", "s2"}
    assert contents.entries["s0"].digest
    assert not contents.is_complete
