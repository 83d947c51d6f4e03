"""`experiment` rejects impossible requests before writing anything."""

import pytest

from tests.helpers.commands import cli, contents, error, refusal, usage
from tests.helpers.experiments import by_hand, experiment, into, made
from tests.helpers.runs import make_clips, make_scans
from trainer.experiments.experiment import PRETRAINED, STARTUP_FILES, STRATEGIES, Experiment, _stage

__all__ = ["into", "made"]  # fixtures


def test_experiment_rejects_caches_of_the_wrong_kind(made, into):
    for clips, scans, rejected, kind, expected in (
        (made.scans, made.clips, made.scans, "ct", "video"),
        (made.clips, made.clips, made.clips, "video", "ct"),
        (made.frozen / "features/clips.zarr", made.scans, made.frozen / "features/clips.zarr", "features", "video"),
    ):
        assert refusal(experiment(made, into, clips=clips, scans=scans), into) == (
            f"Error: {rejected} holds {kind} samples, where {expected} was expected; build a cache with "
            f"`preprocess {expected}`, and give VIDEO_CACHE before CT_CACHE\n"
        )


def test_experiment_rejects_caches_of_different_shapes(made, tmp_path, into):
    deeper = make_scans(tmp_path / "ct.zarr", 3, shape=(5, 16, 16))
    assert refusal(experiment(made, into, scans=deeper), into) == (
        f"Error: {made.clips} has shape (4, 16, 16), {deeper} has (5, 16, 16); "
        "preprocess both to the same --depth --height --width\n"
    )


def test_experiment_rejects_caches_that_cannot_be_split(made, tmp_path, into):
    unlabelled = make_scans(tmp_path / "ct.zarr", 3, labels=[-1] * 3)
    assert refusal(experiment(made, into, scans=unlabelled), into) == (
        f"Error: {unlabelled}: none of the 3 samples has a label; expected two classes or more; "
        "label them in the cache\n"
    )
    single = make_clips(tmp_path / "clips.zarr", 3, labels=[0, 0, 1])
    assert f"Error: {single}: class 'two' has 1 sample" in refusal(experiment(made, into, clips=single), into)
    missing = tmp_path / "lost.zarr"
    assert f"{missing} is not a cache" in refusal(experiment(made, into, scans=missing), into)


def test_experiment_rejects_invalid_splits(made, tmp_path, into):
    split = by_hand(tmp_path, "s99")
    assert refusal(experiment(made, into, "--split", split), into) == (
        f"Error: {made.scans}: split names 1 id not in the cache ('s99'); "
        "remove them, or give the cache that the split was made for\n"
    )
    missing = tmp_path / "lost.json"
    assert refusal(experiment(made, into, "--split", missing), into).startswith(f"Error: {missing}: No such file")


def test_experiment_rejects_a_batch_larger_than_the_training_set(made, into):
    message = "batch_size 11, but there are 10 clips to train on; lower it"
    assert refusal(experiment(made, into, "--batch-size", 11), into) == f"Error: {message}\n"


@pytest.mark.parametrize("option", [("--epochs", 0), ("--pretrain-epochs", 0), ("--learning-rate", -1), ("--seed", -1)])
def test_options_of_experiment_out_of_range_are_usage_errors(made, into, option):
    assert f"Invalid value for '{option[0]}'" in usage(experiment(made, into, *option))
    assert not into.exists()


def test_experiment_rejects_slices_too_small_for_the_backbone(made, into):
    message = refusal(experiment(made, into, "--backbone", "vgg16"), into)
    assert "has slices of 16×16 px, backbone vgg16 takes 32×32 or more" in message


def test_after_missing_weights_the_experiment_can_be_started_again(tmp_path, into):
    clips, scans = make_clips(tmp_path / "c.zarr", 6, (4, 32, 32)), make_scans(tmp_path / "s.zarr", 6, (4, 32, 32))
    for options in ((), ("--features",)):
        for name in ("lost.h5", "gone.h5"):
            weights = tmp_path / name
            result = cli("experiment", clips, scans, into, "--weights", weights, "--quiet", *options)
            assert error(result).startswith(f"Error: weights {weights}: no such file; ")
            assert {path.name for path in into.iterdir()} == {*STARTUP_FILES}


def test_experiment_rejects_files_foreign_folders_and_paths_inside_a_cache(made, tmp_path, into):
    file, foreign = tmp_path / "file", tmp_path / "foreign"
    file.write_text("mine")
    foreign.mkdir()
    (foreign / "mine").write_text("mine")
    before = contents(tmp_path), contents(made.folder)
    expected = {
        file: f"{file} is a file; expected a folder that is new or empty, or an experiment to resume",
        foreign: f"{foreign} holds 'mine' and no experiment; expected a folder that is new or empty",
        made.scans / "in": f"{made.scans}/in is inside the cache {made.scans}, which holds samples only; "
        "choose another DIR",
        made.scans: f"{made.scans} is inside the cache {made.scans}, which holds samples only; choose another DIR",
    }
    for path, message in expected.items():
        assert error(experiment(made, path)) == f"Error: {message}\n"
    assert (contents(tmp_path), contents(made.folder)) == before


def test_contradictory_options_of_experiment_are_usage_errors(made, into):
    for option in ("--class-weights", "--no-class-weights"):
        assert usage(experiment(made, into, option)) == (
            "Error: --class-weights is one of the strategies that are compared; leave it out"
        )
    assert usage(experiment(made, into, "--features", "--train-backbone")) == (
        "Error: --features keeps the backbone frozen, --train-backbone does not; leave one of them out"
    )
    assert "Invalid value for '--seeds'" in usage(experiment(made, into, "--seeds", 0))
    assert not into.exists()


def test_with_features_no_stage_has_weights_or_precision(tmp_path):
    """Otherwise a second seed would have another random input convolution than the features, and be rejected."""
    settings = {"weights": "vgg16.h5", "input_conv": "random", "precision": "mixed_bfloat16", "epochs": 3}
    request = Experiment(tmp_path, tmp_path, tmp_path, settings, {}, seeds=2, frozen=True)
    for strategy in (PRETRAINED, *STRATEGIES):
        stage, chosen = _stage(request, 1, strategy)
        assert stage == ("pretrain" if strategy is PRETRAINED else "finetune")
        assert not {"weights", "precision"} & chosen.keys()
        assert (chosen["seed"], chosen["epochs"]) == (1, 3)
