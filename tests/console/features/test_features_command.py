"""`features`: printed output and written features."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from cache import open_cache
from tests.helpers.caches import volume
from tests.helpers.commands import ROOT, STOPPED, cli, error, info_json, mentions, tree
from tests.helpers.runs import SHAPE, make_clips

SMALL = ("--backbone", "small", "--weights", "none")
TRAIN = ("--epochs", 1, "--batch-size", 4, "--quiet")


def test_features_prints_the_number_of_samples_and_leaves_the_cache_unchanged(clips, target):
    before = tree(clips)
    result = cli("features", clips, target, *SMALL)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{target}: 12 made, 0 already present, ")
    assert result.stdout.endswith(" frames/s\n")
    assert tree(clips) == before


def test_a_second_run_of_features_computes_nothing_and_writes_no_array(clips, own_features):
    def arrays():
        files = [path for path in (own_features / "features/c").rglob("*") if path.is_file()]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}

    before = arrays()
    assert len(before) == 12
    result = cli("features", clips, own_features, *SMALL)
    assert result.stdout == f"{own_features}: 0 made, 12 already present\n"
    assert arrays() == before


def test_with_json_features_prints_only_the_result_and_with_quiet_nothing(clips, own_features, target):
    result = cli("features", clips, own_features, *SMALL, "--json")
    assert json.loads(result.stdout) == {"made": 0, "kept": 12, "vanished": [], "rate": 0.0, "data_wait": 0.0}
    quiet = cli("features", clips, target, *SMALL, "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert len(open_cache(target)) == 12


def test_new_samples_are_added_and_vanished_ones_are_reported_and_kept(tmp_path, target):
    root = make_clips(tmp_path / "clips.zarr", 2)
    assert "2 made, 0 already present" in cli("features", root, target, *SMALL).stdout
    make_clips(root, [volume(2, SHAPE)])
    assert "1 made, 2 already present" in cli("features", root, target, *SMALL).stdout
    shutil.rmtree(root)
    make_clips(root, 2)
    assert cli("features", root, target, *SMALL).stdout == (
        f"{target}: 0 made, 2 already present; 1 kept that are no longer in {root}\n"
    )
    assert open_cache(target).ids == ["s0", "s1", "s2"]


def test_info_and_verify_handle_feature_caches(clips, features):
    info = info_json(features)
    assert (info["kind"], info["shape"]) == ("features", [4, 128])
    assert info["recipe"]["source"] == open_cache(clips).recipe
    assert info["recipe"]["extractor"]["name"] == "small"
    assert (info["labels"]["one"], info["labels"]["two"], info["complete"]) == (6, 6, 12)
    result = cli("verify", features)
    assert (result.exit_code, result.stdout) == (0, "12 intact, 0 damaged, 0 missing, 0 stale\n")


def test_damaged_features_are_rebuilt_by_the_command_that_repair_names(clips, own_features):
    # the copy does not know its clips yet
    assert cli("features", clips, own_features, *SMALL, "--quiet").exit_code == 0
    path = own_features / "features/c/5/0/0"
    intact = path.read_bytes()
    path.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    assert cli("verify", own_features, "--quiet").exit_code == 1
    mentions(error(cli("repair", own_features, "--quiet")), own_features, "`repair`", clips)
    assert cli("features", clips, own_features, *SMALL).stdout.startswith(
        f"{own_features}: 1 made, 11 already present, "
    )
    assert cli("verify", own_features, "--quiet").exit_code == 0
    assert path.read_bytes() == intact


def test_features_from_a_run_give_the_same_predictions_as_volumes(runs, clips, features, target):
    result = cli("features", clips, target, "--from", runs / "pretrained")
    assert result.exit_code == 0
    assert info_json(target)["recipe"]["extractor"]["weights"] != info_json(features)["recipe"]["extractor"]["weights"]
    from_volumes = json.loads(cli("evaluate", runs / "pretrained", clips, "--json").stdout)
    from_features = json.loads(cli("evaluate", runs / "pretrained", clips, "--features", target, "--json").stdout)
    assert from_features["confusion"] == from_volumes["confusion"]
    assert from_features["loss"] == pytest.approx(from_volumes["loss"], abs=1e-3)


def test_the_backbone_of_a_run_on_clips_extracts_features_of_scans(runs, target):
    result = cli("features", runs / "ct.zarr", target, "--from", runs / "pretrained", "--augment", "--quiet")
    assert result.exit_code == 0
    assert open_cache(target).shape == (7, *SHAPE[:1], 128)


def test_a_killed_extraction_is_resumed_by_the_same_command(tmp_path, target):
    root = make_clips(tmp_path / "clips.zarr", 40)
    kill = (
        "import os, cli\n"
        "from console.progress import Progress\n"
        "Progress.on_progress = lambda self, done, *_: done == 35 and os.kill(os.getpid(), 9)\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", kill, "features", root, target, *SMALL]
    killed = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, timeout=250)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = len(open_cache(target))
    assert 0 < finished < 40
    result = cli("features", root, target, *SMALL, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (json.loads(result.stdout)["made"], json.loads(result.stdout)["kept"]) == (40 - finished, finished)
    assert cli("verify", target, "--quiet").exit_code == 0
    assert cli("features", root, tmp_path / "at_once.zarr", *SMALL, "--quiet").exit_code == 0
    resumed, reference = open_cache(target), open_cache(tmp_path / "at_once.zarr")
    for name in reference.ids:
        np.testing.assert_allclose(resumed[name], reference[name], rtol=2e-3, atol=1e-5)


def test_ctrl_c_keeps_finished_features_and_explains_how_to_continue(clips, target, monkeypatch):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(
        "console.progress.Progress.on_progress",
        lambda self, done, *_: done == 7 and os.kill(os.getpid(), signal.SIGINT),
    )
    monkeypatch.setattr(sys, "argv", ["cli.py", "features"])
    result = cli("features", clips, target, *SMALL)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == STOPPED
    monkeypatch.undo()
    assert cli("features", clips, target, *SMALL).stdout.startswith(f"{target}: 5 made, 7 already present, ")
