"""Stratified split into training and validation by whole groups, fixed by a seed. Pure NumPy."""

from collections.abc import Iterable, Sequence

import numpy as np

from cache.text import shown
from trainer.data.splits.groups import linked_groups
from trainer.data.splits.messages import plural
from trainer.data.splits.split import Samples, Split
from trainer.errors import TrainerError

VALIDATION_FRACTION = 0.2  # ViPTT-Net §3.2
ATTEMPTS = 100  # random orders; the first that gives each class to both subsets is taken


def stratified(samples: Samples, seed: int, fraction: float = VALIDATION_FRACTION) -> Split:
    """A split of the labelled `samples` into train and validation, fixed by its arguments; ids keep their order.

    Samples of one group or digest are in one subset. Of the n_c samples of class c, validation gets
    max(1, round(fraction · n_c)), at most n_c - 1, where every group is a single sample. With larger groups it comes
    close to that (see `_choose`), and both subsets still have every class. Raises TrainerError where that is
    impossible.
    """
    if not 0 < fraction < 1:
        raise TrainerError(f"validation share {fraction}; expected more than 0 and less than 1")
    labels, class_names = np.asarray(samples.labels, np.int64), samples.class_names
    labelled = np.flatnonzero(labels >= 0)
    _check_labels(samples.ids, labels, class_names)
    groups, group_of = np.unique(linked_groups(samples)[labelled], return_inverse=True)
    counts = np.zeros((len(groups), len(class_names)), np.int64)
    np.add.at(counts, (group_of, labels[labelled]), 1)
    _check_counts(counts, class_names)
    in_validation = _choose(counts, _targets(counts.sum(0), fraction), seed)[group_of]
    train, validation = (
        tuple(samples.ids[number] for number in labelled[side].tolist()) for side in (~in_validation, in_validation)
    )
    return Split(train, validation)


def _check_labels(ids: Sequence[str], labels: np.ndarray, class_names: Sequence[str]) -> None:
    if not (labels >= 0).any():
        raise TrainerError(
            f"none of the {len(ids)} samples has a label; expected two classes or more; label them in the cache"
        )
    for number in np.flatnonzero(labels >= len(class_names)).tolist():
        raise TrainerError(
            f"sample {shown(ids[number])} has label {labels[number]}, but there are {len(class_names)} class "
            f"names; expected 0 to {len(class_names) - 1}; label it again in the cache"
        )


def _check_counts(counts: np.ndarray, class_names: Sequence[str]) -> None:
    """Raises TrainerError where samples per group and class, (groups, classes), cannot be split."""
    samples, group_counts = counts.sum(0), np.count_nonzero(counts, axis=0)
    present = np.flatnonzero(samples)
    if len(present) < 2:
        raise TrainerError(
            f"all {samples.sum()} labelled samples are of class {class_names[present[0]]!r}; "
            "expected two classes or more; add samples of another"
        )
    for label in present.tolist():
        if group_counts[label] < 2:
            raise TrainerError(
                f"class {class_names[label]!r} has {samples[label]} {plural('sample', samples[label])} in 1 group; "
                "a split needs at least two groups of each class; add samples, or leave the class out"
            )


def _targets(totals: np.ndarray, fraction: float) -> np.ndarray:
    """The samples that validation should get of each class's `totals`, which are 0 or at least 2: int64 (classes,)."""
    return np.minimum(np.maximum(np.rint(fraction * totals).astype(np.int64), 1), np.maximum(totals - 1, 0))


def _choose(counts: np.ndarray, targets: np.ndarray, seed: int) -> np.ndarray:
    """The groups for validation, bool (groups,); `counts` (groups, classes) has the samples of each.

    In a random order, a group is taken if it brings the counts closer to `targets` (sum of absolute differences) and
    leaves train a sample of each class. Then each class without a sample in validation gets the smallest group that has
    one; if there is no such group, another order is tried.
    """
    generator = np.random.default_rng(seed)
    spare = np.maximum(counts.sum(0) - 1, 0)
    for _ in range(ATTEMPTS):
        order = generator.permutation(len(counts))
        chosen = np.zeros(len(counts), bool)
        taken = _add_towards_targets(counts, targets, spare, order, chosen)
        if _add_missing_classes(counts, taken, spare, order, chosen):
            return chosen
    raise TrainerError(
        f"cannot put every class into both train and validation without dividing one of the {len(counts)} groups; "
        "add samples in other groups, or give a split of your own"
    )


def _add_towards_targets(
    counts: np.ndarray, targets: np.ndarray, spare: np.ndarray, order: Iterable[int], chosen: np.ndarray
) -> np.ndarray:
    """Mark in `chosen` the groups that bring the counts closer to `targets`; return the counts reached."""
    taken = np.zeros_like(targets)
    for group in order:
        after = taken + counts[group]
        if np.abs(targets - after).sum() < np.abs(targets - taken).sum() and (after <= spare).all():
            taken, chosen[group] = after, True
    return taken


def _add_missing_classes(
    counts: np.ndarray, taken: np.ndarray, spare: np.ndarray, order: np.ndarray, chosen: np.ndarray
) -> bool:
    """Mark in `chosen` the smallest group for each class without a sample in `taken`; False where there is none.

    Among equal groups the first in `order` is taken.
    """
    by_size = order[np.argsort(counts[order].sum(1), kind="stable")]
    for label in np.flatnonzero(spare):
        if taken[label]:
            continue
        fits = (counts[by_size, label] > 0) & (taken + counts[by_size] <= spare).all(1)
        if not fits.any():
            return False
        group = by_size[fits.argmax()]
        taken, chosen[group] = taken + counts[group], True
    return True
