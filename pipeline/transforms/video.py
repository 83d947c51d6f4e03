"""One clip's file becomes gray frames.

The number of frames is known only after decoding (`readers.clip.decode`). If the container
stores a count, the file is checked against it: fewer frames than that are damage, unless an edit
list, empty chunks, skipped or leading frames explain the gap, which is then noted.

Only containers that are known by their first bytes reach FFmpeg: it would also play an image as a clip of one frame,
and follow a playlist in a file named `.avi` to other files and hosts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cache import registry
from cache.fingerprint import digest_files
from pipeline.errors import Excluded, InvalidInput
from pipeline.readers.clip.completeness import check_count
from pipeline.readers.clip.container import INTACT_CLIP, TOLERANCE
from pipeline.readers.clip.decode import DECODER, Clip, open_clip
from pipeline.readers.clip.demuxer import demuxer_of
from pipeline.readers.remedies import FETCH_AGAIN, one_line
from pipeline.transforms.frames import Sampling, pick_frames, spaced

MAX_DECODES = 3  # of one clip, where its number of frames must be known first


def video_clip(
    path: Path, *, depth: int, height: int, width: int, sampling: str = "head", short: str = "skip"
) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Read one clip as a sample.

    Returns its gray frames as a player shows them (rotated and mirrored by right angles), uint8 (depth, height, width),
    C-contiguous, resized bilinearly, each from its own size; the xxh3_128 of the file's bytes; and a record of the
    source, ready for JSON. `sampling` names a module of `pipeline.transforms.sampling`; all but "head" decode the
    complete clip, twice where its header does not have the number of frames. A clip with fewer than `depth` frames is
    short: "loop" repeats it, "stretch" spaces its frames evenly, nearest first.

    Raises Excluded for a short clip with `short` "skip", InvalidInput for a file that cannot become a sample, OSError.
    """
    _use_one_thread()
    frames = np.empty((depth, height, width), np.uint8)
    container = demuxer_of(path)
    digest = digest_files((path,))
    method: Sampling = registry.load("pipeline.transforms.sampling", sampling, "SAMPLING")
    read = partial(_read_clip, sampling=sampling) if method.reads_to_end else _read_start
    try:
        count, record = _read_twice(read, path, container, method, frames)
    except cv2.error as error:
        raise InvalidInput(f"a frame that OpenCV fails on ({one_line(error)})", INTACT_CLIP, FETCH_AGAIN) from error
    if count < depth:
        if short == "skip":
            raise Excluded(f"too short: {count} frames, {depth} needed")
        frames = frames[np.arange(depth) % count if short == "loop" else spaced(count, depth)]
        record["notes"].append(f"short: {'looped' if short == 'loop' else 'stretched'} from {count} frames to {depth}")
    is_complete = method.reads_to_end or count < depth
    return frames, digest, {**record, "frames": count, "whole": is_complete, "sampling": sampling}


def _read_twice(read: Callable[..., Any], *arguments: Any) -> tuple[int, dict[str, Any]]:
    """Call `read` again where the first call finds damage: FFmpeg reports temporary read errors as damage, too."""
    try:
        return read(*arguments)
    except InvalidInput:
        return read(*arguments)


def _read_start(path: Path, container: str, sampling: Sampling, frames: np.ndarray) -> tuple[int, dict[str, Any]]:
    """Fill `frames` from the start of a clip; return how many it has, at most `len(frames)`, and the record."""
    with open_clip(path, container) as clip:
        count = sampling.fill(clip, len(frames), frames)
        if count < len(frames):
            return count, _record(clip, check_count(clip, count))
        if clip.promised:
            clip.read_rest()
        notes = []
        if clip.missing > TOLERANCE:
            present = clip.promised - clip.missing
            notes = [f"its header promises {clip.promised} frames, the file holds {present}"]
        return count, _record(clip, notes)


def _read_clip(
    path: Path, container: str, method: Sampling, frames: np.ndarray, sampling: str
) -> tuple[int, dict[str, Any]]:
    """Fill `frames` from the complete clip; return its number of frames, and the record. If it
    has fewer frames, they fill the start of `frames`.

    Which frames are picked depends on how many there are, so the clip is decoded again where the estimate was wrong.
    """
    depth = len(frames)
    max_frames = method.max_frames(depth) if method.max_frames else None
    expected = -1
    for _ in range(MAX_DECODES):
        with open_clip(path, container) as clip:
            if expected < 0:
                expected = clip.estimate
            if max_frames is not None and expected > max_frames:
                expected = 0  # too many to trust a header: count first
            if expected < depth:
                count = pick_frames(clip, range(expected), frames)
            else:
                count = method.fill(clip, expected, frames)
            notes = check_count(clip, count)
            if count == expected:
                return count, _record(clip, notes)
        if max_frames is not None and count > max_frames:
            expectation = f"at most {max_frames} with --sampling {sampling}"
            raise InvalidInput(f"{count} frames", expectation, "use --sampling uniform, or cut the clip")
        expected = count
    raise InvalidInput("a clip that decodes to a different length each time", INTACT_CLIP, FETCH_AGAIN)


def _record(clip: Clip, notes: list[str]) -> dict[str, Any]:
    """The record of the source, after its frames have been read."""
    orientation = clip.orientation
    size = [clip.height, clip.width] if orientation.transposed else [clip.width, clip.height]
    if not orientation.exact:
        notes = [*notes, f"rotation of {orientation.rotation} degrees ignored; only right angles are applied"]
    if clip.interlaced:
        notes = [*notes, "interlaced: every other row of a frame is from a different moment"]
    if clip.resized:
        notes = [*notes, "its frames change size; each was resized from its own"]
    return {
        "promised": clip.promised or None,
        "fps": clip.fps,
        "size": size,
        "codec": clip.codec,
        "rotation": orientation.rotation,
        "mirrored": orientation.mirrored,
        "interlaced": clip.interlaced,
        "decoder": DECODER,
        "opencv": cv2.__version__,
        "notes": notes,
    }


@lru_cache(maxsize=1)
def _use_one_thread() -> None:
    """Make OpenCV silent in this process and use one thread: other cores work on other clips."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
