"""A video file, opened by PyAV: its video stream, and how many frames the container says that has.

A file is opened by the demuxer that its first bytes ask for, with no protocol but files and no references followed, so
that neither a playlist nor an MP4 leads to another file or host.
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
from pipeline.readers.remedies import FETCH_AGAIN, MOVE_OUT

TOLERANCE = 2  # frames by which an honest header may be off
MAX_FRAMES = 10_000_000  # a header that promises more promises nothing
OPTIONS = {"protocol_whitelist": "file", "enable_drefs": "0", "use_absolute_path": "0"}
BRIEF = {"probesize": "32", "fpsprobesize": "0"}  # look ahead no further than the first packet
COUNTED = {"avi", "mov"}  # demuxers of containers that write down how many frames they hold
# Before PyAV 19 a title that is not UTF-8 made a clip unreadable; 19 keeps its bytes, and knows no such option.
METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
PICTURES = ("attached_pic", "still_image", "timed_thumbnails")  # cover art: a "video" stream that is not the clip
INTACT_CLIP = "an intact clip"
NO_GAP = "export it again without the gap from the program that cut it, or move it out of SOURCE"
CONVERT_CODEC = "convert it to H.264, for example by ffmpeg -i IN -c:v libx264 OUT.mp4"

logging.getLogger("libav").addHandler(logging.NullHandler())  # what FFmpeg reports is told, never printed

Report = tuple[int, str, str]  # level, name of the demuxer or codec, text


@dataclass(frozen=True)
class OpenVideo:
    """One open file, before its first packet: its stream of video, and what FFmpeg reports about it meanwhile.

    `ignored` names the decoders of other streams, whose reports say nothing about the video.
    """

    container: Any
    stream: Any
    demuxer: str
    reports: list[Report]
    ignored: frozenset[str]

    @property
    def errors(self) -> list[Report]:
        return [report for report in self.reports if report[1] not in self.ignored]

    @property
    def promised(self) -> int:
        """How many frames the container itself says it has; 0 where it does not say."""
        frames = self.stream.frames
        return frames if self.demuxer in COUNTED and 0 < frames <= MAX_FRAMES else 0

    def listed(self) -> int:
        """How many packets with a frame to show the container lists: `promised` without those an edit list hides.

        An edit list shortens the stream with its index. Where only the index is short, that is damage, not listed.
        """
        if not self.promised or self.demuxer != "mov":
            return self.promised
        shown, ticks = _shown_entries(self.stream)
        if shown >= self.promised - TOLERANCE or not self.stream.duration:
            return shown
        slack = 2 * (TOLERANCE + 1) * ticks
        return shown if shown and (self.stream.duration - ticks) * shown <= slack else self.promised

    def guess(self, fps: float | None) -> int:
        """The number of frames by the duration, which may be that of the sound; nothing is to be held to it."""
        frames = (self.container.duration or 0) / av.time_base * (fps or 0)
        return round(frames) if frames <= MAX_FRAMES else 0


@contextmanager
def open_video(path: Path, demuxer: str) -> Iterator[OpenVideo]:
    """The video in `path`. Raises InvalidInput where it has none that can be decoded, OSError.

    What FFmpeg logs in this thread is kept as `reports`; PyAV passes on no other thread's.
    """
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # or a second clip with the same damage would pass
    with av.logging.Capture() as reports:
        container = _opened(path, demuxer, OPTIONS, reports)
        if _of_demuxer(reports, demuxer):  # damage, maybe behind all frames needed; it will be met when it is read
            container.close()
            container = _opened(path, demuxer, OPTIONS | BRIEF, reports)
        with container:
            if _of_demuxer(reports, demuxer):
                raise InvalidInput(f"a damaged header: {message(None, reports)}", INTACT_CLIP, FETCH_AGAIN)
            if demuxer == "mov" and has_gap(path):
                raise InvalidInput("an edit list that leaves a gap within the video", "a video without gaps", NO_GAP)
            stream = _video_stream(container, is_cut=demuxer == "mov" and ends_inside_box(path))
            ignored = _ignore_others(container, stream)
            reports.clear()
            yield OpenVideo(container, stream, demuxer, reports, ignored)


def message(error: BaseException | None, reports: list[Report]) -> str:
    """What FFmpeg had to say, as one short printable line; never empty."""
    told = [" ".join(text.split()) for _, _, text in reports]
    said = next(filter(None, told), "") or getattr(error, "strerror", "") or str(error or "") or "an error without text"
    return ascii(said[:160].rstrip("."))[1:-1]


def check_readable(path: Path, error: BaseException) -> None:
    """Raise OSError where `path` cannot be read; FFmpeg raises one for much that is wrong in a file, too."""
    if isinstance(error, OSError):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def _opened(path: Path, demuxer: str, options: dict[str, str], reports: list[Report]) -> Any:
    reports.clear()
    try:
        return av.open(f"file:{path.absolute()}", "r", format=demuxer, options=options, **METADATA)
    except av.FFmpegError as error:
        check_readable(path, error)
        given = f"no video stream that can be opened ({message(error, reports)})"
        raise InvalidInput(given, INTACT_CLIP, FETCH_AGAIN) from error


def _of_demuxer(reports: list[Report], demuxer: str) -> bool:
    return any(demuxer in name.split(",") for _, name, _ in reports)


def _video_stream(container: Any, is_cut: bool) -> Any:
    """The first video stream that is not a picture. Raises InvalidInput where there is none, or no decoder for it.

    Either can be all that damage has left of a header: of one that `is_cut` short, or that has no stream to play.
    """
    pictures = [stream for stream in container.streams.video if _is_picture(stream)]
    streams = [stream for stream in container.streams.video if stream not in pictures]
    if not streams:
        given = "no video stream" + (", only a picture" if pictures else "")
        playable = pictures or container.streams.audio or container.streams.subtitles
        raise InvalidInput(given, "a clip", MOVE_OUT if playable and not is_cut else FETCH_AGAIN)
    if streams[0].codec_context is None:
        given, remedy = "a video in a codec that FFmpeg cannot decode", FETCH_AGAIN if is_cut else CONVERT_CODEC
        raise InvalidInput(given, "H.264, MPEG-4 or the like", remedy)
    return streams[0]


def _is_picture(stream: Any) -> bool:
    return any(stream.disposition & av.stream.Disposition[name] for name in PICTURES)


def _ignore_others(container: Any, video: Any) -> frozenset[str]:
    """Have every stream but `video` passed over; the names under which their decoders report."""
    others = [stream for stream in container.streams if stream.index != video.index]
    for stream in others:
        stream.discard = av.stream.Discard.all
    names = {stream.codec_context.name for stream in others if stream.codec_context}
    return frozenset(names - {video.codec_context.name})


def _shown_entries(stream: Any) -> tuple[int, int]:
    """How many frames the index of an MP4 has to show, and how long all of them but the last are, in its time base."""
    shown = ticks = 0
    before = None  # the time of the entry before, if that one is shown
    for entry in stream.index_entries:
        ticks += entry.timestamp - before if before is not None else 0
        is_shown = entry.size > 0 and not entry.is_discard
        before = entry.timestamp if is_shown else None
        shown += is_shown
    return shown, ticks
