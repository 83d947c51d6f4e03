"""What was committed is there whole, whatever happens to the writer; what is there reads alike with plain Zarr."""

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


def one_chunk(root, values, dtype):
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
def test_reading_returns_the_written_values_up_to_the_error_of_the_dtype(folder, dtype, data):
    source = data.draw(st.sampled_from([np.float32, np.float64]))
    shape = data.draw(array_shapes(min_dims=3, max_dims=3, max_side=7))
    values = data.draw(arrays(source, shape, elements=st.floats(0, 1, width=32)))
    values = data.draw(st.sampled_from([values, values[::-1, :, ::-1], np.asfortranarray(values)]))
    stored = one_chunk(folder, values, dtype)
    decoded = stored * np.float64(scale_factor(dtype) or 1)
    assert stored.dtype == dtype
    assert np.abs(decoded - values).max() <= ERROR[dtype]
    assert np.array_equal(one_chunk(folder, stored, dtype), stored)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_a_constant_sample_has_its_chunk_and_keeps_its_value(tmp_path, dtype, value):
    constant = np.full(SHAPE, value, np.float32)
    root = make_cache(tmp_path / "c", [constant, constant], tiny_attributes(dtype))
    assert catalog.rows_present(root) == {0, 1}
    assert np.allclose(open_cache(root)[1], value, atol=ERROR[dtype])
    plain = zarr.open_group(root, mode="r")["volume"]
    assert np.allclose(plain[1] * plain.attrs.get("scale_factor", 1), value, atol=ERROR[dtype])


