"""Chance changes of a training volume: rotation, shift and blur in the plane of its slices. OpenCV's only door here.

Volumes are (depth, height, width) in any dtype a cache stores, so that they can be changed before they are scaled to
[0, 1], in a half or a quarter of the bytes. Each function returns a new array of the same shape and dtype and leaves
its input as it was; `augment` alone draws.

OpenCV 5 rotates images of one channel by exact weights. With four slices as the channels of one image, or with maps in
fixed point, it rounds where to look to 1/32 pixel (on noise up to 0.025 of the range off) and is no faster.
"""

import math
from collections.abc import Callable, Collection

import cv2
import numpy as np

from cache.schema import DTYPES
from trainer.config import AUGMENTATIONS

ANGLES = (-20, -10, -5, 0, 5, 10, 20)  # degrees; ViPTT-Net §2.4, which found that leaving out 0 does harm
KINDS = AUGMENTATIONS  # the paper trained with the first, and had no good results from the others
MOST_SHIFT = 0.1  # of a slice's height, and of its width; how far the paper shifted and blurred it doesn't say
MOST_BLUR = 1.5  # pixels
REACH = 4  # standard deviations after which the Gaussian is cut off, as SciPy does

# OpenCV's threads are the whole process's, so they are settled once. A slice is too small to share out, and the other
# cores have TensorFlow and the reading of samples to do.
cv2.setNumThreads(1)


def augment(volume: np.ndarray, kinds: Collection[str], generator: np.random.Generator) -> np.ndarray:
    """`volume` changed by each of `kinds`, drawn from `generator` and applied in the order of `KINDS`.

    A rotation is by one of `ANGLES`; a shift by whole pixels, up to a tenth of the height and of the width either way;
    a blur's sigma is from 0 up to `MOST_BLUR` pixels; all equally likely. The same kinds, in whatever order they are
    named, and the same state of `generator` give the same bits. Raises ValueError for other kinds, shapes and dtypes.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"augmentation {unknown[0]!r} was given; expected some of {', '.join(KINDS)}; name only these")
    _check(volume)
    changed = volume
    for kind in KINDS:
        if kind in kinds:
            changed = _BY_CHANCE[kind](changed, generator)
    return volume.copy() if changed is volume else changed


def rotate(volume: np.ndarray, angle: float) -> np.ndarray:
    """Every slice turned by `angle` degrees about its centre, between pixels bilinearly; from outside comes 0.

    A positive angle turns anticlockwise as a slice is shown, rows downwards: 90 is `np.rot90` of a square. That is how
    the original's `ndimage.rotate(volume, angle, reshape=False)` turned the first two axes of its (height, width,
    depth). Angle 0 gives the very values.

    Equals `scipy.ndimage.rotate(volume, angle, axes=(1, 2), reshape=False, order=1, mode="grid-constant")` on float64
    to (height + width) · 1e-7 of the range before integers are rounded to the nearest. Mode "constant" differs from
    that in the rim alone: it blanks the pixels that lie partly outside.
    """
    _check(volume)
    if angle == 0:
        return volume.copy()
    height, width = volume.shape[1:]
    source = _turn(height, width, angle)

    def turned(plane: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(
            plane,
            source,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
            hint=cv2.ALGO_HINT_ACCURATE,
        )

    return _each_slice(volume, turned)


def shift(volume: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Every slice moved down by `rows` and right by `columns`, up and left where negative; what is uncovered is 0."""
    _check(volume)
    moved = np.zeros(volume.shape, volume.dtype)
    (rows_to, rows_from), (columns_to, columns_from) = map(_move, volume.shape[1:], (rows, columns))
    moved[:, rows_to, columns_to] = volume[:, rows_from, columns_from]
    return moved


def blur(volume: np.ndarray, sigma: float) -> np.ndarray:
    """Every slice smoothed by a Gaussian of `sigma` pixels, mirrored at its edges; 0 gives the very values.

    Equals `scipy.ndimage.gaussian_filter(volume, (0, sigma, sigma))` on float64 to 1e-6 of the range before integers
    are rounded to the nearest: all is done in float32, since OpenCV's own arithmetic on integers is further off and,
    but for the narrowest, slower.
    """
    _check(volume)
    if not 0 <= sigma < math.inf:
        raise ValueError(f"a blur of sigma {sigma} was given; expected pixels, 0 or more; give 0 for none")
    side = 2 * int(REACH * sigma + 0.5) + 1

    def blurred(plane: np.ndarray) -> np.ndarray:
        smooth = cv2.GaussianBlur(plane.astype(np.float32), (side, side), sigma, borderType=cv2.BORDER_REFLECT)
        return np.rint(smooth) if volume.dtype.kind == "u" else smooth

    return volume.copy() if side == 1 else _each_slice(volume, blurred)


# -- parts -------------------------------------------------------------------------------------------------------------


def _check(volume: np.ndarray) -> None:
    if volume.ndim != 3 or 0 in volume.shape or volume.dtype not in list(DTYPES):
        raise ValueError(
            f"an array of shape {volume.shape} and dtype {volume.dtype} was given; "
            f"expected (depth, height, width), none of them 0, of {', '.join(DTYPES)}; convert it"
        )


def _each_slice(volume: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The changed slices as an array like `volume`; float16, which OpenCV doesn't know, is float32 while changed."""
    changed = np.empty(volume.shape, volume.dtype)
    through = np.float32 if volume.dtype == np.float16 else volume.dtype
    for number, plane in enumerate(volume):
        changed[number] = change(np.ascontiguousarray(plane, through))
    return changed


def _turn(height: int, width: int, angle: float) -> np.ndarray:
    """The 2×3 matrix that leads from (column, row, 1) of the turned slice to (column, row) of the given one."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = (width - 1) / 2, (height - 1) / 2
    return np.array([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]])


def _move(side: int, by: int) -> tuple[slice, slice]:
    """Where along an axis values go, and where they come from, when moved by `by`."""
    by = max(-side, min(side, by))
    return slice(max(by, 0), side + min(by, 0)), slice(max(-by, 0), side - max(by, 0))


def _any_rotation(volume: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return rotate(volume, ANGLES[generator.integers(len(ANGLES))])


def _any_shift(volume: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    rows, columns = (int(MOST_SHIFT * side) for side in volume.shape[1:])
    down = int(generator.integers(-rows, rows, endpoint=True))
    return shift(volume, down, int(generator.integers(-columns, columns, endpoint=True)))


def _any_blur(volume: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return blur(volume, generator.uniform(0, MOST_BLUR))


_BY_CHANCE = {"rotation": _any_rotation, "shift": _any_shift, "blur": _any_blur}
