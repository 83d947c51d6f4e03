"""A clip's file -> gray frames.

How many frames a clip holds is found by decoding it (`readers.decode`). Its header is believed only as a promise to
hold the file to, and only where the container itself wrote down a count: fewer frames than that are damage, unless an
edit list, empty chunks, skipped or leading frames explain the gap. That is noted.

Only containers known by their first bytes reach FFmpeg: it would also play an image as a clip of one frame, and follow
a playlist in a file named `.avi` to other files and hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cache.fingerprint import digest_files
from pipeline.errors import Excluded, InvalidInput
from pipeline.readers.bitstream import HEAD, demuxer
from pipeline.readers.container import FETCH_AGAIN, SOUND, TAKE_OUT, TOLERANCE
from pipeline.readers.decode import DECODER, Clip, open_clip
from pipeline.sources.contents import describe
from pipeline.transforms.zoom import Zoom

MOST_WEIGHTS = 5_000_000  # frames × depth of a spline: 40 MB in float64, and building them takes four times that
ORDER = 3  # of that spline
CONTAINERS = "a video: AVI, MP4, MOV, Matroska, WebM, MPEG, MPEG-TS, FLV, ASF (WMV) or Ogg"
CONVERT = f"convert it to one of these, or {TAKE_OUT}"


def video_clip(
    path: Path, *, depth: int, height: int, width: int, sampling: str = "head", short: str = "skip"
) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Read one clip as a sample.

    Returns its gray frames as a player shows them (rotated and mirrored by right angles), uint8 (depth, height, width),
    C-contiguous, resized bilinearly, each from its own size; the xxh3_128 of the file's bytes; and a JSON-ready record
    of the source. Sampling "head" takes the first `depth` frames and decodes no further; "uniform" the frames nearest
    to `depth` points evenly spaced from the first to the last; "spline" is the order-3 zoom along time. Those two
    decode the whole clip, twice where its header does not say how long it is.
    A clip of fewer frames is short: "loop" starts it over, "stretch" spaces its frames evenly, nearest first.

    Raises Excluded for a short clip with `short` "skip", InvalidInput for a file that cannot become a sample, OSError.
    """
    _use_one_thread()
    frames = np.empty((depth, height, width), np.uint8)
    container = _container(path)
    digest = digest_files((path,))
    try:
        count, record = _read_twice(_head if sampling == "head" else _whole, path, container, frames, sampling)
    except cv2.error as error:
        raise InvalidInput(f"a frame that OpenCV fails on ({_line(error)})", SOUND, FETCH_AGAIN) from error
    if count < depth:
        if short == "skip":
            raise Excluded(f"too short: {count} frames, {depth} wanted")
        frames = frames[np.arange(depth) % count if short == "loop" else spaced(count, depth)]
        record["notes"].append(f"short: {'looped' if short == 'loop' else 'stretched'} from {count} frames to {depth}")
    whole = sampling != "head" or count < depth
    return frames, digest, {**record, "frames": count, "whole": whole, "sampling": sampling}


def _read_twice(read: Callable[..., Any], path: Path, *given: Any) -> tuple[int, dict[str, Any]]:
    """What `read` gives, at the second attempt where the first finds damage: FFmpeg takes a read that failed, and would
    not fail again, for one."""
    try:
        return read(path, *given)
    except InvalidInput:
        return read(path, *given)


def spaced(count: int, depth: int) -> np.ndarray:
    """For each of `depth` points evenly spaced from the first to the last of `count` frames, the nearest frame."""
    if depth == 1:
        return np.zeros(1, int)
    points = np.arange(depth)
    return (2 * points * (count - 1) + depth - 1) // (2 * (depth - 1))  # a half rounds up; exact in integers


# -- the three ways to sample ------------------------------------------------------------------------------------------


def _head(path: Path, container: str, frames: np.ndarray, _sampling: str) -> tuple[int, dict[str, Any]]:
    """Fill `frames` with the first ones; how many there were, at most `len(frames)`, and the record."""
    with open_clip(path, container) as clip:
        count = _pick(clip, range(len(frames)), frames, stop=len(frames))
        if count < len(frames):
            return count, _record(clip, _check_end(clip, count))
        if clip.promised:
            clip.read_rest()
        notes = []
        if clip.missing > TOLERANCE:
            held = clip.promised - clip.missing
            notes = [f"its header promises {clip.promised} frames, the file holds {held}"]
        return count, _record(clip, notes)


def _whole(path: Path, container: str, frames: np.ndarray, sampling: str) -> tuple[int, dict[str, Any]]:
    """Fill `frames` from the whole clip; how many it has, and the record. Where those are fewer, they come first.

    Where a frame falls depends on how many follow, so the clip is decoded again where the estimate was wrong.
    """
    depth = len(frames)
    expected = -1
    for _ in range(3):
        with open_clip(path, container) as clip:
            if expected < 0:
                expected = clip.estimate
            if sampling == "spline" and expected * depth > MOST_WEIGHTS:
                expected = 0  # too many to believe a header: count first
            if expected < depth:
                count = _pick(clip, range(expected), frames)
            elif sampling == "uniform":
                count = _pick(clip, spaced(expected, depth), frames)
            else:
                count = _zoom(clip, expected, frames)
            notes = _check_end(clip, count)
            if count == expected:
                return count, _record(clip, notes)
        if sampling == "spline" and count * depth > MOST_WEIGHTS:
            raise InvalidInput(
                f"{count} frames", f"at most {MOST_WEIGHTS // depth} with --sampling spline", "use uniform, or cut it"
            )
        expected = count
    raise InvalidInput("a clip that decodes to another length each time", SOUND, FETCH_AGAIN)


