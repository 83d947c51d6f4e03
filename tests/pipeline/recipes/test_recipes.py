"""A recipe validates its fields, survives JSON unchanged, and describes its difference from another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.resume import describe_difference
from cache.schema import DTYPES
from pipeline.errors import InvalidInput, PipelineError
from pipeline.recipes.ct import CtRecipe
from pipeline.recipes.stored import recipe_from_json
from pipeline.recipes.video import VideoRecipe
from tests.helpers.clips import write_xvid


@given(
    st.builds(
        CtRecipe,
        depth=st.integers(2, 100),
        height=st.integers(2, 300),
        width=st.integers(2, 300),
        order=st.integers(0, 5),
        window=st.tuples(st.floats(-2000, 0), st.floats(1, 3000)),
        dtype=st.sampled_from(list(DTYPES)),
    )
)
def test_a_recipe_is_unchanged_after_json(recipe):
    assert recipe_from_json(recipe.to_json()) == recipe


def test_the_default_recipe_is_the_one_of_the_paper():
    assert CtRecipe().to_json() == {
        "kind": "ct",
        "version": 1,
        "depth": 70,
        "height": 224,
        "width": 224,
        "order": 3,
        "window": [-1000.0, 400.0],
        "orientation": "SPL",
        "preset": "paper",
        "dtype": "uint16",
    }


def test_preset_original_keeps_the_file_axes():
    assert CtRecipe(preset="original", order=1).to_json()["orientation"] == "file"


NUMBERS = "expected two numbers in HU, the lower first"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 0}, "depth 0; expected 2 to 4096"),
        ({"depth": 1}, "depth 1; expected 2 to 4096"),
        ({"height": -5}, "height -5; expected 2 to 4096"),
        ({"width": 100_000}, "width 100000; expected 2 to 4096"),
        ({"order": 9}, "order 9; expected 0 to 5"),
        ({"order": -1}, "order -1; expected 0 to 5"),
        ({"order": 6}, "order 6; expected 0 to 5"),
        ({"dtype": "int8"}, "dtype 'int8'; expected one of uint8, uint16, float16, float32"),
        ({"preset": "mine"}, "preset 'mine'; expected one of paper, original"),
        ({"preset": "original"}, "order 3 with preset original; that code used order 1, leave --order out"),
        ({"window": (400.0, -1000.0)}, f"window 400 -1000; {NUMBERS}"),
        ({"window": (7.0, 7.0)}, f"window 7 7; {NUMBERS}"),
        ({"window": (float("nan"), 1.0)}, f"window nan 1; {NUMBERS}"),
        ({"window": (0.0, float("inf"))}, f"window 0 inf; {NUMBERS}"),
        ({"window": (-1e308, 1e308)}, f"window -1e+308 1e+308; {NUMBERS}"),
        (
            {"depth": 4096, "height": 4096, "width": 4096},
            "a sample of 4096×4096×4096 uint16 has 137.4 GB; expected at most 2.1 GB",
        ),
    ],
)
def test_an_invalid_recipe_is_rejected(fields, message):
    with pytest.raises(PipelineError) as error:
        CtRecipe(**fields)
    assert str(error.value) == message


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_clip_is_stored_as_gray_values_or_divided_by_255(tmp_path, dtype):
    write_xvid(tmp_path / "clip.avi", 8)
    gray, stored = (
        VideoRecipe(depth=4, height=8, width=8, dtype=stored_dtype).make((tmp_path / "clip.avi",)).values
        for stored_dtype in ("uint8", dtype)
    )
    assert gray.dtype == np.uint8
    assert gray.max() > 1
    if dtype == "uint8":
        np.testing.assert_array_equal(stored, gray)
    else:
        assert stored.dtype == np.float32
        np.testing.assert_allclose(stored, gray / 255.0, rtol=1e-6)


@pytest.mark.parametrize("size", [2, 4096])
def test_the_smallest_and_the_largest_size_are_valid(size):
    assert CtRecipe(depth=size, height=2, width=2).depth == size


def test_a_recipe_of_another_version_is_rejected():
    with pytest.raises(PipelineError) as error:
        recipe_from_json(CtRecipe().to_json() | {"version": 99})
    assert str(error.value) == "the cache's recipe is of version 99, this program's of 1"


@pytest.mark.parametrize("data", [{}, {"kind": "mri"}, {"kind": "ct"}, {**CtRecipe().to_json(), "window": 1}])
def test_json_that_is_not_a_recipe_is_rejected(data):
    with pytest.raises(
        PipelineError, match=r"^the cache's recipe cannot be read \(.*\); it was made by another version"
    ):
        recipe_from_json(data)


def test_a_difference_has_the_old_and_new_value_of_each_parameter():
    old, new = CtRecipe().to_json(), CtRecipe(order=1, window=(-500.0, 400.0)).to_json()
    assert describe_difference(old, new) == "order 3 → 1, window [-1000.0, 400.0] → [-500.0, 400.0]"
    assert describe_difference(old, old) == ""
    assert describe_difference({"a": 1}, {"b": 2}) == "a 1 → None, b None → 2"
    assert describe_difference({"a": old, "b": {}}, {"a": new, "b": 1}).startswith("a.order 3 → 1, a.window [-1000.0")


@pytest.mark.parametrize(
    ("name", "other", "zipped"),
    [("x.hdr", ".img", ""), ("X.IMG", ".hdr", ""), ("x.hdr.gz", ".img", ".gz"), ("X.IMG.GZ", ".hdr", ".gz")],
)
def test_half_a_pair_is_rejected_with_the_name_of_the_other_half(tmp_path, name, other, zipped):
    path = tmp_path / name
    path.touch()
    with pytest.raises(InvalidInput) as error:
        CtRecipe().make((path,))
    assert str(error.value) == (
        f"half of a .hdr/.img pair, without its {other}; "
        f"expected '{name[0]}{other}{zipped}' next to it, with its name in the same case; "
        f"put the {other} there, or move this file out of SOURCE"
    )
