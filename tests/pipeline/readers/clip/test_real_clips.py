"""Real clips are read or rejected as expected."""

import cv2
import numpy as np
import pytest

from cache.fingerprint import digest_files
from pipeline.transforms.frames import spaced
from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, decoded, outcome, resized
from tests.helpers.real_files import DATA, needs_data

# -- real files --------------------------------------------------------------------------------------------------------

COMPLETE = "complete"


HEAD_OF_70 = {
    "clips/Bunny/v_Bunny_g01_c01.avi": "too short: 24 frames, 70 needed",
    "clips/Bunny/v_Bunny_g02_c01.avi": COMPLETE,
    "clips/Nasa/v_Nasa_g01_c01.avi": COMPLETE,
    "clips/Nasa/v_Nasa_g01_c02.avi": COMPLETE,
    "clips/Nasa/v_Nasa_g02_c01.avi": COMPLETE,
    "clips/Nasa/v_Nasa_g02_c02.avi": "too short: 43 frames, 70 needed",
    "clips/Scenery/v_Scenery_g01_c01.avi": COMPLETE,
    "clips/Scenery/v_Scenery_g01_c02.avi": COMPLETE,
    "damaged/nasa_13013_truncated.mp4": "no video stream that can be opened (moov atom not found)",
    "video_odd/-video-with-dash-.mp4": "too short: 5 frames, 70 needed",
    "video_odd/av1_video.mkv": COMPLETE,
    "video_odd/big_buck_bunny_432_433.webm": "too short: 24 frames, 70 needed",
    "video_odd/corrupted.mp4": "damage after 28 frames that decode (codec h264): Invalid NAL unit size (-1 > 551)",
    "video_odd/h264_10bits.mp4": "too short: 30 frames, 70 needed",
    "video_odd/h265_video.mp4": "too short: 10 frames, 70 needed",
    "video_odd/nasa_13013.mp4": COMPLETE,
    "video_odd/nasa_vfr.mp4": COMPLETE,
    "video_odd/no_duration.webm": COMPLETE,
    "video_odd/result.webm": "empty file",
    "video_odd/transparent.webm": COMPLETE,
    "video_odd/unordered.mov": "too short: 4 frames, 70 needed",
    "video_odd/video_0.mov": "too short: 3 frames, 70 needed",
    "video_odd/video_90.mov": "too short: 3 frames, 70 needed",
    "video_odd/video_180.mov": "too short: 3 frames, 70 needed",
    "video_odd/video_270.mov": "too short: 3 frames, 70 needed",
}


@needs_data
def test_every_real_clip_has_an_expected_outcome():
    paths = [*(DATA / "clips").rglob("*.avi"), *(DATA / "video_odd").iterdir(), *(DATA / "damaged").glob("*.mp4")]
    assert sorted(HEAD_OF_70) == sorted(path.relative_to(DATA).as_posix() for path in paths)


@needs_data
@pytest.mark.parametrize("name", HEAD_OF_70)
def test_every_real_clip_has_the_expected_outcome(name):
    path, expected = DATA / name, HEAD_OF_70[name]
    if expected != COMPLETE:
        state, reason = outcome(path)
        assert state == ("excluded" if expected.startswith("too short") else "refused")
        assert reason.startswith(expected)
        return
    frames, digest, record = video_clip(path, **SHAPE)
    if record["codec"] != "av1":  # OpenCV cannot decode AV1
        np.testing.assert_array_equal(frames, resized(decoded(path)[:70]))
    assert (digest, record["notes"]) == (digest_files([path]), [])


@needs_data
@pytest.mark.parametrize(
    "name", [name for name, expected in HEAD_OF_70.items() if expected == COMPLETE and "av1" not in name]
)
def test_uniform_sampling_selects_decoded_frames_of_every_intact_real_clip(name):
    frames, _, record = video_clip(DATA / name, **SHAPE, sampling="uniform")
    all_frames = resized(decoded(DATA / name))
    assert record["frames"] == len(all_frames)
    np.testing.assert_array_equal(frames, all_frames[spaced(len(all_frames), 70)])


@needs_data
@pytest.mark.parametrize(("name", "turns"), [("video_0", 0), ("video_90", 3), ("video_180", 2), ("video_270", 1)])
def test_the_rotation_of_real_clips_is_applied(name, turns):
    path = DATA / f"video_odd/{name}.mov"
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    stored = [capture.read()[1] for _ in range(3)]
    frames, _, record = video_clip(path, depth=3, height=32, width=40)
    np.testing.assert_array_equal(frames, resized([np.ascontiguousarray(np.rot90(frame, turns)) for frame in stored]))
    assert record["rotation"] == int(name[6:])
    assert record["size"] == ([568, 320] if turns % 2 == 0 else [320, 568])


@needs_data
def test_a_duration_does_not_promise_a_number_of_frames():
    assert outcome(DATA / "video_odd/no_duration.webm")[1]["promised"] is None
    assert outcome(DATA / "video_odd/transparent.webm")[1]["promised"] is None
