"""`train --resume`."""

import json
import os
import shutil
import signal
import sys

import pytest

from cache import open_cache
from cache.store import chunk_path
from tests.helpers.caches import volume
from tests.helpers.commands import STOPPED, cli, contents, edit_json, error, mentions, read_json
from tests.helpers.runs import SHAPE, finetune, make_clips, pretrain, write_split
from trainer.runs.folder import RUN_FILES


def test_resuming_a_finished_run_changes_nothing(clips, copy, pretrained):
    run = copy(pretrained)
    before = contents(run)
    result = cli("train", "pretrain", clips, run, "--resume", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == read_json(run / "metrics.json")
    assert contents(run) == before


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--batch-size", 2), "batch_size 2 with --resume, but {run} has 4"),
        (("--learning-rate", 0.5), "learning_rate 0.5 with --resume, but {run} has 0.001"),
        (("--seed", 7), "seed 7 with --resume, but {run} has 0"),
        (("--class-weights",), "class_weights True with --resume, but {run} has False"),
        (("--rnn", "gru"), "rnn gru with --resume, but {run} has lstm"),
        (("--backbone", "vgg16"), "backbone vgg16 with --resume, but {run} has small"),
    ],
)
def test_only_epochs_may_change_when_a_run_is_resumed(clips, copy, pretrained, option, message):
    run = copy(pretrained)
    before = contents(run)
    mentions(error(pretrain(clips, run, "--resume", *option)), message.format(run=run), "another", "leave")
    assert contents(run) == before


def test_a_run_is_resumed_only_with_its_own_command_parent_and_split(tmp_path, clips, scans, copy, runs):
    run = copy(runs / "tuned")
    before = contents(run)
    mentions(error(pretrain(clips, run, "--resume")), run, "`train finetune`")
    mentions(
        error(finetune(scans, run, "--resume", "--from", run)),
        "--from",
        run,
        "--resume",
        (runs / "pretrained").resolve(),
    )
    split = write_split(tmp_path, train=["s0", "s1"], validation=["s2"])
    mentions(error(finetune(scans, run, "--resume", "--split", split)), "--split", split, "--resume", run)
    assert contents(run) == before
    assert finetune(scans, run, "--resume", "--split", runs / "by_hand.json").exit_code == 0
    assert contents(run) == before


def test_a_run_resumes_to_more_but_not_fewer_epochs_without_its_parent(copy, runs):
    run, parent = copy(runs / "tuned"), copy(runs / "pretrained")
    edit_json(run / "config.json", **{"from": str(parent)})
    shutil.rmtree(parent)
    first = (run / "history.csv").read_text()
    result = cli("train", "finetune", runs / "ct.zarr", run, "--resume", "--epochs", 3)
    assert result.exit_code == 0
    assert [line.partition("  ")[0] for line in result.stdout.splitlines()[:2]] == ["epoch 2/3", "epoch 3/3"]
    assert (run / "history.csv").read_text().startswith(first)
    assert (run / "history.csv").read_text().count("\n") == 4
    assert read_json(run / "config.json")["epochs"] == 3
    before = contents(run)
    mentions(error(finetune(runs / "ct.zarr", run, "--resume", "--epochs", 2)), "epochs", "resum", run)
    assert contents(run) == before


def test_a_run_is_resumed_only_on_the_samples_it_started_with(tmp_path, copy, pretrained):
    run = copy(pretrained)
    before = contents(run)
    other = make_clips(tmp_path / "other.zarr", [1 - volume(row, SHAPE) for row in range(12)])
    message = error(pretrain(other, run, "--resume"))
    assert message.endswith(
        f" of {other} is not the one that {run} started with; give that cache, or train into another RUN\n"
    )
    fewer = make_clips(tmp_path / "fewer.zarr", 11)
    mentions(error(pretrain(fewer, run, "--resume")), "'s11'", "remove", "cache")
    unlabelled = make_clips(tmp_path / "unlabelled.zarr", labels=[-1] + [0, 1] * 5 + [0])
    assert "has no label in the cache" in error(pretrain(unlabelled, run, "--resume"))
    renamed = make_clips(tmp_path / "renamed.zarr", class_names=("two", "one"))
    mentions(error(pretrain(renamed, run, "--resume")), renamed, "'two'", "'one'", run)
    assert contents(run) == before


@pytest.mark.parametrize(
    ("sent_signal", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminated"]
)
def test_a_stopped_run_names_the_resume_option_and_can_be_resumed(
    clips, pretrained, run, monkeypatch, signals, sent_signal, code
):
    stop = lambda self, done, total, unit, *_: (unit, done) == ("steps", 2) and os.kill(os.getpid(), sent_signal)  # noqa: E731
    monkeypatch.setattr("console.progress.Progress.on_progress", stop)
    monkeypatch.setattr(sys, "argv", ["cli.py", "train"])
    result = pretrain(clips, run)
    assert (result.exit_code, result.stdout, result.stderr) == (
        code,
        "",
        STOPPED.replace("again", "again, with --resume,"),
    )
    assert {path.name for path in run.iterdir()} <= set(RUN_FILES) - {"model.keras", "metrics.json"}
    monkeypatch.undo()
    assert "has no model.keras" in error(cli("evaluate", run, clips, "--quiet"))
    if sent_signal == signal.SIGINT:
        assert pretrain(clips, run, "--resume").exit_code == 0
        for name in ("history.csv", "metrics.json", "split.json", "config.json"):
            assert (run / name).read_bytes() == (pretrained / name).read_bytes()


def test_resume_starts_a_missing_run_and_a_damaged_sample_stops_it_with_its_path(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr")
    path = chunk_path(clips, open_cache(clips).entry("s3").row)
    intact = path.read_bytes()
    path.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    before = contents(clips)
    mentions(error(pretrain(clips, run, "--resume")), path, "`repair`")
    assert not (run / "model.keras").exists()
    assert contents(clips) == before
    path.write_bytes(intact)
    assert pretrain(clips, run, "--resume").exit_code == 0
    assert (run / "metrics.json").is_file()
