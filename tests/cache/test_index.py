"""The published index arrays are read safely, whatever the names and contents of their chunks."""

import json

import numpy as np
import pytest
import zarr
from numcodecs.zstd import Zstd

from cache import index
from cache.schema import MAX_ROWS, UNLABELLED, Entry
from tests.helpers.caches import make_cache, tiny_attributes
from tests.helpers.hostile import compressed


def labels(*values):
    """A chunk of the label array that begins with `values`."""
    return compressed(np.array([*values, *[UNLABELLED] * (index.ROWS - len(values))], "<i8").tobytes())


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("1", index.ROWS),
        (str(MAX_ROWS // index.ROWS - 1), (MAX_ROWS // index.ROWS - 1) * index.ROWS),
        (str(MAX_ROWS // index.ROWS), None),  # beyond the last possible row
        (str(10**9), None),
        ("1" * 200, None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        (".zarr", None),
    ],
)
def test_only_chunks_below_the_maximum_number_of_rows_are_read(tmp_path, name, row):
    (tmp_path / "label/c").mkdir(parents=True)
    (tmp_path / "label/c" / name).write_bytes(labels(7))
    rows = {number: label for number, label in index._column(tmp_path, "label") if label == 7}
    assert rows == ({} if row is None else {row: 7})


@pytest.mark.parametrize("size", [8 * index.ROWS - 8, 8 * index.ROWS + 8, 0])
def test_a_chunk_of_the_wrong_length_is_ignored(tmp_path, size):
    (tmp_path / "label/c").mkdir(parents=True)
    (tmp_path / "label/c/0").write_bytes(compressed(bytes(size)))
    assert list(index._column(tmp_path, "label")) == []


def test_published_ids_are_read_back_unchanged(tmp_path):
    root = make_cache(tmp_path / "c.zarr", 3, names=["a", "ä", "c" * 300])
    strings = dict(index._column(root, "sample_id"))
    assert {row: text for row, text in strings.items() if text} == {0: "a", 1: "ä", 2: "c" * 300}
    assert len(strings) == index.ROWS


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536 + 256, 1 << 20])
def test_the_content_size_is_read_from_the_header_of_a_frame(size):
    frame = Zstd(3).encode(bytes(size) if size < 300 else np.random.default_rng(0).bytes(size))
    if len(frame) >= 18:
        assert index._zstd_size(frame) == size
        assert len(bytes(Zstd().decode(frame))) == size


@pytest.mark.parametrize("size", [300, 70_000])
@pytest.mark.parametrize("dictionary", [0, 1, 2, 3])
def test_the_content_size_is_read_from_a_frame_with_a_window_or_a_dictionary(size, dictionary):
    """Other programs may write such frames: RFC 8878, 3.1.1.1."""
    content_size = (size - 256).to_bytes(2, "little") if size < 65_536 else size.to_bytes(4, "little")
    descriptor = (1 if size < 65_536 else 2) << 6 | dictionary
    dictionary_id = bytes([9] * (0, 1, 2, 4)[dictionary])
    header = index.ZSTD_MAGIC + bytes([descriptor, 0x58]) + dictionary_id + content_size
    assert index._zstd_size(header + bytes(20)) == size


def entries(rows, **fields):
    return [Entry(f"s{row}", "complete", row=row, **fields) for row in rows]


def test_chunks_of_the_derived_arrays_are_written_only_for_rows_with_samples():
    documents = index.documents_of(tiny_attributes(), entries([1, 2 * index.ROWS + 5]))
    chunks = sorted(key for key in documents if key.split("/")[0] in index.COLUMNS and "/c/" in key)
    assert chunks == sorted(f"{name}/c/{number}" for name in index.COLUMNS for number in (0, 2))
    group = zarr.open_group({key: zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(data)
                             for key, data in documents.items()}, mode="r")  # fmt: skip
    assert {row for row, name in enumerate(group["sample_id"][:]) if name} == {1, 2 * index.ROWS + 5}


def test_a_chunk_of_unlabelled_samples_is_written_to_replace_an_older_one():
    assert "label/c/0" in index.documents_of(tiny_attributes(), entries([0], label=UNLABELLED))


@pytest.mark.parametrize(("dtype", "factor"), [("uint8", 1 / 255), ("uint16", 1 / 65535), ("float16", None)])
def test_only_integer_arrays_have_a_scale_factor(dtype, factor):
    document = json.loads(index.documents_of(tiny_attributes(dtype), [])["volume/zarr.json"])
    assert document["attributes"] == ({} if factor is None else {"scale_factor": factor})


def test_published_chunks_have_numeric_names_and_are_not_behind_a_link(tmp_path):
    root = make_cache(tmp_path / "c.zarr", 3)
    (root / "label/c/notes.txt").write_text("mine")
    (root / "group/c").rename(tmp_path / "elsewhere")
    (root / "group/c").symlink_to(tmp_path / "elsewhere")
    assert set(index.published_chunks(root)) == {root / "sample_id/c/0", root / "label/c/0"}
