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

PROMISED = {"config.json", "history.csv", "model.keras", "split.json", "metrics.json"}


def test_a_run_writes_the_promised_files(made, clips, pretrained):
    assert PROMISED <= {path.name for path in pretrained.iterdir()} <= set(RUN_FILES)
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


def test_with_json_stdout_has_only_the_metrics(tmp_path_factory, pretrained):
    _, result, _ = trained(tmp_path_factory.getbasetemp())
    assert json.loads(result.stdout) == read_json(pretrained / "metrics.json")
    assert result.stderr == ""


def test_a_run_prints_epochs_on_stdout_and_the_device_on_stderr(tmp_path_factory, made):
    _, _, result = trained(tmp_path_factory.getbasetemp())
    device, split, *_ = result.stderr.splitlines()
    assert device.startswith("TensorFlow ")
    assert split == "6 samples to train on, 3 to validate on, 3 for testing"
    first, blank, head, kappa, *_ = result.stdout.splitlines()
    assert first.startswith("epoch 1/1  loss ")
    assert (blank, head) == ("", f"{made / 'tuned'}: the best epoch on 3 validation samples")
    assert kappa.startswith("kappa ")


def test_fine_tuning_takes_the_backbone_and_the_head_of_its_parent(made):
    config = read_json(made / "tuned/config.json")
    assert (config["backbone"], config["weights"]) == ("small", "none")
    assert config["from"] == str((made / "pretrained").resolve())
    assert read_json(made / "tuned/split.json") == read_json(made / "by_hand.json")


@pytest.mark.parametrize("name", ["curves.png", "confusion.png"])
def test_pictures_are_png_of_a_reasonable_size(pretrained, name):
    data = (pretrained / name).read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert all(200 <= int.from_bytes(data[start : start + 4], "big") <= 2000 for start in (16, 20))


@pytest.mark.parametrize("options", [(), pytest.param(("--json",), marks=pytest.mark.slow)])
def test_a_failed_picture_does_not_affect_results(clips, run, monkeypatch, options):
    def fails(*args, **options):
        raise RuntimeError("latex could not be found")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fails)
    result = cli("train", "pretrain", clips, run, *TRAIN_SMALL[:-1], *options)
    assert result.exit_code == 0, result.output
    names = {path.name for path in run.iterdir()}
    assert {"metrics.json", "validation.csv"} < names
    assert not any(name.endswith(".png") for name in names)
    said = [line for line in result.stderr.splitlines() if line.startswith("no picture: ")]
    why = "(RuntimeError: latex could not be found); the numbers are not affected"
    drawn = () if options else ("curves.png", "confusion.png")
    assert said == [f"no picture: cannot draw {run / name} {why}" for name in drawn]
    evaluated = cli("evaluate", run, clips, "--picture", run.parent / "confusion.png", *options)
    assert evaluated.exit_code == 1
    assert evaluated.stdout.startswith("{" if options else f"{run} on {clips}, part validation\nkappa")
    mentions(evaluated.stderr.splitlines()[-1], run.parent / "confusion.png", why)


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
