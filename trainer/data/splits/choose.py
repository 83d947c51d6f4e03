"""The split of a run: the user's own after its checks, or a stratified one. Prints and writes nothing."""

from pathlib import Path

from cache import Cache
from trainer.data.splits.check import check, check_classes, class_notes
from trainer.data.splits.groups import without_shared
from trainer.data.splits.messages import plural, some_ids
from trainer.data.splits.split import Samples, Split, read_split
from trainer.data.splits.stratify import VALIDATION_FRACTION, stratified
from trainer.errors import TrainerError

MAX_IDS = 10  # in a note


def samples_of(cache: Cache) -> Samples:
    """The samples of `cache` with the properties that a split depends on."""
    digests = tuple(entry.digest for entry in cache.samples)
    return Samples(tuple(cache.ids), cache.labels, tuple(cache.groups), digests, tuple(cache.class_names))


def user_split(path: Path, drop_shared: bool, cache: Cache) -> tuple[Split, list[str]]:
    """The split in `path`, and notes for the user.

    With `drop_shared` it lacks the training samples whose array is in another subset too; a note names them. Raises
    TrainerError where it cannot be read.
    """
    split = read_split(path)
    split, dropped = without_shared(split, samples_of(cache)) if drop_shared else (split, [])
    ids = f"{len(dropped)} {plural('sample', len(dropped))} ({some_ids(dropped, MAX_IDS)})"
    note = f"--drop-shared leaves {ids} out of training: validation or test hold the same arrays"
    return split, [note] if dropped else []


def checked_split(
    cache: Cache, split: Split | None, seed: int, fraction: float = VALIDATION_FRACTION, path: Path | None = None
) -> Split:
    """`split` after its checks; where it is None, a stratified one by whole groups.

    Raises TrainerError, which names `path` if it is given: the file of the split, or the cache.
    """
    samples = samples_of(cache)
    try:
        if split is None:
            return stratified(samples, seed, fraction)
        check(split, samples)
        check_classes(split, samples)
    except TrainerError as error:
        if path is None:
            raise
        raise TrainerError(f"{path}: {error}") from error
    return split


def split_notes(split: Split, cache: Cache) -> list[str]:
    """The sizes of the subsets of `split`, and warnings about its classes."""
    unused = len(cache) - len(split.train) - len(split.validation) - len(split.test)
    unlabelled = int((cache.labels < 0).sum())
    sizes = (
        f"{len(split.train)} samples to train on, {len(split.validation)} to validate on"
        + (f", {len(split.test)} for testing" if split.test else "")
        + (f", {unused} in no part" if unused else "")
        + (f" ({unlabelled} without a label)" if unlabelled else "")
    )
    return [sizes, *class_notes(split, samples_of(cache))]
