"""Which samples train and which judge: stratified by class, no group and no array on both sides. Pure and seeded.

A group is what must not be divided: a patient's scans, a scene's clips. Samples whose arrays are identical count as
one group too, whatever their names. What links two groups need not be labelled: an unlabelled scan that equals one of
another patient shows the two to be one.
"""

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from typing import Any

import numpy as np

from trainer.errors import TrainerError

VALIDATION_SHARE = 0.2  # ViPTT-Net §3.2
TRIES = 100  # random orders, of which the first that gives each class to both sides is taken
SHOWN_IDS = 3  # in a message
SHOWN_PAIRS = 10
SHOWN_CHARACTERS = 80  # of a value in a message
LAYOUT = '{"train": [ids], "validation": [ids]}, optionally with "test"'


@dataclass(frozen=True)
class Split:
    """The ids of each part, in order: no id twice, `train` and `validation` not empty. Raises TrainerError."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        part_of: dict[str, str] = {}
        for part, sample in self.members():
            if not isinstance(sample, str):
                raise TrainerError(f"split has {_shown(sample)} in {part!r}; expected ids, as text in quotes")
            if sample in part_of:
                raise TrainerError(
                    f"split has {_shown(sample)} in {part_of[sample]!r} and in {part!r}; expected each id once"
                )
            part_of[sample] = part
        for part in ("train", "validation"):
            if part not in part_of.values():
                raise TrainerError(f"split has no ids in {part!r}; expected {LAYOUT}")

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """Name → ids of all three parts."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def members(self) -> Iterator[tuple[str, str]]:
        """(part, id) of every sample."""
        return ((part, sample) for part, ids in self.parts.items() for sample in ids)

    def to_json(self) -> dict[str, list[str]]:
        """What `split.json` holds; `test` only where there is one."""
        return {part: list(ids) for part, ids in self.parts.items() if ids}

    @classmethod
    def from_json(cls, data: Any) -> "Split":
        """The split in `data`, which may come from any file. Raises TrainerError where it is none."""
        if not isinstance(data, Mapping):
            raise TrainerError(f"split is {_shown(data)}; expected {LAYOUT}")
        for key, ids in data.items():
            if key not in ("train", "validation", "test"):
                raise TrainerError(f"split has a part {_shown(key)}; expected {LAYOUT}")
            if not isinstance(ids, list | tuple):
                raise TrainerError(f"split has {_shown(ids)} as {key!r}; expected a list of ids")
        return cls(**{"train": (), "validation": ()} | {key: tuple(ids) for key, ids in data.items()})


def stratified(
    ids: Sequence[str],
    labels: np.ndarray,
    groups: Sequence[str],
    digests: Sequence[str],
    class_names: Sequence[str],
    seed: int,
    fraction: float = VALIDATION_SHARE,
) -> Split:
    """A split of the labelled samples into train and validation, fixed by its arguments; ids keep their order.

    `labels` (n,) count in `class_names`, -1 is unlabelled and left out. Whole groups are on one side, as are samples of
    one digest; "" as a group or digest binds nothing. Of the n_c samples of class c, validation gets
    max(1, round(fraction · n_c)), at most n_c - 1, where every group is a single sample; with larger groups it comes
    near that (see `_choose`), and each class is on both sides still. Raises TrainerError where that cannot be.
    """
    if not 0 < fraction < 1:
        raise TrainerError(f"validation share {fraction}; expected more than 0 and less than 1")
    labels = np.asarray(labels, np.int64)
    labelled = np.flatnonzero(labels >= 0)
    _check_labels(ids, labels, class_names)
    groups_found, group_of = np.unique(bound_groups(groups, digests)[labelled], return_inverse=True)
    counts = np.zeros((len(groups_found), len(class_names)), np.int64)
    np.add.at(counts, (group_of, labels[labelled]), 1)
    _check_counts(counts, class_names)
    in_validation = _choose(counts, _wanted(counts.sum(0), fraction), seed)[group_of]
    train, validation = (
        tuple(ids[number] for number in labelled[side].tolist()) for side in (~in_validation, in_validation)
    )
    return Split(train, validation)


def check(split: Split, ids: Sequence[str], labels: np.ndarray, groups: Sequence[str], digests: Sequence[str]) -> None:
    """Raise TrainerError where `split` names what the cache lacks or has no label for, or would leak.

    It leaks where two of its parts share a group or an array (an equal digest); "" is no group and no digest.
    """
    number_of = {sample: number for number, sample in enumerate(ids)}
    unknown = [sample for _, sample in split.members() if sample not in number_of]
    if unknown:
        raise TrainerError(
            f"split names {len(unknown)} {_plural('id', len(unknown))} not in the cache ({_list(unknown, SHOWN_IDS)}); "
            "remove them, or give the cache that the split was made for"
        )
    for part, sample in split.members():
        if labels[number_of[sample]] < 0:
            raise TrainerError(
                f"split has {_shown(sample)} in {part!r}, which has no label in the cache; remove it, or label it"
            )
    remedy = "put both in one part, or remove one"
    _check_shared(split, dict(zip(ids, groups, strict=True)), "are of one group", remedy, named=True)
    digest_of = dict(zip(ids, digests, strict=True))
    if _shared_with_training(split, digest_of):
        remedy = "put both in one part, remove one, or add --drop-shared, which leaves those of 'train' out"
    _check_shared(split, digest_of, "hold the same array", remedy)


