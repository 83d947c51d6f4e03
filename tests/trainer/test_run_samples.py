"""The samples of a run are recognised in any cache by their digests."""

import pytest

from cache import open_cache
from tests.helpers.caches import make_cache
from tests.helpers.errors import error_message
from tests.helpers.run_documents import root
from tests.helpers.run_folders import RUN, SPLIT
from trainer.runs.folder import write_run_files
from trainer.runs.samples import (
    SampleFingerprint,
    changed_labels,
    check_samples,
    is_trained_on,
    sample_fingerprints,
    training_samples_among,
)

__all__ = ["root"]  # a fixture

ANOTHER = "is not the one that {root} started with; give that cache, or train into another RUN"


def test_the_cache_of_a_run_is_recognised_by_the_digests_of_its_training_samples(tmp_path):
    cache = open_cache(make_cache(tmp_path / "tiny.zarr", 3))
    fingerprints = sample_fingerprints(cache, ("s0", "s1"))
    other, source = SampleFingerprint("other", "other", 0), fingerprints["s0"].source
    for number, (samples, is_same) in enumerate(
        [
            (fingerprints, True),
            (fingerprints | {"s1": other}, True),  # one training sample is enough: it must not be scored
            (fingerprints | {"s0": other}, False),  # a validation sample is not enough
            (fingerprints | {"s0": SampleFingerprint("of another dtype", source, 0)}, True),
            (
                {"s0": SampleFingerprint(fingerprints["s0"].chunk, "another source", 0), "s1": other},
                True,
            ),  # the same chunk
            # unknown sources are not equal
            ({"s0": SampleFingerprint("other", "", 0), "s1": SampleFingerprint("other", "", 0)}, False),
        ]
    ):
        root = tmp_path / str(number)
        root.mkdir()
        write_run_files(root, RUN, SPLIT, samples)
        assert is_trained_on(root, cache) is is_same


def test_samples_json_without_ids_of_the_split_is_rejected(root, shared_tiny):
    (root / "samples.json").write_text('{"s0": ["d0", "", 0]}')
    (root / "manifest.json").unlink()
    assert error_message(is_trained_on, root, open_cache(shared_tiny)) == (
        f"{root}/samples.json lacks 's1' of split.json; restore both, or train again"
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""),
        ({"s0": ("other", "source", 0)}, ANOTHER),
        ({"s1": ("", "", 1)}, ANOTHER),
        ({"s2": ("d", "", 0)}, ANOTHER),
        ({"s1": ("same", "same", 0)}, "has label 1, {root} started with label 0; train into another RUN"),
        ({"s0": ("same", "another source", 0)}, ""),  # the array is the same
    ],
)
def test_a_run_resumes_only_with_the_same_samples_and_labels(tmp_path, changed, reason):
    cache = open_cache(make_cache(tmp_path / "tiny.zarr", 2))
    fingerprints = sample_fingerprints(cache, cache.ids)
    for name, (digest, source, label) in changed.items():
        before = fingerprints.get(name, SampleFingerprint("", "", 0))
        digest = before.chunk if digest == "same" else digest
        fingerprints[name] = SampleFingerprint(digest, before.source if source == "same" else source, label)
    root = tmp_path / "run"
    root.mkdir()
    write_run_files(root, RUN, SPLIT, fingerprints)
    if reason:
        (name,) = changed
        assert (
            error_message(check_samples, root, cache) == f"sample {name!r} of {cache.path} {reason.format(root=root)}"
        )
    else:
        check_samples(root, cache)


@pytest.mark.parametrize(
    ("names", "labels", "changed"),
    [
        (("one", "two"), {}, 0),
        (("two", "one"), {}, 2),
        (("two", "one"), {"s0": 1, "s1": 0}, 0),  # the same classes in another order
        (("one", "two"), {"s0": 1}, 1),
        (("one", "other"), {}, 1),  # the run has no class "two"
    ],
)
def test_changed_labels_are_counted_by_class_name(tmp_path, names, labels, changed):
    cache = open_cache(make_cache(tmp_path / "tiny.zarr", 2))
    fingerprints = {
        name: SampleFingerprint(sample.chunk, sample.source, labels.get(name, sample.label))
        for name, sample in sample_fingerprints(cache, cache.ids).items()
    }
    root = tmp_path / "run"
    root.mkdir()
    write_run_files(root, RUN, SPLIT, fingerprints | {"elsewhere": SampleFingerprint("d", "s", 0)})
    assert changed_labels(root, RUN.replace(class_names=names), cache) == (changed, 2)


def test_training_samples_are_recognised_under_other_names(tmp_path):
    cache = open_cache(make_cache(tmp_path / "tiny.zarr", 3))
    fingerprints = sample_fingerprints(cache, cache.ids)
    recorded = {
        "s0": SampleFingerprint("of another dtype", fingerprints["s1"].source, 0),  # the source of s1
        "s1": fingerprints["s2"],  # s2 is a validation sample
    }
    write_run_files(tmp_path, RUN, SPLIT, recorded)
    assert training_samples_among(tmp_path, cache, cache.ids) == ["s1"]
    write_run_files(tmp_path, RUN, SPLIT, recorded | {"s0": SampleFingerprint(fingerprints["s2"].chunk, "", 0)})
    assert training_samples_among(tmp_path, cache, cache.ids) == ["s2"]
