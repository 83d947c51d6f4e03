"""Arrays from an untrusted `.npz`: no pickle, and nothing is read before its size is known to be right."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cache.confined import open_regular

HEADER_BYTES = 1 << 14  # of an array in the file, at most


def read_arrays(path: Path, most: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The arrays in `path`, which must be those that `most` names, of at most that many bytes each.

    Raises OSError where the file cannot be read, and whatever else a broken file makes NumPy raise.
    """
    with open_regular(path) as stream:
        with zipfile.ZipFile(stream) as archive:
            sizes = {item.filename.removesuffix(".npy"): item.file_size for item in archive.infolist()}
            if sizes.keys() != most.keys() or len(archive.infolist()) != len(sizes):
                raise ValueError("it holds other arrays")
            for name, size in sizes.items():
                if size > most[name] + HEADER_BYTES:
                    raise ValueError(f"array {name} has {size:,} bytes, expected at most {most[name]:,}")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
