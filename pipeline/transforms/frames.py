"""Frames of a clip: pick some of them, make them gray, resize them. Uses OpenCV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from pipeline.readers.clip.decode import Clip


@dataclass(frozen=True)
class Sampling:
    """How the frames of a sample are made from those of a clip.

    Arguments:
        fill: `(clip, count, frames) -> decoded` fills `frames`, uint8 (depth, height, width), from a clip of `count`
            frames, at least depth, and returns how many it has decoded. The frames are valid only if that is `count`.
        reads_to_end: False if the clip is read no further than needed; `count` is then ignored.
        max_frames: by depth, the longest clip that can be sampled; None for no limit.
    """

    fill: Callable[[Clip, int, np.ndarray], int]
    reads_to_end: bool = True
    max_frames: Callable[[int], int] | None = None


def pick_frames(clip: Clip, numbers: Sequence[int] | np.ndarray, frames: np.ndarray, stop: int | None = None) -> int:
    """Put the frames with these ascending `numbers` into `frames`; return how many were decoded, at most `stop`."""
    rows = {int(number): row for row, number in enumerate(numbers)}
    decoded = 0
    for decoded, frame in enumerate(clip.frames(), 1):
        if decoded - 1 in rows:
            to_gray(clip, frame, frames[rows[decoded - 1]])
        if decoded == stop:
            break
    return decoded


def spaced(count: int, depth: int) -> np.ndarray:
    """For each of `depth` points evenly spaced from the first to the last of `count` frames, the nearest frame."""
    if depth == 1:
        return np.zeros(1, int)
    points = np.arange(depth)
    return (2 * points * (count - 1) + depth - 1) // (2 * (depth - 1))  # a half rounds up; exact in integers


def to_gray(clip: Clip, frame: Any, gray: np.ndarray) -> None:
    """Put `frame`, oriented as a player shows it, into `gray`: uint8 (height, width), gray first, then resized."""
    stored = cv2.cvtColor(clip.picture(frame), cv2.COLOR_BGR2GRAY)
    cv2.resize(clip.orientation.apply(stored), gray.shape[::-1], dst=gray, interpolation=cv2.INTER_LINEAR)
