"""A clip's file -> gray frames; OpenCV's only door.

What a clip holds is found by decoding it. Its header is believed only as a promise to hold the decoder to: fewer
frames than promised are damage, as is whatever FFmpeg's decoders report while they work. They would conceal it
(paint over broken blocks, drop frames) and go on; OpenCV passes none of that on, so FFmpeg's own reports are
listened to (`_listen`). Damage that no decoder can tell from a picture, such as one flipped bit, stays unseen.

Only containers known by their first bytes reach FFmpeg: it would also play an image as a clip of one frame, and follow
a playlist in a file named `.avi` to other files and hosts. Paths are absolute, so that no name reads as a URL.
"""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cache.fingerprint import digest_files
from pipeline.errors import Excluded, Refused
from pipeline.zoom import Zoom

TOLERANCE = 2  # frames by which an honest header may be off
MOST_FRAMES = 10_000_000  # a header that promises more promises nothing
MOST_PIXELS = 4096 * 4096  # a frame; the decoder and two copies of it in colour must fit beside everything else
MOST_WEIGHTS = 5_000_000  # frames × depth of a spline: 40 MB in float64, and building them takes four times that
ORDER = 3  # of that spline
HOLE = bytes(512)  # a disk sector of zeros: no decoder minds it in VP8, and no encoder of the next line writes it
ENTROPY_CODED = {"fmp4", "xvid", "divx", "dx50", "mp4v", "mjpg", "h264", "avc1", "hevc", "hev1", "vp80", "vp90"}
BOX_TYPES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # what an MP4 or MOV starts with
FFMPEG_ERROR = 16  # AV_LOG_ERROR; lower is worse
FETCH_AGAIN = "the file is damaged or incomplete: fetch or export it again"
CONVERT = "convert it to one of these, or take it out of SOURCE"


