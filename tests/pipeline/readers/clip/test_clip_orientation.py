"""A clip is rotated and mirrored according to its display matrix."""

import struct

import numpy as np
import pytest

from pipeline.readers.clip.orientation import orientation
from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, outcome, resized
from tests.helpers.encoded_clips import ONE, encode, every_frame, patched

# -- display matrices --------------------------------------------------------------------------------------------------

MATRICES = {  # a, b, c, d: a stored point (x, y) is shown at (a x + c y, b x + d y)
    (1, 0, 0, 1): (0, False, lambda frame: frame),
    (0, 1, -1, 0): (90, False, lambda frame: np.rot90(frame, -1)),
    (-1, 0, 0, -1): (180, False, lambda frame: frame[::-1, ::-1]),
    (0, -1, 1, 0): (270, False, lambda frame: np.rot90(frame)),
    (-1, 0, 0, 1): (0, True, lambda frame: frame[:, ::-1]),
    (1, 0, 0, -1): (180, True, lambda frame: frame[::-1]),
    (0, 1, 1, 0): (270, True, lambda frame: frame.swapaxes(0, 1)),
    (0, -1, -1, 0): (90, True, lambda frame: np.rot90(frame, 2).swapaxes(0, 1)),
}


@pytest.mark.parametrize("unit", MATRICES)
def test_every_right_angle_and_mirror_is_applied(mp4, tmp_path, unit):
    rotation, mirrored, transform = MATRICES[unit]
    a, b, c, d = (ONE * value for value in unit)
    path = patched(mp4, b"tkhd", 40, (a, b, 0, c, d, 0), tmp_path / "rotated.mp4")
    frames, _, record = video_clip(path, **SHAPE)
    expected = [np.ascontiguousarray(transform(frame)) for frame in every_frame(mp4)]
    np.testing.assert_array_equal(frames, resized(expected[:70]))
    assert (record["rotation"], record["mirrored"], record["notes"]) == (rotation, mirrored, [])
    assert record["size"] == [expected[0].shape[1], expected[0].shape[0]]


def test_vp9_in_mp4_is_also_rotated_and_mirrored(tmp_path):
    path = encode(tmp_path / "clip.mp4", "libvpx-vp9", "mp4")
    rotated = patched(path, b"tkhd", 40, (0, ONE, 0, ONE, 0, 0), tmp_path / "rotated.mp4")
    expected = [np.ascontiguousarray(frame.swapaxes(0, 1)) for frame in every_frame(path)]
    np.testing.assert_array_equal(video_clip(rotated, **SHAPE)[0], resized(expected[:70]))


def test_a_display_matrix_moves_a_corner_as_specified():
    plane = np.arange(12).reshape(3, 4)
    for a, b, c, d in MATRICES:
        transformed = orientation(struct.pack("=9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)).apply(
            plane
        )
        points = [(a * x + c * y, b * x + d * y) for y in range(3) for x in range(4)]
        left, top = min(x for x, _ in points), min(y for _, y in points)
        for (x, y), value in zip(points, plane.flat, strict=True):
            assert transformed[y - top, x - left] == value


def test_other_angles_are_noted_and_an_empty_matrix_is_ignored(mp4, tmp_path):
    half = round(ONE * 0.5**0.5)
    path = patched(mp4, b"tkhd", 40, (half, half, 0, -half, half, 0), tmp_path / "rotated.mp4")
    frames, _, record = video_clip(path, **SHAPE)
    np.testing.assert_array_equal(frames, resized(every_frame(mp4)[:70]))
    assert record["notes"] == ["rotation of 45 degrees ignored; only right angles are applied"]
    path = patched(mp4, b"tkhd", 40, (0, 0, 0, 0, 0, 0), tmp_path / "empty.mp4")
    assert outcome(path)[1]["notes"] == []
    nearly = orientation(struct.pack("=9i", 300, ONE, 0, -ONE, -300, 0, 0, 0, 1 << 30))
    assert (nearly.rotation, nearly.exact) == (90, True)
