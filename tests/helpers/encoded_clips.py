"""Clips encoded by PyAV, for the tests of readers."""

import struct
from fractions import Fraction

import av

from tests.helpers.clips import pictures

ONE = 65536  # 1.0 as a fixed-point number of a display matrix


def encode(path, codec, container, frames=(), flags=0, start=0, muxer=None, pix_fmt="yuv420p", **options):
    """Encode `frames` (BGR arrays, or video frames ready to encode) at 25 a second; time stamps start at `start`."""
    frames = frames or pictures(80)
    video_frames = [frame if isinstance(frame, av.VideoFrame) else as_frame(frame, pix_fmt) for frame in frames]
    with av.open(str(path), "w", format=container, options=muxer or {}) as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = video_frames[0].width, video_frames[0].height, pix_fmt
        stream.codec_context.flags |= flags
        for index, frame in enumerate(video_frames):
            frame.pts, frame.time_base = index + start, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def as_frame(picture, pix_fmt="yuv420p"):
    return av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=pix_fmt)


def every_frame(path, **options):
    """Every frame as decoded by the high-level API of PyAV, in colour and not rotated."""
    with av.open(str(path), options=options) as container:
        return [
            frame.to_ndarray(format="bgr24", interpolation="BICUBIC")
            for frame in container.decode(container.streams.video[0])
        ]


def patched(path, box, offset, values, to=None):
    """A copy of an MP4 with 32-bit `values` at `offset` after the name of its first `box`."""
    data = bytearray(path.read_bytes())
    struct.pack_into(f">{len(values)}i", data, data.index(box) + 4 + offset, *values)
    to = to or path.with_name(f"patched_{path.name}")
    to.write_bytes(data)
    return to
