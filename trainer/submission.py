"""The files that predictions go to: ImageCLEF's submission, and probabilities. And the ids that must be there."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from cache import Cache
from trainer import files
from trainer.errors import TrainerError
from trainer.evaluate import Predictions
from trainer.run import OWN, inside_cache

SCANS = (".nii.gz", ".nii", ".hdr", ".img", ".hdr.gz", ".img.gz")
CLIPS = ".avi .mp4 .m4v .mov .mkv .webm .mpg .mpeg .wmv .asf .ts .m2ts .mts .3gp .flv .ogv"
ENDINGS = (*SCANS, *CLIPS.split())


def read_ids(path: Path) -> list[str]:
    """The ids in `path`, one a line or in the first column of a CSV, with or without the ending of a file.

    Raises TrainerError where there is none, or one twice.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # with line breaks as they are: a quoted name may hold one
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except OSError as error:
        raise TrainerError(f"{path}: {error.strerror}; expected a file with one id a line") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainerError(f"{path} is no text ({error}); expected a file with one id a line") from error
    names = [_without_ending(row[0].strip()) for row in rows if row and row[0].strip()]
    if names and names[0].lower() in ("filename", "id", "ids"):
        del names[0]
    if not names:
        raise TrainerError(f"{path} holds no id; expected one a line")
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise TrainerError(f"{path} has {twice!r} more than once; expected each id once")
    return names


def _without_ending(name: str) -> str:
    return next((name[: -len(ending)] for ending in ENDINGS if name.lower().endswith(ending)), name)


def check_outputs(run: Path, outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Raise TrainerError where one of `outputs` cannot be a file, or would take the place of what is needed.

    That is another of them, one of `inputs`, a file that the run in `run` is made of, or anything in a cache.
    """
    needed = {path.resolve() for path in inputs} | {run.resolve() / name for name in OWN}
    for path in outputs:
        if path.resolve() in needed:
            raise TrainerError(f"{path} would replace a file that this command reads or writes; choose another place")
        needed.add(path.resolve())
        _check_place(path)


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise TrainerError(f"{path} is a folder; expected a file to write")
    if path.exists() and not path.is_file():
        raise TrainerError(f"{path} is no regular file; expected a file to write")
    if not path.resolve().parent.is_dir():
        raise TrainerError(f"{path.parent} is no folder; make it first, or choose another place for {path.name}")
    if cache := inside_cache(path):
        raise TrainerError(f"{path} is inside the cache {cache}, which holds samples only; choose another place")


def write_submission(path: Path, found: Predictions) -> None:
    """One line a sample, `TST_0001.nii.gz,2`, the class counted from 1, no header (ImageCLEF 2021 TBT)."""
    classes = found.probabilities.argmax(axis=1) + 1
    _write(
        path, ((_file_name(found.cache, name), int(number)) for name, number in zip(found.ids, classes, strict=True))
    )


def write_probabilities(path: Path, found: Predictions) -> None:
    """A header of `FileName` and the classes' names, then one line a sample."""
    rows = zip(found.ids, found.probabilities.tolist(), strict=True)
    header = ("FileName", *found.class_names)
    _write(path, (header, *((_file_name(found.cache, name), *(f"{p:.6g}" for p in row)) for name, row in rows)))


def _file_name(cache: Cache, name: str) -> str:
    """The sample's file below its SOURCE, or its id where it was made of none, or of a chunk, as features are."""
    files_of = () if cache.kind == "features" else cache.entry(name).source.files
    return files_of[0] if files_of else name


def _write(path: Path, rows: Iterable[Iterable[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    files.replace(path.resolve(), text.getvalue().encode())  # through a link, to the file that it names
