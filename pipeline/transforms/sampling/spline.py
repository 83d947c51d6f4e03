"""The spline-interpolated zoom along time, as CT is zoomed along the body."""

import numpy as np

from pipeline.readers.clip.decode import Clip
from pipeline.transforms.frames import Sampling, to_gray
from pipeline.transforms.zoom import Zoom

ORDER = 3
MAX_WEIGHTS = 5_000_000  # frames × depth: 40 MB in float64, and building them takes four times that


def _fill(clip: Clip, count: int, frames: np.ndarray) -> int:
    size = frames.shape[1:]
    zoom = Zoom((count, *size), frames.shape, ORDER)
    gray, plane = np.empty(size, np.uint8), np.empty(size, np.float32)
    decoded = 0
    for decoded, frame in enumerate(clip.frames(), 1):
        if decoded <= count:
            to_gray(clip, frame, gray)
            np.copyto(plane, gray)
            zoom.feed(plane)
    if decoded >= count:
        result = zoom.result()
        np.rint(np.clip(result, 0, 255, out=result), out=result)
        np.copyto(frames, result, casting="unsafe")
    return decoded


SAMPLING = Sampling(_fill, max_frames=lambda depth: MAX_WEIGHTS // depth)
