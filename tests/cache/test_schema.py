"""Entries and attributes survive JSON unchanged, and reject JSON that they would not write."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.schema import (
    AUGMENTED,
    DTYPES,
    FEATURES,
    MAX_CLASS_NAMES,
    MAX_CLASSES,
    MAX_DEGREES,
    MAX_ID_BYTES,
    MAX_ROWS,
    MAX_SAMPLE_BYTES,
    MAX_SOURCES,
    VOLUME,
    Attributes,
    Entry,
    Source,
    scale_factor,
)
from tests.helpers.strategies import entries, json_values

COMPLETE = Entry("s0", "complete", row=0, source=Source("/data", ("a.nii",), 1, 2, "d"), digest="e", nbytes=50)
GOOD = Attributes("ct", {"depth": 3, "height": 4, "width": 5, "dtype": "uint16"}, ("one",), ("/data",))


def through_json(value):
    return json.loads(json.dumps(value))


@given(entries)
def test_an_entry_survives_json(entry):
    assert Entry.from_json(through_json(entry.to_json())) == entry


def test_the_json_of_an_entry_omits_defaults():
    assert Entry("a.txt", "excluded").to_json() == {"id": "a.txt", "state": "excluded"}
    assert COMPLETE.to_json()["row"] == 0


@given(st.dictionaries(st.sampled_from(["id", "state", "row", "label", "source", "details", "x"]), json_values))
def test_an_entry_accepts_only_json_that_it_would_write(changes):
    data = through_json(COMPLETE.to_json()) | changes
    try:
        entry = Entry.from_json(data)
    except (ValueError, TypeError):
        return
    assert Entry.from_json(through_json(entry.to_json())) == entry
    assert "x" not in data


@pytest.mark.parametrize("json_value", [None, 1, "text", [], [1], {}, {"id": "a"}])
def test_a_json_line_that_is_not_an_entry_is_rejected(json_value):
    with pytest.raises((ValueError, TypeError)):
        Entry.from_json(json_value)


@pytest.mark.parametrize("file", ["../a", "a/../../b", "..", "/etc/passwd", "a/..", "a\0b"])
def test_a_source_outside_its_root_is_rejected(file):
    with pytest.raises(ValueError, match="not a path below its root"):
        Source("/data", (file,))


def test_two_dots_within_a_file_name_are_accepted():
    assert Source("/data", ("scan..2.nii", "..a/b")).files == ("scan..2.nii", "..a/b")


@pytest.mark.parametrize(
    "change",
    [
        {"row": -1}, {"row": -2}, {"row": MAX_ROWS}, {"row": True}, {"row": 1.5}, {"id": ""},
        {"id": "lone \udcff"}, {"group": "lone \ud800"}, {"label": -2}, {"label": 10**30}, {"state": "done"},
        {"nbytes": "50"}, {"details": []}, {"source": {}}, {"retry": 1}, {"id": 7},
    ],
)  # fmt: skip
def test_an_entry_with_an_invalid_field_is_rejected(change):
    with pytest.raises(ValueError, match=r"(?i)expected|without|utf-8|missing"):
        Entry.from_json(COMPLETE.to_json() | change)


def test_a_name_that_is_not_utf8_can_be_quarantined():
    entry = Entry("scan \udcff", "quarantined", source=Source("/data", ("scan \udcff.nii",)))
    assert Entry.from_json(through_json(entry.to_json())) == entry


def test_attributes_survive_json():
    for attributes in (GOOD, GOOD.replace(patient_column="Patient ID")):
        assert Attributes.from_json(through_json(attributes.to_json())) == attributes
    assert "patient_column" not in GOOD.to_json()


def test_class_names_are_normalised_to_composed_characters():
    decomposed = GOOD.replace(class_names=("Ka\u0308se",))
    assert decomposed.class_names == ("K\u00e4se",)
    assert Attributes.from_json(GOOD.to_json() | {"class_names": ["Ka\u0308se"]}) == decomposed


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 0}, {"depth": -1}, {"depth": 2.0}, {"depth": True}, {"depth": None}, {"depth": "3"},
        {"depth": 10**9}, {"height": 2**31}, {"dtype": "int32"}, {"dtype": None}, {"dtype": []}, {"width": []},
        {"width": [1, 2]}, {"angle": 3, "width": None},
    ],
)  # fmt: skip
def test_an_impossible_recipe_is_rejected(change):
    with pytest.raises(ValueError, match=r"expected|at most"):
        GOOD.replace(recipe=GOOD.recipe | change)


def test_an_invalid_kind_or_format_version_is_rejected():
    with pytest.raises(ValueError, match="kind 'an MRI', expected a name in lower-case letters"):
        GOOD.replace(kind="an MRI")
    with pytest.raises(ValueError, match="format_version 2, expected 1"):
        GOOD.replace(format_version=2)


def test_only_features_of_a_recipe_with_angles_have_an_axis_of_rotations():
    recipe = {"depth": 3, "channels": 512, "dtype": "float16"}
    plain, rotated = (Attributes("features", recipe | extra, ("one",)) for extra in ({}, {"angles": [0, -15.0]}))
    assert (plain.layout, plain.shape, plain.angles) == (FEATURES, (3, 512), ())
    assert (rotated.layout, rotated.shape, rotated.angles) == (AUGMENTED, (2, 3, 512), (0, -15.0))
    assert (plain.sample_bytes, rotated.sample_bytes) == (3 * 512 * 2, 2 * 3 * 512 * 2)
    scans = Attributes("ct", dict(GOOD.recipe) | {"angles": [0, -15.0]}, ("one",))
    assert (scans.layout, scans.shape, scans.angles) == (VOLUME, (3, 4, 5), ())


@pytest.mark.parametrize("angles", [[], [1, 1], ["1"], 15, None, [True], [MAX_DEGREES + 1], [-MAX_DEGREES - 1]])
def test_impossible_angles_are_rejected(angles):
    recipe = {"depth": 3, "channels": 512, "dtype": "float16", "angles": angles}
    with pytest.raises(ValueError, match="expected a list of different numbers of degrees"):
        Attributes("features", recipe, ("one",))


def test_the_largest_angles_are_accepted():
    recipe = {"depth": 3, "channels": 512, "dtype": "float16", "angles": [-MAX_DEGREES, MAX_DEGREES]}
    assert Attributes("features", recipe, ("one",)).angles == (-MAX_DEGREES, MAX_DEGREES)


@pytest.mark.parametrize(("label", "name"), [(-1, "unlabelled"), (0, "one"), (1, "class 1"), (10**6, "class 1000000")])
def test_every_label_has_a_name(label, name):
    assert GOOD.class_name(label) == name


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_integer_decodes_to_exactly_1(dtype):
    scale = scale_factor(dtype)
    if scale is None:
        assert dtype.startswith("float")
    else:
        top = np.iinfo(dtype).max
        assert np.float64(top) * scale == 1
        assert np.float32(top) * np.float32(scale) == 1


def test_the_largest_allowed_size_is_accepted_and_one_more_is_rejected():
    longest = "a" * (MAX_ID_BYTES - 2) + "é"
    assert COMPLETE.replace(id=longest, group=longest).id == longest
    for field in ("id", "group"):
        with pytest.raises(ValueError, match="is longer than 4096 bytes"):
            COMPLETE.replace(**{field: longest + "a"})
    rows, names = range(MAX_CLASSES), MAX_CLASS_NAMES
    assert len(GOOD.replace(class_names=tuple(map(str, rows))).class_names) == MAX_CLASSES
    assert GOOD.replace(class_names=("a" * names,)).class_names == ("a" * names,)
    assert len(GOOD.replace(sources=("/a",) * MAX_SOURCES).sources) == MAX_SOURCES
    for change in (
        {"class_names": tuple(map(str, range(MAX_CLASSES + 1)))},
        {"class_names": ("a" * names, "b")},
        {"sources": ("/a",) * (MAX_SOURCES + 1)},
    ):
        with pytest.raises(ValueError, match="at most"):
            GOOD.replace(**change)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sample_larger_than_the_largest_chunk_is_rejected(dtype):
    value_bytes = np.dtype(dtype).itemsize
    largest = {"dtype": dtype, "depth": 1, "height": 1, "width": MAX_SAMPLE_BYTES // value_bytes}
    assert GOOD.replace(recipe=largest).sample_bytes == largest["width"] * value_bytes
    with pytest.raises(ValueError, match="bytes a sample, at most"):
        GOOD.replace(recipe=largest | {"width": largest["width"] + 1})
    assert GOOD.replace(recipe={"dtype": "uint8", "depth": 1, "height": 1, "width": MAX_SAMPLE_BYTES})