def video_clip(
    path: Path, *, depth: int, height: int, width: int, sampling: str = "head", short: str = "skip"
) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Read one clip as a sample.

    Returns its gray frames, uint8 (depth, height, width), C-contiguous, resized bilinearly; the xxh3_128 of the file's
    bytes; and a JSON-ready record of the source. Sampling "head" takes the first `depth` frames and decodes no
    further; "uniform" the frames nearest to `depth` points evenly spaced from the first to the last; "spline" is the
    order-3 zoom along time. Those two decode the whole clip, twice where its header does not say how long it is.
    A clip of fewer frames is short: "loop" starts it over, "stretch" spaces its frames evenly, nearest first.

    Raises Excluded for a short clip where `short` is "skip", Refused for what cannot become a sample, else OSError.
    """
    frames = np.empty((depth, height, width), np.uint8)
    container = _container(path)
    digest = digest_files((path,))
    try:
        source = _Source(path, container)
        count = _head(source, frames) if sampling == "head" else _whole(source, frames, sampling)
        whole = sampling != "head" or count < depth
        source.check_packets(None if whole else count)
    except cv2.error as error:
        raise Refused(f"a file that OpenCV fails on ({_line(error)})", "a sound clip", FETCH_AGAIN) from error
    if count < depth:
        if short == "skip":
            raise Excluded(f"too short: {count} frames, {depth} wanted")
        frames = frames[np.arange(depth) % count if short == "loop" else spaced(count, depth)]
        source.notes.append(f"short: {'looped' if short == 'loop' else 'stretched'} from {count} frames to {depth}")
    return frames, digest, {**source.record, "frames": count, "whole": whole, "sampling": sampling}


def spaced(count: int, depth: int) -> np.ndarray:
    """For each of `depth` points evenly spaced from the first to the last of `count` frames, the nearest frame."""
    if depth == 1:
        return np.zeros(1, int)
    points = np.arange(depth)
    return (2 * points * (count - 1) + depth - 1) // (2 * (depth - 1))  # a half rounds up; exact in integers


# -- the three ways to sample ------------------------------------------------------------------------------------------


def _head(source: _Source, frames: np.ndarray) -> int:
    """Fill `frames` with the first ones; how many there were, at most `len(frames)`."""
    with source.open() as clip:
        count = clip.pick(range(len(frames)), frames, stop=len(frames))
        if count < len(frames):
            clip.check_end(count)
        clip.check(count)
    return count


def _whole(source: _Source, frames: np.ndarray, sampling: str) -> int:
    """Fill `frames` from the whole clip; how many it has. Where those are fewer, they come first, each once.

    Where a frame falls depends on how many follow, so the clip is decoded again where the header was wrong.
    """
    depth = len(frames)
    expected = source.estimate
    for _ in range(3):
        if sampling == "spline" and expected * depth > MOST_WEIGHTS:
            expected = 0  # too many to believe a header: count first
        with source.open() as clip:
            if expected < depth:
                count = clip.pick(range(expected), frames)
            elif sampling == "uniform":
                count = clip.pick(spaced(expected, depth), frames)
            else:
                count = clip.zoom(expected, frames)
            clip.check_end(count)
            clip.check(count)
        if count == expected:
            return count
        if sampling == "spline" and count * depth > MOST_WEIGHTS:
            raise Refused(
                f"{count} frames", f"at most {MOST_WEIGHTS // depth} with --sampling spline", "use uniform, or cut it"
            )
        expected = count
    raise Refused("a clip that decodes to another length each time", "a sound clip", FETCH_AGAIN)


# -- one file ----------------------------------------------------------------------------------------------------------


class _Source:
    """One file and what its header says of it, still to be proven."""

    def __init__(self, path: Path, container: str) -> None:
        self._path = _address(path)
        self.notes: list[str] = []
        if not _listen():
            self.notes.append("FFmpeg's reports could not be read: damage that it conceals would not show")
        with self.open() as clip:
            get = clip.capture.get
            count, fps = get(cv2.CAP_PROP_FRAME_COUNT), get(cv2.CAP_PROP_FPS)
            self.width, self.height = int(get(cv2.CAP_PROP_FRAME_WIDTH)), int(get(cv2.CAP_PROP_FRAME_HEIGHT))
            self.codec = _fourcc(int(get(cv2.CAP_PROP_FOURCC)))
            self.rotation = int(get(cv2.CAP_PROP_ORIENTATION_META))
            self.decoder = clip.capture.getBackendName()
        self.fps = fps if math.isfinite(fps) and fps > 0 else None
        self.estimate = int(count) if 0 < count <= MOST_FRAMES else 0  # false for NaN
        # Matroska counts no frames: there OpenCV multiplies a duration, maybe that of the sound, with a guessed rate.
        self.promised = self.estimate if container != "Matroska" else 0
        if self.width * self.height > MOST_PIXELS:
            raise Refused(f"frames of {self.width} x {self.height}", f"at most {MOST_PIXELS} pixels", "scale it down")
        if self.rotation % 90:
            self.notes.append(f"rotation of {self.rotation} degrees ignored; OpenCV turns by right angles only")

    @property
    def record(self) -> dict[str, Any]:
        return {
            "promised": self.promised or None,
            "fps": self.fps,
            "size": [self.width, self.height],
            "codec": self.codec,
            "rotation": self.rotation,
            "decoder": self.decoder,
            "opencv": cv2.__version__,
            "notes": self.notes,
        }

    @contextmanager
    def open(self, packets: bool = False) -> Iterator[_Clip]:
        """The file at its first frame, or its packets, undecoded. Refused where OpenCV finds no video in it."""
        _reports.errors = []
        mode = [cv2.CAP_PROP_FORMAT, -1] if packets else []
        capture = cv2.VideoCapture(self._path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1, *mode])
        try:
            if not capture.isOpened():
                said = f" ({_said(_reports.errors[0])})" if _reports.errors else ""
                raise Refused(f"no video stream that can be opened{said}", "a sound clip", FETCH_AGAIN)
            ahead, _reports.errors = _reports.errors, []  # opening looks ahead, maybe past all that is needed
            yield _Clip(self, capture, ahead, _reports.errors)
        finally:
            _reports.errors = None
            capture.release()

    def check_packets(self, needed: int | None) -> None:
        """Look at the undecoded packets, of which the first `needed` matter (None: all): Refused for a hole in those.

        A packet is a frame, nearly always, so this is also where a clip that isn't decoded to its end can be seen to
        hold less than its header promises. That is noted.
        """
        with self.open(packets=True) as clip:
            if clip.capture.get(cv2.CAP_PROP_FRAME_COUNT) != self.estimate and self.estimate:
                return  # of several streams OpenCV may give another one's packets
            count = 0
            for count, packet in enumerate(clip.packets(), 1):
                hole = self.codec.lower() in ENTROPY_CODED and HOLE in packet.tobytes()
                if hole and (needed is None or count <= needed):
                    raise Refused(f"a hole of zeros in frame {count}", "a sound clip", FETCH_AGAIN)
        if needed is not None and count < self.promised - TOLERANCE:
            self.notes.append(f"its header promises {self.promised} frames, the file holds {count}")


class _Clip:
    """The frames of one open file, in order, once."""

    def __init__(self, source: _Source, capture: cv2.VideoCapture, ahead: list[bytes], errors: list[bytes]) -> None:
        self.capture = capture
        self._source, self._ahead, self._errors = source, ahead, errors
        self._bgr: Any = None
        self._gray: Any = None

    def packets(self) -> Iterator[np.ndarray]:
        while self.capture.grab():
            yield self.capture.retrieve()[1]

    def pick(self, wanted: Sequence[int] | np.ndarray, frames: np.ndarray, stop: int | None = None) -> int:
        """Put the frames numbered `wanted`, ascending, into `frames`; how many there are, counting to `stop`."""
        rows = {int(frame): row for row, frame in enumerate(wanted)}
        count = 0
        while count != stop and self.capture.grab():
            if count in rows:
                self._retrieve(count, frames[rows[count]])
            count += 1
        return count

    def zoom(self, expected: int, frames: np.ndarray) -> int:
        """Fill `frames` by the zoom along time, which is right if there are `expected`; how many there are."""
        size = frames.shape[1:]
        zoom = Zoom((expected, *size), frames.shape, ORDER)
        gray, plane = np.empty(size, np.uint8), np.empty(size, np.float32)
        count = 0
        while self.capture.grab():
            if count < expected:
                self._retrieve(count, gray)
                np.copyto(plane, gray)
                zoom.feed(plane)
            count += 1
        if count >= expected:
            result = zoom.result()
            np.rint(np.clip(result, 0, 255, out=result), out=result)
            np.copyto(frames, result, casting="unsafe")
        return count

    def _retrieve(self, index: int, frame: np.ndarray) -> None:
        """The grabbed frame, gray and then resized, into `frame`. Every buffer is used again for the next.

        Where a clip changes its size on the way, OpenCV scales each frame to the size of the first.
        """
        found, self._bgr = self.capture.retrieve(self._bgr)
        if not found:
            raise Refused(f"frame {index + 1}, which does not decode", "a sound clip", FETCH_AGAIN)
        self._gray = cv2.cvtColor(self._bgr, cv2.COLOR_BGR2GRAY, dst=self._gray)
        cv2.resize(self._gray, frame.shape[::-1], dst=frame, interpolation=cv2.INTER_LINEAR)

    def check_end(self, count: int) -> None:
        """Refused unless the clip, which gave `count` frames, is over, and has as many as it promised."""
        source = self._source
        if count < source.promised - TOLERANCE:
            raise Refused(self._decodes(count), f"the {source.promised} that its header promises", self._remedy(count))
        if count == 0:
            raise Refused(self._decodes(count), "at least one", self._remedy(count))
        if self.capture.grab():
            raise Refused(f"{count} frames, and more after one that does not decode", "a sound clip", FETCH_AGAIN)
        if source.promised not in (0, count):
            note = f"its header promises {source.promised} frames, {count} decode"
            source.notes[:] = [*(old for old in source.notes if old != note), note]
        self._errors += self._ahead

    def check(self, count: int) -> None:
        """Refused if the decoder reported anything on the way to `count` frames; it may have looked some ahead."""
        if self._errors:
            given = f"damage within {self._decodes(count)}: {_said(self._errors[0])}"
            raise Refused(given, "frames that decode without error", FETCH_AGAIN)

    def _decodes(self, count: int) -> str:
        return f"{count} frames that decode (codec {self._source.codec})"

    def _remedy(self, count: int) -> str:
        if count or not self._source.estimate:
            return FETCH_AGAIN
        return f"if the file plays elsewhere, OpenCV lacks {self._source.codec}: convert it to MPEG-4 or H.264"


def _container(path: Path) -> str:
    """The family of the container, by its first bytes. Raises Refused for any other file, OSError."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        return "AVI"
    if head[4:8] in BOX_TYPES:
        return "MP4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "Matroska"
    given = f"no video container (it starts with {head[:8]!r})" if head else "empty file"
    raise Refused(given, "AVI, MP4, MOV, Matroska or WebM", CONVERT if head else FETCH_AGAIN)


