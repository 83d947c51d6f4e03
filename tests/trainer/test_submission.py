"""Files of predictions: contents, names of samples, and protection of other files."""

import csv
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.schema import Entry, Source
from pipeline.sources.formats.ct import ENDINGS as SCAN_ENDINGS
from pipeline.sources.formats.video import ENDINGS as CLIP_ENDINGS
from tests.helpers.errors import error_message
from trainer.evaluation.evaluate import Predictions
from trainer.evaluation.submission import check_outputs, naming_advice, write_probabilities, write_submission
from trainer.runs.names import ENDINGS, read_ids


def test_ids_may_have_the_extension_of_any_input():
    assert set(ENDINGS) == {*SCAN_ENDINGS, *CLIP_ENDINGS}


def predictions(names, probabilities, class_names=("a", "b")):
    """Predictions for samples with these source files; None means no source file."""
    entries = {
        f"id {number}": Entry(f"id {number}", "complete", row=number, source=Source("/", (name,) if name else ()))
        for number, name in enumerate(names)
    }
    cache = SimpleNamespace(kind="ct", entry=entries.__getitem__)
    return Predictions(cache, tuple(entries), class_names, np.array(probabilities, np.float32))  # type: ignore[arg-type]


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n,\"'"), min_size=1, max_size=8)


