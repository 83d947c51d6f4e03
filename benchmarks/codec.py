"""How to store a sample: error, size, and reads a second of each dtype and codec, on one thread.

python benchmarks/codec.py [--quick]
"""

import itertools
import sys
import tempfile
from pathlib import Path

import numcodecs.blosc
import numpy as np
from common import a_scan, seconds

from cache.schema import DTYPES, scale_factor
from cache.store import quantise
from pipeline.recipes.ct import CtRecipe


def main(quick: bool) -> None:
    numcodecs.blosc.use_threads = False
    with tempfile.TemporaryDirectory() as folder:
        values = CtRecipe().make((a_scan(Path(folder, "scans"), quick),)).values
    codecs = itertools.product(("lz4", "zstd"), (1, 5), (("shuffle", 1), ("bitshuffle", 2)))
    print("dtype    codec level filter      error    MB  write ms  reads/s")
    for dtype, (name, level, (title, shuffle)) in itertools.product(DTYPES, list(codecs)):
        codec = numcodecs.Blosc(name, level, shuffle)
        stored = quantise(values, dtype)
        encoded = codec.encode(stored)

        def read(codec=codec, encoded=encoded, dtype=dtype) -> np.ndarray:
            stored = np.empty(values.shape, dtype)
            codec.decode(encoded, stored)
            return stored.astype(np.float32) * np.float32(scale_factor(dtype) or 1)

        error = np.abs(read() - values).max()
        write = seconds(lambda codec=codec, dtype=dtype: codec.encode(quantise(values, dtype)), 3)
        size = len(encoded) / 1e6
        rate = 1 / seconds(read, 3)
        print(f"{dtype:8} {name:5} {level:5} {title:10} {error:.1e} {size:5.2f} {write * 1e3:9.1f} {rate:8.0f}")


if __name__ == "__main__":
    main("--quick" in sys.argv)
