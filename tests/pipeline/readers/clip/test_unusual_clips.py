"""Real clips that are unusual but intact give all their frames."""

import av
import numpy as np
import pytest

from pipeline.errors import Excluded
from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, resized
from tests.helpers.encoded_clips import every_frame

# -- real files --------------------------------------------------------------------------------------------------------

FIELD = {
    "base.mp4": (200, []),
    "flat_mjpeg.avi": (40, []),
    "fragmented.mp4": (200, []),
    "hevc_open_gop.mp4": (150, ["its header promises 153 frames, 150 decode (3 hidden by an edit list)"]),
    "interlaced_h264.mp4": (50, ["interlaced: every other row of a frame is from a different moment"]),
    "interlaced_xvid.avi": (50, ["interlaced: every other row of a frame is from a different moment"]),
    "mirrored_hflip.mp4": (200, []),
    "other_ending.m4v": (100, []),
    "trimmed_editlist.mp4": (89, ["its header promises 112 frames, 89 decode (23 hidden by an edit list)"]),
}


@pytest.mark.parametrize("name", FIELD)
def test_every_unusual_but_intact_clip_gives_all_its_frames(real_data, name):
    count, notes = FIELD[name]
    path = real_data / "field" / name
    expected = resized(every_frame(path))
    expected = (
        expected if name != "mirrored_hflip.mp4" else resized([frame[:, ::-1].copy() for frame in every_frame(path)])
    )
    for sampling in ("head", "uniform"):
        frames, _, record = video_clip(path, **{**SHAPE, "depth": count}, sampling=sampling)
        np.testing.assert_array_equal(frames, expected)
        assert record["frames"] == count
        assert record["notes"] == notes or sampling == "head"
    with pytest.raises(Excluded, match=f"^too short: {count} frames, 300 needed$"):
        video_clip(path, depth=300, height=32, width=40)


def test_every_unusual_clip_has_an_expected_result(real_data):
    assert sorted(FIELD) == sorted(path.name for path in (real_data / "field").iterdir() if path.is_file())


def test_the_edit_list_hides_the_first_frames(real_data):
    path = real_data / "field/trimmed_editlist.mp4"
    all_frames = resized(every_frame(path, ignore_editlist="1"))
    np.testing.assert_array_equal(video_clip(path, **{**SHAPE, "depth": 89})[0], all_frames[-89:])


def test_a_mirrored_clip_equals_the_mirrored_original(real_data):
    frames = video_clip(real_data / "field/base.mp4", depth=50, height=240, width=320)[0]
    mirrored, _, record = video_clip(real_data / "field/mirrored_hflip.mp4", depth=50, height=240, width=320)
    np.testing.assert_array_equal(mirrored, frames[:, :, ::-1])
    assert record["mirrored"]


@pytest.mark.parametrize("name", ["interlaced_h264.mp4", "interlaced_xvid.avi"])
def test_frames_of_an_interlaced_real_clip_match_its_luma_and_differ(real_data, name):
    frames = video_clip(real_data / "field" / name, depth=50, height=240, width=320)[0]
    with av.open(str(real_data / "field" / name)) as container:
        luma = np.stack([frame.to_ndarray()[:240, :320] for frame in container.decode(video=0)])
    assert np.abs((luma.astype(float) - 16) * 255 / 219 - frames).mean() < 3
    assert (np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2)) > 0.1).all()
