"""With damaged or foreign caches and runs, `evaluate` and `predict` end with a one-line error."""

import shutil
import zipfile

import numpy as np
import pytest

from cache import open_cache
from cache.store import chunk_path
from tests.helpers.commands import edit_json, error
from tests.helpers.evaluation import (
    clips,
    copy,
    evaluate,
    made,
    out,
    predict,
    pretrained,
    scans,
    shared_files_are_unchanged,
    tuned,
)
from tests.helpers.runs import make_clips, make_scans
from trainer.model.networks import trained_model
from trainer.runs.run import read_run

__all__ = ["clips", "copy", "made", "out", "pretrained", "scans", "shared_files_are_unchanged", "tuned"]  # fixtures


RESTORE_HINT = "restore it from a copy, or train again\n"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda root: make_scans(root, shape=(4, 16, 17)),
            "shape (4, 16, 17), the run was trained on shape (4, 16, 16)",
        ),
        (lambda root: make_clips(root), "kind video, the run was trained on kind ct"),
        (
            lambda root: make_scans(root, recipe={"window": [-500.0, 400.0]}),
            "window [-500.0, 400.0], the run was trained on window [-1000.0, 400.0]",
        ),
        (
            lambda root: make_scans(root, recipe={"orientation": "file"}),
            "orientation file, the run was trained on orientation SPL",
        ),
    ],
    ids=["shape", "kind", "window", "orientation"],
)
def test_evaluate_and_predict_reject_a_cache_with_another_recipe(tmp_path, tuned, out, make, reason):
    cache = make(tmp_path / "other.zarr")
    for result in (evaluate(tuned, cache), predict(tuned, cache, out)):
        assert error(result) == f"Error: {cache} has {reason}; give a cache built by the same recipe\n"
    assert not out.exists()


def test_evaluate_and_predict_reject_a_missing_cache_or_run(tmp_path, scans, tuned, out):
    missing = tmp_path / "lost"
    for result in (evaluate(tuned, missing), predict(tuned, missing, out)):
        assert error(result) == (
            f"Error: {missing} is not a cache: it has no readable zarr.json; build one with `preprocess`\n"
        )
    for result in (evaluate(missing, scans), predict(missing, scans, out)):
        assert error(result) == (
            f"Error: {missing}/config.json: No such file or directory; "
            "expected the config.json of a run, as `train` writes it\n"
        )
    assert not out.exists()


def test_a_damaged_sample_is_an_error_with_its_id_and_nothing_is_written(copy, scans, tuned, out):
    damaged = copy(scans)
    path = chunk_path(damaged, open_cache(damaged).entry("s7").row)
    path.write_bytes(path.read_bytes()[:-1])
    for result in (evaluate(tuned, damaged), predict(tuned, damaged, out)):
        assert error(result).startswith(f"Error: s7: chunk {path} has ")
    assert not out.exists()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"shape": [10**9] * 3}, "is not that of a run: shape [1000000000, 1000000000, 1000000000]; expected"),
        ({"epochs": "many"}, "is not that of a run: epochs 'many'; expected a whole number, at least 1"),
        ({"learning_rate": float("nan")}, "is not that of a run: learning_rate nan; expected a number above 0"),
        ({"class_names": ["a", "b", "c", "d"]}, "model.keras does not hold this run's weights"),
        ({"rnn": "gru"}, "model.keras does not hold this run's weights"),
        ({"recipe": [["window"]]}, "is not that of a run: "),
    ],
)
def test_evaluate_and_predict_reject_a_manipulated_config(copy, scans, tuned, out, fields, reason):
    run = copy(tuned)
    edit_json(run / "config.json", **fields)
    for result in (evaluate(run, scans), predict(run, scans, out)):
        assert reason in error(result)
    assert not out.exists()


@pytest.mark.parametrize("name", ["split.json", "samples.json"])
@pytest.mark.parametrize("text", [None, "", "[]", "{", "[" * 1_000_000, '{"train": [NaN], "validation": {}}', "{}"])
def test_without_a_valid_split_and_samples_json_nothing_is_scored(copy, scans, tuned, name, text):
    run = copy(tuned)
    if text is None:
        (run / name).unlink()
    else:
        (run / name).write_text(text)
    assert f"{run}/{name}" in error(evaluate(run, scans))


def replace_model(path, kind):
    """Replace model.keras by something of this kind."""
    intact = path.read_bytes()
    if kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("config.json", '{"class_name": "Lambda", "module": "os", "config": {"function": "system"}}')
    else:
        path.write_bytes({"empty": b"", "text": b"weights", "truncated": intact[:-100], "zeros": bytes(10_000)}[kind])


@pytest.mark.parametrize("kind", ["folder", "zip", "empty", "text", "truncated", "zeros"])
def test_invalid_weights_give_a_one_line_error(copy, scans, tuned, out, kind):
    run = copy(tuned)
    replace_model(run / "model.keras", kind)
    for result in (evaluate(run, scans), predict(run, scans, out)):
        assert error(result).startswith(f"Error: {run}")
    assert not out.exists()


def test_predict_rejects_weights_of_another_network(copy, made, scans, tuned, out):
    run = copy(tuned)
    shutil.copy(made / "pretrained" / "model.keras", run)  # two classes instead of three
    message = error(predict(run, scans, out))
    assert message == (
        f"Error: {run}/model.keras is damaged or was changed: its digest differs from that in manifest.json; "
        "restore it from a copy, or train again; if you changed it yourself, delete manifest.json\n"
    )
    (run / "manifest.json").unlink()
    message = error(predict(run, scans, out))
    assert message.startswith(f"Error: {run}/model.keras does not hold this run's weights (")
    assert message.endswith(RESTORE_HINT)


def test_evaluate_and_predict_reject_predictions_that_are_not_finite(copy, scans, tuned, out):
    run = copy(tuned)
    model = trained_model(run, read_run(run))
    model.get_layer("classes").bias.assign([np.nan, 0, 0])
    model.save(run / "model.keras")
    (run / "manifest.json").unlink()
    for result in (evaluate(run, scans, "--part", "train"), predict(run, scans, out)):
        assert "the prediction for 's0' is not a finite number" in error(result)
    assert not out.exists()
