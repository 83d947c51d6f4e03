"""Checks of a split against its cache: no leaks, no unknown or unlabelled ids, two classes or more to train on."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from cache.text import shown
from trainer.data.splits.groups import pairs_across_subsets, shared_with_training
from trainer.data.splits.messages import plural, some_ids
from trainer.data.splits.split import Samples, Split
from trainer.errors import TrainerError

MAX_IDS = 3  # in a message
MAX_PAIRS = 10


def check(split: Split, samples: Samples) -> None:
    """Raises TrainerError where `split` has ids that are not in `samples` or not labelled, or where it leaks.

    It leaks where two of its subsets share a group or an array.
    """
    label_of = samples.label_of
    unknown = [name for _, name in split.members() if name not in label_of]
    if unknown:
        raise TrainerError(
            f"split names {len(unknown)} {plural('id', len(unknown))} not in the cache ({some_ids(unknown, MAX_IDS)}); "
            "remove them, or give the cache that the split was made for"
        )
    for subset, name in split.members():
        if label_of[name] < 0:
            raise TrainerError(
                f"split has {shown(name)} in {subset!r}, which has no label in the cache; remove it, or label it"
            )
    remedy = "put both in one part, or remove one"
    _check_shared(split, dict(zip(samples.ids, samples.groups, strict=True)), "are of one group", remedy, named=True)
    digest_of = dict(zip(samples.ids, samples.digests, strict=True))
    if shared_with_training(split, digest_of):
        remedy = "put both in one part, remove one, or add --drop-shared, which leaves those of 'train' out"
    _check_shared(split, digest_of, "hold the same array", remedy)


def check_classes(split: Split, samples: Samples) -> None:
    """Raises TrainerError where all training samples of `split` are of one class: a network would learn nothing."""
    training = _labels(split.train, samples)
    if len({*training}) == 1:
        raise TrainerError(
            f"split has only class {samples.class_names[training[0]]!r} in 'train' ({len(training)} "
            f"{plural('sample', len(training))}); expected two classes or more; add samples of another"
        )


def class_notes(split: Split, samples: Samples) -> Iterator[str]:
    """Warnings about classes: those without a training sample, and a validation set of one class.

    Every id of `split` must have a label.
    """
    training, validation = (_labels(ids, samples) for ids in (split.train, split.validation))
    absent = [name for number, name in enumerate(samples.class_names) if number not in training]
    if absent:
        yield f"no samples to train on of {', '.join(map(shown, absent))}: the network cannot learn to predict " + (
            "this class" if len(absent) == 1 else "these classes"
        )
    if len({*validation}) == 1:
        yield (
            f"all {len(validation)} samples to validate on are of class {shown(samples.class_names[validation[0]])}: "
            "their kappa is 0 or undefined; compare accuracy and loss"
        )


def _labels(ids: Iterable[str], samples: Samples) -> list[int]:
    label_of = samples.label_of
    return [label_of[name] for name in ids]


def _check_shared(split: Split, key_of: Mapping[str, str], relation: str, remedy: str, named: bool = False) -> None:
    """Raises TrainerError where two subsets hold samples of one key; `relation` describes the relation of such samples.

    The message lists the first pairs, those with a training sample before others, each with its key where `named`.
    """
    pairs = pairs_across_subsets(split, key_of)
    first = [
        (f"{shown(one)} in {subset!r} and {shown(other)} in {other_subset!r}", shown(key_of[one]))
        for (subset, one), (other_subset, other) in islice(pairs, MAX_PAIRS)
    ]
    if len(first) == 1:
        ((pair, key),) = first
        raise TrainerError(f"split has {pair}, which {relation}{f', {key}' * named}; {remedy}")
    if first:
        count = len(first) + sum(1 for _ in pairs)
        text = ", ".join(f"{pair}{f' ({key})' * named}" for pair, key in first) + ", …" * (count > len(first))
        raise TrainerError(f"split has {count} pairs of samples in different parts that {relation}: {text}; {remedy}")
