"""A split that leaks or does not fit its cache is rejected; shared samples can be excluded."""

import numpy as np
import pytest

from tests.helpers.errors import error_message
from tests.helpers.splits import NAMES
from trainer.data.splits.check import MAX_PAIRS, check, check_classes, class_notes
from trainer.data.splits.groups import without_shared
from trainer.data.splits.split import Samples, Split

CACHE = {
    "ids": list("abcdef"),
    "labels": np.array([0, 1, 0, 1, -1, 0]),
    "groups": ["p1", "p1", "p2", "", "", ""],
    "digests": ["", "x", "y", "", "", "y"],
    "class_names": NAMES,
}


def test_a_split_without_leaks_is_accepted():
    check(Split(("a", "b"), ("c", "f"), ("d",)), Samples(**CACHE))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            Split(("a",), ("g",)),
            "split names 1 id not in the cache ('g'); remove them, or give the cache that the split was made for",
        ),
        (
            Split(("a", "v", "w"), ("x",), ("y",)),
            "split names 4 ids not in the cache ('v', 'w', 'x', …); "
            "remove them, or give the cache that the split was made for",
        ),
        (
            Split(("a",), ("d",), ("e",)),
            "split has 'e' in 'test', which has no label in the cache; remove it, or label it",
        ),
        (
            Split(("a", "c"), ("b",)),
            "split has 'a' in 'train' and 'b' in 'validation', which are of one group, 'p1'; "
            "put both in one part, or remove one",
        ),
        (
            Split(("d",), ("c",), ("f",)),
            "split has 'c' in 'validation' and 'f' in 'test', which hold the same array; "
            "put both in one part, or remove one",
        ),
    ],
)
def test_a_split_that_leaks_or_does_not_fit_the_cache_is_rejected(split, message):
    assert error_message(check, split, Samples(**CACHE)) == message


def split_with_classes(train, validation):
    """Arguments for `check_classes`: a split and samples with these classes, which their ids contain."""
    ids = [
        f"{prefix}{number} {label}"
        for prefix, labels in (("t", train), ("v", validation))
        for number, label in enumerate(labels)
    ]
    split = Split(tuple(ids[: len(train)]), tuple(ids[len(train) :]))
    none = [""] * len(ids)
    return split, Samples(ids, np.array(["abc".index(name[-1]) for name in ids]), none, none, ("a", "b", "c"))


def test_a_split_with_only_one_training_class_is_rejected():
    assert error_message(check_classes, *split_with_classes("b", "ab")) == (
        "split has only class 'b' in 'train' (1 sample); expected two classes or more; add samples of another"
    )
    check_classes(*split_with_classes("ab", "a"))


def test_classes_missing_in_a_subset_are_noted():
    assert list(class_notes(*split_with_classes("abc", "ab"))) == []
    assert list(class_notes(*split_with_classes("ab", "abc"))) == [
        "no samples to train on of 'c': the network cannot learn to predict this class"
    ]
    assert list(class_notes(*split_with_classes("a", "bb"))) == [
        "no samples to train on of 'b', 'c': the network cannot learn to predict these classes",
        "all 2 samples to validate on are of class 'b': their kappa is 0 or undefined; compare accuracy and loss",
    ]


def samples_with(digests, groups=None, labels=None):
    """Samples "0", "1", … with these digests."""
    count = len(digests)
    labels = np.arange(count) % 2 if labels is None else np.array(labels)
    return Samples([str(n) for n in range(count)], labels, groups or [""] * count, digests, ("one", "two"))


def test_the_first_pairs_of_equal_arrays_are_listed_with_the_number_of_all():
    split = Split(tuple("0123"), tuple("456"), tuple("789"))
    digests = ["x", "x", "y", "", "x", "y", "", "y", "", ""]
    assert error_message(check, split, samples_with(digests)) == (
        "split has 5 pairs of samples in different parts that hold the same array: '0' in 'train' and '4' in "
        "'validation', '1' in 'train' and '4' in 'validation', '2' in 'train' and '5' in 'validation', '2' in 'train' "
        "and '7' in 'test', '5' in 'validation' and '7' in 'test'; put both in one part, remove one, or add "
        "--drop-shared, which leaves those of 'train' out"
    )
    message = error_message(check, split, samples_with(["x"] * 10))
    assert message.startswith("split has 33 pairs of samples in different parts that hold the same array: ")
    assert message.count(" and ") == MAX_PAIRS
    assert ", …; put both" in message


def test_the_first_pairs_of_one_group_are_listed_with_the_group():
    split = Split(tuple("01"), tuple("23"))
    assert error_message(check, split, samples_with([""] * 4, ["a", "b", "b", "a"])) == (
        "split has 2 pairs of samples in different parts that are of one group: '0' in 'train' and '3' in "
        "'validation' ('a'), '1' in 'train' and '2' in 'validation' ('b'); put both in one part, or remove one"
    )


def test_only_training_samples_with_shared_arrays_are_excluded():
    split = Split(tuple("01234"), tuple("56"), tuple("78"))
    samples = samples_with(["x", "y", "z", "", "z", "x", "", "y", ""])
    remaining, dropped = without_shared(split, samples)
    assert (remaining, dropped) == (Split(tuple("234"), split.validation, split.test), ("0", "1"))
    check(remaining, samples)
    assert without_shared(remaining, samples) == (remaining, ())


def test_excluding_shared_samples_ignores_other_errors():
    split = Split(("0", "1", "2", "lost"), ("3", "gone"))
    remaining, dropped = without_shared(split, samples_with(["x", "", "", "x"], labels=[-1, 0, 1, 0]))
    assert (remaining.train, dropped) == (("1", "2", "lost"), ("0",))


@pytest.mark.parametrize(("train", "class_text"), [("0234", "of class 'one' "), ("013", "of class 'one' "), ("01", "")])
def test_shared_samples_are_not_excluded_if_a_class_would_lose_all_training_samples(train, class_text):
    samples = samples_with(["x", "y", "x", "", "x", "", "x", "y"])
    split = Split(tuple(train), ("5", "6", "7"))
    assert error_message(without_shared, split, samples) == (
        f"--drop-shared leaves no sample {class_text}to train on, because 'validation' or 'test' hold the same arrays; "
        "move some samples of the split to 'train', or remove the others"
    )
