"""`train` rejects caches that are unsuitable for training."""

from tests.helpers.commands import mentions, refusal
from tests.helpers.runs import finetune, make_clips, pretrain


def test_train_rejects_a_missing_cache(tmp_path, run):
    mentions(refusal(pretrain(tmp_path / "no.zarr", run), run), tmp_path, "`preprocess`")


def test_train_rejects_a_cache_of_the_wrong_kind(clips, scans, run):
    mentions(refusal(pretrain(scans, run), run), scans, "`train pretrain`", "`preprocess video`")
    mentions(refusal(finetune(clips, run), run), clips, "`train finetune`", "`preprocess ct`")


def test_train_rejects_an_empty_cache(tmp_path, run):
    mentions(refusal(pretrain(make_clips(tmp_path / "clips.zarr", 0), run), run), "classes", "samples")


def test_train_rejects_an_unlabelled_cache(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 3, labels=[-1] * 3)
    mentions(refusal(pretrain(clips, run), run), "classes", "samples")


def test_train_rejects_a_cache_with_a_single_class(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 3, labels=[1] * 3)
    mentions(refusal(pretrain(clips, run), run), "'two'", "labelled", "another")


def test_train_rejects_a_class_with_one_sample(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 4, labels=[0, 0, 0, 1])
    mentions(refusal(pretrain(clips, run), run), "'two'", "samples", "groups")


def test_train_rejects_a_class_of_one_patient(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 4, group="p")
    mentions(refusal(pretrain(clips, run), run), "'one'", "samples", "groups")


def test_train_rejects_slices_too_small_for_the_backbone(tmp_path, clips, run):
    small = make_clips(tmp_path / "clips.zarr", shape=(4, 8, 16))
    mentions(refusal(pretrain(small, run), run), small, "--height", "--width")
    assert "backbone vgg16 takes 32×32 or more" in refusal(pretrain(clips, run, "--backbone", "vgg16"), run)


def test_train_rejects_a_batch_larger_than_the_split(clips, run):
    mentions(refusal(pretrain(clips, run, "--batch-size", 11), run), "batch_size", "samples")
