"""`features`: printed output, written features, errors, and training on features."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from cache import open_cache
from tests.helpers.caches import make_cache, tiny_attributes, volume
from tests.helpers.commands import ROOT, STOPPED, cli, error, facts, mentions, refusal, tree, usage
from tests.helpers.runs import SHAPE, make_clips, make_scans, trained
from trainer.runs.folder import RUN_FILES

SMALL = ("--backbone", "small", "--weights", "none")
TRAIN = ("--epochs", 1, "--batch-size", 4, "--quiet")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The shared caches and runs, features of the clips, and a run on these alone, for tests that only read them."""
    folder, *_ = trained(tmp_path_factory.getbasetemp())
    assert cli("features", folder / "clips.zarr", folder / "features.zarr", *SMALL, "--quiet").exit_code == 0
    split = ("--split", folder / "by_hand.json")
    assert cli("train", "pretrain", folder / "features.zarr", folder / "alone", *split, *TRAIN).exit_code == 0
    return folder


@pytest.fixture
def clips(made):
    return made / "clips.zarr"


@pytest.fixture
def features(made):
    return made / "features.zarr"


@pytest.fixture
def into(tmp_path):
    return tmp_path / "into.zarr"


@pytest.fixture
def own(features, tmp_path):
    """A copy of the features that a test may write."""
    return shutil.copytree(features, tmp_path / "own.zarr")


# Output


def test_a_run_prints_the_number_of_samples_and_leaves_the_cache_unchanged(clips, into):
    before = tree(clips)
    result = cli("features", clips, into, *SMALL)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{into}: 12 made, 0 already there, ")
    assert result.stdout.endswith(" frames/s\n")
    assert tree(clips) == before


def test_a_second_run_makes_nothing_and_touches_no_array(clips, own):
    def arrays():
        files = [path for path in (own / "features/c").rglob("*") if path.is_file()]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}

    before = arrays()
    assert len(before) == 12
    result = cli("features", clips, own, *SMALL)
    assert result.stdout == f"{own}: 0 made, 12 already there\n"
    assert arrays() == before