@given(names=st.lists(names.map(lambda name: f"a{name}z"), min_size=1, max_size=5, unique=True))
def test_a_submission_can_be_read_back_as_ids(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / "out.csv"
    path.unlink(missing_ok=True)
    files = [f"{name}.nii.gz" for name in names]
    write_submission(path, predictions(files, [[1, 0]] * len(names)))
    assert read_ids(path) == files


# Files


def test_a_submission_has_the_format_of_imageclef(tmp_path):
    path = tmp_path / "out.csv"
    write_submission(path, predictions(["TST_0001.nii.gz", "TST_0002.nii.gz", None], [[0.4, 0.6], [1, 0], [0.5, 0.5]]))
    assert path.read_bytes() == b"TST_0001.nii.gz,2\nTST_0002.nii.gz,1\nid 2,1\n"


def test_features_are_named_by_their_ids(tmp_path):
    results = predictions(["volume/c/0/0/0/0"], [[0, 1]])
    results.cache.kind = "features"
    write_submission(tmp_path / "out.csv", results)
    assert (tmp_path / "out.csv").read_bytes() == b"id 0,2\n"


def test_probabilities_have_a_header_and_a_column_for_each_class(tmp_path):
    path = tmp_path / "out.csv"
    write_probabilities(path, predictions(["a,b.nii"], [[1 / 3, 2 / 3]], ("one, or so", "two\nlines")))
    with path.open(newline="") as file:
        header, row = csv.reader(file)
    assert header == ["FileName", "one, or so", "two\nlines"]
    assert (row[0], [float(value) for value in row[1:]]) == ("a,b.nii", pytest.approx([1 / 3, 2 / 3], rel=1e-5))


def test_if_a_submission_cannot_be_written_the_earlier_one_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    write_submission(path, predictions(["a.nii"], [[0, 1]]))

    def fail(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    text = error_message(write_submission, path, predictions(["a.nii"], [[1, 0]]))
    monkeypatch.undo()
    assert text.startswith("cannot write ")
    assert ": No space left on device; " in text
    assert path.read_text() == "a.nii,2\n"
    assert {entry.name for entry in tmp_path.iterdir()} == {"out.csv", ".out.csv.viptt-net"}


def test_samples_have_the_requested_names(tmp_path):
    results = predictions(["sub/TST_0001.nii.gz", "TST_0002.nii.gz"], [[0, 1], [1, 0]])
    results = replace(results, requested=("TST_0001", "e\u0301.nii"))
    write_submission(tmp_path / "out.csv", results)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "TST_0001,2\ne\u0301.nii,1\n"
    write_probabilities(tmp_path / "p.csv", results)
    assert [row.partition(",")[0] for row in (tmp_path / "p.csv").read_text("utf-8").splitlines()[1:]] == [
        *results.requested
    ]


def test_names_that_imageclef_rejects_are_noted_unless_requested():
    results = predictions(["TST_0001.nii.gz", "TRN_0002.nii.gz", "a/TST_0003.nii.gz"], [[0, 1]] * 3)
    assert naming_advice(results) == (
        "2 of 3 names are not ImageCLEF's TST_NNNN.nii.gz, the first is 'TRN_0002.nii.gz'; to submit there, give the "
        "names it expects with --ids FILE"
    )
    assert naming_advice(replace(results, requested=("x", "y", "z"))) == ""
    assert naming_advice(predictions(["TST_0001.nii.gz", "TST_12.nii.gz"], [[0, 1]] * 2)) == ""
    results.cache.kind = "video"
    assert naming_advice(results) == ""


def test_outputs_replace_only_empty_files_and_earlier_outputs(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    out, ids = tmp_path / "out.csv", tmp_path / "ids.txt"
    out.touch()
    check_outputs(run, [out, tmp_path / "new.csv", run / "submission.csv"], [ids])
    for outputs in ([out, out], [ids], [out, tmp_path / "run" / ".." / "out.csv"], [run / "model.keras"]):
        assert error_message(check_outputs, run, outputs, [ids]) == (
            f"{outputs[-1]} would replace a file that this command reads or writes; choose another place"
        )


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write anywhere")
def test_an_unwritable_folder_is_rejected_before_prediction(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    assert error_message(check_outputs, tmp_path / "run", [folder / "out.csv"]) == (
        f"{folder} is not writable; allow writing, or choose another place for out.csv"
    )


# Existing files


SHEET = "TRN_0001.nii.gz,3\nTRN_0002.nii.gz,1\n"  # labels without a header look like a prediction


def example_predictions():
    return predictions(["TRN_0001.nii.gz", "TRN_0002.nii.gz"], [[0, 0, 1], [1, 0, 0]], ("a", "b", "c"))


def foreign_file_message(path):
    return (
        f"{path} exists and was not written by this command, or was changed since; delete it yourself, or choose "
        "another name"
    )


def test_a_prediction_replaces_an_earlier_prediction_of_any_run(tmp_path):
    path = tmp_path / "out.csv"
    for classes in ([[0, 1]], [[1, 0]], [[1, 0]], [[0, 1]]):
        check_outputs(tmp_path / "run", [path])
        write_submission(path, predictions(["a.nii"], classes))
    assert path.read_text() == "a.nii,2\n"


@pytest.mark.parametrize("write", [write_submission, write_probabilities])
def test_a_label_sheet_is_never_replaced_even_if_it_looks_like_a_prediction(tmp_path, write):
    path = tmp_path / "labels.csv"
    write_submission(tmp_path / "same.csv", example_predictions())
    assert (tmp_path / "same.csv").read_text() == SHEET
    path.write_text(SHEET)
    assert error_message(check_outputs, tmp_path / "run", [path]) == foreign_file_message(path)
    assert error_message(write, path, example_predictions()) == foreign_file_message(
        path
    )  # it may appear during prediction
    assert path.read_text() == SHEET


def test_an_edited_prediction_is_not_replaced(tmp_path):
    path = tmp_path / "out.csv"
    write_submission(path, example_predictions())
    path.write_text(path.read_text().replace(",3", ",2"))
    assert error_message(check_outputs, tmp_path / "run", [path]) == foreign_file_message(path)
    path.unlink()  # the remedy
    check_outputs(tmp_path / "run", [path])
    write_submission(path, example_predictions())


def test_outputs_may_be_links_and_linked_sheets_are_not_replaced(tmp_path):
    sheet, hard, soft = (tmp_path / name for name in ("labels.csv", "hard.csv", "soft.csv"))
    sheet.write_text(SHEET)
    hard.hardlink_to(sheet)
    soft.symlink_to(sheet)
    for path in (hard, soft):
        assert error_message(check_outputs, tmp_path / "run", [path]) == foreign_file_message(path)
    out, link = tmp_path / "out.csv", tmp_path / "link.csv"
    link.symlink_to(out.name)
    for _ in range(2):
        check_outputs(tmp_path / "run", [link])
        write_submission(link, example_predictions())
        check_outputs(tmp_path / "run", [out])
    assert link.is_symlink()
    assert sheet.read_text() == out.read_text() == SHEET


def test_a_hard_link_to_a_prediction_is_not_replaced(tmp_path):
    write_submission(tmp_path / "out.csv", example_predictions())
    (tmp_path / "kept.csv").hardlink_to(tmp_path / "out.csv")
    assert error_message(check_outputs, tmp_path / "run", [tmp_path / "kept.csv"]) == foreign_file_message(
        tmp_path / "kept.csv"
    )


@pytest.mark.parametrize("completed_renames", range(3))
def test_after_a_kill_at_any_rename_a_prediction_can_be_replaced(tmp_path, monkeypatch, completed_renames):
    path = tmp_path / "out.csv"
    write_submission(path, example_predictions())
    remaining = [completed_renames]

    def rename_or_kill(self, target, original=Path.replace):
        remaining[0] -= 1
        if remaining[0] < 0:
            raise KeyboardInterrupt
        return original(self, target)

    monkeypatch.setattr(Path, "replace", rename_or_kill)
    try:
        write_submission(path, predictions(["b.nii"], [[1, 0]]))
    except KeyboardInterrupt:
        assert path.read_text() == SHEET
    monkeypatch.undo()
    check_outputs(tmp_path / "run", [path])
    write_submission(path, predictions(["b.nii"], [[0, 1]]))
    assert path.read_text() == "b.nii,2\n"


def test_writing_an_output_changes_no_other_file(tmp_path):
    other = tmp_path / "partial-out.csv"
    other.write_text("mine")
    write_submission(tmp_path / "out.csv", example_predictions())
    assert other.read_text() == "mine"


@pytest.mark.parametrize("text", ["", "\x00\xff", "no digest"])
def test_a_prediction_with_an_unreadable_digest_file_is_not_replaced(tmp_path, text):
    path = tmp_path / "out.csv"
    write_submission(path, example_predictions())
    (tmp_path / ".out.csv.viptt-net").write_bytes(text.encode("latin-1"))
    assert error_message(check_outputs, tmp_path / "run", [path]) == foreign_file_message(path)