def _pick(clip: Clip, wanted: Sequence[int] | np.ndarray, frames: np.ndarray, stop: int | None = None) -> int:
    """Put the frames numbered `wanted`, ascending, into `frames`; how many there are, counting to `stop`."""
    rows = {int(frame): row for row, frame in enumerate(wanted)}
    count = 0
    for count, frame in enumerate(clip.frames(), 1):
        if count - 1 in rows:
            _to_gray(clip, frame, frames[rows[count - 1]])
        if count == stop:
            break
    return count


def _zoom(clip: Clip, expected: int, frames: np.ndarray) -> int:
    """Fill `frames` by the zoom along time, which is right if there are `expected`; how many there are."""
    size = frames.shape[1:]
    zoom = Zoom((expected, *size), frames.shape, ORDER)
    gray, plane = np.empty(size, np.uint8), np.empty(size, np.float32)
    count = 0
    for count, frame in enumerate(clip.frames(), 1):
        if count <= expected:
            _to_gray(clip, frame, gray)
            np.copyto(plane, gray)
            zoom.feed(plane)
    if count >= expected:
        result = zoom.result()
        np.rint(np.clip(result, 0, 255, out=result), out=result)
        np.copyto(frames, result, casting="unsafe")
    return count


def _to_gray(clip: Clip, frame: Any, gray: np.ndarray) -> None:
    """`frame` as it is shown, gray and then resized, into `gray`."""
    stored = cv2.cvtColor(clip.picture(frame), cv2.COLOR_BGR2GRAY)
    cv2.resize(clip.orientation.apply(stored), gray.shape[::-1], dst=gray, interpolation=cv2.INTER_LINEAR)


# -- promise and record ------------------------------------------------------------------------------------------------


def _check_end(clip: Clip, count: int) -> list[str]:
    """Notes about the frame count of a clip that was read to its end. Raises InvalidInput where frames are missing."""
    given = f"{count} frames that decode (codec {clip.codec})"
    if clip.missing > TOLERANCE:
        raise InvalidInput(given, f"the {clip.promised} that its header promises", FETCH_AGAIN)
    if count == 0:
        raise InvalidInput(given, "at least one", FETCH_AGAIN)
    if clip.lost > TOLERANCE:
        raise InvalidInput(given, f"{clip.lost} more, which give no picture", FETCH_AGAIN)
    if clip.cut_off:
        raise InvalidInput(
            f"{given}, the last of which may be cut off", "a file that ends with a whole packet", FETCH_AGAIN
        )
    if clip.promised in (0, count):
        return []
    gap = clip.gap()
    return [f"its header promises {clip.promised} frames, {count} decode{f' ({gap})' if gap else ''}"]


def _record(clip: Clip, notes: list[str]) -> dict[str, Any]:
    """What is stored about the source, after its frames have been read."""
    shown = clip.orientation
    size = [clip.height, clip.width] if shown.transposed else [clip.width, clip.height]
    if not shown.exact:
        notes = [*notes, f"rotation of {shown.rotation} degrees ignored; only right angles are applied"]
    if clip.interlaced:
        notes = [*notes, "interlaced: every other row of a frame is from another moment"]
    if clip.resized:
        notes = [*notes, "its frames change size; each was resized by itself"]
    return {
        "promised": clip.promised or None,
        "fps": clip.fps,
        "size": size,
        "codec": clip.codec,
        "rotation": shown.rotation,
        "mirrored": shown.mirrored,
        "interlaced": clip.interlaced,
        "decoder": DECODER,
        "opencv": cv2.__version__,
        "notes": notes,
    }


def _container(path: Path) -> str:
    """FFmpeg's demuxer for the container, by its first bytes. Raises InvalidInput for any other file, OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if name := demuxer(head):
        return name
    if not head:
        raise InvalidInput("empty file", CONTAINERS, FETCH_AGAIN)
    found = describe(head)
    if found and found.kind == "video":
        raise InvalidInput(f"{found.name} that ends after {path.stat().st_size} bytes", CONTAINERS, FETCH_AGAIN)
    if found:
        raise InvalidInput(f"not a video container: the file is {found.name}", CONTAINERS, found.remedy)
    remedy = CONVERT if any(head) else FETCH_AGAIN  # nothing but zeros is what a broken download leaves
    raise InvalidInput(f"not a video container (it starts with {head[:8]!r})", CONTAINERS, remedy)


def _line(error: BaseException) -> str:
    """What OpenCV had to say, as one short printable line."""
    return ascii(" ".join(str(error).split())[:160])[1:-1]


@lru_cache(maxsize=1)
def _use_one_thread() -> None:
    """Keep OpenCV silent in this process and to one thread: the next clip is another core's work."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
