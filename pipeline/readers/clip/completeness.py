"""Completeness of a clip: does it hold the frames that its container promises?"""

from __future__ import annotations

from pipeline.errors import InvalidInput
from pipeline.readers.clip.container import TOLERANCE
from pipeline.readers.clip.decode import Clip
from pipeline.readers.remedies import FETCH_AGAIN


def check_count(clip: Clip, count: int) -> list[str]:
    """Notes about the frame count of a clip that was read to its end. Raises InvalidInput where frames are missing."""
    problem = f"{count} frames that decode (codec {clip.codec})"
    if clip.missing > TOLERANCE:
        raise InvalidInput(problem, f"the {clip.promised} that its header promises", FETCH_AGAIN)
    if count == 0:
        raise InvalidInput(problem, "at least one frame", FETCH_AGAIN)
    if clip.undecoded > TOLERANCE:
        raise InvalidInput(problem, f"{clip.undecoded} more frames, which were not decoded", FETCH_AGAIN)
    if clip.cut_off:
        raise InvalidInput(
            f"{problem}, the last of which may be cut off", "a file that ends with a complete packet", FETCH_AGAIN
        )
    if clip.promised in (0, count):
        return []
    gap = clip.gap()
    return [f"its header promises {clip.promised} frames, {count} decode{f' ({gap})' if gap else ''}"]
