"""The zoom kernel against SciPy's, one run, one thread each: `python benchmarks/zoom.py [PATH] [--quick]`.

PATH is a NIfTI scan (default: the LIDC scan in ../shared/data/ct); `--quick` takes a small noise volume.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.readers.nifti import open_scan  # noqa: E402
from pipeline.transforms.window import Window  # noqa: E402
from pipeline.transforms.zoom import zoom  # noqa: E402

SCAN = ROOT.parent / "shared/data/ct/LIDC-IDRI-0314_2mm.nii.gz"
SHAPE = (70, 224, 224)
ORDER = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", type=Path, default=SCAN)
    parser.add_argument("--quick", action="store_true", help="a small noise volume instead of a scan")
    options = parser.parse_args()
    if options.quick:
        volume, shape = np.random.default_rng(0).random((40, 64, 64), np.float32), (20, 28, 28)
    else:
        volume, shape = windowed(options.path), SHAPE
    with threadpool_limits(1):
        report(volume, shape)


def windowed(path: Path) -> np.ndarray:
    """A scan in file order, (slow, mid, fast) float32 in [0, 1]."""
    with open_scan((path,)) as scan:
        window = Window(scan, -1000, 400)
        return np.stack([window(raw).copy() for raw in scan.slices()])


def report(volume: np.ndarray, shape: tuple[int, int, int]) -> None:
    exact = volume.astype(np.float64)
    factors = np.divide(shape, volume.shape)
    scipy_seconds, wanted = timed(1, lambda: ndimage.zoom(exact, factors, order=ORDER, mode="nearest"))
    first_seconds, got = timed(1, lambda: zoom(volume, shape, ORDER))
    seconds, _ = timed(5, lambda: zoom(volume, shape, ORDER))
    print(f"{' x '.join(map(str, volume.shape))} -> {' x '.join(map(str, shape))}, order {ORDER}, one thread")
    print(f"scipy.ndimage.zoom, float64   {scipy_seconds:8.4f} s")
    print(f"pipeline.transforms.zoom      {seconds:8.4f} s (the first, finding its matrices: {first_seconds:.4f} s)")
    print(f"ratio                         {scipy_seconds / seconds:8.1f} (target: 30)")
    print(f"largest difference            {np.abs(wanted - got).max():8.1e} (target: 1e-5)")


def timed(repeats: int, work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """The shortest of some runs, in seconds, and what the last one returned."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


if __name__ == "__main__":
    main()
