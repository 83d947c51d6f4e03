"""Random changes of bytes, plain or inside of gzip."""

import gzip
import random
import struct
from collections.abc import Sequence

INTEGERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-40, 1e38, -1e38, float("inf"), float("-inf"), float("nan"))
HEADER_BYTES = 400  # at the start of a file, where most formats have their header; half of all changes are there


def change_bytes(data: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Change one or several places."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not changed:
            break
        rng.choice(BYTE_CHANGES)(changed, rng, corpus)
    return bytes(changed)


def change_gzip(data: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Usually change the decompressed data, as most changes of the compressed data only break the checksum."""
    if rng.random() < 0.3:
        return change_bytes(data, rng, corpus)
    return gzip.compress(change_bytes(gzip.decompress(data), rng, [gzip.decompress(other) for other in corpus]), 1)


def _position(data: bytes | bytearray, rng: random.Random) -> int:
    return rng.randrange(min(len(data), HEADER_BYTES) if rng.random() < 0.5 else len(data))


def _flip_bit(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    data[_position(data, rng)] ^= 1 << rng.randrange(8)


def _write_integer(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    value = rng.choice(INTEGERS) % (1 << 8 * size)
    start = _position(data, rng)
    start -= start % size if rng.random() < 0.7 else 0
    data[start : start + size] = value.to_bytes(size, order)


def _write_float(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    start = _position(data, rng) & ~3
    data[start : start + 4] = struct.pack(rng.choice("<>") + "f", rng.choice(FLOATS))


def _truncate(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    del data[_position(data, rng) :]


def _delete(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    start = _position(data, rng)
    del data[start : start + rng.choice((1, 4, 64, 1000))]


def _duplicate(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    start, size = _position(data, rng), rng.choice((1, 4, 64, 1000))
    data[start:start] = data[start : start + size] * rng.choice((1, 2, 50))


def _fill(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    start = _position(data, rng)
    size = min(rng.choice((1, 4, 64, 1000)), len(data) - start)
    data[start : start + size] = bytes([rng.choice((0, 255))]) * size


def _insert(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    start = _position(data, rng)
    data[start:start] = rng.randbytes(rng.choice((1, 4, 64, 1000)))


def _splice(data: bytearray, rng: random.Random, corpus: Sequence[bytes]) -> None:
    """Replace the end by that of another file."""
    other = rng.choice(corpus)
    data[_position(data, rng) :] = other[_position(other, rng) :]


BYTE_CHANGES = (
    _flip_bit, _flip_bit, _write_integer, _write_integer, _write_integer, _write_float, _truncate, _delete, _duplicate,
    _fill, _insert, _splice,
)  # fmt: skip
