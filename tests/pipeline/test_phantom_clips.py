"""Phantom clips are UCF-like files whose class is visible only in the order and tempo of their frames."""

import os
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cache.progress import Callback
from pipeline.demo.phantom_clips import CLASSES, LENGTHS, PERIODS, clip, growth_curve, scene, write_clips
from pipeline.errors import Excluded, InvalidInput
from pipeline.transforms.video import video_clip

GROUPS, CLIPS = 4, 3
SHAPE = {"depth": 70, "height": 64, "width": 64}
SHORT, DAMAGED = (f"{name}/v_{name}_g04_c04.avi" for name in (CLASSES[0], CLASSES[-1]))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    assert write_clips(folder, groups=GROUPS, clips=CLIPS) == CLASSES
    return folder


@pytest.fixture(scope="module")
def intact(tree):
    """Kinds, groups and frames (clip, 70, 64, 64) of every intact clip, as the pipeline reads them."""
    paths = [path for path in sorted(tree.rglob("*.avi")) if "_c04" not in path.name]
    frames = [video_clip(path, **SHAPE)[0] for path in paths]
    kinds = [CLASSES.index(path.parent.name) for path in paths]
    return np.array(kinds), np.array([int(path.stem[-6:-4]) for path in paths]), np.stack(frames)


def pooled(frames):
    """Features for a network without memory: gray levels and edges of each frame, pooled over the frame."""
    frames = frames.astype(np.float32)
    edges = [np.diff(frames, axis=axis) for axis in (-1, -2)]
    maps = [frames, frames**2, np.abs(frames - 120), *(np.maximum(sign * e, 0) for e in edges for sign in (1, -1))]
    moments = [f(m, axis=(-2, -1)) for m in maps for f in (np.mean, np.std)]
    return np.stack([*moments, *np.percentile(frames, (5, 50, 90, 95, 99), axis=(-2, -1))], axis=-1)


