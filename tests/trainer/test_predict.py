"""`predict` writes one line per sample, and replaces no other file."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from cache import open_cache
from cache.schema import Source
from cache.writer import open_writer
from tests.helpers.caches import tiny_attributes, volume, write_sample
from tests.helpers.commands import contents, edit_json, error, read_json
from tests.helpers.evaluation import (
    clips,
    copy,
    evaluate,
    made,
    other_scans,
    out,
    predict,
    pretrained,
    rows,
    scans,
    shared_files_are_unchanged,
    tuned,
)
from tests.helpers.runs import SHAPE, make_scans

__all__ = ["clips", "copy", "made", "out", "pretrained", "scans", "shared_files_are_unchanged", "tuned"]  # fixtures


def test_a_submission_has_a_line_per_file_with_its_class_from_1_and_no_header(tmp_path, scans, tuned, out):
    result = predict(tuned, scans, out, "--probabilities")
    assert (result.exit_code, result.stdout) == (0, f"{out}: 12 samples\n")
    assert result.stderr == (
        "12 of 12 names are not ImageCLEF's TST_NNNN.nii.gz, the first is '0.nii'; to submit there, give the names it "
        "expects with --ids FILE\n"
    )
    header, *probabilities = rows(tmp_path / "out.probabilities.csv")
    assert header == ["FileName", "a", "b", "c"]
    assert [row[0] for row in probabilities] == [f"{number}.nii" for number in range(12)]
    values = np.array([row[1:] for row in probabilities], float)
    assert values.sum(1) == pytest.approx(1, abs=1e-4)
    assert rows(out) == [[row[0], str(best + 1)] for row, best in zip(probabilities, values.argmax(1), strict=True)]


def test_predictions_agree_with_the_metrics_of_the_run(tmp_path, scans, tuned, out):
    predict(tuned, scans, out)
    validation = read_json(tuned / "split.json")["validation"]
    predicted = {name.removesuffix(".nii"): int(number) - 1 for name, number in rows(out)}
    cache = open_cache(scans)
    confusion = np.zeros((3, 3), int)
    for name in validation:
        confusion[cache.entry(f"s{name[1:]}").label, predicted[name[1:]]] += 1
    assert confusion.tolist() == read_json(tuned / "metrics.json")["confusion"]


def test_ids_select_samples_and_their_order(tmp_path, scans, tuned, out):
    ids = tmp_path / "ids.txt"
    ids.write_bytes(b"\xef\xbb\xbfFileName,Whatever\r\ns11.nii.gz,1\r\n\r\ns0,\r\ns3.nii\r\n")
    result = predict(tuned, scans, out, "--ids", ids)
    assert result.stdout == f"{out}: 3 samples; 9 others in {scans} were not requested\n"
    assert result.stderr == ""
    assert [name for name, _ in rows(out)] == ["s11.nii.gz", "s0", "s3.nii"]
    assert predict(tuned, scans, out, "--ids", ids, "--quiet").output == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s1\ns2\ns1\n", "{ids} has 's1' more than once; expected each id once"),
        ("s1\ns2\ns1.nii.gz\n", "'s1' and 's1.nii.gz' both mean sample 's1' of {cache}; expected each once"),
        ("", "{ids} holds no id; expected one per line"),
        ("FileName\n\n", "{ids} holds no id; expected one per line"),
        (
            "s1\nno\n../s2\n",
            "2 of 3 samples are not in {cache}, the first is 'no'; `info` lists quarantined inputs",
        ),
    ],
)
def test_missing_and_repeated_ids_are_rejected(tmp_path, scans, tuned, out, text, reason):
    ids = tmp_path / "ids.txt"
    ids.write_text(text)
    assert error(predict(tuned, scans, out, "--ids", ids)) == f"Error: {reason.format(ids=ids, cache=scans)}\n"
    assert not out.exists()
    assert ids.read_text() == text


def test_an_empty_cache_gives_no_submission(tmp_path, tuned, out):
    empty = make_scans(tmp_path / "empty.zarr", 0)
    assert error(predict(tuned, empty, out)) == f"Error: {empty} holds no sample; expected at least one\n"
    assert not out.exists()


def test_unlabelled_samples_are_also_predicted(tmp_path, tuned, out):
    other = other_scans(tmp_path / "other.zarr", labels=[-1] * 12, class_names=("x",))
    assert predict(tuned, other, out).exit_code == 0
    assert len(rows(out)) == 12


def test_names_with_commas_and_line_breaks_stay_one_field(tmp_path, tuned, out):
    names = ["a,b.nii", 'say "x".nii', "two\nlines.nii", "é\u2028.nii"]
    sources = [Source("/scans", (name,)) for name in names]
    other = tmp_path / "other.zarr"
    attributes = tiny_attributes("uint16", SHAPE, "ct", ("a", "b"), window=[-1000.0, 400.0], orientation="SPL")
    with open_writer(other, attributes, {}) as writer:
        for row, source in enumerate(sources):
            name = source.files[0].removesuffix(".nii")
            writer.commit([write_sample(other, attributes, row, volume(row, SHAPE), name, source=source)])
    run = tmp_path / "tuned"
    shutil.copytree(tuned, run)
    edit_json(run / "config.json", class_names=["x,y", "two\nlines", 'say "z"'])
    assert predict(run, other, out, "--probabilities", "--quiet").exit_code == 0
    assert [name for name, _ in rows(out)] == names
    header, *probabilities = rows(tmp_path / "out.probabilities.csv")
    assert header == ["FileName", "x,y", "two\nlines", 'say "z"']
    assert [row[0] for row in probabilities] == names
    second = tmp_path / "second.csv"
    assert predict(run, other, second, "--ids", out, "--quiet").exit_code == 0
    assert second.read_bytes() == out.read_bytes()


def invalid_outputs(folder, scans, tuned):
    """Pairs of options for `predict` whose output path must not be written, and the error message."""
    (folder / "folder").mkdir()
    (folder / "ids.txt").write_text("s1\n")
    (folder / "link").symlink_to(tuned / "config.json")
    (folder / "labels.csv").write_text("TRN_0001.nii.gz,3\n")
    (folder / "labels_link").symlink_to("labels.csv")
    (folder / "scan.nii.gz").write_bytes(b"\x1f\x8b")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    os.mkfifo(folder / "pipe")
    inside = f"is inside the cache {scans.resolve()}, which holds samples only; choose another place"
    in_use = "would replace a file that this command reads or writes; choose another place"
    foreign = (
        "exists and was not written by this command, or was changed since; delete it yourself, or choose another name"
    )
    return [
        ((folder / "folder",), f"{folder}/folder is a folder; expected a file to write"),
        ((folder / "no/out.csv",), f"{folder}/no is not a folder; make it first, or choose another place for out.csv"),
        ((folder / "pipe",), f"{folder}/pipe is not a regular file; expected a file to write"),
        ((Path("/dev/null"),), "/dev/null is not a regular file; expected a file to write"),
        ((scans / "out.csv",), f"{scans}/out.csv {inside}"),
        ((scans / "zarr.json",), f"{scans}/zarr.json {inside}"),
        ((scans / "volume/out.csv",), f"{scans}/volume/out.csv {inside}"),
        ((tuned / "history.csv",), f"{tuned}/history.csv {in_use}"),
        ((folder / "link",), f"{folder}/link {in_use}"),
        ((folder / "ids.txt", "--ids", folder / "ids.txt"), f"{folder}/ids.txt {in_use}"),
        ((folder / "a.csv", "--probabilities", folder / "a.csv"), f"{folder}/a.csv {in_use}"),
        ((folder / "a.csv", "--probabilities", scans / "p.csv"), f"{scans}/p.csv {inside}"),
        ((folder / "labels.csv",), f"{folder}/labels.csv {foreign}"),
        ((folder / "labels_link",), f"{folder}/labels_link {foreign}"),
        ((folder / "scan.nii.gz",), f"{folder}/scan.nii.gz {foreign}"),
        ((folder / "picture.png",), f"{folder}/picture.png {foreign}"),
        ((folder / "a.csv", "--probabilities", folder / "labels.csv"), f"{folder}/labels.csv {foreign}"),
    ]


def test_an_invalid_output_path_is_rejected_before_prediction(tmp_path, scans, tuned, monkeypatch):
    cases = invalid_outputs(tmp_path, scans, tuned)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    before = contents(tmp_path / "folder"), [path.read_bytes() for path in files]
    monkeypatch.setattr("trainer.evaluation.evaluate.predictions", None)
    for options, message in cases:
        assert error(predict(tuned, scans, *options)) == f"Error: {message}\n"
    assert (contents(tmp_path / "folder"), [path.read_bytes() for path in files]) == before
    assert not (tmp_path / "a.csv").exists()
    assert Path("/dev/null").is_char_device()


def test_an_invalid_picture_path_is_rejected(tmp_path, scans, tuned, monkeypatch):
    monkeypatch.setattr("trainer.evaluation.evaluate.evaluate", None)
    for path in (tuned / "confusion.png", scans / "picture.png", tmp_path, tmp_path / "no" / "picture.png"):
        assert error(evaluate(tuned, scans, "--picture", path)).startswith("Error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_replaces_only_an_earlier_picture_of_evaluate(tmp_path, scans, tuned, out):
    picture, link = tmp_path / "confusion.png", tmp_path / "link.png"
    link.symlink_to(picture.name)
    for path in (picture, picture, link):
        assert evaluate(tuned, scans, "--quiet", "--picture", path).exit_code == 0
    assert link.is_symlink()
    assert predict(tuned, scans, out, "--quiet").exit_code == 0
    photo = tmp_path / "photo.png"
    Figure().savefig(photo)
    for path in (photo, out, tuned / "validation.csv"):
        before = path.read_bytes()
        assert error(evaluate(tuned, scans, "--picture", path)).startswith(f"Error: {path} ")
        assert path.read_bytes() == before
    assert "was not written by this command" in error(predict(tuned, scans, picture))


def test_a_second_prediction_replaces_the_first_and_leaves_no_other_file(tmp_path, scans, made, tuned, out):
    for _ in range(2):
        assert predict(tuned, scans, out, "--quiet", "--probabilities").exit_code == 0
    visible = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert visible == {"out.csv", "out.probabilities.csv"}


def test_an_output_may_be_in_the_run_folder_or_a_link(copy, tmp_path, scans, tuned):
    run = copy(tuned)
    (tmp_path / "real.csv").touch()
    (tmp_path / "link.csv").symlink_to("real.csv")
    for path in (run / "submission.csv", tmp_path / "link.csv"):
        assert predict(run, scans, path, "--quiet").exit_code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_bytes() == (run / "submission.csv").read_bytes()
