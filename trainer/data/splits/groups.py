"""Samples that belong together: of one group, or with the same array. They must not be in different subsets."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from trainer.data.splits.split import Samples, Split
from trainer.errors import TrainerError


def linked_groups(samples: Samples) -> np.ndarray:
    """int64 (n,): the same number for samples that a group or digest links, directly or through others.

    The number is the position of the first linked sample. Unlabelled samples link others too: one that equals a scan of
    another patient shows that the two patients are the same person.
    """
    parent = list(range(len(samples.groups)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    first: dict[tuple[str, str], int] = {}
    for number, (group, digest) in enumerate(zip(samples.groups, samples.digests, strict=True)):
        for key in (("group", group), ("digest", digest)):
            if key[1]:
                one, other = sorted((root(number), root(first.setdefault(key, number))))
                parent[other] = one
    return np.array([root(number) for number in range(len(parent))], np.int64)


def pairs_across_subsets(split: Split, key_of: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of samples with the same key in different subsets, each as (subset, id); "" is no key."""
    for (subset, ids), (other_subset, others) in combinations(split.subsets.items(), 2):
        with_key: dict[str, list[str]] = {}
        for other in others:
            with_key.setdefault(key_of[other], []).append(other)
        with_key.pop("", None)
        for one in ids:
            for other in with_key.get(key_of[one], ()):
                yield (subset, one), (other_subset, other)


def shared_with_training(split: Split, digest_of: Mapping[str, str]) -> tuple[str, ...]:
    """The training ids whose array is in another subset too."""
    others = {digest_of.get(name, "") for name in (*split.validation, *split.test)} - {""}
    return tuple(name for name in split.train if digest_of.get(name, "") in others)


def without_shared(split: Split, samples: Samples) -> tuple[Split, tuple[str, ...]]:
    """`split` without the training samples whose array is in validation or test too, and the ids of these.

    `check` reports everything else that is wrong with a split. Raises TrainerError where training, or a class in it,
    would have no sample left.
    """
    dropped = shared_with_training(split, dict(zip(samples.ids, samples.digests, strict=True)))
    if not dropped:
        return split, ()
    kept = tuple(name for name in split.train if name not in {*dropped})
    label_of = samples.label_of
    emptied = {label_of[name] for name in dropped} - {label_of.get(name) for name in kept} - {-1}
    if not kept or emptied:
        of_class = (
            f"of class {', '.join(repr(samples.class_names[label]) for label in sorted(emptied))} " if kept else ""
        )
        raise TrainerError(
            f"--drop-shared leaves no sample {of_class}to train on, because 'validation' or 'test' hold the same "
            "arrays; move some samples of the split to 'train', or remove the others"
        )
    return split.replace(train=kept), dropped
