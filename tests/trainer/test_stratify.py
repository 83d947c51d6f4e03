"""A stratified split divides classes in proportion and keeps groups together."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.errors import error_message
from tests.helpers.splits import NAMES
from trainer.data.splits.check import check
from trainer.data.splits.groups import linked_groups
from trainer.data.splits.split import Samples
from trainer.data.splits.stratify import _add_towards_targets, _check_labels, _targets, stratified
from trainer.errors import TrainerError

ROOT = Path(__file__).resolve().parents[2]


def ids_of(labels):
    return [f"TRN_{number:04}" for number in range(1, len(labels) + 1)]


def split_of(labels, groups=None, digests=None, seed=0, **options):
    """A split of samples with these labels; without `groups` each sample is its own group."""
    return stratified(samples_of(labels, groups, digests), seed, **options)


def samples_of(labels, groups=None, digests=None):
    none = [""] * len(labels)
    return Samples(ids_of(labels), np.array(labels), groups or none, digests or none, NAMES)


def per_class(subset, labels):
    """The number of samples of each class in `subset`."""
    label_of = dict(zip(ids_of(labels), labels, strict=True))
    return np.bincount([label_of[sample] for sample in subset], minlength=len(NAMES))


@st.composite
def grouped(draw, unlabelled=True):
    """(labels, groups, digests) in which four classes have two groups or more."""
    names = st.sampled_from(["", *"abcdefghij"])
    minimum = -1 if unlabelled else 0
    samples = draw(st.lists(st.tuples(st.integers(minimum, 3), names, names), max_size=60))
    samples += [(label, "", "") for label in range(4) for _ in range(2)]
    return tuple(map(list, zip(*draw(st.permutations(samples)), strict=True)))


SINGLES = (
    st.lists(st.integers(-1, 4), max_size=80)
    .map(lambda labels: [*labels, 0, 0, 1, 1])
    .filter(lambda labels: 1 not in Counter(label for label in labels if label >= 0).values())
)


@given(SINGLES, st.integers(0, 9), st.floats(0.01, 0.99))
def test_samples_without_groups_are_divided_in_exact_proportion(labels, seed, fraction):
    split = split_of(labels, seed=seed, fraction=fraction)
    total = np.bincount([label for label in labels if label >= 0], minlength=len(NAMES))
    counts = per_class(split.validation, labels)
    np.testing.assert_array_equal(counts + per_class(split.train, labels), total)
    for n, count in zip(total, counts, strict=True):
        assert count == (min(n - 1, max(1, round(fraction * n))) if n else 0)


def test_the_scans_of_the_paper_give_183_validation_samples():
    labels = np.random.default_rng(0).permutation(np.repeat(range(5), [419, 225, 101, 100, 71]))
    split = split_of(list(labels))
    assert (len(split.train), len(split.validation)) == (733, 183)
    assert per_class(split.validation, labels).tolist() == [84, 45, 20, 20, 14]


@given(grouped(), st.integers(0, 9))
def test_a_split_divides_the_labelled_samples_and_keeps_their_order(samples, seed):
    labels, groups, digests = samples
    split = split_of(labels, groups, digests, seed)
    labelled = [name for name, label in zip(ids_of(labels), labels, strict=True) if label >= 0]
    for subset in (split.train, split.validation):
        assert list(subset) == [name for name in labelled if name in subset]
    assert sorted(split.train + split.validation) == labelled
    assert split.test == ()


@given(grouped(), st.integers(0, 9))
def test_both_subsets_have_every_class_and_share_no_group_or_array(samples, seed):
    labels, groups, digests = samples
    split = split_of(labels, groups, digests, seed)
    check(split, samples_of(labels, groups, digests))
    for subset in (split.train, split.validation):
        np.testing.assert_array_equal(per_class(subset, labels) > 0, [label in labels for label in range(5)])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(2, 6)), min_size=20, max_size=60), st.integers(0, 9))
def test_small_groups_of_one_class_are_divided_within_half_a_group_of_the_proportion(scenes, seed):
    scenes = [*scenes, *((label, 2) for label in range(5) for _ in range(4))]
    labels = [label for label, size in scenes for _ in range(size)]
    groups = [f"g{number}" for number, (_, size) in enumerate(scenes) for _ in range(size)]
    deviation = np.abs(per_class(split_of(labels, groups, seed=seed).validation, labels) - 0.2 * np.bincount(labels))
    assert (deviation <= 6 / 2 + 0.5).all()


def test_clips_of_ucf50_are_divided_by_scene_with_about_a_fifth_for_validation():
    labels = [label for label in range(5) for scene in range(25) for _ in range(4 + scene % 4)]
    groups = [f"{label}/g{scene}" for label in range(5) for scene in range(25) for _ in range(4 + scene % 4)]
    fractions = per_class(split_of(labels, groups).validation, labels) / np.bincount(labels)
    assert ((fractions > 0.17) & (fractions < 0.23)).all()


def test_samples_linked_by_an_unlabelled_sample_stay_together():
    groups = ["a", "b", "a", "", "c", ""]
    digests = ["", "x", "x", "y", "y", ""]
    assert linked_groups(samples_of([0] * 6, groups, digests)).tolist() == [0, 0, 0, 3, 3, 5]
    labels = [0, 0, -1, 1, 1, 0, 1, 0]
    for seed in range(20):
        split = split_of(labels, [*groups, "", ""], [*digests, "", ""], seed)
        in_train = [name in split.train for name in ids_of(labels)]
        assert (in_train[0], in_train[3]) == (in_train[1], in_train[4])


def test_a_group_named_like_a_digest_links_no_samples():
    assert linked_groups(samples_of([0, 1], ["x", "b"], ["y", "x"])).tolist() == [0, 1]


@given(grouped(), st.permutations("abcdefghij"))
def test_the_names_of_groups_and_digests_do_not_affect_the_split(samples, names):
    labels, groups, digests = samples
    new_names = dict(zip(["", *"abcdefghij"], ["", *names], strict=True))
    renamed = split_of(labels, [new_names[name] for name in groups], [new_names[name] for name in digests])
    assert renamed == split_of(labels, groups, digests)


def test_seeds_give_different_splits():
    assert len({split_of([0] * 20 + [1] * 20, seed=seed).validation for seed in range(10)}) == 10


GOLDEN = """
from trainer.data.splits.split import Samples
from trainer.data.splits.stratify import stratified
ids = [f"s{number}" for number in range(24)]
groups = [f"g{number // 2}" for number in range(24)]
samples = Samples(ids, [number // 2 % 3 for number in range(24)], groups, [""] * 24, "abc")
split = stratified(samples, 3)
print(*split.validation)
"""


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_split_equals_that_of_earlier_versions_for_any_hash_seed(hash_seed):
    environment = {"PYTHONHASHSEED": hash_seed}
    result = subprocess.run(
        [sys.executable, "-c", GOLDEN], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "s0 s1 s14 s15 s22 s23\n"


def test_one_large_group_does_not_leave_training_without_a_class():
    labels = [0] * 8 + [0] + [1] * 4
    groups = ["big"] * 8 + [""] * 5
    for seed in range(20):
        split = split_of(labels, groups, seed=seed)
        assert (per_class(split.validation, labels)[:2] >= 1).all()
        assert (per_class(split.train, labels)[:2] >= 1).all()


def test_groups_of_several_classes_do_not_leave_training_without_a_class():
    labels = [0] + [1] * 5 + [0] + [1] * 4 + [1] * 40
    groups = ["p"] * 6 + ["q"] * 5 + ["r"] * 40  # p and q together are closest to the target of 10 samples of class 1
    for seed in range(10):
        assert per_class(split_of(labels, groups, seed=seed).train, labels)[0] == 1


def test_another_order_of_groups_is_tried_if_one_fails():
    labels, groups = [0, 1, 1, 2, 0, 2], ["p", "p", "q", "q", "r", "s"]  # groups r and s have no sample of class 1
    for seed in range(20):
        split = split_of(labels, groups, seed=seed)
        assert {split.validation[0], split.train[0]} == {"TRN_0001", "TRN_0003"}


@pytest.mark.parametrize(
    ("groups", "target", "available", "expected", "chosen"),
    [
        ([[1, 0], [0, 1]], [1, 1], [5, 5], [1, 1], [True, True]),
        ([[1, 0], [1, 0]], [1, 0], [5, 5], [1, 0], [True, False]),  # the second moves away from the target
        ([[1, 1]], [1, 0], [5, 5], [0, 0], [False]),  # neither closer nor further
        ([[3, 0]], [2, 0], [5, 5], [3, 0], [True]),  # above the target, but closer
        ([[4, 0]], [2, 0], [5, 5], [0, 0], [False]),
        ([[2, 0]], [2, 0], [2, 5], [2, 0], [True]),  # exactly the number that training can spare
        ([[3, 0]], [3, 0], [2, 5], [0, 0], [False]),
        ([[1, 3]], [1, 3], [9, 2], [0, 0], [False]),  # more of one class than training can spare
    ],
)
def test_a_group_is_chosen_if_counts_get_closer_to_the_targets_and_training_keeps_each_class(
    groups, target, available, expected, chosen
):
    is_chosen = np.zeros(len(groups), bool)
    counts = _add_towards_targets(
        np.array(groups), np.array(target), np.array(available), range(len(groups)), is_chosen
    )
    assert (counts.tolist(), is_chosen.tolist()) == (expected, chosen)


@pytest.mark.parametrize(
    ("total", "fraction", "target"),
    [(0, 0.2, 0), (1, 0.2, 0), (2, 0.2, 1), (2, 0.9, 1), (10, 0.2, 2), (10, 0.26, 3), (10, 0.99, 9), (3, 0.01, 1)],
)
def test_validation_gets_its_fraction_of_a_class_and_leaves_one_sample(total, fraction, target):
    assert _targets(np.array([total]), fraction).tolist() == [target]


def test_a_class_without_a_validation_sample_gets_its_smallest_group():
    labels = [0] * 40 + [1] * 20
    groups = ["p1"] * 20 + ["p2"] * 12 + ["p3"] * 8 + [""] * 20  # only p3 is closer to the target of 8 than no group
    for seed in range(10):
        validation = split_of(labels, groups, seed=seed, fraction=0.1).validation
        assert set(ids_of(labels)[32:40]) <= set(validation)


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([], None, "none of the 0 samples has a label; expected two classes or more; label them in the cache"),
        ([-1] * 3, None, "none of the 3 samples has a label; expected two classes or more; label them in the cache"),
        (
            [1, 1, 1, -1],
            None,
            "all 3 labelled samples are of class 'Focal'; expected two classes or more; add samples of another",
        ),
        (
            [0, 0, 3],
            None,
            "class 'Miliary' has 1 sample in 1 group; a split needs at least two groups of each class; "
            "add samples, or leave the class out",
        ),
        (
            [0, 0, 3, 3],
            ["", "", "p", "p"],
            "class 'Miliary' has 2 samples in 1 group; a split needs at least two groups of each class; "
            "add samples, or leave the class out",
        ),
        (
            [0, 1, 0, 2, 1, 2],
            ["p", "p", "q", "q", "r", "r"],
            "cannot put every class into both train and validation without dividing one of the 3 groups; "
            "add samples in other groups, or give a split of your own",
        ),
        (
            [0, 0, 7],
            None,
            "sample 'TRN_0003' has label 7, but there are 5 class names; expected 0 to 4; label it again in the cache",
        ),
    ],
)
def test_samples_that_cannot_be_divided_are_rejected(labels, groups, message):
    assert error_message(split_of, labels, groups) == message


@pytest.mark.parametrize("fraction", [0, 1, float("nan")])
def test_a_validation_share_outside_0_and_1_is_rejected(fraction):
    message = f"validation share {fraction}; expected more than 0 and less than 1"
    assert error_message(split_of, [0, 0, 1, 1], fraction=fraction) == message


def test_a_label_above_the_last_class_is_rejected():
    _check_labels(["a", "b"], np.array([0, 1]), ("one", "two"))
    with pytest.raises(TrainerError, match="sample 'b' has label 2, but there are 2 class names; expected 0 to 1"):
        _check_labels(["a", "b"], np.array([0, 2]), ("one", "two"))