def _address(path: Path) -> str:
    """`path` as OpenCV must be given it: absolute, and UTF-8, for it crashes on anything else."""
    try:
        return str(path.absolute()).encode().decode()
    except UnicodeEncodeError as error:
        raise Refused("a path that is not valid UTF-8", "one that every system can read", "rename it") from error


def _fourcc(code: int) -> str:
    """The codec's four characters, anything unprintable escaped."""
    return ascii((code & 0xFFFFFFFF).to_bytes(4, "little").decode("latin1"))[1:-1]


def _line(error: BaseException) -> str:
    """What OpenCV had to say, as one short printable line."""
    return ascii(" ".join(str(error).split())[:160])[1:-1]


# -- FFmpeg's reports --------------------------------------------------------------------------------------------------

_reports = threading.local()  # its `errors` is the list that this thread's errors go to, None or absent for nowhere


@ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _report(_context: int, level: int, message: bytes, _arguments: int) -> None:
    errors = getattr(_reports, "errors", None)
    if errors is not None and 0 <= level <= FFMPEG_ERROR:
        errors.append(message)


def _said(message: bytes) -> str:
    """A report as far as it is the same for every frame: up to the first of its arguments."""
    return ascii(message.decode("latin1").partition("%")[0].strip(" :,(=\n"))[1:-1]


@lru_cache(maxsize=1)
def _listen() -> bool:
    """Keep OpenCV and FFmpeg silent in this process and to one thread; True where FFmpeg's reports are heard.

    One decoder thread runs within the thread that asks for a frame, so that a report tells whose clip it is about.
    Where libavutil is no library of its own (Windows) or cannot be found (macOS), nothing is heard.
    """
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    for name in ("OPENCV_FFMPEG_DEBUG", "OPENCV_FFMPEG_LOGLEVEL", "OPENCV_FFMPEG_CAPTURE_OPTIONS"):
        os.environ.pop(name, None)  # with one of the first two OpenCV would take the reports; the last changes frames
    maps = Path("/proc/self/maps")
    lines = maps.read_text(errors="surrogateescape").splitlines() if maps.exists() else []
    libraries = {name for line in lines if "libavutil" in line and Path(name := line.split(maxsplit=5)[5]).is_file()}
    for library in map(ctypes.CDLL, libraries):  # those that are loaded already
        library.av_log_set_callback(_report)
        atexit.register(library.av_log_set_callback, None)  # never into an interpreter that is gone
    if not libraries:
        os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"  # quieter than any report
    return bool(libraries)
