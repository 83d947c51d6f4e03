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


def test_a_run_prints_the_number_of_samples_and_leaves_the_cache_unchanged(clips, into):
    before = tree(clips)
    result = cli("features", clips, into, *SMALL)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{into}: 12 made, 0 already present, ")
    assert result.stdout.endswith(" frames/s\n")
    assert tree(clips) == before


def test_a_second_run_makes_nothing_and_touches_no_array(clips, own):
    def arrays():
        files = [path for path in (own / "features/c").rglob("*") if path.is_file()]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}

    before = arrays()
    assert len(before) == 12
    result = cli("features", clips, own, *SMALL)
    assert result.stdout == f"{own}: 0 made, 12 already present\n"
    assert arrays() == before


def test_with_json_stdout_has_only_the_result_and_quiet_prints_nothing(clips, own, into):
    result = cli("features", clips, own, *SMALL, "--json")
    assert json.loads(result.stdout) == {"made": 0, "kept": 12, "vanished": [], "rate": 0.0, "data_wait": 0.0}
    quiet = cli("features", clips, into, *SMALL, "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert len(open_cache(into)) == 12


def test_new_samples_are_added_and_vanished_ones_are_reported_and_kept(tmp_path, into):
    root = make_clips(tmp_path / "clips.zarr", 2)
    assert "2 made, 0 already present" in cli("features", root, into, *SMALL).stdout
    make_clips(root, [volume(2, SHAPE)])
    assert "1 made, 2 already present" in cli("features", root, into, *SMALL).stdout
    shutil.rmtree(root)
    make_clips(root, 2)
    assert cli("features", root, into, *SMALL).stdout == (
        f"{into}: 0 made, 2 already present; 1 kept that are no longer in {root}\n"
    )
    assert open_cache(into).ids == ["s0", "s1", "s2"]


def test_info_and_verify_handle_feature_caches(clips, features):
    about = info_json(features)
    assert (about["kind"], about["shape"]) == ("features", [4, 128])
    assert about["recipe"]["source"] == open_cache(clips).recipe
    assert about["recipe"]["extractor"]["name"] == "small"
    assert (about["labels"]["one"], about["labels"]["two"], about["complete"]) == (6, 6, 12)
    found = cli("verify", features)
    assert (found.exit_code, found.stdout) == (0, "12 intact, 0 damaged, 0 missing, 0 stale\n")


def test_damaged_features_are_made_again_by_the_command_named_by_repair(clips, own):
    assert cli("features", clips, own, *SMALL, "--quiet").exit_code == 0  # this is a copy: its clips are elsewhere
    path = own / "features/c/5/0/0"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    assert cli("verify", own, "--quiet").exit_code == 1
    mentions(error(cli("repair", own, "--quiet")), own, "`repair`", clips)
    assert cli("features", clips, own, *SMALL).stdout.startswith(f"{own}: 1 made, 11 already present, ")
    assert cli("verify", own, "--quiet").exit_code == 0
    assert path.read_bytes() == sound


def test_features_of_a_trained_run_are_those_of_its_backbone(made, clips, features, into):
    result = cli("features", clips, into, "--from", made / "pretrained")
    assert result.exit_code == 0
    assert info_json(into)["recipe"]["extractor"]["weights"] != info_json(features)["recipe"]["extractor"]["weights"]
    from_volumes = json.loads(cli("evaluate", made / "pretrained", clips, "--json").stdout)
    from_features = json.loads(cli("evaluate", made / "pretrained", clips, "--features", into, "--json").stdout)
    assert from_features["confusion"] == from_volumes["confusion"]
    assert from_features["loss"] == pytest.approx(from_volumes["loss"], abs=1e-3)


def test_the_backbone_of_a_run_on_clips_sees_scans(made, into):
    assert cli("features", made / "ct.zarr", into, "--from", made / "pretrained", "--augment", "--quiet").exit_code == 0
    assert open_cache(into).shape == (7, *SHAPE[:1], 128)


def test_a_killed_run_is_resumed_by_the_same_command(tmp_path, into):
    root = make_clips(tmp_path / "clips.zarr", 40)
    kill = (
        "import os, cli\n"
        "from console.progress import Progress\n"
        "Progress.on_progress = lambda self, done, *_: done == 35 and os.kill(os.getpid(), 9)\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", kill, "features", root, into, *SMALL]
    killed = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, timeout=250)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = len(open_cache(into))
    assert 0 < kept < 40
    result = cli("features", root, into, *SMALL, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (json.loads(result.stdout)["made"], json.loads(result.stdout)["kept"]) == (40 - kept, kept)
    assert cli("verify", into, "--quiet").exit_code == 0
    assert cli("features", root, tmp_path / "at_once.zarr", *SMALL, "--quiet").exit_code == 0
    resumed, reference = open_cache(into), open_cache(tmp_path / "at_once.zarr")
    for name in reference.ids:
        np.testing.assert_allclose(resumed[name], reference[name], rtol=2e-3, atol=1e-5)


def test_ctrl_c_keeps_finished_features_and_explains_how_to_continue(clips, into, monkeypatch):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(
        "console.progress.Progress.on_progress",
        lambda self, done, *_: done == 7 and os.kill(os.getpid(), signal.SIGINT),
    )
    monkeypatch.setattr(sys, "argv", ["cli.py", "features"])
    result = cli("features", clips, into, *SMALL)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == STOPPED
    monkeypatch.undo()
    assert cli("features", clips, into, *SMALL).stdout.startswith(f"{into}: 5 made, 7 already present, ")
