"""Arrays from an untrusted `.npz`: no pickle, and sizes are checked before anything is read."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cache.confined import open_regular

MAX_HEADER_BYTES = 1 << 14  # of an array in the file


def read_arrays(path: Path, max_bytes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The arrays in `path`, which must have the names in `max_bytes` and at most that many bytes each.

    Raises OSError where the file cannot be read, ValueError for other arrays, and any error that NumPy or zipfile has
    for a broken file.
    """
    with open_regular(path) as stream:
        with zipfile.ZipFile(stream) as archive:
            sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
            if sizes.keys() != max_bytes.keys() or len(archive.infolist()) != len(sizes):
                raise ValueError("it holds other arrays")
            for name, size in sizes.items():
                if size > max_bytes[name] + MAX_HEADER_BYTES:
                    raise ValueError(f"array {name} has {size:,} bytes, expected at most {max_bytes[name]:,}")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
