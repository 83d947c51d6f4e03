"""Random augmentation of training volumes: rotation, shift and blur of their slices. The trainer's door to OpenCV.

Volumes are (depth, height, width) in any dtype that a cache stores: they are augmented before they are scaled to
[0, 1], with a half or a quarter of the bytes. Each function returns a new array of the same shape and dtype; its input
does not change. Only `augment` is random.

OpenCV 5 rotates images of one channel with exact weights. With four slices as channels of one image, or with
fixed-point maps, it rounds coordinates to 1/32 pixel (errors up to 0.025 of the range on noise) and is no faster.
"""

import math
from collections.abc import Callable, Collection

import cv2
import numpy as np

from cache.schema import DTYPES
from trainer.config import AUGMENTATIONS

ANGLES = (-20, -10, -5, 0, 5, 10, 20)  # degrees; ViPTT-Net §2.4, which found that results are worse without 0
KINDS = AUGMENTATIONS  # the paper trained with the first; the others did not help it
MAX_SHIFT = 0.1  # of a slice's height and width; the paper does not say how far it shifted and blurred
MAX_BLUR = 1.5  # pixels
TRUNCATE = 4  # standard deviations at which the Gaussian is cut off, as in SciPy

# OpenCV's threads are a setting of the process. A slice is too small for several threads, and the other cores run
# TensorFlow and read samples.
cv2.setNumThreads(1)


def augment(volume: np.ndarray, kinds: Collection[str], generator: np.random.Generator) -> np.ndarray:
    """`volume` after each of `kinds` with random parameters from `generator`, applied in the order of `KINDS`.

    Rotation: by one of `ANGLES`. Shift: by whole pixels, up to a tenth of the height and of the width either way. Blur:
    sigma from 0 to `MAX_BLUR` pixels. All values are equally likely. The same kinds, in any order, and the same state
    of `generator` give the same bits. Raises ValueError for other kinds, shapes and dtypes.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"unknown augmentation {unknown[0]!r}; expected any of {', '.join(KINDS)}")
    _check(volume)
    changed = volume
    for kind in KINDS:
        if kind in kinds:
            changed = _RANDOM[kind](changed, generator)
    return volume.copy() if changed is volume else changed


def rotate(volume: np.ndarray, angle: float) -> np.ndarray:
    """Every slice rotated by `angle` degrees about its centre, interpolated bilinearly; values outside are 0.

    A positive angle rotates anticlockwise when rows are shown downwards: 90 is `np.rot90` of a square. The authors'
    `ndimage.rotate(volume, angle, reshape=False)` rotated the first two axes of its (height, width, depth) likewise.
    Angle 0 changes no value.

    Equals `scipy.ndimage.rotate(volume, angle, axes=(1, 2), reshape=False, order=1, mode="grid-constant")` on float64
    to (height + width) · 1e-7 of the range before integers are rounded to the nearest. Mode "constant" differs
    only at the rim, where it sets pixels to 0 that lie partly outside.
    """
    _check(volume)
    if angle == 0:
        return volume.copy()
    height, width = volume.shape[1:]
    source = _rotation_matrix(height, width, angle)

    def rotated(plane: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(
            plane,
            source,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
            hint=cv2.ALGO_HINT_ACCURATE,
        )

    return _each_slice(volume, rotated)


def shift(volume: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Every slice moved down by `rows` and right by `columns`, up and left where negative, and filled with 0."""
    _check(volume)
    moved = np.zeros(volume.shape, volume.dtype)
    (rows_to, rows_from), (columns_to, columns_from) = map(_shifted_slices, volume.shape[1:], (rows, columns))
    moved[:, rows_to, columns_to] = volume[:, rows_from, columns_from]
    return moved


def blur(volume: np.ndarray, sigma: float) -> np.ndarray:
    """Every slice smoothed by a Gaussian of `sigma` pixels, mirrored at its edges; 0 changes no value.

    Equals `scipy.ndimage.gaussian_filter(volume, (0, sigma, sigma))` on float64 to 1e-6 of the range before integers
    are rounded to the nearest. It is computed in float32: OpenCV's integer arithmetic is less accurate and, except for
    the smallest sigma, slower.
    """
    _check(volume)
    if not 0 <= sigma < math.inf:
        raise ValueError(f"blur with sigma {sigma}; expected 0 pixels (no blur) or more")
    side = 2 * int(TRUNCATE * sigma + 0.5) + 1

    def blurred(plane: np.ndarray) -> np.ndarray:
        smooth = cv2.GaussianBlur(plane.astype(np.float32), (side, side), sigma, borderType=cv2.BORDER_REFLECT)
        return np.rint(smooth) if volume.dtype.kind == "u" else smooth

    return volume.copy() if side == 1 else _each_slice(volume, blurred)


def _check(volume: np.ndarray) -> None:
    if volume.ndim != 3 or 0 in volume.shape or volume.dtype not in list(DTYPES):
        raise ValueError(
            f"array of shape {volume.shape} and dtype {volume.dtype}; "
            f"expected (depth, height, width), none of them 0, of {', '.join(DTYPES)}; convert it"
        )


def _each_slice(volume: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`change` of each slice, in an array like `volume`; float16, which OpenCV lacks, is converted to float32."""
    changed = np.empty(volume.shape, volume.dtype)
    dtype = np.float32 if volume.dtype == np.float16 else volume.dtype
    for number, plane in enumerate(volume):
        changed[number] = change(np.ascontiguousarray(plane, dtype))
    return changed


def _rotation_matrix(height: int, width: int, angle: float) -> np.ndarray:
    """The 2×3 matrix from (column, row, 1) of the rotated slice to (column, row) of the original one."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = (width - 1) / 2, (height - 1) / 2
    return np.array([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]])


def _shifted_slices(side: int, by: int) -> tuple[slice, slice]:
    """Slices (to, from) of an axis of length `side` that is shifted `by` places."""
    by = max(-side, min(side, by))
    return slice(max(by, 0), side + min(by, 0)), slice(max(-by, 0), side - max(by, 0))


def _random_rotation(volume: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return rotate(volume, ANGLES[generator.integers(len(ANGLES))])


def _random_shift(volume: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    rows, columns = (int(MAX_SHIFT * side) for side in volume.shape[1:])
    down = int(generator.integers(-rows, rows, endpoint=True))
    return shift(volume, down, int(generator.integers(-columns, columns, endpoint=True)))


def _random_blur(volume: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return blur(volume, generator.uniform(0, MAX_BLUR))


_RANDOM = {"rotation": _random_rotation, "shift": _random_shift, "blur": _random_blur}
