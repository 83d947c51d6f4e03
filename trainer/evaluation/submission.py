"""The files that predictions go to: ImageCLEF's submission, and probabilities."""

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
    """Raise TrainerError where one of `outputs` cannot be a file, or would take the place of another.

    That is another of them, one of `inputs`, a file that the run in `run` is made of, anything in a cache, or any file
    that is neither empty nor, as `is_ours` says, an earlier output.
    """
    needed = {path.resolve() for path in inputs} | {run.resolve() / name for name in RUN_FILES}
    for path in outputs:
        if path.resolve() in needed:
            raise TrainerError(f"{path} would replace a file that this command reads or writes; choose another place")
        needed.add(path.resolve())
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


def write_submission(path: Path, found: Predictions) -> None:
    """One line a sample, `TST_0001.nii.gz,2`, the class counted from 1, no header (ImageCLEF 2021 TBT)."""
    classes = found.probabilities.argmax(axis=1) + 1
    _write(path, zip(names_of(found), classes.tolist(), strict=True))


def write_probabilities(path: Path, found: Predictions) -> None:
    """A header of `FileName` and the classes' names, then one line a sample."""
    rows = zip(names_of(found), found.probabilities.tolist(), strict=True)
    header = ("FileName", *found.class_names)
    _write(path, (header, *((name, *(f"{p:.6g}" for p in row)) for name, row in rows)))


def names_of(found: Predictions) -> Sequence[str]:
    """What each sample is called in the outputs: as it was asked for, else by its file below SOURCE."""
    return found.asked or [_file_name(found.cache, name) for name in found.ids]


def naming_advice(found: Predictions) -> str:
    """What ImageCLEF would not take of the names of scans that were not asked for by name; "" where it takes all."""
    odd = [name for name in names_of(found) if not IMAGECLEF.fullmatch(name)]
    if found.asked or found.cache.kind == "video" or not odd:
        return ""
    return (
        f"{len(odd)} of {len(found.ids)} names are not ImageCLEF's TST_NNNN.nii.gz, the first is {odd[0]!r}; to submit "
        "there, give the names it expects by --ids FILE"
    )


def _file_name(cache: Cache, name: str) -> str:
    """The sample's file below its SOURCE, or its id where it was made of none, or of a chunk, as features are."""
    files_of = () if cache.kind == "features" else cache.entry(name).source.files
    return files_of[0] if files_of else name


def _write(path: Path, rows: Iterable[Iterable[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_marked(path, text.getvalue().encode())