def without_shared(
    split: Split, ids: Sequence[str], labels: np.ndarray, digests: Sequence[str], class_names: Sequence[str]
) -> tuple[Split, tuple[str, ...]]:
    """`split` without the training samples whose array is in validation or test too (an equal digest), and their ids.

    What else is wrong with a split is for `check` to find. Raises TrainerError where training, or a class in it, would
    have no sample left.
    """
    dropped = _shared_with_training(split, dict(zip(ids, digests, strict=True)))
    if not dropped:
        return split, ()
    kept = tuple(name for name in split.train if name not in {*dropped})
    label_of = dict(zip(ids, np.asarray(labels).tolist(), strict=True))
    lost = {label_of[name] for name in dropped} - {label_of.get(name) for name in kept}
    if not kept or lost - {-1}:
        what = f"of class {', '.join(repr(class_names[label]) for label in sorted(lost - {-1}))} " if kept else ""
        raise TrainerError(
            f"--drop-shared leaves no sample {what}to train on, because 'validation' or 'test' hold the same arrays; "
            "move some samples of the split to 'train', or remove the others"
        )
    return replace(split, train=kept), dropped


def _shared_with_training(split: Split, digest_of: Mapping[str, str]) -> tuple[str, ...]:
    """The training ids whose array is in another part too; ids without a digest share none."""
    others = {digest_of.get(name, "") for name in (*split.validation, *split.test)} - {""}
    return tuple(name for name in split.train if digest_of.get(name, "") in others)


