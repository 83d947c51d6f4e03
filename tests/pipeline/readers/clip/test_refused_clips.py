"""A file that is not a clip is rejected; file names and environment settings do not affect the result."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import InvalidInput
from pipeline.transforms import video
from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, decoded, jpeg, outcome, pictures, resized, write_avi
from tests.helpers.real_files import ROOT

# -- files that are not clips, and unusual ones that are ---------------------------------------------------------------

NO_CLIPS = {
    "nothing": b"",
    "text": b"a text\n" * 100,
    "png": cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes(),
    "jpeg": jpeg(np.zeros((64, 64, 3), np.uint8)),
    "encrypted": np.random.default_rng(1).bytes(50_000),
    "hls playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "concat script": b"ffconcat version 1.0\nfile other.avi\n",
    "riff only": b"RIFF\x00\x10\x00\x00AVI ",
    "riff sound": b"RIFF\x00\x10\x00\x00WAVE" + bytes(1000),
    "mp4 only": b"\x00\x00\x00\x18ftypisom" + bytes(16),
    "matroska only": b"\x1a\x45\xdf\xa3" + bytes(100),
}


@pytest.mark.parametrize("name", NO_CLIPS)
@pytest.mark.parametrize("suffix", ["avi", "mp4", "webm"])
def test_a_file_that_is_not_a_clip_is_rejected_under_any_name(tmp_path, name, suffix):
    path = tmp_path / f"clip.{suffix}"
    path.write_bytes(NO_CLIPS[name])
    (tmp_path / "other.avi").write_bytes(b"")
    for short in ("skip", "loop"):
        assert outcome(path, short=short)[0] == "refused"


def test_a_header_without_frames_is_rejected(xvid, tmp_path):
    data = xvid(71).read_bytes()
    (tmp_path / "header.avi").write_bytes(data[: data.index(b"movi") + 4])
    state, reason = outcome(tmp_path / "header.avi", short="loop")
    assert state == "refused"
    assert "71" in reason or "no video stream" in reason


def test_audio_without_video_is_rejected(tmp_path):
    path = write_avi(tmp_path / "sound.avi", [bytes(1600)] * 50, b"\0\0\0\0", stream=b"auds")
    state, reason = outcome(path, short="loop")
    assert (state, reason) == ("refused", "no video stream; expected a clip; move it out of SOURCE")


def test_an_unknown_codec_is_rejected_with_a_remedy(tmp_path):
    path = write_avi(tmp_path / "unknown.avi", [bytes(range(200))] * 80, b"ZZ\x01Z")
    state, reason = outcome(path)
    assert state == "refused"
    assert reason.startswith("a video in a codec that FFmpeg cannot decode")
    assert "convert it to H.264" in reason


def test_each_frame_is_resized_from_its_own_size(tmp_path):
    drawings = [*pictures(40), *pictures(40, (64, 96))]
    path = write_avi(tmp_path / "sizes.avi", [jpeg(picture) for picture in drawings])
    frames, _, record = video_clip(path, **SHAPE)
    upright = write_avi(tmp_path / "upright.avi", [jpeg(picture) for picture in drawings[40:]], size=(64, 96))
    np.testing.assert_array_equal(frames[:40], resized(decoded(path)[:40]))
    np.testing.assert_array_equal(frames[40:], resized(decoded(upright)[:30]))
    assert (record["size"], record["notes"]) == ([96, 64], ["its frames change size; each was resized from its own"])


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (16, 4), (17, 33)])
def test_frames_of_any_size_down_to_one_pixel_are_accepted(tmp_path, size):
    path = write_avi(tmp_path / "tiny.avi", [jpeg(frame) for frame in pictures(70, size)], size=size)
    np.testing.assert_array_equal(video_clip(path, **SHAPE)[0], resized(decoded(path)))


def test_frames_too_large_for_memory_are_rejected_before_decoding(tmp_path):
    frames = [jpeg(np.zeros((5000, 5000), np.uint8))] * 2
    state, reason = outcome(write_avi(tmp_path / "huge.avi", frames, size=(5000, 5000)))
    assert (state, reason.split(";")[0]) == ("refused", "frames of 5000 x 5000")


@pytest.mark.parametrize(
    "name",
    [
        "clip_%03d.avi",
        "-dash.avi",
        "new\nline.avi",
        "concat:a|b.avi",
        "http:x",
        "pipe:0",
        "data:,",
        "ümläut 動画.avi",
        "a#b?c",
    ],
)
def test_a_file_name_is_never_interpreted_as_a_pattern_option_or_address(xvid, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        video_clip(Path(name), **SHAPE)
    Path(name).write_bytes(xvid(71).read_bytes())
    np.testing.assert_array_equal(video_clip(Path(name), **SHAPE)[0], video_clip(xvid(71), **SHAPE)[0])


def test_a_clip_with_a_name_that_is_not_utf_8_is_read_or_rejected(xvid, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.avi")
    path.write_bytes(xvid(71).read_bytes())
    assert outcome(path)[0] in ("complete", "refused")


def test_an_error_that_does_not_recur_on_a_second_reading_is_not_damage(xvid, monkeypatch):
    opened, open_clip = [], video.open_clip

    def fail_once(path, container):
        opened.append(path)
        if len(opened) == 1:
            raise InvalidInput("damage after 0 frames", "a clip without damage", "fetch it again")
        return open_clip(path, container)

    monkeypatch.setattr(video, "open_clip", fail_once)
    frames = video_clip(xvid(8), depth=8, height=16, width=16)[0]
    monkeypatch.undo()
    assert len(opened) == 2
    assert np.array_equal(frames, video_clip(xvid(8), depth=8, height=16, width=16)[0])


def test_an_opencv_error_becomes_invalid_input(xvid, monkeypatch):
    def fail(*_arguments, **_options):
        raise cv2.error("a failed\nassertion")

    monkeypatch.setattr(cv2, "resize", fail)
    state, reason = outcome(xvid(71))
    assert state == "refused"
    assert "a failed assertion" in reason


def test_opencv_settings_in_the_environment_change_no_frame_and_print_nothing(xvid):
    code = "from pathlib import Path; from tests.helpers.clips import *; "
    code += f"print(video_clip(Path({str(xvid(71))!r}), **SHAPE)"
    code += "[0].sum())"
    options = {"OPENCV_FFMPEG_DEBUG": "1", "OPENCV_FFMPEG_CAPTURE_OPTIONS": "avdiscard;nonkey"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **options},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (result.stdout.split(), result.stderr) == ([str(video_clip(xvid(71), **SHAPE)[0].sum())], "")
