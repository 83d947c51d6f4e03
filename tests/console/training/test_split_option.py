"""`train --split`: a split file of the user."""

import pytest

from cache import open_cache
from tests.helpers.caches import volume
from tests.helpers.commands import cli, mentions, read_json, refusal, usage
from tests.helpers.runs import SHAPE, TRAIN_SMALL, make_clips, pretrain, write_split


def test_an_invalid_split_file(tmp_path, clips, run):
    lost = tmp_path / "lost.json"
    mentions(refusal(pretrain(clips, run, "--split", lost), run), lost, '{"train": [ids], "validation": [ids]}')
    path = write_split(tmp_path, train=["s0", "s1"], validation="s2")
    mentions(refusal(pretrain(clips, run, "--split", path), run), path, "'s2'", "validation", "list of ids")
    path = write_split(tmp_path, train=["s0", "s1"], validation=["s1"])
    mentions(refusal(pretrain(clips, run, "--split", path), run), path, "'s1'", "train", "validation")
    path.write_text("[" * 1_000_000)
    assert "is not readable as JSON" in refusal(pretrain(clips, run, "--split", path), run)


def test_a_split_with_ids_that_are_not_in_the_cache(tmp_path, clips, run):
    path = write_split(tmp_path, train=["s0", "../../etc/passwd"], validation=["s1\n"])
    mentions(refusal(pretrain(clips, run, "--split", path), run), "'../../etc/passwd'", r"'s1\n'")


def test_a_split_that_leaks(tmp_path, run):
    shared = make_clips(tmp_path / "group.zarr", 4, group="g01")
    for part in ("validation", "test"):
        parts = {"train": ["s0"], "validation": ["s2"]} | {part: ["s1"]}
        message = refusal(pretrain(shared, run, "--split", write_split(tmp_path, **parts)), run)
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
    """Clips in which s4 has the array of s0, and a split that puts the two into different parts."""
    values = [volume(number, SHAPE) for number in (0, 1, 2, 3, 0, 5)]
    split = write_split(tmp_path, train=["s0", "s1", "s2"], validation=["s3", "s4"], test=["s5"])
    return make_clips(tmp_path / "twins.zarr", values), split


def test_drop_shared_leaves_shared_samples_out_of_training_also_when_resumed(twins, run):
    (clips, split), kept = twins, {"train": ["s1", "s2"], "validation": ["s3", "s4"], "test": ["s5"]}
    command = ("train", "pretrain", clips, run, *TRAIN_SMALL[:-1], "--batch-size", 2, "--split", split)
    first = cli(*command, "--drop-shared")
    assert first.exit_code == 0, first.output
    assert "--drop-shared leaves 1 sample ('s0') out of training: validation or test hold the same arrays" in (
        first.stderr.splitlines()
    )
    assert read_json(run / "split.json") == kept
    resumed = cli(*command, "--drop-shared", "--resume", "--epochs", 2)
    assert resumed.exit_code == 0, resumed.output
    assert read_json(run / "split.json") == kept
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
