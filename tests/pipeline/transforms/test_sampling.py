"""Sampling by head, uniform and spline; short clips are skipped, looped or stretched."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from scipy import ndimage

from cache.fingerprint import digest_files
from pipeline.errors import Excluded
from pipeline.readers.clip.decode import DECODER
from pipeline.transforms.frames import spaced
from pipeline.transforms.sampling import spline
from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, decoded, outcome, resized, write_avi, write_xvid
from tests.helpers.real_files import ROOT

pytestmark = pytest.mark.usefixtures("silence")

# -- samples of clips --------------------------------------------------------------------------------------------------


def test_head_stores_the_first_frames_as_gray_and_does_not_decode_the_rest(xvid):
    frames, digest, record = video_clip(xvid(71), **SHAPE)
    np.testing.assert_array_equal(frames, resized(decoded(xvid(71))[:70]))
    assert (frames.dtype, frames.shape, frames.flags.c_contiguous) == (np.uint8, (70, 32, 40), True)
    assert digest == digest_files([xvid(71)])
    assert record == {
        "promised": 71,
        "fps": 25.0,
        "size": [96, 64],
        "codec": "mpeg4",
        "rotation": 0,
        "mirrored": False,
        "interlaced": False,
        "decoder": DECODER,
        "opencv": cv2.__version__,
        "notes": [],
        "frames": 70,
        "whole": False,
        "sampling": "head",
    }
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("seed", range(3))
def test_resizing_before_conversion_to_gray_as_in_the_original_differs_by_at_most_one_level(tmp_path, seed):
    path = write_xvid(tmp_path / "clip.avi", 8, (320, 240), seed)
    frames = video_clip(path, depth=8, height=224, width=224)[0]
    original = [cv2.cvtColor(cv2.resize(frame, (224, 224)), cv2.COLOR_BGR2GRAY) for frame in decoded(path)]
    assert np.abs(np.stack(original).astype(int) - frames).max() <= 1


@pytest.mark.parametrize(("count", "depth"), [(70, 70), (71, 70), (90, 70), (140, 7), (9, 2), (9, 1)])
def test_uniform_stores_the_frames_nearest_to_evenly_spaced_points(xvid, count, depth):
    frames, _, record = video_clip(xvid(count), **{**SHAPE, "depth": depth}, sampling="uniform")
    points = [index * (count - 1) / max(depth - 1, 1) for index in range(depth)]
    np.testing.assert_array_equal(frames, resized(decoded(xvid(count)))[[int(point + 0.5) for point in points]])
    assert (record["frames"], record["whole"]) == (count, True)


@pytest.mark.parametrize("count", [70, 71, 90, 140])
def test_spline_equals_the_zoom_of_scipy_along_time_clipped_and_rounded(xvid, count):
    frames = video_clip(xvid(count), **SHAPE, sampling="spline")[0]
    exact = ndimage.zoom(
        resized(decoded(xvid(count))).astype(float), (70 / count, 1, 1), order=3, mode="nearest", grid_mode=False
    )
    assert (
        np.abs(np.clip(exact, 0, 255) - frames).max() <= 0.503
    )  # half a level plus the tolerance of the zoom, 1e-5 of the range
    assert frames.dtype == np.uint8
    assert frames.flags.c_contiguous


def test_white_stays_white_where_the_spline_overshoots(tmp_path):
    """White flashes of three frames in the dark: the spline is far above 255 between them."""
    writer = cv2.VideoWriter(str(tmp_path / "flash.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 24))
    for number in range(40):
        writer.write(np.full((24, 32, 3), 255 if number % 8 in (3, 4, 5) else 0, np.uint8))
    writer.release()
    frames = video_clip(tmp_path / "flash.avi", depth=33, height=24, width=32, sampling="spline")[0]
    gray = resized(decoded(tmp_path / "flash.avi"), 24, 32)
    unclipped = ndimage.zoom(np.float64(gray), (33 / 40, 1, 1), order=3, mode="nearest")
    assert unclipped.max() > 256.5
    np.testing.assert_allclose(frames, np.clip(unclipped, 0, 255), atol=1.01)


@pytest.mark.parametrize("sampling", ["head", "uniform", "spline"])
@pytest.mark.parametrize("count", [1, 2, 69])
def test_a_short_clip_is_skipped_looped_or_stretched(xvid, count, sampling):
    options = {**SHAPE, "sampling": sampling}
    with pytest.raises(Excluded, match=f"^too short: {count} frames, 70 needed$"):
        video_clip(xvid(count), **options)
    all_frames = resized(decoded(xvid(count)))
    looped, _, record = video_clip(xvid(count), **options, short="loop")
    np.testing.assert_array_equal(looped, all_frames[[index % count for index in range(70)]])
    assert (record["frames"], record["whole"]) == (count, True)
    assert record["notes"] == [f"short: looped from {count} frames to 70"]
    stretched, _, record = video_clip(xvid(count), **options, short="stretch")
    np.testing.assert_array_equal(stretched, all_frames[[int(index * (count - 1) / 69 + 0.5) for index in range(70)]])
    assert stretched.flags.c_contiguous
    assert record["notes"] == [f"short: stretched from {count} frames to 70"]


@pytest.mark.parametrize("sampling", ["head", "uniform", "spline"])
@pytest.mark.parametrize("short", ["skip", "loop", "stretch"])
def test_a_clip_without_frames_is_rejected(tmp_path, sampling, short):
    state, reason = outcome(write_avi(tmp_path / "none.avi", []), sampling=sampling, short=short)
    assert state == "refused"
    assert "no video stream" in reason or "0 frames" in reason


def test_spaced_repeats_indices_if_frames_are_too_few_and_never_decreases():
    for count in range(1, 40):
        for depth in range(1, 40):
            indices = spaced(count, depth)
            assert len(indices) == depth
            assert (indices[0], indices[-1]) == (0, count - 1 if depth > 1 else 0)
            assert (np.diff(indices) >= 0).all()
            assert count < depth or len(set(indices)) == depth


def test_spline_rejects_a_clip_with_more_frames_than_its_limit(xvid, monkeypatch):
    monkeypatch.setattr(spline, "MAX_WEIGHTS", 89 * 70)
    state, reason = outcome(xvid(90), sampling="spline")
    assert (state, reason.split(";")[0]) == ("refused", "90 frames")
    assert "at most 89 with --sampling spline" in reason
    assert outcome(xvid(71), sampling="spline")[0] == "complete"
    assert outcome(xvid(90), sampling="uniform")[0] == "complete"


# -- benchmark ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_benchmark_of_long_clips_runs():
    command = [sys.executable, str(ROOT / "benchmarks/video.py"), "--long", "--quick"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "bar: 500 MB" in result.stdout
    assert result.stderr == ""
