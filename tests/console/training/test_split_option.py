"""`train --split`: a split file supplied by the user."""

import pytest

from cache import open_cache
from tests.helpers.caches import volume
from tests.helpers.commands import cli, mentions, read_json, refusal, usage
from tests.helpers.runs import SHAPE, TRAIN_SMALL, make_clips, pretrain, write_split


def test_train_rejects_an_invalid_split_file(tmp_path, clips, run):
    missing = tmp_path / "lost.json"
    mentions(refusal(pretrain(clips, run, "--split", missing), run), missing, '{"train": [ids], "validation": [ids]}')
    path = write_split(tmp_path, train=["s0", "s1"], validation="s2")
    mentions(refusal(pretrain(clips, run, "--split", path), run), path, "'s2'", "validation", "list of ids")
    path = write_split(tmp_path, train=["s0", "s1"], validation=["s1"])
    mentions(refusal(pretrain(clips, run, "--split", path), run), path, "'s1'", "train", "validation")
    path.write_text("[" * 1_000_000)
    assert "is not readable as JSON" in refusal(pretrain(clips, run, "--split", path), run)


def test_train_rejects_a_split_with_ids_that_are_not_in_the_cache(tmp_path, clips, run):
    path = write_split(tmp_path, train=["s0", "../../etc/passwd"], validation=["s1\n"])
    mentions(refusal(pretrain(clips, run, "--split", path), run), "'../../etc/passwd'", r"'s1\n'")


def test_train_rejects_a_split_that_shares_a_group_or_an_array(tmp_path, run):
    shared = make_clips(tmp_path / "group.zarr", 4, group="g01")
    for subset in ("validation", "test"):
        subsets = {"train": ["s0"], "validation": ["s2"]} | {subset: ["s1"]}
        message = refusal(pretrain(shared, run, "--split", write_split(tmp_path, **subsets)), run)
        assert "are of one group" in message
        assert "'g01'" in message
    sample = open_cache(shared)[0]
    twins = make_clips(tmp_path / "twins.zarr", [sample, sample, 1 - sample])
    path = write_split(tmp_path, train=["s0", "s2"], validation=["s1"])
    message = refusal(pretrain(twins, run, "--split", path), run)
    assert "'s0' in 'train' and 's1' in 'validation', which hold the same array" in message
    assert "add --drop-shared" in message


@pytest.fixture
def twins(tmp_path):
    """Clips in which s4 has the array of s0, and a split that puts the two into different subsets."""
    values = [volume(number, SHAPE) for number in (0, 1, 2, 3, 0, 5)]
    split = write_split(tmp_path, train=["s0", "s1", "s2"], validation=["s3", "s4"], test=["s5"])
    return make_clips(tmp_path / "twins.zarr", values), split


def test_drop_shared_excludes_shared_samples_from_training_also_when_resumed(twins, run):
    (clips, split), expected = twins, {"train": ["s1", "s2"], "validation": ["s3", "s4"], "test": ["s5"]}
    command = ("train", "pretrain", clips, run, *TRAIN_SMALL[:-1], "--batch-size", 2, "--split", split)
    first = cli(*command, "--drop-shared")
    assert first.exit_code == 0, first.output
    assert "--drop-shared leaves 1 sample ('s0') out of training: validation or test hold the same arrays" in (
        first.stderr.splitlines()
    )
    assert read_json(run / "split.json") == expected
    resumed = cli(*command, "--drop-shared", "--resume", "--epochs", 2)
    assert resumed.exit_code == 0, resumed.output
    assert read_json(run / "split.json") == expected
    without = cli(*command, "--resume", "--epochs", 2)
    assert without.exit_code == 1
    assert "has another split; leave it out" in without.stderr


def test_drop_shared_needs_a_split_and_keeps_every_class(tmp_path, twins, run):
    clips, split = twins
    assert "add --split FILE" in usage(pretrain(clips, run, "--drop-shared"))
    split = write_split(tmp_path, train=["s0", "s1"], validation=["s3", "s4"])
    assert "--drop-shared leaves no sample of class 'one' to train on" in (
        refusal(pretrain(clips, run, "--drop-shared", "--split", split), run)
    )
