"""The manifest detects changed files of a run, and files match it after a kill at any time."""

import json
import os
import random
import shutil

import pytest

from tests.faults.calls import Calls, Killed, watched
from tests.helpers.networks import outcome, small
from tests.helpers.run_folders import RUN, SPLIT, clips, made, run, trained
from trainer.data.splits.split import split_of_run
from trainer.errors import TrainerError
from trainer.evaluation.evaluate import evaluate
from trainer.experiments.table import read_result
from trainer.runs import manifest
from trainer.runs.folder import CHECKED_FILES, check_files, is_finished, write_run_files
from trainer.runs.predictions import read_predictions
from trainer.runs.run import read_run
from trainer.runs.samples import SampleFingerprint, read_samples
from trainer.training.checkpoint import restore

__all__ = ["clips", "made", "run"]  # fixtures

SAMPLES = {"s0": SampleFingerprint("d0", "", 0), "s1": SampleFingerprint("d1", "", 1)}
LISTED = {name: b'{"now": "%s"}\n' % name.encode() for name in ("samples.json", "split.json", "config.json")}


def read_everything(clips, run):
    """Check a run as `experiment` does, and read all files that are read again."""
    check_files(run)
    documents = read_run(run), split_of_run(run), read_samples(run), is_finished(run)
    table = read_result("PT", 0, run)
    return documents, table.predicted.probabilities.tobytes(), table.predicted.ids, table.seconds


def test_the_manifest_of_a_finished_run_lists_all_checked_files(made):
    listed = json.loads((made / "manifest.json").read_text())["files"]
    assert listed.keys() == {*CHECKED_FILES}
    assert all(len(digests) == 1 for digests in listed.values())


@pytest.mark.parametrize("name", [*CHECKED_FILES, "manifest.json"])
def test_a_flipped_bit_in_any_file_is_detected(clips, run, name):
    path, rng = run / name, random.Random(name)
    before = path.read_bytes()
    expected = read_everything(clips, run)
    for _ in range(60):
        flipped = bytearray(before)
        flipped[rng.randrange(len(before))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(TrainerError) as error:
            read_everything(clips, run)
        assert "\n" not in str(error.value)
    path.write_bytes(before)
    assert read_everything(clips, run) == expected


@pytest.mark.parametrize("name", ["config.json", "split.json", "samples.json", "model.keras", "checkpoint.npz"])
def test_resuming_rejects_a_file_of_another_run(clips, run, tmp_path, name):
    other = trained(clips, tmp_path / "other", epochs=1)
    shutil.copy(other / name, run / name)
    if (other / name).read_bytes() == (run / name).read_bytes() and name in ("split.json", "samples.json"):
        (run / name).write_bytes((run / name).read_bytes().replace(b"s1", b"s9"))
    with pytest.raises(TrainerError, match=rf"{name} is damaged or was changed: its digest differs from that"):
        trained(clips, run, epochs=3, resume=True)


def test_a_run_without_a_manifest_resumes_and_gets_one(clips, run):
    (run / "manifest.json").unlink()
    trained(clips, run, epochs=3, resume=True)
    assert json.loads((run / "manifest.json").read_text())["files"].keys() == {*CHECKED_FILES}


def test_a_resumed_run_is_not_finished_until_training_ends(clips, run):
    assert is_finished(run)
    write_run_files(run, read_run(run), split_of_run(run), read_samples(run))
    assert not is_finished(run)
    expected = outcome(run)
    trained(clips, run, resume=True)
    assert is_finished(run)
    assert outcome(run) == expected


def test_after_a_kill_at_any_call_files_match_the_manifest(tmp_path):
    before = {name: b'{"before": "%s"}\n' % name.encode() for name in LISTED}
    complete = tmp_path / "complete"
    complete.mkdir()
    manifest.write_files(complete, before)
    with watched(Calls(complete)) as calls:
        manifest.write_files(complete, LISTED)
    assert calls.count > 12
    for number in range(calls.count):
        root = tmp_path / str(number)
        root.mkdir()
        manifest.write_files(root, before)
        with watched(Calls(root, number)), pytest.raises(Killed):
            manifest.write_files(root, LISTED)
        for name in LISTED:
            assert manifest.read(root / name, "a file") in (before[name], LISTED[name])
        manifest.write_files(root, LISTED)
        assert [manifest.read(root / name, "a file") for name in LISTED] == list(LISTED.values())


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"files": {}, "digest": "0"}', '{"files": [], "digest": 1}'])
def test_an_invalid_manifest_is_rejected(tmp_path, text):
    write_run_files(tmp_path, RUN, SPLIT, SAMPLES)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(TrainerError, match=r"manifest\.json "):
        read_run(tmp_path)


@pytest.mark.parametrize("reader", [read_run, split_of_run, read_samples, read_predictions])
@pytest.mark.parametrize("number", [5, 13, 24])
def test_a_system_error_while_reading_a_run_is_reported_with_its_text(run, monkeypatch, reader, number):
    def fail(path, *arguments):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("trainer.runs.files.read_regular", fail)
    with pytest.raises(TrainerError, match=rf"^cannot read {run}/.*: {os.strerror(number)}; "):
        reader(run)


@pytest.mark.parametrize("number", [5, 13, 24])
def test_unreadable_weights_are_not_reported_as_weights_of_another_run(clips, run, monkeypatch, number):
    def fail(path, *arguments):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("trainer.model.weights.open_regular", fail)
    monkeypatch.setattr("trainer.data.arrays.open_regular", fail)
    with pytest.raises(TrainerError, match=rf"^cannot read {run}/model.keras: {os.strerror(number)}; "):
        evaluate(run, clips)
    with pytest.raises(TrainerError, match=rf"^cannot read {run}/checkpoint.npz: {os.strerror(number)}; "):
        restore(run / "checkpoint.npz", small()[0])


@pytest.mark.parametrize("listed", [False, True])
def test_with_a_manifest_a_file_is_listed_before_it_is_written(tmp_path, monkeypatch, listed):
    """Otherwise a kill in between would leave a file whose digest differs from the manifest."""
    if listed:
        write_run_files(tmp_path, RUN, SPLIT, SAMPLES)
        for name in ("samples.json", "split.json", "config.json"):
            (tmp_path / name).unlink()
    order, replace = [], manifest.files.replace
    monkeypatch.setattr(manifest.files, "replace", lambda path, data: order.append(path.name) or replace(path, data))
    manifest.write_files(tmp_path, LISTED)
    assert order == [*["manifest.json"] * listed, *LISTED, *["manifest.json"] * (not listed)]
