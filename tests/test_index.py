"""What is read of the published arrays, whatever their chunks are called and hold."""

import numpy as np
import pytest
from conftest import make_cache
from numcodecs.zstd import Zstd
from test_hostile_folders import compressed

from cache import index
from cache.schema import MAX_ROWS, UNLABELLED


def labels(*values):
    """A chunk of the labels, the first ones `values`."""
    return compressed(np.array([*values, *[UNLABELLED] * (index.ROWS - len(values))], "<i8").tobytes())


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("1", index.ROWS),
        (str(MAX_ROWS // index.ROWS - 1), (MAX_ROWS // index.ROWS - 1) * index.ROWS),
        (str(MAX_ROWS // index.ROWS), None),  # a row that no cache has
        (str(10**9), None),
        ("1" * 200, None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        (".zarr", None),
    ],
)
def test_chunks_are_read_up_to_the_last_row_that_a_cache_can_have(tmp_path, name, row):
    (tmp_path / "label/c").mkdir(parents=True)
    (tmp_path / "label/c" / name).write_bytes(labels(7))
    found = {number: label for number, label in index._column(tmp_path, "label") if label == 7}
    assert found == ({} if row is None else {row: 7})


@pytest.mark.parametrize("size", [8 * index.ROWS - 8, 8 * index.ROWS + 8, 0])
def test_a_chunk_of_another_length_says_nothing(tmp_path, size):
    (tmp_path / "label/c").mkdir(parents=True)
    (tmp_path / "label/c/0").write_bytes(compressed(bytes(size)))
    assert list(index._column(tmp_path, "label")) == []


def test_a_cache_is_read_back_as_it_was_published(tmp_path):
    root = make_cache(tmp_path / "c.zarr", 3, names=["a", "ä", "c" * 300])
    strings = dict(index._column(root, "sample_id"))
    assert {row: text for row, text in strings.items() if text} == {0: "a", 1: "ä", 2: "c" * 300}
    assert len(strings) == index.ROWS


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536 + 256, 1 << 20])
def test_the_size_that_a_frame_states_is_that_of_its_content(size):
    frame = Zstd(3).encode(bytes(size) if size < 300 else np.random.default_rng(0).bytes(size))
    if len(frame) >= 18:
        assert index._zstd_size(frame) == size
        assert len(bytes(Zstd().decode(frame))) == size
