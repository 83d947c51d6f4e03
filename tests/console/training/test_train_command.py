"""`train`: printed output, written files, and pictures or logs that cannot be written."""

import errno
import json
import os

import pytest

from cache import open_cache
from tests.helpers.commands import (
    cli,
    mentions,
    read_json,
)
from tests.helpers.runs import TRAIN_SMALL, trained
from trainer.runs.folder import RUN_FILES

DOCUMENTED = {"config.json", "history.csv", "model.keras", "split.json", "metrics.json"}


def test_train_writes_the_documented_files(runs, clips, pretrained):
    assert DOCUMENTED <= {path.name for path in pretrained.iterdir()} <= set(RUN_FILES)
    config, split, metrics = (read_json(pretrained / f"{name}.json") for name in ("config", "split", "metrics"))
    opened = open_cache(clips)
    assert config["recipe"] == opened.recipe
    assert (config["shape"], config["class_names"], config["kind"]) == ([4, 16, 16], ["one", "two"], "video")
    assert sorted([*split["train"], *split["validation"]]) == sorted(opened.ids)
    assert set(split) == {"train", "validation"}
    assert {"kappa", "accuracy", "ci95", "f1", "confusion", "n"} <= set(metrics)
    assert (set(metrics["ci95"]) >= {"kappa", "accuracy"}, list(metrics["f1"])) == (True, ["one", "two"])
    assert metrics["n"] == len(split["validation"]) == sum(map(sum, metrics["confusion"]))
    header, *rows = (pretrained / "history.csv").read_text().splitlines()
    assert header == "epoch,loss,accuracy,val_loss,val_accuracy,val_kappa,learning_rate"
    assert len(rows) == 1


def test_with_json_train_prints_only_the_metrics(tmp_path_factory, pretrained):
    _, result, _ = trained(tmp_path_factory.getbasetemp())
    assert json.loads(result.stdout) == read_json(pretrained / "metrics.json")
    assert result.stderr == ""


def test_train_prints_epochs_on_stdout_and_the_device_on_stderr(tmp_path_factory, runs):
    _, _, result = trained(tmp_path_factory.getbasetemp())
    split, device, *_ = result.stderr.splitlines()
    assert device.startswith("TensorFlow ")
    assert split == "6 samples to train on, 3 to validate on, 3 for testing"
    first, blank, head, kappa, *_ = result.stdout.splitlines()
    assert first.startswith("epoch 1/1  loss ")
    assert (blank, head) == ("", f"{runs / 'tuned'}: the best epoch on 3 validation samples")
    assert kappa.startswith("kappa ")


def test_fine_tuning_uses_the_backbone_settings_of_its_parent(runs):
    config = read_json(runs / "tuned/config.json")
    assert (config["backbone"], config["weights"]) == ("small", "none")
    assert config["from"] == str((runs / "pretrained").resolve())
    assert read_json(runs / "tuned/split.json") == read_json(runs / "by_hand.json")


@pytest.mark.parametrize("name", ["curves.png", "confusion.png"])
def test_pictures_are_png_of_a_reasonable_size(pretrained, name):
    data = (pretrained / name).read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert all(200 <= int.from_bytes(data[start : start + 4], "big") <= 2000 for start in (16, 20))


@pytest.mark.parametrize("options", [(), pytest.param(("--json",), marks=pytest.mark.slow)])
def test_a_failed_picture_does_not_affect_results(clips, run, monkeypatch, options):
    def fail(*args, **options):
        raise RuntimeError("latex could not be found")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    result = cli("train", "pretrain", clips, run, *TRAIN_SMALL[:-1], *options)
    assert result.exit_code == 0, result.output
    names = {path.name for path in run.iterdir()}
    assert {"metrics.json", "validation.csv"} < names
    assert not any(name.endswith(".png") for name in names)
    messages = [line for line in result.stderr.splitlines() if line.startswith("no picture: ")]
    reason = "(RuntimeError: latex could not be found); the numbers are not affected"
    pictures = () if options else ("curves.png", "confusion.png")
    assert messages == [f"no picture: cannot draw {run / name} {reason}" for name in pictures]
    evaluated = cli("evaluate", run, clips, "--picture", run.parent / "confusion.png", *options)
    assert evaluated.exit_code == 1
    assert evaluated.stdout.startswith("{" if options else f"{run} on {clips}, part validation\nkappa")
    mentions(evaluated.stderr.splitlines()[-1], run.parent / "confusion.png", reason)


def test_unwritable_logs_do_not_affect_results_and_give_no_traceback(clips, run, monkeypatch):
    def full(record):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", lambda self, data: full(data))
    result = cli("train", "pretrain", clips, run, *TRAIN_SMALL[:-1], "--epochs", 2)
    assert result.exit_code == 0, result.output
    assert (run / "metrics.json").is_file()
    [line] = [line for line in result.stderr.splitlines() if "TensorBoard" in line]
    mentions(line, run / "logs", "No space left on device", "history.csv")
    assert "Traceback" not in result.output


def test_tensorboard_reads_the_metrics_of_every_epoch(pretrained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(pretrained / "logs"))
    events.Reload()
    header, row = (line.split(",") for line in (pretrained / "history.csv").read_text().splitlines())
    assert {*header[1:], "seconds"} <= {*events.Tags()["tensors"]}
    for name, value in zip(header[1:], row[1:], strict=True):
        (event,) = events.Tensors(name)
        assert (event.step, float(make_ndarray(event.tensor_proto))) == (1, pytest.approx(float(value)))
