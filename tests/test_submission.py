"""The files that predictions go to, and the ids that must be there."""

import csv
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.schema import Entry, Source
from pipeline.sources import CLIP_ENDINGS, SCAN_ENDINGS
from trainer.errors import TrainerError
from trainer.evaluate import Predictions
from trainer.submission import ENDINGS, check_outputs, read_ids, write_probabilities, write_submission


def test_ids_may_end_as_any_input_does():
    assert set(ENDINGS) == {*SCAN_ENDINGS, *CLIP_ENDINGS}


def predictions(names, probabilities, class_names=("a", "b")):
    """Predictions for samples made of these files; None is one made of no file."""
    entries = {
        f"id {number}": Entry(f"id {number}", "complete", row=number, source=Source("/", (name,) if name else ()))
        for number, name in enumerate(names)
    }
    cache = SimpleNamespace(kind="ct", entry=entries.__getitem__)
    return Predictions(cache, tuple(entries), class_names, np.array(probabilities, np.float32))  # type: ignore[arg-type]


def written(folder, text):
    path = folder / "ids.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def message(call, *arguments):
    with pytest.raises(TrainerError) as caught:
        call(*arguments)
    return str(caught.value)


# Ids


@pytest.mark.parametrize(
    "text",
    [
        "TST_0001\nsub/TST_0002\n",
        "TST_0001.nii.gz\nsub/TST_0002.NII.GZ",
        "\ufeffTST_0001.nii\r\nsub/TST_0002.hdr\r\n",
        "FileName,TypeOfTB\nTST_0001.nii.gz,1\nsub/TST_0002,\n",
        "  id \n TST_0001 \n\n\nsub/TST_0002\t\n",
        '"TST_0001.nii.gz",2\n"sub/TST_0002"\n',
    ],
)
def test_ids_are_read_with_or_without_header_endings_and_further_columns(tmp_path, text):
    assert read_ids(written(tmp_path, text)) == ["TST_0001", "sub/TST_0002"]


def test_ids_that_are_none(tmp_path):
    path = tmp_path / "ids.txt"
    assert message(read_ids, path) == f"{path}: No such file or directory; expected a file with one id a line"
    assert message(read_ids, tmp_path) == f"{tmp_path}: Is a directory; expected a file with one id a line"
    for text in ("", "\n \n", "FileName\n", ",1\n"):
        assert message(read_ids, written(tmp_path, text)) == f"{path} holds no id; expected one a line"
    assert "is no text" in message(read_ids, written(tmp_path, b"\xff\xfe\x00"))
    assert "is no text" in message(read_ids, written(tmp_path, "x" * 200_000))


def test_an_id_named_twice_is_refused_also_among_many(tmp_path):
    many = [f"s{number}" for number in range(100_000)]
    path = written(tmp_path, "\n".join([*many, "s5.nii.gz"]))
    started = time.monotonic()
    assert message(read_ids, path) == f"{path} has 's5' more than once; expected each id once"
    assert time.monotonic() - started < 5


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n,\"'"), min_size=1, max_size=8)


@given(names=st.lists(names.map(lambda name: f"a{name}z"), min_size=1, max_size=5, unique=True))
def test_a_submission_can_be_read_back_as_ids_whatever_the_files_are_called(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / "round.csv"
    write_submission(path, predictions([f"{name}.nii.gz" for name in names], [[1, 0]] * len(names)))
    assert read_ids(path) == names


# Files


def test_a_submission_is_imageclefs(tmp_path):
    path = tmp_path / "out.csv"
    write_submission(path, predictions(["TST_0001.nii.gz", "TST_0002.nii.gz", None], [[0.4, 0.6], [1, 0], [0.5, 0.5]]))
    assert path.read_bytes() == b"TST_0001.nii.gz,2\nTST_0002.nii.gz,1\nid 2,1\n"


def test_features_go_by_their_ids_not_by_the_chunks_they_were_made_of(tmp_path):
    found = predictions(["volume/c/0/0/0/0"], [[0, 1]])
    found.cache.kind = "features"
    write_submission(tmp_path / "out.csv", found)
    assert (tmp_path / "out.csv").read_bytes() == b"id 0,2\n"


def test_probabilities_have_a_header_and_a_column_for_each_class(tmp_path):
    path = tmp_path / "out.csv"
    write_probabilities(path, predictions(["a,b.nii"], [[1 / 3, 2 / 3]], ("one, or so", "two\nlines")))
    with path.open(newline="") as file:
        header, row = csv.reader(file)
    assert header == ["FileName", "one, or so", "two\nlines"]
    assert (row[0], [float(value) for value in row[1:]]) == ("a,b.nii", pytest.approx([1 / 3, 2 / 3], rel=1e-5))


def test_a_submission_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    path.write_text("before")

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    text = message(write_submission, path, predictions(["a.nii"], [[1, 0]]))
    monkeypatch.undo()
    assert text.startswith(f"cannot write {path}: No space left on device; ")
    assert (path.read_text(), [entry.name for entry in tmp_path.iterdir()]) == ("before", ["out.csv"])


def test_outputs_may_replace_files_of_the_user_but_none_that_is_needed(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    out, ids = tmp_path / "out.csv", tmp_path / "ids.txt"
    out.touch()
    check_outputs(run, [out, tmp_path / "new.csv", run / "submission.csv"], [ids])
    for outputs in ([out, out], [ids], [out, tmp_path / "run" / ".." / "out.csv"], [run / "model.keras"]):
        assert message(check_outputs, run, outputs, [ids]) == (
            f"{outputs[-1]} would replace a file that this command reads or writes; choose another place"
        )
