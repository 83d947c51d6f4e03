"""Digests of recipes, source files and encoded chunks.

They detect damage and change, not forgery. xxh3-128 runs at memory speed, so hashing every byte that enters or leaves a
cache costs less than one percent of the work on it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from cache.confined import open_regular

BLOCK_BYTES = 1 << 20


def digest_bytes(data: bytes | memoryview) -> str:
    """xxh3-128 of `data`, 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def digest_files(paths: Iterable[Path], limit: int | None = None) -> str:
    """xxh3-128 over the bytes of all files in order, as stored on disk.

    Raises OSError where one cannot be read, UnexpectedFile where one is not a regular file, or longer than `limit`.
    """
    state = xxhash.xxh3_128()
    for path in paths:
        with open_regular(path, limit) as file:
            _update(state, file)
    return state.hexdigest()


def digest_stream(file: BinaryIO) -> str:
    """xxh3-128 of the rest of `file`, read block by block."""
    state = xxhash.xxh3_128()
    _update(state, file)
    return state.hexdigest()


def _update(state: xxhash.xxh3_128, file: BinaryIO) -> None:
    while block := file.read(BLOCK_BYTES):
        state.update(block)


def digest_recipe(recipe: Mapping[str, Any]) -> str:
    """Digest of a recipe that does not depend on the order of its keys."""
    return digest_bytes(json.dumps(recipe, sort_keys=True, separators=(",", ":")).encode())
