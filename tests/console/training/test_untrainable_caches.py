"""Caches that cannot be trained on."""

from tests.helpers.commands import refusal
from tests.helpers.runs import finetune, make_clips, pretrain


def test_no_such_cache(tmp_path, run):
    assert refusal(pretrain(tmp_path / "no.zarr", run), run) == (
        f"Error: {tmp_path}/no.zarr is not a cache: it has no readable zarr.json; build one with `preprocess`\n"
    )


def test_a_cache_of_the_wrong_kind(clips, scans, run):
    assert refusal(pretrain(scans, run), run) == (
        f"Error: {scans} holds ct samples, `train pretrain` takes video; build a cache by `preprocess video`\n"
    )
    assert refusal(finetune(clips, run), run) == (
        f"Error: {clips} holds video samples, `train finetune` takes ct; build a cache by `preprocess ct`\n"
    )


def test_an_empty_cache(tmp_path, run):
    assert refusal(pretrain(make_clips(tmp_path / "clips.zarr", 0), run), run) == (
        "Error: none of the 0 samples has a label; expected two classes or more; label them in the cache\n"
    )


def test_an_unlabelled_cache(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 3, labels=[-1] * 3)
    assert refusal(pretrain(clips, run), run) == (
        "Error: none of the 3 samples has a label; expected two classes or more; label them in the cache\n"
    )


def test_one_class_alone(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 3, labels=[1] * 3)
    assert refusal(pretrain(clips, run), run) == (
        "Error: all 3 labelled samples are of class 'two'; expected two classes or more; add samples of another\n"
    )


def test_a_class_with_one_sample(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 4, labels=[0, 0, 0, 1])
    assert refusal(pretrain(clips, run), run) == (
        "Error: class 'two' has 1 sample in 1 group; a split needs at least two groups of each class; "
        "add samples, or leave the class out\n"
    )


def test_a_class_of_one_patient(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 4, group="p")
    assert refusal(pretrain(clips, run), run) == (
        "Error: class 'one' has 2 samples in 1 group; a split needs at least two groups of each class; "
        "add samples, or leave the class out\n"
    )


def test_slices_too_small_for_the_backbone(tmp_path, clips, run):
    small = make_clips(tmp_path / "clips.zarr", shape=(4, 8, 16))
    assert refusal(pretrain(small, run), run) == (
        f"Error: {small} has slices of 8×16 px, backbone small takes 16×16 or more; "
        "preprocess to a larger --height --width\n"
    )
    assert "backbone vgg16 takes 32×32 or more" in refusal(pretrain(clips, run, "--backbone", "vgg16"), run)


def test_a_batch_larger_than_the_split(clips, run):
    assert refusal(pretrain(clips, run, "--batch-size", 11), run) == (
        "Error: batch_size 11, but there are 10 samples to train on; lower it\n"
    )
