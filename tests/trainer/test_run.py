"""The folder of a run: read though anybody may have written it, and written only where it is ours to write."""

import json
import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import open_cache
from tests.helpers.caches import make_cache, tiny_attributes
from tests.helpers.run_folders import RUN, SPLIT
from trainer.config import PRETRAIN
from trainer.data.splits.split import read_split
from trainer.errors import TrainerError
from trainer.runs.folder import RUN_FILES, check_folder, enclosing_cache, lock_run, write_run_files
from trainer.runs.run import Run, check_cache, read_run
from trainer.runs.samples import (
    SampleFingerprint,
    changed_labels,
    check_samples,
    is_trained_on,
    read_samples,
    sample_fingerprints,
    training_samples_among,
)

ANOTHER = "is not the one {root} began with; give that cache, or train into another RUN"
FOREIGN = "{root} holds {name!r} and no run; expected a folder that is new or empty"


@pytest.fixture
def root(tmp_path):
    """A run that has just begun."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_run_files(folder, RUN, SPLIT, {"s0": SampleFingerprint("d0", "", 0), "s1": SampleFingerprint("d1", "", 1)})
    return folder


def change(path, **fields):
    """Change what the file says, in a run of an earlier version, which had no list of digests."""
    path.with_name("manifest.json").unlink(missing_ok=True)
    data = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in data.items() if value != "gone"}))


def message(call, *arguments):
    """What the TrainerError says that `call` raises: one line."""
    with pytest.raises(TrainerError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Reading


@pytest.mark.parametrize("run", [RUN, Run(PRETRAIN, "video", (7, 8, 9), ("a, b", "c\nd", "日本"), {}, "/runs/first")])
def test_a_run_reads_back_as_written(tmp_path, run):
    samples = {"s0": SampleFingerprint("d0", "", 0), "s1": SampleFingerprint("d1", "source", 1)}
    write_run_files(tmp_path, run, SPLIT, samples)
    assert read_run(tmp_path) == run
    assert read_split(tmp_path / "split.json") == SPLIT
    assert read_samples(tmp_path) == samples


def test_class_names_are_read_in_unicode_nfc(root):
    change(root / "config.json", class_names=["Ka\u0308se", "two"])
    assert read_run(root).class_names == ("K\u00e4se", "two")
    change(root / "config.json", class_names=["Ka\u0308se", "K\u00e4se"])
    assert "expected different names" in message(read_run, root)


def test_a_missing_run_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    expected = "expected the config.json of a run, as `train` writes it"
    assert message(read_run, tmp_path / "no") == f"{tmp_path}/no/config.json: No such file or directory; {expected}"
    assert message(read_run, file) == f"{file}/config.json: Not a directory; {expected}"
    (tmp_path / "config.json").mkdir()
    assert message(read_run, tmp_path) == f"{tmp_path}/config.json: it is a folder, not a file; {expected}"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"shape": [4, 16, -1]}, "shape [4, 16, -1]; expected a list"),
        ({"shape": []}, "shape (); expected depth, height, width, at most 2147483631 values"),
        ({"shape": "444"}, "shape '444'; expected a list"),
        ({"shape": {"4": 4}}, "shape {'4': 4}; expected a list"),
        ({"shape": [4.0, 16, True]}, "shape [4.0, 16, True]; expected a list"),
        ({"class_names": "ab"}, "class_names 'ab'; expected a list"),
        ({"class_names": ["a"]}, "class_names ['a']; expected a list"),
        ({"class_names": ["a", "a"]}, "class_names ('a', 'a'); expected different names in valid Unicode"),
        ({"class_names": ["a", 1]}, "class_names ['a', 1]; expected a list"),
        ({"class_names": ["a", ["b"]]}, "class_names ['a', ['b']]; expected a list"),
        ({"class_names": ["a", "\ud800"]}, "class_names ('a', '\\ud800'); expected different names in valid Unicode"),
        ({"epochs": True}, "epochs True; expected a whole number, at least 1"),
        ({"epochs": 10**30}, f"epochs {10**30}; expected a whole number, at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate nan; expected a number above 0"),
        ({"learning_rate": float("inf")}, "learning_rate inf; expected a number above 0"),
        (
            {"backbone": "../../etc/passwd"},
            "backbone '../../etc/passwd'; expected one of efficientnetv2b0, resnet50, small, vgg16",
        ),
        ({"backbone": ["vgg16"]}, "backbone ['vgg16']; expected one of efficientnetv2b0, resnet50, small, vgg16"),
        ({"augmentation": ["os.system"]}, "augmentation ['os.system']; expected some of rotation, shift, blur"),
    ],
)
def test_an_invalid_config_is_refused_with_its_path(root, fields, reason):
    change(root / "config.json", **fields)
    assert message(read_run, root) == (f"{root}/config.json is not that of a run: {reason}; restore it, or train again")


@pytest.mark.parametrize("key", ["shape", "class_names", "recipe", "kind", "from"])
def test_a_config_without_a_key_is_refused(root, key):
    change(root / "config.json", **{key: "gone"})
    assert message(read_run, root) == (
        f"{root}/config.json is not that of a run: no key '{key}'; restore it, or train again"
    )


@pytest.mark.parametrize("given", [None, 0, 2, "1"])
def test_a_config_of_another_format_is_refused(root, given):
    change(root / "config.json", format_version=given)
    assert message(read_run, root) == f"{root}/config.json has format_version {given!r}, expected 1"


@pytest.mark.parametrize("name", ["config.json", "split.json", "samples.json"])
@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"[" * 1_000_000, b'{"a":' * 1_000_000, b"[1, 2]", b"null", b"1" * 5000, b'{"shape": 1']
)
def test_other_contents_than_a_json_object_are_refused(root, name, data):
    (root / name).write_bytes(data)
    read = {"config.json": read_run, "samples.json": read_samples}.get(name, lambda root: read_split(root / name))
    text = message(read, root)
    assert text.startswith(f"{root}/{name} ")
    assert len(text) < 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(RUN.to_json())), value=json_values)
def test_any_value_in_a_config_is_read_or_refused(tmp_path_factory, key, value):
    root = tmp_path_factory.getbasetemp()
    (root / "config.json").write_text(json.dumps(RUN.to_json() | {key: value}))
    with suppress(TrainerError):
        run = read_run(root)
        written = json.dumps(run.to_json())
        (root / "config.json").write_text(written)
        assert json.dumps(read_run(root).to_json()) == written


def test_an_invalid_split_is_refused_with_its_path(root):
    path = root / "split.json"
    for data, reason in (
        ({"train": ["a"], "validation": []}, "split has no ids in 'validation'; expected "),
        ({"train": ["a"], "validation": ["a"]}, "split has 'a' in 'train' and in 'validation'; expected each id once"),
        ({"train": ["a"], "validation": [1]}, "not a split: validation [1]; expected a list of ids"),
        (
            {"train": ["a"], "validation": ["b"], "tset": ["c"]},
            "not a split: unknown key 'tset'; did you mean 'test'?",
        ),
    ):
        path.write_text(json.dumps(data))
        assert message(read_split, path).startswith(f"{path}: {reason}")


# Which cache is the run's own


def test_the_cache_of_a_run_is_recognised_by_the_bytes_of_its_training_samples(tmp_path):
    cache = open_cache(make_cache(tmp_path / "tiny.zarr", 3))
    seen = sample_fingerprints(cache, ("s0", "s1"))
    other, source = SampleFingerprint("other", "other", 0), seen["s0"].source
    for number, (samples, own) in enumerate(
        [
            (seen, True),
            (seen | {"s1": other}, True),  # one that was trained on is enough: it must not be scored
            (seen | {"s0": other}, False),  # and one that only validated is not
            (seen | {"s0": SampleFingerprint("of another dtype", source, 0)}, True),
            ({"s0": SampleFingerprint(seen["s0"].chunk, "another source", 0), "s1": other}, True),  # of the same chunk
            (
                {"s0": SampleFingerprint("other", "", 0), "s1": SampleFingerprint("other", "", 0)},
                False,
            ),  # unknown sources are not the same
        ]
    ):
        root = tmp_path / str(number)
        root.mkdir()
        write_run_files(root, RUN, SPLIT, samples)
        assert is_trained_on(root, cache) is own


def test_samples_json_without_ids_of_the_split_is_refused(root, shared_tiny):
    (root / "samples.json").write_text('{"s0": ["d0", "", 0]}')
    (root / "manifest.json").unlink()
    assert message(is_trained_on, root, open_cache(shared_tiny)) == (
        f"{root}/samples.json lacks 's1' of split.json; restore both, or train again"
    )


@pytest.mark.parametrize(
    ("fields", "recipe", "reason"),
    [
        ({}, {}, ""),
        ({"dtype": "uint8"}, {}, ""),  # how values are stored does not change what they mean
        ({"class_names": ("x",)}, {}, ""),
        ({"shape": (3, 4, 6)}, {}, "shape (3, 4, 6), the run was trained on shape (3, 4, 5)"),
        ({"kind": "video"}, {}, "kind video, the run was trained on kind ct"),
        ({}, {"window": [0, 1]}, "window [0, 1], the run was trained on window [-1000.0, 400.0]"),
        ({}, {"window": None}, "window None, the run was trained on window [-1000.0, 400.0]"),
        ({}, {"orientation": "file"}, "orientation file, the run was trained on orientation SPL"),
    ],
)
def test_a_cache_whose_samples_have_another_meaning_is_refused(tmp_path, fields, recipe, reason):
    attributes = tiny_attributes(**fields, **({"window": [-1000, 400], "orientation": "SPL"} | recipe))
    cache = open_cache(make_cache(tmp_path / "tiny.zarr", 1, attributes))
    if reason:
        assert message(check_cache, RUN, cache) == (f"{cache.path} has {reason}; give a cache built by the same recipe")
    else:
        check_cache(RUN, cache)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""),
        ({"s0": ("other", "source", 0)}, ANOTHER),
        ({"s1": ("", "", 1)}, ANOTHER),
        ({"s2": ("d", "", 0)}, ANOTHER),
        ({"s1": ("same", "same", 0)}, "has label 1, {root} began with label 0; train into another RUN"),
        ({"s0": ("same", "another source", 0)}, ""),  # the bytes trained on are the same
    ],
)
def test_a_run_resumes_only_with_the_same_samples_and_labels(tmp_path, changed, reason):
    cache = open_cache(make_cache(tmp_path / "tiny.zarr", 2))
    seen = sample_fingerprints(cache, cache.ids)
    for name, (digest, source, label) in changed.items():
        before = seen.get(name, SampleFingerprint("", "", 0))
        digest = before.chunk if digest == "same" else digest
        seen[name] = SampleFingerprint(digest, before.source if source == "same" else source, label)
    root = tmp_path / "run"
    root.mkdir()
    write_run_files(root, RUN, SPLIT, seen)
    if reason:
        (name,) = changed
        assert message(check_samples, root, cache) == f"sample {name!r} of {cache.path} {reason.format(root=root)}"
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
    seen = {
        name: SampleFingerprint(sample.chunk, sample.source, labels.get(name, sample.label))
        for name, sample in sample_fingerprints(cache, cache.ids).items()
    }
    root = tmp_path / "run"
    root.mkdir()
    write_run_files(root, RUN, SPLIT, seen | {"elsewhere": SampleFingerprint("d", "s", 0)})
    assert changed_labels(root, RUN.replace(class_names=names), cache) == (changed, 2)


# Writing


def test_a_new_run_folder_is_made_with_its_parents(tmp_path):
    root = tmp_path / "runs" / "of" / "today"
    assert check_folder(root, resume=False) is False
    with lock_run(root, resume=False) as going_on:
        assert not going_on
    assert {path.name for path in root.iterdir()} <= {"lock"}
    with lock_run(root, resume=False) as going_on:  # what a run that never began leaves is no run
        assert not going_on


def test_a_run_folder_may_be_a_link_to_an_empty_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with lock_run(tmp_path / "link", resume=False):
        assert (tmp_path / "real" / "lock").exists()


def test_a_path_that_is_not_unicode_is_refused(tmp_path):
    root = tmp_path / os.fsdecode(b"\xff")
    assert message(check_folder, root, False) == f"{root} has a path that is not valid UTF-8; choose another RUN"


def test_a_run_is_resumed_only_with_resume(root):
    assert message(check_folder, root, False) == (
        f"{root} holds a run already; resume it with --resume, or choose another RUN"
    )
    assert check_folder(root, True) is True


def test_files_of_a_run_killed_before_its_config_are_replaced_with_resume(root):
    (root / "config.json").rename(root / "partial-config.json")
    assert message(check_folder, root, False) == (
        f"{root} holds 'manifest.json', left by a run that was stopped as it started; start it again with --resume, "
        "or choose another RUN"
    )
    with lock_run(root, resume=True) as going_on:
        assert not going_on
        assert not (root / "partial-config.json").exists()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["notes.txt", "partial-results.csv", "model.keras", ".hidden", "partial-"])
def test_a_folder_with_other_files_is_refused(tmp_path, name, resume):
    (tmp_path / name).write_text("mine")
    with pytest.raises(TrainerError) as caught, lock_run(tmp_path, resume):
        pass
    assert str(caught.value) == FOREIGN.format(root=tmp_path, name=name)
    assert (tmp_path / name).read_text() == "mine"
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208 - the names alone


def test_only_partially_written_files_of_the_run_are_removed(root):
    for name in RUN_FILES:
        (root / f"partial-{name}").write_text("half")
    (root / "partial-results.csv").write_text("mine")
    with lock_run(root, resume=True):
        assert [path.name for path in root.glob("partial-*")] == ["partial-results.csv"]


def test_the_lock_is_released_after_an_error(root):
    with pytest.raises(RuntimeError), lock_run(root, resume=True):
        raise RuntimeError
    with lock_run(root, resume=True):
        pass


def test_a_path_inside_a_cache_is_recognised_through_links(tmp_path):
    cache = make_cache(tmp_path / "tiny.zarr")
    (tmp_path / "link").symlink_to(cache / "volume")
    for path in (cache, cache / "run", cache / "ledger/run", tmp_path / "link/run"):
        assert enclosing_cache(path) == cache.resolve()
        assert "is inside the cache" in message(check_folder, path, False)
    assert enclosing_cache(tmp_path / "run") is None
    assert enclosing_cache(tmp_path / "tiny.zarr2") is None


def test_training_samples_are_recognised_under_another_name(tmp_path):
    cache = open_cache(make_cache(tmp_path / "tiny.zarr", 3))
    seen = sample_fingerprints(cache, cache.ids)
    recorded = {
        "s0": SampleFingerprint("of another dtype", seen["s1"].source, 0),  # the source of s1
        "s1": seen["s2"],  # which only validated
    }
    write_run_files(tmp_path, RUN, SPLIT, recorded)
    assert training_samples_among(tmp_path, cache, cache.ids) == ["s1"]
    write_run_files(tmp_path, RUN, SPLIT, recorded | {"s0": SampleFingerprint(seen["s2"].chunk, "", 0)})
    assert training_samples_among(tmp_path, cache, cache.ids) == ["s2"]
