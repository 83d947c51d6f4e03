"""config.json is read back as written; invalid contents and unsuitable caches are rejected."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import open_cache
from tests.helpers.caches import make_cache, tiny_attributes
from tests.helpers.errors import error_message
from tests.helpers.run_documents import root
from tests.helpers.run_folders import RUN, SPLIT
from trainer.config import PRETRAIN
from trainer.data.splits.split import read_split
from trainer.errors import TrainerError
from trainer.runs.folder import write_run_files
from trainer.runs.run import Run, check_cache, read_run
from trainer.runs.samples import (
    SampleFingerprint,
    read_samples,
)

__all__ = ["root"]  # a fixture


def change(path, **fields):
    """Change fields of a file in a run of an earlier version, which had no manifest."""
    path.with_name("manifest.json").unlink(missing_ok=True)
    data = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in data.items() if value != "removed"}))


@pytest.mark.parametrize("run", [RUN, Run(PRETRAIN, "video", (7, 8, 9), ("a, b", "c\nd", "日本"), {}, "/runs/first")])
def test_a_run_is_read_back_as_written(tmp_path, run):
    samples = {"s0": SampleFingerprint("d0", "", 0), "s1": SampleFingerprint("d1", "source", 1)}
    write_run_files(tmp_path, run, SPLIT, samples)
    assert read_run(tmp_path) == run
    assert read_split(tmp_path / "split.json") == SPLIT
    assert read_samples(tmp_path) == samples


def test_class_names_are_read_in_unicode_nfc(root):
    change(root / "config.json", class_names=["Ka\u0308se", "two"])
    assert read_run(root).class_names == ("K\u00e4se", "two")
    change(root / "config.json", class_names=["Ka\u0308se", "K\u00e4se"])
    assert "expected different names" in error_message(read_run, root)


def test_a_missing_run_is_rejected(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    expected = "expected the config.json of a run, as `train` writes it"
    assert (
        error_message(read_run, tmp_path / "no") == f"{tmp_path}/no/config.json: No such file or directory; {expected}"
    )
    assert error_message(read_run, file) == f"{file}/config.json: Not a directory; {expected}"
    (tmp_path / "config.json").mkdir()
    assert error_message(read_run, tmp_path) == f"{tmp_path}/config.json: it is a folder, not a file; {expected}"


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
def test_an_invalid_config_is_rejected_with_its_path(root, fields, reason):
    change(root / "config.json", **fields)
    assert error_message(read_run, root) == (
        f"{root}/config.json is not that of a run: {reason}; restore it, or train again"
    )


@pytest.mark.parametrize("key", ["shape", "class_names", "recipe", "kind", "from"])
def test_a_config_without_a_key_is_rejected(root, key):
    change(root / "config.json", **{key: "removed"})
    assert error_message(read_run, root) == (
        f"{root}/config.json is not that of a run: no key '{key}'; restore it, or train again"
    )


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_a_config_of_another_format_is_rejected(root, version):
    change(root / "config.json", format_version=version)
    assert error_message(read_run, root) == f"{root}/config.json has format_version {version!r}, expected 1"


@pytest.mark.parametrize("name", ["config.json", "split.json", "samples.json"])
@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"[" * 1_000_000, b'{"a":' * 1_000_000, b"[1, 2]", b"null", b"1" * 5000, b'{"shape": 1']
)
def test_documents_of_a_run_that_are_not_json_objects_are_rejected(root, name, data):
    (root / name).write_bytes(data)
    read = {"config.json": read_run, "samples.json": read_samples}.get(name, lambda root: read_split(root / name))
    text = error_message(read, root)
    assert text.startswith(f"{root}/{name} ")
    assert len(text) < 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(RUN.to_json())), value=json_values)
def test_any_value_in_a_config_is_read_or_rejected(tmp_path_factory, key, value):
    root = tmp_path_factory.getbasetemp()
    (root / "config.json").write_text(json.dumps(RUN.to_json() | {key: value}))
    with suppress(TrainerError):
        run = read_run(root)
        written = json.dumps(run.to_json())
        (root / "config.json").write_text(written)
        assert json.dumps(read_run(root).to_json()) == written


def test_an_invalid_split_is_rejected_with_its_path(root):
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
        assert error_message(read_split, path).startswith(f"{path}: {reason}")


@pytest.mark.parametrize(
    ("fields", "recipe", "reason"),
    [
        ({}, {}, ""),
        ({"dtype": "uint8"}, {}, ""),  # the dtype does not change the meaning of values
        ({"class_names": ("x",)}, {}, ""),
        ({"shape": (3, 4, 6)}, {}, "shape (3, 4, 6), the run was trained on shape (3, 4, 5)"),
        ({"kind": "video"}, {}, "kind video, the run was trained on kind ct"),
        ({}, {"window": [0, 1]}, "window [0, 1], the run was trained on window [-1000.0, 400.0]"),
        ({}, {"window": None}, "window None, the run was trained on window [-1000.0, 400.0]"),
        ({}, {"orientation": "file"}, "orientation file, the run was trained on orientation SPL"),
    ],
)
def test_a_cache_with_another_shape_kind_window_or_orientation_is_rejected(tmp_path, fields, recipe, reason):
    attributes = tiny_attributes(**fields, **({"window": [-1000, 400], "orientation": "SPL"} | recipe))
    cache = open_cache(make_cache(tmp_path / "tiny.zarr", 1, attributes))
    if reason:
        assert error_message(check_cache, RUN, cache) == (
            f"{cache.path} has {reason}; give a cache built by the same recipe"
        )
    else:
        check_cache(RUN, cache)
