"""Features of one frame per clip: a control that shows whether a single frame identifies the class."""

from pathlib import Path

import numpy as np

from cache import open_cache, write_features


def write_middle_frames(features: Path, out: Path) -> None:
    """Write a cache of features to `out` that has only the middle frame of each clip in the cache `features`."""
    clips = open_cache(features)
    middle = clips.shape[0] // 2
    frames = np.stack([clips.stored(row)[middle : middle + 1] for row in range(len(clips))])
    write_features(
        out, clips.ids, clips.labels, clips.groups, frames, clips.class_names, f"frame {middle} of {features}"
    )
