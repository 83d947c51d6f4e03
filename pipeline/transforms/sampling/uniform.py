"""The frames nearest to evenly spaced points, from the first frame of a clip to its last."""

import numpy as np

from pipeline.readers.clip.decode import Clip
from pipeline.transforms.frames import Sampling, pick_frames, spaced


def _fill(clip: Clip, count: int, frames: np.ndarray) -> int:
    return pick_frames(clip, spaced(count, len(frames)), frames)


SAMPLING = Sampling(_fill)