def held_out_accuracy(features, kinds, groups):
    """Accuracy of a logistic regression on held-out groups, averaged over all groups."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    held_out = [groups == group for group in np.unique(groups)]
    return np.mean(
        [
            model.fit(features[~test_mask], kinds[~test_mask]).score(features[test_mask], kinds[test_mask])
            for test_mask in held_out
        ]
    )


def class_from_sequence(frames):
    """The class by the size of the outline over time: its number of cycles and the fraction of time it grows."""
    size = np.array([np.std(np.nonzero(frame > 115)[1]) for frame in frames])
    cycles = np.abs(np.fft.rfft(size - size.mean())).argmax()
    rising = np.mean(size[3:] > size[:-3])
    action = "Pulse" if 0.25 < rising < 0.75 else "Grow" if rising > 0.5 else "Shrink"
    return action + min(PERIODS, key=lambda tempo: abs(len(size) / PERIODS[tempo] - cycles))


def test_files_are_named_like_ucf50_and_include_a_short_and_a_damaged_clip(tree):
    names = {path.relative_to(tree).as_posix() for path in tree.rglob("*.avi")}
    assert len(names) == len(CLASSES) * GROUPS * CLIPS + 2
    assert {SHORT, DAMAGED} <= names
    assert all(re.fullmatch(r"(\w+)/v_\1_g0[1-4]_c0[1-4]\.avi", name) for name in names)
    assert list(CLASSES) == sorted(CLASSES)  # labels are the same with and without --classes


def test_every_intact_clip_is_read_without_a_note(tree):
    for path in tree.rglob("*_c0[123].avi"):
        frames, _, record = video_clip(path, **SHAPE)
        assert frames.shape == (70, 64, 64)
        assert record["notes"] == []
        assert LENGTHS[0] <= record["promised"] <= LENGTHS[1]
        assert (record["size"], record["fps"], record["codec"]) == ([320, 240], 25, "mpeg4")  # XviD
        assert path.stat().st_size < 400_000


def test_the_short_clip_is_excluded_and_the_damaged_one_quarantined(tree):
    with pytest.raises(Excluded, match="too short: 43 frames, 70 needed"):
        video_clip(tree / SHORT, **SHAPE)
    with pytest.raises(InvalidInput) as error:
        video_clip(tree / DAMAGED, **SHAPE)
    decoded, promised = map(int, re.findall(r"(\d+) frames that decode.* the (\d+) that its", str(error.value))[0])
    assert 10 < decoded < 70 < LENGTHS[0] <= promised


def test_xvid_preserves_the_frames(tree):
    path = tree / "GrowSlow/v_GrowSlow_g02_c01.avi"
    frames, _, _ = video_clip(path, depth=70, height=240, width=320)
    rendered = clip(CLASSES.index("GrowSlow"), 2, 1, 0, 70)
    assert np.abs(frames.astype(float) - rendered).mean() < 4
    assert np.percentile(frames, 99) - np.median(frames) > 90


def test_no_single_frame_identifies_the_class(intact):
    kinds, groups, frames = intact
    frame_numbers = range(0, 70, 5)
    features = pooled(frames[:, frame_numbers]).reshape(len(frames) * len(frame_numbers), -1)
    kinds, groups = np.repeat(kinds, len(frame_numbers)), np.repeat(groups, len(frame_numbers))
    assert held_out_accuracy(features, kinds, groups) < 1 / 6 + 0.08
    for pair in combinations(range(6), 2):
        of_pair = np.isin(kinds, pair)
        assert held_out_accuracy(features[of_pair], kinds[of_pair], groups[of_pair]) < 0.5 + 0.12, pair


def test_neither_the_unordered_frames_nor_the_first_frame_identify_the_class(intact):
    kinds, groups, frames = intact
    for features in (pooled(frames[:, ::2]).mean(axis=1), pooled(frames[:, 0])):
        assert held_out_accuracy(features, kinds, groups) < 1 / 6 + 0.15  # four standard errors with 72 clips


def test_the_sequence_of_frames_identifies_the_class_of_every_clip(intact):
    kinds, _, frames = intact
    assert [class_from_sequence(clip) for clip in frames] == [CLASSES[kind] for kind in kinds]


@pytest.mark.parametrize("kind", range(6))
def test_every_size_is_equally_frequent_in_any_70_frames(kind):
    for start in np.random.default_rng(0).random(20):
        growth = growth_curve(kind, start, 90)[7:77]
        assert growth.min() >= 0
        assert growth.max() <= 1
        assert np.histogram(growth, 7, (0, 1))[0] == pytest.approx(10, abs=5.01)
        assert growth.mean() == pytest.approx(0.5, abs=0.04)


def test_clips_of_a_group_share_their_scene_but_not_their_start():
    edges = [clip(kind, 2, number, 0, 1, (60, 80))[0, :, -8:] for kind in range(6) for number in (1, 2)]
    assert np.ptp([end.mean() for end in edges]) < 1
    starts = [clip(0, 2, number, 0, 1, (60, 80)).mean() for number in range(1, 30)]
    assert np.std(starts) > 1  # gray levels
    assert not np.array_equal(scene(1, 0).background, scene(2, 0).background)
    assert len({scene(group, 0).power for group in range(1, 5)}) == 3


def test_the_outline_stays_within_the_frame():
    for seed in range(20):
        for group in range(1, 4):
            frames = clip(1, group, 1, seed, 35, (120, 160)).astype(int)
            border = np.concatenate([frames[:, [0, -1]].ravel(), frames[:, :, [0, -1]].ravel()])
            assert border.max() < scene(group, seed).background.mean() + 60


class Steps(Callback):
    """Collects the reported progress."""

    def __init__(self, steps):
        self.steps = steps

    def on_progress(self, done, total, unit="samples", figures=None):
        assert unit == "files"
        self.steps.append((done, total))


def test_clips_with_the_same_arguments_have_the_same_bytes_and_progress_is_reported(tmp_path):
    steps = []
    for name in ("a", "b"):
        write_clips(tmp_path / name, groups=1, clips=1, callback=Steps(steps))
    write_clips(tmp_path / "other", groups=1, clips=1, seed=1)
    assert steps == [(done, 8) for done in range(1, 9)] * 2
    first, second, other = (sorted((tmp_path / name).rglob("*.avi")) for name in ("a", "b", "other"))
    assert [path.name for path in first] == [path.name for path in second] == [path.name for path in other]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(first, other, strict=True))
    assert not np.array_equal(clip(0, 1, 1, 0, 3), clip(0, 1, 2, 0, 3))


def test_an_unwritable_clip_is_an_error_with_its_path_and_opencv_prints_nothing(tmp_path, capfd):
    with pytest.raises(ValueError, match="class 6; expected 0 to 5"):
        clip(6, 1, 1, 0, 70)
    with pytest.raises(OSError, match="is not UTF-8"):
        write_clips(Path(os.fsdecode(bytes(tmp_path) + b"/\xff")), groups=1, clips=1)
    blocked = tmp_path / "GrowFast/v_GrowFast_g01_c01.avi"
    blocked.mkdir(parents=True)
    with pytest.raises(OSError, match=re.escape(f"{blocked}: OpenCV")):
        write_clips(tmp_path, groups=1, clips=1)
    assert capfd.readouterr() == ("", "")