def test_with_json_stdout_has_only_the_result_and_quiet_prints_nothing(clips, own, into):
    result = cli("features", clips, own, *SMALL, "--json")
    assert json.loads(result.stdout) == {"made": 0, "kept": 12, "vanished": [], "rate": 0.0, "data_wait": 0.0}
    quiet = cli("features", clips, into, *SMALL, "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert len(open_cache(into)) == 12


def test_new_samples_are_added_and_vanished_ones_are_reported_and_kept(tmp_path, into):
    root = make_clips(tmp_path / "clips.zarr", 2)
    assert "2 made, 0 already there" in cli("features", root, into, *SMALL).stdout
    make_clips(root, [volume(2, SHAPE)])
    assert "1 made, 2 already there" in cli("features", root, into, *SMALL).stdout
    shutil.rmtree(root)
    make_clips(root, 2)
    assert cli("features", root, into, *SMALL).stdout == (
        f"{into}: 0 made, 2 already there; 1 kept that are no longer in {root}\n"
    )
    assert open_cache(into).ids == ["s0", "s1", "s2"]


def test_info_and_verify_handle_feature_caches(clips, features):
    about = facts(features)
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
    assert cli("features", clips, own, *SMALL).stdout.startswith(f"{own}: 1 made, 11 already there, ")
    assert cli("verify", own, "--quiet").exit_code == 0
    assert path.read_bytes() == sound


def test_features_of_a_trained_run_are_those_of_its_backbone(made, clips, features, into):
    result = cli("features", clips, into, "--from", made / "pretrained")
    assert result.exit_code == 0
    assert facts(into)["recipe"]["extractor"]["weights"] != facts(features)["recipe"]["extractor"]["weights"]
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
    assert cli("features", clips, into, *SMALL).stdout.startswith(f"{into}: 5 made, 7 already there, ")


# Errors


def test_a_missing_cache_and_a_feature_cache_are_refused(tmp_path, features, into):
    mentions(refusal(cli("features", tmp_path / "no.zarr", into, *SMALL), into), tmp_path, "`preprocess`")
    mentions(refusal(cli("features", features, into, *SMALL), into), features, "features", "clips")


def test_an_existing_path_that_is_not_a_feature_cache_is_left_unchanged(tmp_path, made, clips):
    file, folder, scans = tmp_path / "file", tmp_path / "folder", made / "ct.zarr"
    file.write_text("mine")
    folder.mkdir()
    (folder / "mine").write_text("mine")
    before = tree(tmp_path), tree(scans), tree(clips)
    for path in (file, folder):
        mentions(error(cli("features", clips, path, *SMALL)), path, "choose", "exists")
    for path, kind in ((scans, "ct"), (clips, "video")):
        mentions(error(cli("features", clips, path, *SMALL)), path, kind)
    for path in (clips / "inside.zarr", clips / "volume/inside.zarr"):
        mentions(error(cli("features", clips, path, *SMALL)), path, clips)
    assert (tree(tmp_path), tree(scans), tree(clips)) == before


@pytest.mark.parametrize(
    ("cache", "options", "difference"),
    [
        ("clips.zarr", ("--seed", 1), "extractor.weights "),
        ("clips.zarr", ("--input-conv", "random"), "extractor.weights "),
        ("clips.zarr", ("--augment",), "angles None → [-20.0, -10.0, -5.0, 0.0, 5.0, 10.0, 20.0]"),
        ("ct.zarr", (), "source.kind video → ct, "),
    ],
)
def test_features_of_another_extractor_are_not_mixed_in(made, own, cache, options, difference):
    before = tree(own)
    message = error(cli("features", made / cache, own, *SMALL, *options))
    assert message.startswith(f"Error: {own} was built by another recipe ({difference}")
    assert message.endswith("); give the same options, or another path\n")
    assert tree(own) == before


def test_weights_that_are_missing_or_not_for_this_backbone(tmp_path, clips, into):
    large = make_clips(tmp_path / "large.zarr", 2, shape=(4, 32, 32))
    lost = tmp_path / "lost.weights.h5"
    message = refusal(cli("features", large, into, "--weights", lost), into)
    assert all(word in message for word in (f"weights {lost}: no such file", "--weights PATH", "--weights none"))
    message = refusal(cli("features", clips, into, "--backbone", "small", "--weights", "imagenet"), into)
    assert all(word in message for word in ("'imagenet'", "backbone small", "--weights none"))


def test_weights_that_cannot_be_fetched_name_the_alternatives(tmp_path, into, monkeypatch):
    import keras

    sound = keras.applications.VGG16

    def offline(*args, weights, **options):
        if weights is None:
            return sound(*args, weights=None, **options)
        raise Exception("URL fetch failure on https://example.org/vgg16.h5: Name or service not known")

    monkeypatch.setattr(keras.applications, "VGG16", offline)
    large = make_clips(tmp_path / "large.zarr", 2, shape=(4, 32, 32))
    message = refusal(cli("features", large, into), into)
    reason = "URL fetch failure on https://example.org/vgg16.h5: Name or service not known"
    assert all(word in message for word in ("ImageNet weights of VGG-16", reason, "--weights PATH"))


def test_slices_too_small_for_the_backbone(clips, into):
    mentions(refusal(cli("features", clips, into, "--weights", "none"), into), clips, "--height", "--width")


def test_a_run_without_a_backbone_for_this_cache(tmp_path, made, clips, into):
    mentions(refusal(cli("features", clips, into, "--from", tmp_path / "no"), into), tmp_path, "`train`")
    deeper = make_scans(tmp_path / "ct.zarr", 2, shape=(5, 16, 16))
    mentions(
        refusal(cli("features", deeper, into, "--from", made / "pretrained"), into),
        deeper,
        "--from",
        "--depth",
        "--height",
        "--width",
    )
    mentions(refusal(cli("features", clips, into, "--from", made / "alone"), into), made, "backbone", "features")


@pytest.mark.parametrize(
    ("option", "value"),
    [("backbone", "small"), ("weights", "none"), ("input-conv", "random"), ("seed", 0), ("precision", "float32")],
)
def test_options_that_the_run_decides_are_refused_with_from(made, clips, into, option, value):
    mentions(
        refusal(cli("features", clips, into, "--from", made / "pretrained", f"--{option}", value), into),
        option.replace("-", "_"),
        value,
        "--from",
    )


def test_invalid_options_are_usage_errors(clips, into):
    assert "Invalid value for '--backbone'" in usage(cli("features", clips, into, "--backbone", "resnet"))
    assert "-1 is not in the range" in usage(cli("features", clips, into, *SMALL, "--seed", -1))
    assert "it is empty; expected a path" in usage(cli("features", clips, ""))


# Training on features


def test_features_alone_give_a_complete_run_on_the_given_split(made):
    assert (
        {"metrics.json", "model.keras", "split.json"}
        <= {path.name for path in (made / "alone").iterdir()}
        <= set(RUN_FILES)
    )
    assert json.loads((made / "alone/split.json").read_text()) == json.loads((made / "by_hand.json").read_text())


def test_features_of_another_cache_are_refused(tmp_path, made, clips, features):
    run = tmp_path / "run"
    scans = made / "ct.zarr"
    frozen = ("--freeze-backbone", *TRAIN)
    mentions(refusal(cli("train", "finetune", scans, run, "--features", features, *frozen), run), features, scans)
    mentions(
        refusal(cli("train", "finetune", scans, run, "--features", features, *TRAIN), run),
        features,
        "--freeze-backbone",
    )
    mentions(
        refusal(cli("train", "pretrain", clips, run, "--features", scans, *TRAIN), run),
        "--features",
        scans,
        clips,
    )
    more = make_cache(tmp_path / "more.zarr", 13, tiny_attributes("uint8", SHAPE, "video"))
    mentions(
        refusal(cli("train", "pretrain", more, run, "--features", features, *TRAIN), run),
        features,
        more,
        "'s12'",
    )
