"""Rotation of a volume's slices against SciPy's, in one run, on one thread: `python benchmarks/rotate.py [--quick]`.

The volume is a real scan as cached (a phantom where it is absent), then noise, the worst case for
interpolation. The original rotated float32 by order 3. Differences are to SciPy's order 1 on float64, as parts of the
range, over all pixels but the two at the fill's border, where SciPy's default mode blanks what lies partly outside.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import a_scan, seconds, verdict
from scipy import ndimage
from threadpoolctl import threadpool_limits

from cache.schema import scale_factor
from cache.store import quantise
from pipeline.recipes.ct import CtRecipe
from trainer.data.augment import rotate

ANGLE = 20
REPEATS = 9
TARGETS = {"ratio": 6, "largest": 0.02, "mean": 1e-4}


def main(quick: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scan = CtRecipe().make((a_scan(Path(folder, "scans"), quick),)).values
    if quick:
        scan = scan[:4, :32, :32]
    with threadpool_limits(1):
        report("a scan", scan)
        report("noise", np.random.default_rng(0).random(scan.shape, np.float32))


def report(title: str, volume: np.ndarray) -> None:
    """Print SciPy's times for `volume`, ours in each dtype, and how far ours are from SciPy's order 1."""
    cubic = seconds(by_scipy(volume, 3), 3)
    print(f"{title}, {' x '.join(map(str, volume.shape))}, {ANGLE} degrees, one thread")
    print(f"scipy order 3, float32 {cubic * 1e3:7.1f} ms")
    print(f"scipy order 1, float32 {seconds(by_scipy(volume, 1), 3) * 1e3:7.1f} ms")
    for dtype in ("uint8", "uint16", "float16", "float32"):
        stored = quantise(volume, dtype)
        ours = seconds(lambda stored=stored: rotate(stored, ANGLE), REPEATS)
        difference = differences(stored, scale_factor(dtype) or 1)
        print(f"ours, {dtype:16} {ours * 1e3:7.1f} ms; {figures(difference)}")
        verdict(f"  against order 3, {dtype}", cubic / ours, TARGETS["ratio"])
    print(f"targets: largest {TARGETS['largest']:g}; mean {TARGETS['mean']:g}, apart from rounding to the dtype")


def by_scipy(volume: np.ndarray, order: int) -> Callable[[], np.ndarray]:
    return lambda: ndimage.rotate(volume, ANGLE, axes=(1, 2), reshape=False, order=order)


def differences(stored: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """How far ours is from SciPy's exact values, and from those as `stored`'s dtype rounds them."""
    exact = by_scipy(stored.astype(np.float64), 1)()
    rounded = (np.rint(exact) if stored.dtype.kind == "u" else exact).astype(stored.dtype)
    blank = by_scipy(np.ones(stored.shape), 1)() < 0.5
    inside = ~ndimage.binary_dilation(blank, np.ones((1, 5, 5), bool))
    ours = rotate(stored, ANGLE).astype(np.float64)
    return np.abs(ours - exact)[inside] * scale, np.abs(ours - rounded)[inside] * scale


def figures(difference: tuple[np.ndarray, np.ndarray]) -> str:
    exact, rounded = difference
    return f"largest difference {exact.max():.1e}, mean {exact.mean():.1e} (to SciPy rounded {rounded.mean():.1e})"


if __name__ == "__main__":
    main("--quick" in sys.argv)
