"""Decode an open video: its frames in display order, or the reason why it is damaged.

Signs of damage are: an exception of the demuxer or of the decoder, which is set to stop at the first error instead of
concealing it (`err_detect=explode`); a packet or a frame flagged corrupt; packets that the container lists but the file
lacks; zeros that no encoder writes (`holes.has_hole`); and messages in FFmpeg's log, read with PyAV's `Capture`. The
log is needed since Matroska's demuxer skips damage without any other sign, and VP8's decoder raises too few errors. VP9
is decoded by libvpx, which gives the same frames as FFmpeg's own decoder and reports more damage. Damage that no
decoder can tell from a picture, such as one flipped bit, and most holes shorter than `holes.RANGE_ZEROS` in VP8, stays
undetected.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from pipeline.errors import InvalidInput
from pipeline.readers.clip.avi import empty_chunks
from pipeline.readers.clip.container import CONVERT_CODEC, OpenVideo, check_readable, message, open_video
from pipeline.readers.clip.demuxer import ends_inside_packet
from pipeline.readers.clip.holes import NAL_CODECS, SEARCHED_CODECS, has_hole
from pipeline.readers.clip.leading import LeadingPackets
from pipeline.readers.clip.orientation import Orientation, orientation
from pipeline.readers.remedies import FETCH_AGAIN

MAX_PIXELS = 4096 * 4096  # of a frame; the decoder and two copies in colour must fit into memory
UNREFERENCED = "mmco: unref short failure"  # H.264: a frame to drop does not exist, as after a cut
DEINTERLACE = "convert it, for example by ffmpeg -i IN -vf yadif -c:v libx264 OUT.mp4"
DECODER = f"PyAV {av.__version__} / libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"


@contextmanager
def open_clip(path: Path, demuxer: str) -> Iterator[Clip]:
    """Open the clip in `path`, before its first frame. Raises InvalidInput where it has no readable video, OSError.

    Everything runs in the calling thread, so that reports of FFmpeg in it belong to this clip.
    """
    with open_video(path, demuxer) as video:
        yield Clip(path, video)


class Clip:
    """The frames of one open file, to be read once, and its properties.

    `promised` is the number of frames that the container stores, 0 where it does not; `estimate` is an estimate of the
    number of displayed frames, 0 for none. All other properties are valid once the frames have been read.
    """

    def __init__(self, path: Path, video: OpenVideo) -> None:
        self._path, self._video = path, video
        self._own = video.stream.codec_context
        self._decoder = _stricter_decoder(self._own) or self._own
        self._decoder.thread_count, self._decoder.thread_type = 1, "NONE"
        if self._decoder.name != "h264":  # it flags damaged frames; with explode it loses intact ones, too
            self._decoder.options = {"err_detect": "explode"}
        self._reformatter = VideoReformatter()
        self._leading_packets = LeadingPackets()
        self.codec: str = self._decoder.codec.canonical_name
        self.fps = float(video.stream.guessed_rate) if video.stream.guessed_rate else None
        self.width, self.height = self._own.width, self._own.height
        self.orientation = Orientation()
        self.interlaced = self.resized = False
        self.promised, self._listed = video.promised, video.listed()
        self.estimate = self._listed or video.estimate(self.fps)
        self._packets = self._displayed = self._leading = 0
        self._first_pts: list[int | None] = []  # time stamps of the packets up to the first frame
        _check_size(self.width, self.height)

    # -- number of frames ------------------------------------------------------------------------------------------

    @cached_property
    def _empty(self) -> int:
        fewer = self._video.demuxer == "avi" and self._packets < self.promised
        return empty_chunks(self._path, self._video.stream.index) if fewer else 0

    @property
    def missing(self) -> int:
        """How many of the packets that the container lists are not in the file; valid once the file has been read."""
        return max(0, self._listed - self._empty - self._packets)

    @property
    def undecoded(self) -> int:
        """How many packets gave no frame in a codec where each should; valid once all were decoded.

        In other codecs that is normal: frames that MPEG-4 skips or VP8 never displays, fields that share a frame.
        """
        if self.codec not in NAL_CODECS or self.interlaced:
            return 0
        return max(0, self._packets - self._leading - self._displayed)

    @property
    def cut_off(self) -> bool:
        """Whether the file may end inside its last frame, which decoders may not report."""
        return self._video.demuxer == "mpegts" and ends_inside_packet(self._path)

    def gap(self) -> str:
        """Why fewer frames are displayed than promised, for a note; empty where nothing explains it."""
        parts = {
            "hidden by an edit list": self.promised - self._listed,
            "in empty chunks": self._empty,
            "leading, without the frames they refer to": self._leading,
            "skipped by the encoder": self._packets - self._leading - self._displayed,
        }
        return ", ".join(f"{count} {text}" for text, count in parts.items() if count > 0)

    # -- frames --------------------------------------------------------------------------------------------------------

    def frames(self) -> Iterator[Any]:
        """Every displayed frame, in order. Raises InvalidInput at the first sign of damage; no frame follows it."""
        try:
            for packet in self._packets_with_data():
                self._check_packet(packet)
                yield from self._decode(packet)
            yield from self._decode(None)
        except av.FFmpegError as error:
            check_readable(self._path, error)
            raise self._damage(message(error, self._video.errors)) from error
        if self._leading_packets.damage and not self._displayed:
            raise self._leading_packets.damage

    def read_rest(self) -> None:
        """Count the remaining packets without decoding them, as far as they can be read."""
        try:
            for _ in self._packets_with_data():
                pass
        except av.FFmpegError as error:
            check_readable(self._path, error)

    def _packets_with_data(self) -> Iterator[Any]:
        """The packets to decode, without empty ones, which mean the end to a decoder.

        Reading stops at PyAV's own end marker: where new streams appeared on the way, it fails after that.
        """
        for packet in self._video.container.demux(self._video.stream):
            if packet.size:
                self._packets += not packet.is_discard
                yield packet
            elif packet.dts is None:
                return

    def _check_packet(self, packet: Any) -> None:
        if packet.is_corrupt:
            raise self._damage("a packet that is cut short or lost")
        if self.codec in SEARCHED_CODECS and has_hole(bytes(packet), self.codec, self.width * self.height):
            raise self._damage("a hole of zeros")
        if self._packets == 1 and packet.has_sidedata("encryption_info"):
            raise InvalidInput(
                "an encrypted video (DRM)",
                "a video without protection",
                "export it without DRM, or move it out of SOURCE",
            )
        if not self._displayed and not packet.is_discard:
            self._first_pts.append(packet.pts)

    def _decode(self, packet: Any) -> Iterator[Any]:
        is_leading = packet is not None and self._leading_packets.includes(packet)
        try:
            frames = self._decoder.decode(packet)
            if self._decoder is not self._own and not self._displayed:
                self._note_orientation(self._own.decode(packet))
            self._check_reports()
        except (av.FFmpegError, InvalidInput) as error:
            refusal = error if isinstance(error, InvalidInput) else self._damage(message(error, self._video.errors))
            if not is_leading:
                raise refusal from error
            self._leading_packets.damage, frames = refusal, []
        self._video.reports.clear()
        for frame in frames:
            if not frame.is_corrupt:
                yield self._inspected(frame)
            elif frame.pts not in self._leading_packets.skipped:
                raise self._damage("a frame that decodes only partly")

    def _check_reports(self) -> None:
        if not self._video.reports:
            return
        harmless = UNREFERENCED if self._leading_packets.skipped else None
        errors = [report for report in self._video.errors if harmless is None or harmless not in report[2]]
        if errors:
            raise self._damage(message(None, errors))

    def _inspected(self, frame: Any) -> Any:
        """`frame`, after its properties were recorded. Raises InvalidInput where it is too large."""
        if self._leading_packets.damage and not self._leading_packets.key_seen:
            raise self._leading_packets.damage
        size = frame.width, frame.height
        if not self._displayed:
            self.width, self.height = size
            self._note_orientation([frame])
            self._leading = sum(
                pts is not None and frame.pts is not None and pts < frame.pts for pts in self._first_pts
            )
        _check_size(*size)
        self.resized = self.resized or size != (self.width, self.height)
        self.interlaced = self.interlaced or frame.interlaced_frame
        self._displayed += 1
        return frame

    def _note_orientation(self, frames: list[Any]) -> None:
        """Record the display matrix of the file, which only frames of the stream's own decoder have."""
        for frame in frames:
            if matrix := frame.side_data.get("DISPLAYMATRIX"):
                self.orientation = orientation(bytes(matrix))

    def picture(self, frame: Any) -> np.ndarray:
        """`frame` in colour as it is stored: BGR, uint8 (height, width, 3), possibly with gaps between rows in memory.

        Raises InvalidInput where it cannot be converted. The chroma of the two fields of interlaced 4:2:0 is converted
        separately, as swscale does where both frames have the same flags.
        """
        try:
            if frame.format.name == "bgr24":  # directly from the file, perhaps bottom row first, which swscale corrects
                frame = self._reformatter.reformat(frame, format="rgb24", threads=1)
            picture = self._reformatter.reformat(frame, format="bgr24", interpolation=Interpolation.BICUBIC, threads=1)
        except (av.FFmpegError, ValueError) as error:
            raise self._not_converted(frame, message(error, self._video.errors)) from error
        if (picture.format.name, picture.width, picture.height) != ("bgr24", frame.width, frame.height):
            raise self._not_converted(frame, "PyAV gave another format or size")
        plane = picture.planes[0]
        return np.ndarray(
            (picture.height, picture.width, 3), np.uint8, memoryview(plane), strides=(plane.line_size, 3, 1)
        )

    def _not_converted(self, frame: Any, reason: str) -> InvalidInput:
        kind = "interlaced frame" if frame.interlaced_frame else "frame"
        problem = (
            f"{kind} {self._displayed} of {frame.width} x {frame.height} ({frame.format.name}), not converted: {reason}"
        )
        remedy = DEINTERLACE if frame.interlaced_frame else CONVERT_CODEC
        return InvalidInput(problem, "frames that can be converted to gray", remedy)

    def _damage(self, sign: str) -> InvalidInput:
        problem = f"damage after {self._displayed} frames that decode (codec {self.codec}): {sign}"
        expected = f"the {self.promised} that its header promises" if self.promised else "a clip without damage"
        return InvalidInput(problem, expected, FETCH_AGAIN)


def _stricter_decoder(own: Any) -> Any:
    """A decoder that gives the same frames as a stream's `own` and reports more damage; None where there is none."""
    if own.codec.canonical_name != "vp9":
        return None
    try:
        decoder = av.CodecContext.create("libvpx-vp9", "r")
    except av.codec.codec.UnknownCodecError:
        return None
    decoder.extradata, decoder.width, decoder.height = own.extradata, own.width, own.height
    return decoder


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise InvalidInput(f"frames of {width} x {height}", f"at most {MAX_PIXELS} pixels", "scale it down")
