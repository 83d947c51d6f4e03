"""Clips, and the expected frames to compare them with."""

import struct

import cv2
import numpy as np

from pipeline.errors import Excluded, InvalidInput
from pipeline.transforms.video import video_clip

SHAPE = {"depth": 70, "height": 32, "width": 40}
SIZE = (96, 64)  # of generated clips: width, height


def pictures(count, size=SIZE, seed=0):
    """Drifting smooth colour noise: no two frames are equal."""
    rng = np.random.default_rng(seed)
    base = cv2.resize(rng.integers(0, 256, (8, 12, 3), np.uint8), size)
    return [np.roll(base, (index, 2 * index), axis=(0, 1)) for index in range(count)]


def write_xvid(path, count, size=SIZE, seed=0):
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"XVID"), 25, size)
    for picture in pictures(count, size, seed):
        writer.write(picture)
    writer.release()
    return path


def riff(kind, *parts):
    body = b"".join(parts)
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def write_avi(path, frames, fourcc=b"MJPG", size=SIZE, frame_count=None, stream=b"vids", bits=24):
    """An AVI of encoded `frames` (bytes) whose header says that it has `frame_count` frames."""
    frame_count = len(frames) if frame_count is None else frame_count
    avih = struct.pack("<14I", 40000, 0, 0, 16, frame_count, 0, 1, 0, *size, 0, 0, 0, 0)
    strh = struct.pack("<4s4sIHHIIIIIIII4h", stream, fourcc, 0, 0, 0, 0, 1, 25, 0, frame_count, 0, 0, 0, 0, 0, *size)
    if stream == b"vids":
        strf = struct.pack("<IiiHH4sIiiII", 40, *size, 1, bits, fourcc, 0, 0, 0, 0, 0)
    else:
        strf = struct.pack("<HHIIHHH", 1, 1, 8000, 16000, 2, 16, 0)
    header = riff(
        b"LIST", b"hdrl", riff(b"avih", avih), riff(b"LIST", b"strl", riff(b"strh", strh), riff(b"strf", strf))
    )
    tag = b"00dc" if stream == b"vids" else b"00wb"
    movie = riff(b"LIST", b"movi", *(riff(tag, frame) for frame in frames))
    path.write_bytes(riff(b"RIFF", b"AVI ", header, movie))
    return path


def jpeg(picture):
    return cv2.imencode(".jpg", picture)[1].tobytes()


def with_frame_count(source, path, count):
    """A copy of the AVI `source` whose header says that it has `count` frames."""
    data = bytearray(source.read_bytes())
    for start, offset in ((data.index(b"avih"), 24), (data.index(b"strh"), 40)):
        struct.pack_into("<I", data, start + offset, count)
    path.write_bytes(data)
    return path


def decoded(path):
    """Every frame as decoded by plain OpenCV, in colour and at its original size."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def resized(frames, height=SHAPE["height"], width=SHAPE["width"]):
    return np.stack([cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (width, height)) for frame in frames])


def outcome(path, **options):
    """("complete", record), ("excluded", reason) or ("refused", reason)."""
    try:
        return "complete", video_clip(path, **{**SHAPE, **options})[2]
    except Excluded as error:
        return "excluded", str(error)
    except InvalidInput as error:
        return "refused", f"{error.problem}; expected {error.expected}; {error.remedy}"
