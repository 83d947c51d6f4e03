"""split.json is read back as written; invalid contents are rejected in one line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.errors import error_message
from trainer.data.splits.split import Split
from trainer.errors import TrainerError

IDS = st.lists(st.text(max_size=5), min_size=2, unique=True)


@given(IDS, st.data())
def test_a_split_is_unchanged_after_json(ids, data):
    bounds = sorted(data.draw(st.lists(st.integers(1, len(ids)), min_size=2, max_size=2, unique=True)))
    split = Split(tuple(ids[: bounds[0]]), tuple(ids[bounds[0] : bounds[1]]), tuple(ids[bounds[1] :]))
    document = json.loads(json.dumps(split.to_json()))
    assert Split.from_json(document) == split
    assert ("test" in document) == bool(split.test)


IDS_EXPECTED = 'expected a list of ids, as in {"train": [ids], "validation": [ids]}, optionally with "test"'


EXPECTED = 'expected {"train": [ids], "validation": [ids]}, optionally with "test"'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, f"not a split: no key 'train'; {EXPECTED}"),
        ({"train": ["a"]}, f"not a split: no key 'validation'; {EXPECTED}"),
        ({"train": [], "validation": ["a"]}, f"split has no ids in 'train'; {EXPECTED}"),
        ({"train": ["a"], "validation": ["b"], "val": []}, f"not a split: unknown key 'val'; {EXPECTED}"),
        ({"train": "abc", "validation": ["b"]}, f"not a split: train 'abc'; {IDS_EXPECTED}"),
        ({"train": {"a": 1}, "validation": ["b"]}, f"not a split: train {{'a': 1}}; {IDS_EXPECTED}"),
        ({"train": [1], "validation": ["b"]}, f"not a split: train [1]; {IDS_EXPECTED}"),
        ({"train": [["a"]], "validation": ["b"]}, f"not a split: train [['a']]; {IDS_EXPECTED}"),
        (
            {"train": ["a", "b", "a"], "validation": ["c"]},
            "split has 'a' in 'train' and in 'train'; expected each id once",
        ),
        (
            {"train": ["a"], "validation": ["b"], "test": ["a"]},
            "split has 'a' in 'train' and in 'test'; expected each id once",
        ),
        ({"train": ["b"], "validation": [0]}, f"not a split: validation [0]; {IDS_EXPECTED}"),
    ],
)
def test_an_invalid_split_document_is_rejected(data, message):
    assert error_message(Split.from_json, data) == message


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["train", "validation", "test"]) | st.text(), inner)
    ),
)


@given(st.dictionaries(st.sampled_from(["train", "validation", "test"]) | st.text(), JSON))
def test_any_json_object_is_a_split_or_gives_a_one_line_error(data):
    message = ""
    try:
        Split.from_json(data)
    except TrainerError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1
