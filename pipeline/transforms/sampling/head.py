"""The first frames of a clip, as in the authors' code; the rest is not decoded."""

import numpy as np

from pipeline.readers.clip.decode import Clip
from pipeline.transforms.frames import Sampling, pick_frames


def _fill(clip: Clip, _count: int, frames: np.ndarray) -> int:
    return pick_frames(clip, range(len(frames)), frames, stop=len(frames))


SAMPLING = Sampling(_fill, reads_to_end=False)