@pytest.mark.parametrize("wrong", [1.001, -0.001, np.nan, np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_that_would_overflow_are_rejected(dtype, wrong):
    values = volume(0)
    values[1, 2, 3] = wrong
    with pytest.raises(ValueError, match="expected 0 to 1"):
        store.encode(values, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_zarr_and_xarray_read_the_same_after_every_append(tmp_path, dtype):
    attributes = tiny_attributes(dtype)
    for count in (0, 2, 2, 1):  # warnings are errors
        root = make_cache(tmp_path / "c", [volume(row) for row in range(count)], attributes)
        ours = open_cache(root)
        group = zarr.open_group(root, mode="r")
        plain = group["volume"]
        opened = xarray.open_zarr(root).load()
        assert dict(group.attrs) == attributes.to_json()
        assert plain.shape == (len(ours), *SHAPE)
        assert plain.chunks == (1, *SHAPE)
        assert plain.metadata.dimension_names == ("sample", "depth", "height", "width")
        assert plain.attrs.asdict() == ({"scale_factor": scale_factor(dtype)} if scale_factor(dtype) else {})
        assert opened.volume.dims == plain.metadata.dimension_names
        assert opened.label.dims == opened.sample_id.dims == ("sample",)
        for number, sample in enumerate(ours):
            assert np.array_equal(plain[number], ours.stored(number))
            assert np.allclose(opened.volume[number], sample, rtol=0, atol=1e-7)
        assert opened.label.values.tolist() == group["label"][:].tolist() == ours.labels.tolist()
        assert opened.sample_id.values.tolist() == group["sample_id"][:].tolist() == ours.ids
        assert group["group"][:].tolist() == ours.groups


def test_without_consolidated_metadata_zarr_finds_the_same_members(tiny):
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")  # `ledger` holds files that are none of Zarr's
        found = dict(zarr.open_group(tiny, mode="r", use_consolidated=False).members())
    assert found.keys() == dict(zarr.open_group(tiny, mode="r").members()).keys()


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
        ours = open_cache(root)
        assert zarr.open_group(root, mode="r")["sample_id"][:].tolist() == ours.ids
        assert verify(root).sound
    assert len(ours) == 5


# -- who may write -----------------------------------------------------------------------------------------------------


# -- what a death leaves -----------------------------------------------------------------------------------------------


# -- the ledger and the index ------------------------------------------------------------------------------------------


def test_new_labels_touch_no_array(tiny):
    before = {path: path.stat().st_mtime_ns for path in (tiny / "volume").rglob("*")}
    with open_writer(tiny, catalog.read_attributes(tiny), catalog.read_entries(tiny)) as writer:
        writer.commit([entry.replace(label=1) for entry in writer.entries.values()])
    assert {path: path.stat().st_mtime_ns for path in (tiny / "volume").rglob("*")} == before
    assert zarr.open_group(tiny, mode="r")["label"][:].tolist() == [1, 1, 1]
    assert verify(tiny).sound


def test_a_ledger_does_not_grow_without_end(tmp_path):
    root, attributes = tmp_path / "c", tiny_attributes()
    one = Entry("a.txt", "excluded", source=Source("/", ("a.txt",)))
    with open_writer(root, attributes, {}) as writer:
        writer.commit([one] * 1005)
    with open_writer(root, attributes, {one.id: one}) as writer:
        writer.commit([one])
    assert ledger.read(root / "ledger").lines == 2


def test_forgotten_entries_are_removed_and_the_others_stay(tiny):
    with open_writer(tiny, catalog.read_attributes(tiny), catalog.read_entries(tiny)) as writer:
        writer.commit([Entry("a", "quarantined"), Entry("b", "quarantined")])
        writer.forget(["a", "never heard of"])
        writer.commit([Entry("c", "quarantined")])
    assert list(catalog.read_entries(tiny)) == ["s0", "s1", "s2", "b", "c"]


def test_rows_that_readers_may_have_open_are_kept_as_long_as_their_chunk_is_there(tiny):
    layout = catalog.read_attributes(tiny).layout
    known = catalog.read_contents(tiny)
    old = list(known.entries.values())
    known.ledger.superseded = old
    assert catalog.reserved_rows(tiny, known, layout) == {entry.row for entry in old} == {0, 1, 2}
    store.chunk_path(tiny, 1, layout).unlink()
    assert catalog.reserved_rows(tiny, known, layout) == {0, 2}


# -- what describes the cache ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:99]),
        lambda path: path.write_bytes(b"[" * 10**6),
        lambda path: path.write_bytes(b"\xff"),
    ],
)
def test_a_cache_opens_without_its_zarr_json_and_the_next_run_writes_it_again(tiny, damage):
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
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(NotACache) as caught:
            open_cache(str(path))
        assert str(caught.value) == f"{path} is not a cache: it has no readable zarr.json; build one with `preprocess`"
        assert isinstance(caught.value, FileNotFoundError)


def test_a_cache_can_be_moved(tiny, tmp_path):
    shutil.move(tiny, tmp_path / "moved")
    assert verify(tmp_path / "moved").sound


@pytest.mark.parametrize("name", ["zarr.json", "ledger/zarr.json"])
def test_a_damaged_class_name_is_rejected(tiny, name):
    path = tiny / name
    path.write_bytes(path.read_bytes().replace(b'"one"', b'"ona"'))
    assert open_cache(tiny).class_names == ["one", "two"]
    (tiny / catalog.DIGESTS).unlink()
    with pytest.raises(NotACache, match="describe different caches, and no digest says which is right"):
        open_cache(tiny)
    path.unlink()
    assert open_cache(tiny).class_names == ["one", "two"]


def test_a_sample_that_only_the_published_arrays_know_is_lost_and_keeps_its_row_and_label(tiny):
    assert catalog.read_contents(tiny).lost == []
    log = tiny / "ledger/entries.jsonl"
    log.write_bytes(b"".join(line for line in log.read_bytes().splitlines(keepends=True) if b'"s1"' not in line))
    (tiny / "ledger/snapshot.jsonl").unlink()
    known = catalog.read_contents(tiny)
    assert [(entry.id, entry.row, entry.label, entry.group) for entry in known.lost] == [("s1", 1, 1, "patient 1")]
    assert known.entries.keys() == {"s0", "s1", "s2"}
    assert known.entries["s0"].digest
    assert not known.is_complete
