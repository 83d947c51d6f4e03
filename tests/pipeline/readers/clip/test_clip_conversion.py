"""Interlaced and raw frames are converted to BGR, or the clip is rejected."""

import av
import numpy as np
import pytest

from pipeline.readers.clip import decode
from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, SIZE, jpeg, outcome, pictures, resized, write_avi
from tests.helpers.encoded_clips import encode

INTERLACED = 0x40000 | 0x20000000  # AV_CODEC_FLAG_INTERLACED_DCT and _ME


def interlaced_frames(count=20):
    """Frames whose even rows are blue and odd rows red, chroma subsampled within each field."""
    blue, red = (41, 240, 110), (81, 90, 240)
    for _ in range(count):
        frame = av.VideoFrame(*SIZE, "yuv420p")
        for plane, even, odd in zip(frame.planes, blue, red, strict=True):
            rows = np.full((plane.height, plane.line_size), even, np.uint8)
            rows[1::2] = odd
            plane.update(rows.tobytes())
        yield frame


@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [
        ("libx264", "mp4", {"x264-params": "interlaced=1:log=-1", "crf": "1"}),
        ("mpeg4", "avi", {"flags": INTERLACED, "qmin": "1", "qmax": "1"}),
        ("mpeg2video", "mpegts", {"flags": INTERLACED, "qmin": "1", "qmax": "1"}),
    ],
)
def test_the_chroma_of_interlaced_fields_is_converted_separately_and_noted(tmp_path, codec, container, options):
    path = encode(tmp_path / "clip", codec, container, list(interlaced_frames()), **options)
    frames, _, record = video_clip(path, depth=20, height=SIZE[1], width=SIZE[0])
    assert np.abs(frames[:, 0::2].astype(int) - 29).max() <= 6  # blue in gray
    assert np.abs(frames[:, 1::2].astype(int) - 76).max() <= 6  # red
    assert record["interlaced"]
    assert record["notes"] == ["interlaced: every other row of a frame is from a different moment"]


@pytest.mark.parametrize("size", [(98, 66), (16, 2), (33, 17)])
def test_interlaced_clips_of_any_size_are_read(tmp_path, size):
    path = encode(tmp_path / "clip.avi", "mpeg4", "avi", pictures(20, size), flags=INTERLACED)
    frames, _, record = video_clip(path, **{**SHAPE, "depth": 20})
    assert record["interlaced"]
    assert np.abs(frames.astype(int) - resized(pictures(20, size))).mean() < 12


class _Unconverted:
    """Like OpenCV 5 with interlaced frames: returns the frame unconverted and raises no error."""

    def reformat(self, frame, **_options):
        return frame


class _Failing:
    def reformat(self, frame, **_options):
        raise av.error.ArgumentError(22, "Invalid argument")


@pytest.mark.parametrize("reformatter", [_Unconverted, _Failing])
def test_a_frame_that_was_not_converted_is_never_stored(tmp_path, mp4, monkeypatch, reformatter):
    interlaced_clip = encode(tmp_path / "clip.avi", "mpeg4", "avi", list(interlaced_frames()), flags=INTERLACED)
    monkeypatch.setattr(decode, "VideoReformatter", reformatter)
    state, reason = outcome(interlaced_clip, depth=5)
    assert state == "refused"
    assert reason.startswith("interlaced frame 1 of 96 x 64 (yuv420p), not converted: ")
    assert "yadif" in reason
    state, reason = outcome(mp4, depth=5)
    assert state == "refused"
    assert reason.startswith("frame 1 of 96 x 64 (yuv420p), not converted: ")


def test_raw_pictures_are_read_in_either_row_order(tmp_path):
    drawings = pictures(20, (94, 64))
    rows = [np.pad(picture.reshape(64, -1), ((0, 0), (0, 2))) for picture in drawings]  # each row fills whole words
    upward = write_avi(tmp_path / "up.avi", [row[::-1].tobytes() for row in rows], bytes(4), size=(94, 64))
    np.testing.assert_array_equal(video_clip(upward, depth=20, height=32, width=40)[0], resized(drawings))
    encoded = encode(tmp_path / "raw.avi", "rawvideo", "avi", drawings, pix_fmt="bgr24")
    np.testing.assert_array_equal(video_clip(encoded, depth=20, height=32, width=40)[0], resized(drawings))


def test_a_clip_whose_frames_become_too_large_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 96 * 64)
    path = write_avi(tmp_path / "sizes.avi", [jpeg(picture) for picture in [*pictures(10), *pictures(10, (128, 96))]])
    assert outcome(path, depth=10)[0] == "complete"
    assert outcome(path, depth=20)[1].startswith("frames of 128 x 96; expected at most 6144 pixels")
