"""`train finetune --from`: which runs it can start from."""

import pytest

from tests.helpers.commands import contents, mentions, refusal
from tests.helpers.runs import finetune, make_scans


def test_a_missing_parent_is_rejected(tmp_path, scans, run):
    mentions(refusal(finetune(scans, run, "--from", tmp_path / "no"), run), tmp_path, "`train`")


def test_a_parent_with_another_shape_is_rejected(tmp_path, pretrained, run):
    scans = make_scans(tmp_path / "ct.zarr", shape=(5, 16, 16))
    mentions(
        refusal(finetune(scans, run, "--from", pretrained), run), scans, "--from", "--depth", "--height", "--width"
    )


@pytest.mark.parametrize(
    ("option", "value", "parent"),
    [("backbone", "vgg16", "small"), ("rnn", "gru", "lstm"), ("input-conv", "random", "imagenet")],
)
def test_a_parent_with_another_network_is_rejected(scans, pretrained, run, option, value, parent):
    mentions(
        refusal(finetune(scans, run, "--from", pretrained, f"--{option}", value), run),
        option.replace("-", "_"),
        value,
        "--from",
        parent,
    )


def test_weights_together_with_a_parent_are_rejected(scans, pretrained, run):
    mentions(
        refusal(finetune(scans, run, "--from", pretrained, "--weights", "imagenet"), run),
        "--from",
        "imagenet",
        "weights",
    )


@pytest.mark.parametrize(
    ("recipe", "key", "value"),
    [({"window": [-500.0, 400.0]}, "window", [-500.0, 400.0]), ({"orientation": "file"}, "orientation", "file")],
)
def test_a_parent_trained_on_another_window_or_orientation_is_rejected(tmp_path, runs, run, recipe, key, value):
    scans = make_scans(tmp_path / "ct.zarr", recipe=recipe)
    expected = {"window": [-1000.0, 400.0], "orientation": "SPL"}[key]
    mentions(
        refusal(finetune(scans, run, "--from", runs / "tuned"), run),
        scans,
        key,
        value,
        "--from",
        expected,
    )


def test_a_parent_without_a_finished_epoch_is_rejected_and_unchanged(scans, copy, pretrained, run):
    parent = copy(pretrained)
    (parent / "model.keras").unlink()
    before = contents(parent)
    message = refusal(finetune(scans, run, "--from", parent), run)
    assert f"{parent} has no model.keras" in message
    assert "--resume" in message
    assert contents(parent) == before
