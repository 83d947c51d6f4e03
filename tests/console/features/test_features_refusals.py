"""Errors of `features`: wrong paths, options, weights and runs."""

import pytest

from tests.helpers.commands import cli, error, mentions, refusal, tree, usage
from tests.helpers.runs import make_clips, make_scans

SMALL = ("--backbone", "small", "--weights", "none")
TRAIN = ("--epochs", 1, "--batch-size", 4, "--quiet")


def test_features_rejects_a_missing_cache_and_a_feature_cache(tmp_path, features, target):
    mentions(refusal(cli("features", tmp_path / "no.zarr", target, *SMALL), target), tmp_path, "`preprocess`")
    mentions(refusal(cli("features", features, target, *SMALL), target), features, "features", "clips")


def test_an_existing_path_that_is_not_a_feature_cache_is_left_unchanged(tmp_path, runs, clips):
    file, folder, scans = tmp_path / "file", tmp_path / "folder", runs / "ct.zarr"
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
def test_features_of_another_extractor_are_not_mixed_in(runs, own_features, cache, options, difference):
    before = tree(own_features)
    message = error(cli("features", runs / cache, own_features, *SMALL, *options))
    assert message.startswith(f"Error: {own_features} has another recipe ({difference}")
    assert message.endswith("); give the same options, or another path\n")
    assert tree(own_features) == before


def test_features_rejects_weights_that_are_missing_or_for_another_backbone(tmp_path, clips, target):
    large = make_clips(tmp_path / "large.zarr", 2, shape=(4, 32, 32))
    missing = tmp_path / "lost.weights.h5"
    message = refusal(cli("features", large, target, "--weights", missing), target)
    assert all(word in message for word in (f"weights {missing}: no such file", "--weights PATH", "--weights none"))
    message = refusal(cli("features", clips, target, "--backbone", "small", "--weights", "imagenet"), target)
    assert all(word in message for word in ("'imagenet'", "backbone small", "--weights none"))


def test_features_names_the_alternatives_to_weights_that_cannot_be_downloaded(tmp_path, target, monkeypatch):
    import keras

    original = keras.applications.VGG16

    def offline(*args, weights, **options):
        if weights is None:
            return original(*args, weights=None, **options)
        raise Exception("URL fetch failure on https://example.org/vgg16.h5: Name or service not known")

    monkeypatch.setattr(keras.applications, "VGG16", offline)
    large = make_clips(tmp_path / "large.zarr", 2, shape=(4, 32, 32))
    message = refusal(cli("features", large, target), target)
    reason = "URL fetch failure on https://example.org/vgg16.h5: Name or service not known"
    assert all(word in message for word in ("ImageNet weights of VGG-16", reason, "--weights PATH"))


def test_features_rejects_slices_too_small_for_the_backbone(clips, target):
    mentions(refusal(cli("features", clips, target, "--weights", "none"), target), clips, "--height", "--width")


def test_features_rejects_a_run_without_a_backbone_for_the_cache(tmp_path, runs, clips, target):
    mentions(refusal(cli("features", clips, target, "--from", tmp_path / "no"), target), tmp_path, "`train`")
    deeper = make_scans(tmp_path / "ct.zarr", 2, shape=(5, 16, 16))
    mentions(
        refusal(cli("features", deeper, target, "--from", runs / "pretrained"), target),
        deeper,
        "--from",
        "--depth",
        "--height",
        "--width",
    )
    mentions(
        refusal(cli("features", clips, target, "--from", runs / "alone"), target),
        runs,
        "backbone",
        "features",
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [("backbone", "small"), ("weights", "none"), ("input-conv", "random"), ("seed", 0), ("precision", "float32")],
)
def test_options_that_the_run_determines_are_rejected_with_from(runs, clips, target, option, value):
    mentions(
        refusal(cli("features", clips, target, "--from", runs / "pretrained", f"--{option}", value), target),
        option.replace("-", "_"),
        value,
        "--from",
    )


def test_invalid_options_of_features_are_usage_errors(clips, target):
    assert "Invalid value for '--backbone'" in usage(cli("features", clips, target, "--backbone", "resnet"))
    assert "-1 is not in the range" in usage(cli("features", clips, target, *SMALL, "--seed", -1))
    assert "it is empty; expected a path" in usage(cli("features", clips, ""))
