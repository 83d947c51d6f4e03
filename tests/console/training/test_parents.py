"""`train finetune --from`: which runs it can start from."""

import pytest

from tests.helpers.commands import contents, refusal
from tests.helpers.runs import finetune, make_scans


def test_a_parent_that_is_not_there(tmp_path, scans, run):
    assert refusal(finetune(scans, run, "--from", tmp_path / "no"), run) == (
        f"Error: {tmp_path}/no/config.json: No such file or directory; "
        "expected the config.json of a run, as `train` writes it\n"
    )


def test_a_parent_of_another_shape(tmp_path, pretrained, run):
    scans = make_scans(tmp_path / "ct.zarr", shape=(5, 16, 16))
    assert refusal(finetune(scans, run, "--from", pretrained), run) == (
        f"Error: {scans} has shape (5, 16, 16), the run of --from was trained on (4, 16, 16); "
        "preprocess both to the same --depth --height --width\n"
    )


@pytest.mark.parametrize(
    ("option", "given", "parent"),
    [("backbone", "vgg16", "small"), ("rnn", "gru", "lstm"), ("input-conv", "random", "imagenet")],
)
def test_a_parent_of_another_network(scans, pretrained, run, option, given, parent):
    assert refusal(finetune(scans, run, "--from", pretrained, f"--{option}", given), run) == (
        f"Error: {option.replace('-', '_')} {given} with a run of --from that has {parent}; expected the same in both\n"
    )


def test_weights_beside_a_parent(scans, pretrained, run):
    assert refusal(finetune(scans, run, "--from", pretrained, "--weights", "imagenet"), run) == (
        "Error: weights imagenet with --from, whose run has its own; leave one of them out\n"
    )


@pytest.mark.parametrize(
    ("recipe", "key", "given"),
    [({"window": [-500.0, 400.0]}, "window", [-500.0, 400.0]), ({"orientation": "file"}, "orientation", "file")],
)
def test_a_parent_on_scans_of_another_meaning(tmp_path, made, run, recipe, key, given):
    scans = make_scans(tmp_path / "ct.zarr", recipe=recipe)
    expected = {"window": [-1000.0, 400.0], "orientation": "SPL"}[key]
    assert refusal(finetune(scans, run, "--from", made / "tuned"), run) == (
        f"Error: {scans} has {key} {given}, the run of --from was trained on {key} {expected}; "
        "give a cache built by the same recipe\n"
    )


def test_a_parent_without_an_epoch_behind_it(scans, copy, pretrained, run):
    parent = copy(pretrained)
    (parent / "model.keras").unlink()
    before = contents(parent)
    message = refusal(finetune(scans, run, "--from", parent), run)
    assert f"{parent} has no model.keras" in message
    assert "--resume" in message
    assert contents(parent) == before