def check_classes(split: Split, ids: Sequence[str], labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Raise TrainerError where all samples of `split` to train on are of one class: there is nothing to learn."""
    training = _labels_in(split.train, ids, labels)
    if len({*training}) == 1:
        raise TrainerError(
            f"split has only class {class_names[training[0]]!r} in 'train' ({len(training)} "
            f"{_plural('sample', len(training))}); expected two classes or more; add samples of another"
        )


def class_notes(split: Split, ids: Sequence[str], labels: np.ndarray, class_names: Sequence[str]) -> Iterator[str]:
    """What a user should know of the classes that `split`, of which each id has a label, trains and validates on."""
    training, validation = (_labels_in(some, ids, labels) for some in (split.train, split.validation))
    absent = [name for number, name in enumerate(class_names) if number not in training]
    if absent:
        yield f"no samples to train on of {', '.join(map(_shown, absent))}: the network cannot learn to predict " + (
            "this class" if len(absent) == 1 else "these classes"
        )
    if len({*validation}) == 1:
        yield (
            f"all {len(validation)} samples to validate on are of class {_shown(class_names[validation[0]])}: their "
            "kappa is 0 or undefined; compare accuracy and loss"
        )


def _labels_in(some: Iterable[str], ids: Sequence[str], labels: np.ndarray) -> list[int]:
    """The labels of `some` of `ids`, in their order."""
    label_of = dict(zip(ids, np.asarray(labels).tolist(), strict=True))
    return [label_of[sample] for sample in some]


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """float64 (classes,): n / (k · n_c), "balanced" over the k classes that have samples (ViPTT-Net §2.4); else 0.

    Labels of -1 do not count. Raises TrainerError for a label beyond `classes`.
    """
    labels = np.asarray(labels, np.int64)
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    if counts.size > classes:
        raise TrainerError(f"label {counts.size - 1} among {classes} classes; expected 0 to {classes - 1}")
    shares = np.count_nonzero(counts) * counts
    return np.divide(counts.sum(), shares, out=np.zeros(classes), where=shares > 0)


def bound_groups(groups: Sequence[str], digests: Sequence[str]) -> np.ndarray:
    """int64 (n,): the same number for samples that a shared group or digest binds, directly or through others.

    The number is the place of the first sample so bound; "" binds nothing.
    """
    parent = list(range(len(groups)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    first: dict[tuple[str, str], int] = {}
    for number, (group, digest) in enumerate(zip(groups, digests, strict=True)):
        for key in (("group", group), ("digest", digest)):
            if key[1]:
                one, other = sorted((root(number), root(first.setdefault(key, number))))
                parent[other] = one
    return np.array([root(number) for number in range(len(groups))], np.int64)


def _check_labels(ids: Sequence[str], labels: np.ndarray, class_names: Sequence[str]) -> None:
    if not (labels >= 0).any():
        raise TrainerError(
            f"none of the {len(ids)} samples has a label; expected two classes or more; label them in the cache"
        )
    for number in np.flatnonzero(labels >= len(class_names)).tolist():
        raise TrainerError(
            f"sample {_shown(ids[number])} has label {labels[number]}, but there are {len(class_names)} class "
            f"names; expected 0 to {len(class_names) - 1}; label it anew in the cache"
        )


def _check_counts(counts: np.ndarray, class_names: Sequence[str]) -> None:
    """Whether samples per group and class (groups, classes) leave something to divide."""
    samples, spread = counts.sum(0), np.count_nonzero(counts, axis=0)
    present = np.flatnonzero(samples)
    if len(present) < 2:
        raise TrainerError(
            f"all {samples.sum()} labelled samples are of class {class_names[present[0]]!r}; "
            "expected two classes or more; add samples of another"
        )
    for label in present.tolist():
        if spread[label] < 2:
            raise TrainerError(
                f"class {class_names[label]!r} has {samples[label]} {_plural('sample', samples[label])} in 1 group; "
                "a split needs at least two groups of each class; add samples, or leave the class out"
            )


def _wanted(totals: np.ndarray, fraction: float) -> np.ndarray:
    """int64 (classes,): how many of each class's `totals`, at least two each or 0, validation is to get."""
    return np.minimum(np.maximum(np.rint(fraction * totals).astype(np.int64), 1), np.maximum(totals - 1, 0))


def _choose(counts: np.ndarray, wanted: np.ndarray, seed: int) -> np.ndarray:
    """bool (groups,): the groups of validation, of `counts` (groups, classes) samples each.

    In a random order, each group goes there that brings the counts nearer to `wanted` (sum of absolute differences)
    and leaves train a sample of each class. Then a class still without one gets the smallest group that does; where
    there is none, another order is tried.
    """
    generator = np.random.default_rng(seed)
    spare = np.maximum(counts.sum(0) - 1, 0)
    for _ in range(TRIES):
        order = generator.permutation(len(counts))
        chosen = np.zeros(len(counts), bool)
        taken = _approach(counts, wanted, spare, order, chosen)
        if _supply(counts, taken, spare, order, chosen):
            return chosen
    raise TrainerError(
        f"found no way to have every class in train and in validation with the {len(counts)} groups undivided; "
        "add samples in other groups, or give a split of your own"
    )


def _approach(
    counts: np.ndarray, wanted: np.ndarray, spare: np.ndarray, order: Iterable[int], chosen: np.ndarray
) -> np.ndarray:
    """Mark in `chosen` the groups that bring the counts nearer to `wanted`; return the counts reached."""
    taken = np.zeros_like(wanted)
    for group in order:
        after = taken + counts[group]
        if np.abs(wanted - after).sum() < np.abs(wanted - taken).sum() and (after <= spare).all():
            taken, chosen[group] = after, True
    return taken


def _supply(counts: np.ndarray, taken: np.ndarray, spare: np.ndarray, order: np.ndarray, chosen: np.ndarray) -> bool:
    """Mark in `chosen` the smallest group for each class without a sample in `taken`; False where one cannot have any.

    Of equal groups the first in `order` is taken.
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


def _check_shared(split: Split, key_of: Mapping[str, str], relation: str, remedy: str, named: bool = False) -> None:
    """Raise TrainerError where two parts hold samples of one key; `relation` says what such samples have in common.

    The message has the first pairs, those with a training sample before others, each with its key where `named`.
    """
    pairs = _pairs(split, key_of)
    shown = [
        (f"{_shown(one)} in {part!r} and {_shown(other)} in {other_part!r}", _shown(key_of[one]))
        for (part, one), (other_part, other) in islice(pairs, SHOWN_PAIRS)
    ]
    if len(shown) == 1:
        ((pair, key),) = shown
        raise TrainerError(f"split has {pair}, which {relation}{f', {key}' * named}; {remedy}")
    if shown:
        count = len(shown) + sum(1 for _ in pairs)
        listed = ", ".join(f"{pair}{f' ({key})' * named}" for pair, key in shown) + ", …" * (count > len(shown))
        raise TrainerError(f"split has {count} pairs of samples in different parts that {relation}: {listed}; {remedy}")


def _pairs(split: Split, key_of: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """The samples of different parts, as (part, id), that have one key."""
    for (part, ids), (other_part, others) in combinations(split.parts.items(), 2):
        with_key: dict[str, list[str]] = {}
        for other in others:
            with_key.setdefault(key_of[other], []).append(other)
        with_key.pop("", None)
        for one in ids:
            for other in with_key.get(key_of[one], ()):
                yield (part, one), (other_part, other)


def some_of(ids: Sequence[str]) -> str:
    """How many `ids` there are, and the first of them."""
    return f"{len(ids)} {_plural('sample', len(ids))} ({_list(ids, SHOWN_PAIRS)})"


def _list(ids: Sequence[str], most: int) -> str:
    return ", ".join(map(_shown, ids[:most])) + (", …" if len(ids) > most else "")


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _shown(value: object) -> str:
    """`value` as Python writes it, cut where it is too long for a message."""
    text = repr(value) if isinstance(value, str) else reprlib.repr(value)  # which looks at the first few items only
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
