"""Digests are equal for equal bytes, and differ for different bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import fingerprint
from cache.fingerprint import digest_bytes, digest_files, digest_recipe


@pytest.mark.parametrize("sizes", [(), (0,), (10,), (7, 0, 9), (64, 64), (100, 1000)])
def test_the_digest_of_files_is_that_of_their_concatenated_bytes(tmp_path, monkeypatch, sizes):
    monkeypatch.setattr(fingerprint, "BLOCK_BYTES", 64)
    paths = [tmp_path / str(number) for number in range(len(sizes))]
    for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        path.write_bytes(bytes([number]) * size)
    assert digest_files(paths) == digest_bytes(b"".join(path.read_bytes() for path in paths))


def test_the_digest_of_a_missing_file_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        digest_files([tmp_path / "missing"])


@given(st.binary(min_size=1, max_size=300), st.data())
def test_one_flipped_bit_changes_the_digest(data, draw):
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    assert digest_bytes(bytes(flipped)) != digest_bytes(data)


def test_the_digest_of_a_recipe_does_not_depend_on_the_order_of_its_keys():
    assert digest_recipe({"a": 1, "b": [2.5, "x"]}) == digest_recipe({"b": [2.5, "x"], "a": 1})
    assert digest_recipe({"a": 1}) != digest_recipe({"a": 2})
    assert digest_recipe({"a": 1}) != digest_recipe({"a": 1.0})


def test_digests_are_xxh3_128():
    assert digest_bytes(b"") == "99aa06d3014798d86001c324468d497f"
