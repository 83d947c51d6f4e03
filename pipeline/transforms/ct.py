"""One CT scan becomes one volume: windowed, zoomed, and oriented to Superior, Posterior, Left.

The scan is read slice by slice: raw slice -> window -> zoom of its two axes -> sum along the third. The zoom runs in
file order, as slices come; only its small result is transposed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cache import registry
from pipeline.checks.ct import flags
from pipeline.readers.nifti import Scan, open_scan
from pipeline.transforms import orientation
from pipeline.transforms.original import original_volume
from pipeline.transforms.spline import spline_weights
from pipeline.transforms.window import Window
from pipeline.transforms.zoom import Zoom


def ct_volume(
    paths: tuple[Path, ...],
    *,
    depth: int,
    height: int,
    width: int,
    order: int,
    window: tuple[float, float] = (-1000.0, 400.0),
    preset: str = "paper",
    depth_method: str = "siz",
) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Read one scan (`.nii`, `.nii.gz` or a `(.hdr, .img)` pair) as a sample.

    Returns the volume, float32 (depth, height, width), finite, in [0, 1], C-contiguous; the xxh3_128 of the
    files' bytes; and a record of the source, ready for JSON. The window (low, high) in HU becomes [0, 1] before
    the zoom. Equal to `scipy.ndimage.zoom` on float64 to 1e-5. Preset "original" gives the array of the authors'
    code instead, always of order 1. Raises InvalidInput for files that cannot become a sample, OSError.
    """
    shape = depth, height, width
    with open_scan(paths) as scan:
        windowed = Window(scan, *window)
        if preset == "original":
            volume = original_volume(scan, windowed, shape)
        else:
            volume = _spl_volume(scan, windowed, shape, order, depth_method)
        volume = np.ascontiguousarray(np.clip(volume, 0, 1, out=volume))  # splines overshoot
        return volume, scan.digest, _record(scan, windowed)


def _spl_volume(scan: Scan, window: Window, shape: tuple[int, int, int], order: int, depth_method: str) -> np.ndarray:
    """The scan as (Superior, Posterior, Left), zoomed to `shape`; not contiguous, not clipped."""
    along_body = registry.load("pipeline.transforms.depth", depth_method, "DEPTH")
    axes = scan.axes[::-1]  # arrays run slowest first, scans fastest first
    zoom = Zoom(
        scan.shape[::-1],
        orientation.sizes_in_file_order(shape, axes),
        order,
        flips=orientation.flips(axes),
        weights=[along_body if world == orientation.SUPERIOR else spline_weights for world, _ in axes],
    )
    for raw in scan.slices():
        zoom.feed(window(raw))
    return orientation.to_spl(zoom.result(), axes)


def _record(scan: Scan, window: Window) -> dict[str, Any]:
    measured = window.measured()
    return {
        "shape": list(scan.shape),
        "dtype": scan.dtype.str,
        "slope": scan.slope,
        "inter": scan.inter,
        "orientation": scan.orientation,
        "spacing": list(scan.spacing),
        "nonfinite": window.nonfinite,
        "notes": list(scan.notes),
        "measured": measured.to_json(),
        "flags": flags(measured),
    }
