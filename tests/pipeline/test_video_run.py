"""Caching clips: sources, labels, groups, and decoders that hang or crash."""

import ctypes
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import cli
from cache import open_cache
from cache.verify import verify
from pipeline.jobs import preprocess
from pipeline.recipes.video import VideoRecipe
from pipeline.sources.formats.video import PAPER_CLASSES, find_clips
from pipeline.workers import dispatch
from pipeline.workers.executor import Settings
from pipeline.workers.executors.local import local_cluster
from pipeline.workers.failures import died, timed_out

cv2 = pytest.importorskip("cv2")
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SMALL = ["--depth", "8", "--height", "16", "--width", "16", "--workers", "0"]


def write_clip(path, frames=10, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"XVID"), 25, (64, 48))
    for number in range(frames):
        frame = np.full((48, 64, 3), value, np.uint8)
        frame[:, number * 4 : number * 4 + 8] = 255 - value
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def tree(tmp_path):
    """Clips of two classes and three groups: one is too short, one has another name, one is in another class folder."""
    root = tmp_path / "UCF"
    write_clip(root / "Rowing" / "v_Rowing_g01_c01.avi")
    write_clip(root / "Rowing" / "v_Rowing_g01_c02.avi", value=20)
    write_clip(root / "Rowing" / "v_Rowing_g02_c01.avi", frames=5)
    write_clip(root / "deep" / "er" / "Mixing" / "v_Mixing_g03_c01.AVI".replace("AVI", "avi"), value=40)
    write_clip(root / "deep" / "er" / "Mixing" / "holiday.avi", value=60)
    write_clip(root / "Mixing" / "v_Rowing_g07_c01.avi", value=80)
    return root


def run(*arguments):
    return CliRunner().invoke(cli.main, [*map(str, arguments)])


def info(cache):
    return json.loads(run("info", cache, "--json").stdout)


def test_folders_become_labels_and_scenes_become_groups(tree, tmp_path):
    result = run("preprocess", "video", tree, tmp_path / "v.zarr", *SMALL)
    assert result.exit_code == 0, result.output
    clips = open_cache(tmp_path / "v.zarr")
    assert clips.class_names == ["Mixing", "Rowing"]
    assert dict(zip(clips.ids, zip(clips.labels, clips.groups, strict=True), strict=True)) == {
        "Mixing/holiday": (0, "Mixing/holiday"),
        "Mixing/v_Mixing_g03_c01": (0, "Mixing/g03"),
        "Mixing/v_Rowing_g07_c01": (0, "Mixing/g07"),
        "Rowing/v_Rowing_g01_c01": (1, "Rowing/g01"),
        "Rowing/v_Rowing_g01_c02": (1, "Rowing/g01"),
    }
    assert clips.entry("Mixing/holiday").details["notes"] == ["its name has no _gNN_cMM: it is its own group"]
    report = info(tmp_path / "v.zarr")
    assert report["kind"] == "video"
    assert (report["discovered"], report["complete"], report["quarantined"], report["excluded"]) == (6, 5, 0, 1)
    assert report["reasons"]["excluded"] == {"Rowing/v_Rowing_g02_c01.avi": "too short: 5 frames, 8 needed"}


def test_chosen_classes_are_cached_in_their_order_and_others_are_excluded(tree, tmp_path):
    result = run("preprocess", "video", tree, tmp_path / "v.zarr", "--classes", "Rowing", *SMALL)
    assert result.exit_code == 0, result.output
    assert open_cache(tmp_path / "v.zarr").class_names == ["Rowing"]
    report = info(tmp_path / "v.zarr")
    assert (report["discovered"], report["complete"], report["excluded"]) == (6, 2, 4)
    assert report["reasons"]["excluded"]["Mixing/v_Rowing_g07_c01.avi"] == "class Mixing was not chosen"
    result = run("preprocess", "video", tree, tmp_path / "v.zarr", "--classes", "Rowing,Mixing", *SMALL)
    assert result.exit_code == 0, result.output
    clips = open_cache(tmp_path / "v.zarr")
    assert clips.class_names == ["Rowing", "Mixing"]
    assert sorted(clips.labels) == [0, 0, 1, 1, 1]
    result = run("preprocess", "video", tree, tmp_path / "v.zarr", "--classes", "Mixing", *SMALL)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: Rowing/v_Rowing_g01_c01.avi is in the cache, but now it would be excluded (class Rowing was not "
        "chosen); give the same options as before, or another CACHE\n"
    )


def test_another_order_of_classes_changes_labels_and_writes_no_array(tree, tmp_path):
    run("preprocess", "video", tree, tmp_path / "v.zarr", *SMALL)
    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "v.zarr" / "volume" / "c").rglob("0") if path.is_file()
    }
    result = run("preprocess", "video", tree, tmp_path / "v.zarr", "--classes", "Rowing,Mixing", *SMALL)
    assert "0 made, 6 already present" in result.output
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "Class names changed from Mixing, Rowing to Rowing, Mixing: " in result.output
    assert open_cache(tmp_path / "v.zarr").labels.tolist() == [1, 1, 1, 0, 0]


def test_an_unknown_class_is_rejected_with_the_existing_ones(tree, tmp_path):
    result = run("preprocess", "video", tree, tmp_path / "v.zarr", "--classes", "paper", *SMALL)
    assert result.exit_code == 1
    missing = ", ".join(name for name in PAPER_CLASSES if name not in ("Mixing", "Rowing"))
    assert result.stderr == f"Error: no clips of class {missing} below {tree}; expected classes among Mixing, Rowing\n"
    assert not (tmp_path / "v.zarr").exists()


