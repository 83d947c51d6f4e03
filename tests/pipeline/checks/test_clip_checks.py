"""A clip without a picture or without motion is flagged."""

import cv2
import numpy as np
import pytest

from pipeline.checks.video import clip_findings
from pipeline.demo.phantom_clips import write_clips
from pipeline.recipes.video import VideoRecipe
from tests.helpers.implausible_scans import names

# Clips


def moving_frames(frames=10):
    picture = np.random.default_rng(0).integers(0, 256, (24, 32), np.uint8)
    return np.stack([np.roll(picture, number, axis=1) for number in range(frames)])


def test_a_clip_with_motion_is_not_flagged():
    findings = clip_findings(moving_frames())
    assert findings["flags"] == []
    assert findings["measured"]["change"] > 100


def test_a_clip_with_one_small_moving_object_is_not_flagged():
    frames = np.repeat(moving_frames(1), 10, axis=0)
    frames[4, 3, 5] ^= 128
    assert clip_findings(frames)["flags"] == []


@pytest.mark.parametrize("noise", [0, 4])
def test_a_still_clip_is_flagged_despite_encoding_noise(noise):
    frames = np.clip(moving_frames(1) + np.random.default_rng(1).integers(0, noise + 1, (10, 24, 32)), 0, 255)
    assert names(clip_findings(frames.astype(np.uint8))["flags"]) == {"still"}


@pytest.mark.parametrize("gray", [0, 128, 255])
def test_a_clip_of_one_gray_value_is_flagged(gray):
    assert names(clip_findings(np.full((5, 6, 7), gray, np.uint8))["flags"]) == {"constant"}


def test_a_clip_of_changing_uniform_pictures_is_not_flagged():
    assert clip_findings(np.arange(0, 250, 10, np.uint8)[:, None, None] + np.zeros((1, 6, 7), np.uint8))["flags"] == []


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_record_of_a_clip_has_its_measurements_and_flags(tmp_path, dtype):
    write_clips(tmp_path, groups=1, clips=1)
    moving_frames, *_ = sorted(tmp_path.rglob("*g01_c01.avi"))
    still = tmp_path / "still.avi"
    writer = cv2.VideoWriter(str(still), cv2.VideoWriter.fourcc(*"XVID"), 25, (320, 240))
    picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8), (320, 240))
    for _ in range(75):
        writer.write(picture)
    writer.release()
    recipe = VideoRecipe(depth=10, height=32, width=32, sampling="uniform", dtype=dtype)
    assert recipe.make((moving_frames,)).details["flags"] == []
    assert names(recipe.make((still,)).details["flags"]) == {"still"}
    assert recipe.make((still,)).details["measured"]["change"] <= 8
