"""A video file opened by PyAV: its video stream, and the number of frames that the container promises.

A file is opened with the demuxer that fits its first bytes. No protocol except files is allowed and no references are
followed, so that neither a playlist nor an MP4 leads to another file or host.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from pipeline.errors import InvalidInput
from pipeline.readers.clip.mp4 import ends_inside_box, has_gap
from pipeline.readers.remedies import FETCH_AGAIN, MAX_LINE, MOVE_OUT

TOLERANCE = 2  # frames by which the header of an intact clip may be wrong
MAX_FRAMES = 10_000_000  # a header that promises more is ignored
OPTIONS = {"protocol_whitelist": "file", "enable_drefs": "0", "use_absolute_path": "0"}
MINIMAL_PROBE = {"probesize": "32", "fpsprobesize": "0"}  # read no further than the first packet
COUNTED = {"avi", "mov"}  # demuxers of containers that store the number of frames
# Before PyAV 19 a title that is not UTF-8 made a clip unreadable; PyAV 19 keeps its bytes and has no such option.
METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
PICTURES = ("attached_pic", "still_image", "timed_thumbnails")  # cover art: a "video" stream that is not the clip
INTACT_CLIP = "an intact clip"
NO_GAP = "export it again without the gap from the program that cut it, or move it out of SOURCE"
CONVERT_CODEC = "convert it to H.264, for example by ffmpeg -i IN -c:v libx264 OUT.mp4"

logging.getLogger("libav").addHandler(logging.NullHandler())  # messages of FFmpeg are reported, never printed

LogMessage = tuple[int, str, str]  # level, name of the demuxer or codec, text


@dataclass(frozen=True)
class OpenVideo:
    """One open file, before its first packet: its video stream, and the messages of FFmpeg while reading it.

    `ignored` names the decoders of other streams, whose reports are not about the video.
    """

    container: Any
    stream: Any
    demuxer: str
    reports: list[LogMessage]
    ignored: frozenset[str]

    @property
    def errors(self) -> list[LogMessage]:
        return [report for report in self.reports if report[1] not in self.ignored]

    @property
    def promised(self) -> int:
        """The number of frames that the container stores; 0 where it does not."""
        frames = self.stream.frames
        return frames if self.demuxer in COUNTED and 0 < frames <= MAX_FRAMES else 0

    def listed(self) -> int:
        """The number of displayed frames that the container lists: `promised` without those that an edit list hides.

        An edit list shortens both the stream and its index. Where only the index is short, the file is damaged.
        """
        if not self.promised or self.demuxer != "mov":
            return self.promised
        displayed, ticks = _displayed_entries(self.stream)
        if displayed >= self.promised - TOLERANCE or not self.stream.duration:
            return displayed
        slack = 2 * (TOLERANCE + 1) * ticks
        return displayed if displayed and (self.stream.duration - ticks) * displayed <= slack else self.promised

    def estimate(self, fps: float | None) -> int:
        """An estimate of the number of frames from the duration, which may be that of the audio."""
        frames = (self.container.duration or 0) / av.time_base * (fps or 0)
        return round(frames) if frames <= MAX_FRAMES else 0


@contextmanager
def open_video(path: Path, demuxer: str) -> Iterator[OpenVideo]:
    """Open the video in `path`. Raises InvalidInput where it has no video that can be decoded, OSError.

    The messages that FFmpeg logs in this thread are kept as `reports`; PyAV does not pass on those of other threads.
    """
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # otherwise a second clip with the same damage passes
    with av.logging.Capture() as reports:
        container = _opened(path, demuxer, OPTIONS, reports)
        if _of_demuxer(reports, demuxer):  # damage, perhaps after the needed frames; reading detects it
            container.close()
            container = _opened(path, demuxer, OPTIONS | MINIMAL_PROBE, reports)
        with container:
            if _of_demuxer(reports, demuxer):
                raise InvalidInput(f"a damaged header: {message(None, reports)}", INTACT_CLIP, FETCH_AGAIN)
            if demuxer == "mov" and has_gap(path):
                raise InvalidInput("an edit list that leaves a gap within the video", "a video without gaps", NO_GAP)
            stream = _video_stream(container, is_cut=demuxer == "mov" and ends_inside_box(path))
            ignored = _ignore_others(container, stream)
            reports.clear()
            yield OpenVideo(container, stream, demuxer, reports, ignored)


def message(error: BaseException | None, reports: list[LogMessage]) -> str:
    """The first message of FFmpeg as one short printable line; never empty."""
    texts = [" ".join(text.split()) for _, _, text in reports]
    first = next(filter(None, texts), "") or getattr(error, "strerror", "") or str(error or "")
    return ascii((first or "an error without text")[:MAX_LINE].rstrip("."))[1:-1]


def check_readable(path: Path, error: BaseException) -> None:
    """Raise OSError where `path` cannot be read; FFmpeg also raises OSError for many kinds of damage."""
    if isinstance(error, OSError):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def _opened(path: Path, demuxer: str, options: dict[str, str], reports: list[LogMessage]) -> Any:
    reports.clear()
    try:
        return av.open(f"file:{path.absolute()}", "r", format=demuxer, options=options, **METADATA)
    except av.FFmpegError as error:
        check_readable(path, error)
        problem = f"no video stream that can be opened ({message(error, reports)})"
        raise InvalidInput(problem, INTACT_CLIP, FETCH_AGAIN) from error


def _of_demuxer(reports: list[LogMessage], demuxer: str) -> bool:
    return any(demuxer in name.split(",") for _, name, _ in reports)


def _video_stream(container: Any, is_cut: bool) -> Any:
    """The first video stream that is not a picture. Raises InvalidInput where there is none, or no decoder for it.

    Either may be due to a damaged header: one that `is_cut` short, or one without any stream.
    """
    pictures = [stream for stream in container.streams.video if _is_picture(stream)]
    streams = [stream for stream in container.streams.video if stream not in pictures]
    if not streams:
        problem = "no video stream" + (", only a picture" if pictures else "")
        playable = pictures or container.streams.audio or container.streams.subtitles
        raise InvalidInput(problem, "a clip", MOVE_OUT if playable and not is_cut else FETCH_AGAIN)
    if streams[0].codec_context is None:
        problem, remedy = "a video in a codec that FFmpeg cannot decode", FETCH_AGAIN if is_cut else CONVERT_CODEC
        raise InvalidInput(problem, "H.264, MPEG-4 or another common codec", remedy)
    return streams[0]


def _is_picture(stream: Any) -> bool:
    return any(stream.disposition & av.stream.Disposition[name] for name in PICTURES)


def _ignore_others(container: Any, video: Any) -> frozenset[str]:
    """Discard all streams except `video`; return the names under which their decoders report."""
    others = [stream for stream in container.streams if stream.index != video.index]
    for stream in others:
        stream.discard = av.stream.Discard.all
    names = {stream.codec_context.name for stream in others if stream.codec_context}
    return frozenset(names - {video.codec_context.name})


def _displayed_entries(stream: Any) -> tuple[int, int]:
    """The number of displayed frames in the index of an MP4, and the duration of all but the last, in its time base."""
    displayed = ticks = 0
    previous = None  # time of the previous entry, if that is displayed
    for entry in stream.index_entries:
        ticks += entry.timestamp - previous if previous is not None else 0
        is_displayed = entry.size > 0 and not entry.is_discard
        previous = entry.timestamp if is_displayed else None
        displayed += is_displayed
    return displayed, ticks
