"""The folder of a run: its files, and who may write them.

RUN/
  config.json      how it trains; the kind, shape, classes and recipe of the cache it trains on
  split.json       ids for training and for validation
  samples.json     fingerprints of these samples, by which the cache that the run was trained on is recognised
  model.keras      the weights of the best epoch so far
  checkpoint.npz   everything that `--resume` needs (`checkpoint.py`)
  history.csv      one line an epoch; timings.csv has the figures that depend on the machine
  curves.png       history.csv as a picture
  metrics.json     metrics of the best weights on the validation ids; confusion.png shows the confusion matrix
  validation.csv   their predictions for these ids
  manifest.json    digests of the files above that are read again (`manifest.py`)
  logs/            for TensorBoard
  lock, lock.owner held by the one process that trains (`cache/lock.py`)
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cache.catalog import has_attributes
from cache.confined import check_inside
from cache.durable import make_folder
from cache.lock import LOCK_FILES, LockHeld, exclusive
from trainer.data.splits.split import Split
from trainer.errors import TrainerError
from trainer.runs import files, manifest
from trainer.runs.run import Run, is_unicode
from trainer.runs.samples import SampleFingerprint, samples_json

STARTUP_FILES = (*LOCK_FILES, "split.json", "samples.json", manifest.NAME)  # written before config.json
CHECKED_FILES = (
    "samples.json", "split.json", "config.json", "model.keras", "checkpoint.npz", "history.csv", "timings.csv",
    "metrics.json", "validation.csv",
)  # fmt: skip
RUN_FILES = (
    *STARTUP_FILES, "config.json", "model.keras", "checkpoint.npz", "history.csv", "timings.csv", "curves.png",
    "metrics.json", "confusion.png", "validation.csv", "logs",
)  # fmt: skip


@contextmanager
def lock_run(root: Path, resume: bool) -> Iterator[bool]:
    """Make and lock the folder `root` for training; yields True where it holds a run to resume.

    Raises TrainerError as `check_folder` does, and while another process trains into `root`.
    """
    check_folder(root, resume)
    make_folder(root)
    for name in (*LOCK_FILES, "logs"):  # all other files are replaced atomically
        check_inside(root, root / name)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(root / "lock"))
        except LockHeld as held:
            raise TrainerError(
                f"another process trains into {root}{held.holder}; wait for it to end, or choose another RUN"
                f"{held.advice}"
            ) from held
        exists = check_folder(root, resume)  # again: another process may have been first
        for name in RUN_FILES:
            files.remove(root / f"{files.PARTIAL}{name}")
        yield exists


def check_folder(root: Path, resume: bool) -> bool:
    """True where `root` holds a run to resume, False where it is new or empty.

    Raises TrainerError where it holds a run and `resume` is False, where it holds anything else, or where it is inside
    a cache.
    """
    exists = (root / "config.json").is_file()
    if exists and not resume:
        raise TrainerError(f"{root} holds a run already; resume it with --resume, or choose another RUN")
    if (root.exists() or root.is_symlink()) and not root.is_dir():
        raise TrainerError(f"{root} is a file; expected a folder that is new or empty, or a run to --resume")
    if not is_unicode(str(root.resolve())):
        raise TrainerError(f"{root} has a path that is not valid UTF-8; choose another RUN")
    if not exists and (cache := enclosing_cache(root)):
        raise TrainerError(f"{root} is inside the cache {cache}, which holds samples only; choose another RUN")
    foreign = _other_names(root, STARTUP_FILES if resume else LOCK_FILES)
    if not exists and "samples.json" in foreign and {*foreign} <= {*STARTUP_FILES}:  # split.json may be the user's
        raise TrainerError(
            f"{root} holds {foreign[0]!r}, left by a run that was stopped as it started; start it again with --resume, "
            "or choose another RUN"
        )
    if not exists and foreign:
        raise TrainerError(f"{root} holds {foreign[0]!r} and no run; expected a folder that is new or empty")
    return exists


def _other_names(root: Path, expected: Sequence[str]) -> list[str]:
    """The names in `root` that are neither `expected` nor partially written files of a run, sorted."""
    names = [path.name for path in root.iterdir()] if root.exists() else []
    return sorted({*names} - {*expected} - {f"{files.PARTIAL}{name}" for name in RUN_FILES})


def enclosing_cache(path: Path) -> Path | None:
    """The outermost cache that `path` is or lies in, or None."""
    place = path.resolve()
    return next((folder for folder in (*reversed(place.parents), place) if has_attributes(folder)), None)


def write_run_files(root: Path, run: Run, split: Split, samples: Mapping[str, SampleFingerprint]) -> None:
    """Write the documents of a run; config.json last, since it makes the folder a run, and then the manifest."""
    contents = {"samples.json": samples_json(samples), "split.json": split.to_json(), "config.json": run.to_json()}
    manifest.write_files(root, {name: files.dump_json(data) for name, data in contents.items()})


def finish(root: Path) -> None:
    """List the digests of all files that are read again: the run has ended."""
    manifest.list_files(root, CHECKED_FILES)


def check_files(root: Path) -> None:
    """Raises TrainerError where a listed file of the run in `root` differs from its digest."""
    for name in CHECKED_FILES:
        manifest.check(root / name)


def is_finished(root: Path) -> bool:
    """True where the run in `root` has ended with its metrics. Raises TrainerError for a damaged manifest."""
    return (root / "metrics.json").is_file() and manifest.is_listed(root, "metrics.json")