def test_the_ten_classes_of_the_paper_are_in_label_order(tmp_path):
    for number, name in enumerate(PAPER_CLASSES):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"v_{name}_g01_c01.avi").write_bytes(b"")
        assert find_clips(tmp_path, None, PAPER_CLASSES[: number + 1]).records[-1].label <= number
    assert len(set(PAPER_CLASSES)) == 10


def test_clips_outside_class_folders_or_with_the_same_id_are_quarantined(tree, tmp_path):
    write_clip(tree / "v_Lost_g01_c01.avi")
    result = run("preprocess", "video", tree, tmp_path / "v.zarr", *SMALL)
    assert result.exit_code == 3
    assert info(tmp_path / "v.zarr")["reasons"]["quarantined"] == {
        "v_Lost_g01_c01.avi": "it is not in a class folder; expected SOURCE/Class/v_Class_gNN_cMM.avi; "
        "put it into the folder of its class"
    }
    shutil.copy(tree / "Rowing" / "v_Rowing_g01_c02.avi", tree / "Rowing" / "v_Rowing_g01_c02.mp4")
    result = run("preprocess", "video", tree, tmp_path / "new.zarr", *SMALL)
    assert result.exit_code == 3
    assert info(tmp_path / "new.zarr")["complete"] == 4
    reasons = info(tmp_path / "new.zarr")["reasons"]["quarantined"]
    for ending in (".avi", ".mp4"):
        assert "two files would get the id 'Rowing/v_Rowing_g01_c02'" in reasons[f"Rowing/v_Rowing_g01_c02{ending}"]


@pytest.mark.parametrize("short", ["loop", "stretch"])
def test_short_clips_can_be_looped_or_stretched(short, tree, tmp_path):
    result = run("preprocess", "video", tree, tmp_path / "v.zarr", "--short", short, *SMALL)
    assert result.exit_code == 0, result.output
    filled = open_cache(tmp_path / "v.zarr")["Rowing/v_Rowing_g02_c01"]
    assert filled.shape == (8, 16, 16)
    if short == "loop":
        assert np.array_equal(filled[5:], filled[:3])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_every_dtype_preserves_gray_levels(dtype, tree, tmp_path):
    run("preprocess", "video", tree, tmp_path / "v.zarr", "--dtype", dtype, *SMALL)
    run("preprocess", "video", tree, tmp_path / "8.zarr", *SMALL)
    levels = np.rint(open_cache(tmp_path / "v.zarr")[0] * 255)
    assert np.array_equal(levels, open_cache(tmp_path / "8.zarr").stored(0))


def test_every_damaged_real_clip_is_quarantined_with_a_reason(tmp_path):
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is missing")
    source = tmp_path / "source"
    shutil.copytree(SHARED / "clips", source)
    shutil.copytree(SHARED / "video_odd", source / "Odd")
    (source / "Damaged").mkdir()
    shutil.copy(SHARED / "damaged" / "nasa_13013_truncated.mp4", source / "Damaged")
    result = run(
        "preprocess", "video", source, tmp_path / "v.zarr", "--height", "64", "--width", "64", "--workers", "2"
    )
    assert result.exit_code == 3, result.output
    report = info(tmp_path / "v.zarr")
    quarantined = {Path(name).name for name in report["reasons"]["quarantined"]}
    assert {"corrupted.mp4", "result.webm", "nasa_13013_truncated.mp4"} <= quarantined
    assert report["discovered"] == report["complete"] + report["quarantined"] + report["excluded"] == 25
    for reason in report["reasons"]["quarantined"].values():
        assert reason.count(";") >= 2, reason  # problem; expectation; remedy
    assert verify(tmp_path / "v.zarr").sound


class FaultyRecipe(VideoRecipe, frozen=True):
    """A recipe whose decoder hangs, holding the interpreter, or crashes on clips with such a name."""

    def make(self, paths):
        if "hang" in paths[0].name:
            paths[0].with_suffix(".started").touch()
            ctypes.PyDLL(None).sleep(600)
        if "crash" in paths[0].name:
            ctypes.string_at(0)
        return super().make(paths)


def test_a_decoder_that_hangs_or_crashes_fails_only_its_clip(tree, tmp_path, monkeypatch):
    for name in ("hang", "crash"):
        shutil.copy(tree / "Mixing" / "v_Rowing_g07_c01.avi", tree / "Mixing" / f"{name}.avi")

    def overdue(attempt, now, timeout):  # as soon as the task hangs, on machines of any speed
        includes_hang = any(task.record.id == "Mixing/hang" for task in attempt.tasks)
        return includes_hang and (tree / "Mixing" / "hang.started").exists()

    monkeypatch.setattr(dispatch, "overdue", overdue)
    recipe = FaultyRecipe(depth=8, height=16, width=16)
    summary = preprocess.run(
        preprocess.prepare(tree, tmp_path / "v.zarr", recipe),
        local_cluster(Settings(2, timeout=300)),
    )
    assert summary.complete == 5
    assert summary.quarantined == {
        "Mixing/hang.avi": timed_out(300).reason,
        "Mixing/crash.avi": died(3).reason,
    }
    assert verify(tmp_path / "v.zarr").sound
