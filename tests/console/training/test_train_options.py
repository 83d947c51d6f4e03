"""Options of `train` that contradict each other or have impossible values."""

import json

import pytest

from tests.helpers.commands import mentions, refusal, usage
from tests.helpers.runs import finetune, make_clips, pretrain


@pytest.mark.parametrize("option", [("--epochs", 0), ("--batch-size", 0), ("--seed", -1), ("--learning-rate", 0)])
def test_train_rejects_values_out_of_range(clips, run, option):
    assert f"Invalid value for '{option[0]}'" in usage(pretrain(clips, run, *option))
    assert not run.exists()


def test_train_rejects_a_learning_rate_of_nan(clips, run):
    assert "nan is not a finite number" in usage(pretrain(clips, run, "--learning-rate", "nan"))
    assert not run.exists()


def test_old_option_names_of_train_work_with_a_note(clips, run):
    result = pretrain(clips, run, "--epochs", 1, "--frame-block", 2, "--input-map=glorot")
    assert result.exit_code == 0
    assert "--frame-block is now --slices-per-step" in result.stderr
    assert "--input-map is now --input-conv" in result.stderr
    config = json.loads((run / "config.json").read_text())
    assert (config["slices_per_step"], config["input_conv"]) == (2, "random")


def test_train_rejects_weights_that_are_missing_or_for_another_backbone(tmp_path, clips, run):
    message = refusal(pretrain(clips, run, "--weights", "imagenet"), run)
    assert all(word in message for word in ("'imagenet'", "backbone small", "--weights none"))
    large = make_clips(tmp_path / "clips.zarr", shape=(4, 32, 32))
    missing = tmp_path / "lost.weights.h5"
    message = refusal(pretrain(large, run, "--backbone", "vgg16", "--weights", missing), run)
    assert all(word in message for word in (f"weights {missing}: no such file", "--weights PATH", "--weights none"))


def test_train_names_the_alternatives_to_weights_that_cannot_be_downloaded(tmp_path, run, monkeypatch):
    import keras

    original = keras.applications.VGG16

    def offline(*args, weights, **options):
        if weights is None:
            return original(*args, weights=None, **options)
        raise Exception("URL fetch failure on https://example.org/vgg16.h5:\nName or service not known")

    monkeypatch.setattr(keras.applications, "VGG16", offline)
    large = make_clips(tmp_path / "clips.zarr", shape=(4, 32, 32))
    message = refusal(pretrain(large, run, "--backbone", "vgg16"), run)
    reason = "URL fetch failure on https://example.org/vgg16.h5: Name or service not known"
    assert all(word in message for word in ("ImageNet weights of VGG-16", reason, "--weights PATH"))


def test_augmentation_is_for_scans_only_and_augment_by_needs_augment(clips, scans, run):
    mentions(refusal(pretrain(clips, run, "--augment"), run), "augmentation", "fine-tuning")
    for options in ((), ("--no-augment",)):
        message = usage(finetune(scans, run, "--augment-by", "blur", *options))
        assert "--augment-by" in message
        assert "add --augment" in message
    assert "'mirror' is not one of rotation, shift, blur" in usage(
        finetune(scans, run, "--augment", "--augment-by", "mirror")
    )
