"""Output files of `predict`: ImageCLEF's submission, and class probabilities."""

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cache import Cache
from trainer.errors import TrainerError
from trainer.evaluation.evaluate import Predictions
from trainer.runs.folder import RUN_FILES, enclosing_cache
from trainer.runs.marks import check_replaceable, is_prediction, write_marked

IMAGECLEF = re.compile(r"TST_[0-9]+\.nii\.gz")


def check_outputs(
    run: Path,
    outputs: Iterable[Path],
    inputs: Iterable[Path] = (),
    is_ours: Callable[[Path], bool] = is_prediction,
) -> None:
    """Raises TrainerError where one of `outputs` cannot be written, or would replace another file.

    Rejects duplicates, one of `inputs`, a file of the run in `run`, anything in a cache, and a file that is not
    empty unless `is_ours`, an earlier output.
    """
    in_use = {path.resolve() for path in inputs} | {run.resolve() / name for name in RUN_FILES}
    for path in outputs:
        if path.resolve() in in_use:
            raise TrainerError(f"{path} would replace a file that this command reads or writes; choose another place")
        in_use.add(path.resolve())
        _check_place(path)
        check_replaceable(path, is_ours)


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise TrainerError(f"{path} is a folder; expected a file to write")
    if path.exists() and not path.is_file():
        raise TrainerError(f"{path} is not a regular file; expected a file to write")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise TrainerError(f"{path.parent} is not a folder; make it first, or choose another place for {path.name}")
    if not os.access(folder, os.W_OK):
        raise TrainerError(f"{path.parent} is not writable; allow writing, or choose another place for {path.name}")
    if cache := enclosing_cache(path):
        raise TrainerError(f"{path} is inside the cache {cache}, which holds samples only; choose another place")


def write_submission(path: Path, predictions: Predictions) -> None:
    """Write one line a sample without a header: `TST_0001.nii.gz,2`, classes from 1 (ImageCLEF 2021 TBT)."""
    classes = predictions.probabilities.argmax(axis=1) + 1
    _write(path, zip(names_of(predictions), classes.tolist(), strict=True))


def write_probabilities(path: Path, predictions: Predictions) -> None:
    """Write a header of `FileName` and the class names, then one line a sample."""
    rows = zip(names_of(predictions), predictions.probabilities.tolist(), strict=True)
    header = ("FileName", *predictions.class_names)
    _write(path, (header, *((name, *(f"{p:.6g}" for p in row)) for name, row in rows)))


def names_of(predictions: Predictions) -> Sequence[str]:
    """The name of each sample in the outputs: the one from --ids, else its file below SOURCE."""
    return predictions.requested or [_file_name(predictions.cache, name) for name in predictions.ids]


def naming_advice(predictions: Predictions) -> str:
    """Advice where ImageCLEF does not accept the names of scans that --ids did not give; else ""."""
    others = [name for name in names_of(predictions) if not IMAGECLEF.fullmatch(name)]
    if predictions.requested or predictions.cache.kind == "video" or not others:
        return ""
    return (
        f"{len(others)} of {len(predictions.ids)} names are not ImageCLEF's TST_NNNN.nii.gz, the first is {others[0]!r}"
        "; to submit there, give the names it expects with --ids FILE"
    )


def _file_name(cache: Cache, name: str) -> str:
    """The sample's file below its SOURCE; its id where it has none, as for features."""
    files_of = () if cache.kind == "features" else cache.entry(name).source.files
    return files_of[0] if files_of else name


def _write(path: Path, rows: Iterable[Iterable[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_marked(path, text.getvalue().encode())
