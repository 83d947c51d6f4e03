"""Augmentation equals SciPy on float64, draws from the documented values, and leaves its input unchanged."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from trainer.data.augment import ANGLES, KINDS, MAX_SHIFT, augment, blur, rotate, shift

DTYPES = ("uint8", "uint16", "float16", "float32")
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70))
SUBSETS = st.sets(st.sampled_from(KINDS)).map(sorted)


def noise(shape, dtype="float32", seed=0):
    """Random values over the range of `dtype`, [0, 1] for floats, including both limits."""
    values = np.random.default_rng(seed).random(shape)
    values.flat[0], values.flat[-1] = 0, 1
    return np.rint(values * max_value(dtype)).astype(dtype) if dtype.startswith("u") else values.astype(dtype)


def max_value(dtype):
    return np.iinfo(dtype).max if dtype.startswith("u") else 1


def rounding(dtype):
    """The largest rounding error of storing in `dtype`, plus 1e-6 for sums in float32, relative to its range."""
    return {"float16": 2**-12, "float32": 0}.get(dtype, 0.5 / max_value(dtype)) + 1e-6


def scipy_rotate(volume, angle, mode="grid-constant"):
    return ndimage.rotate(np.float64(volume), angle, axes=(1, 2), reshape=False, order=1, mode=mode)


def error(actual, expected):
    """The largest difference relative to the range of the dtype."""
    return np.abs(np.float64(actual) - expected).max() / max_value(actual.dtype.name)


@settings(max_examples=300)
@given(SHAPES, st.sampled_from(DTYPES), st.sampled_from(ANGLES) | st.floats(-360, 360), st.integers(0, 99))
def test_a_rotation_equals_scipy_on_float64_for_any_size_angle_and_dtype(shape, dtype, angle, seed):
    volume = noise(shape, dtype, seed)
    rotated = rotate(volume, angle)
    assert (rotated.shape, rotated.dtype) == (shape, dtype)
    assert error(rotated, scipy_rotate(volume, angle)) <= sum(shape[1:]) * 1e-7 + rounding(dtype)


@settings(max_examples=100)
@given(SHAPES, st.sampled_from(ANGLES), st.integers(0, 99))
def test_a_rotation_equals_the_default_mode_of_scipy_except_at_the_edges(shape, angle, seed):
    volume = noise(shape, seed=seed)
    inside = scipy_rotate(np.ones(shape), angle, "constant") > 0.5
    expected = scipy_rotate(volume, angle, "constant")
    np.testing.assert_allclose(rotate(volume, angle)[inside], expected[inside], rtol=0, atol=2e-5)


def test_angles_and_shifts_are_those_of_the_paper():
    assert ANGLES == (-20, -10, -5, 0, 5, 10, 20)
    assert MAX_SHIFT == 0.1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("angle", ANGLES)
def test_a_full_slice_differs_from_scipy_by_less_than_1e_4_on_average(angle, dtype):
    volume = noise((1, 224, 224), dtype)
    expected = scipy_rotate(volume, angle)
    if dtype != "float32":
        expected = np.float64((np.rint(expected) if dtype.startswith("u") else expected).astype(dtype))
    assert np.abs(rotate(volume, angle) - expected).mean() / max_value(dtype) < 1e-4


def test_a_rotation_equals_the_original_code():
    volume = noise((3, 20, 31))
    original = ndimage.rotate(np.moveaxis(np.float64(volume), 0, -1), 10, reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(rotate(volume, 10), np.moveaxis(original, -1, 0), rtol=0, atol=1e-5)


def test_a_positive_angle_rotates_anticlockwise():
    volume = noise((2, 9, 9))
    np.testing.assert_allclose(rotate(volume, 90), np.rot90(volume, axes=(1, 2)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rotation_fills_corners_with_0_and_preserves_a_constant_interior(dtype):
    full = np.full((2, 60, 50), max_value(dtype), dtype)
    for angle in set(ANGLES) - {0}:
        rotated = rotate(full, angle)
        assert (rotated[:, [0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
        assert (rotated[:, 15:-15, 12:-12] == max_value(dtype)).all()


@settings(max_examples=100)
@given(SHAPES, st.sampled_from(DTYPES), st.integers(-80, 80), st.integers(-80, 80))
def test_a_shift_moves_by_integer_pixels_down_and_right_and_fills_with_0(shape, dtype, rows, columns):
    volume = noise(shape, dtype)
    expected = ndimage.shift(np.float64(volume), (0, rows, columns), order=0)
    moved = shift(volume, rows, columns)
    assert moved.dtype == dtype
    np.testing.assert_array_equal(moved, expected)


@settings(max_examples=200)
@given(SHAPES, st.sampled_from(DTYPES), st.floats(0, 3), st.integers(0, 99))
def test_a_blur_equals_the_gaussian_filter_of_scipy_on_float64(shape, dtype, sigma, seed):
    volume = noise(shape, dtype, seed)
    smooth = blur(volume, sigma)
    assert (smooth.shape, smooth.dtype) == (shape, dtype)
    expected = ndimage.gaussian_filter(np.float64(volume), (0, sigma, sigma))
    assert error(smooth, expected) <= rounding(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("identity", [lambda v: rotate(v, 0), lambda v: shift(v, 0, 0), lambda v: blur(v, 0)])
def test_transforms_that_change_nothing_return_an_equal_new_array(identity, dtype):
    volume = noise((2, 5, 6), dtype)
    copied = identity(volume)
    np.testing.assert_array_equal(copied, volume)
    assert not np.shares_memory(copied, volume)


@settings(max_examples=100)
@given(SHAPES, st.sampled_from(DTYPES), SUBSETS, st.integers(0, 999))
def test_augmented_values_stay_in_range_and_the_input_is_unchanged(shape, dtype, kinds, seed):
    volume = noise(shape, dtype)
    volume.flags.writeable = False
    before = volume.copy()
    changed = augment(volume, kinds, np.random.default_rng(seed))
    assert (changed.shape, changed.dtype) == (shape, dtype)
    assert changed.min() >= 0
    assert changed.max() <= max_value(dtype) * (1 + (1e-6 if dtype == "float32" else 0))
    np.testing.assert_array_equal(volume, before)
    assert not np.shares_memory(changed, volume)


@settings(max_examples=50)
@given(st.permutations(KINDS), st.integers(0, 3), st.integers(0, 999))
def test_equal_seeds_give_equal_volumes_for_any_order_of_kinds(order, count, seed):
    volume, kinds = noise((2, 30, 40), "uint16"), order[:count]
    first, second = np.random.default_rng(seed), np.random.default_rng(seed)
    np.testing.assert_array_equal(augment(volume, kinds, first), augment(volume, sorted(kinds), second))
    assert first.bit_generator.state == second.bit_generator.state


def test_rotations_use_exactly_the_listed_angles():
    volume = noise((1, 16, 16), "uint8")
    possible = {rotate(volume, angle).tobytes() for angle in ANGLES}
    generator = np.random.default_rng(0)
    assert {augment(volume, ["rotation"], generator).tobytes() for _ in range(200)} == possible
    assert len(possible) == len(ANGLES)


def test_shifts_are_at_most_a_tenth_of_each_side():
    volume = np.zeros((1, 40, 60), "uint8")
    volume[0, 20, 30] = 1
    generator = np.random.default_rng(0)
    shifts = [np.argwhere(augment(volume, {"shift"}, generator)[0])[0] - (20, 30) for _ in range(500)]
    np.testing.assert_array_equal(np.min(shifts, axis=0), (-4, -6))
    np.testing.assert_array_equal(np.max(shifts, axis=0), (4, 6))


def test_kinds_are_applied_in_a_fixed_order():
    volume, generator = noise((2, 40, 30)), np.random.default_rng(5)
    changed = augment(volume, KINDS, np.random.default_rng(5))
    rotated = rotate(volume, ANGLES[generator.integers(7)])
    moved = shift(rotated, generator.integers(-4, 5), generator.integers(-3, 4))
    np.testing.assert_array_equal(changed, blur(moved, generator.uniform(0, 1.5)))


def test_array_views_with_any_strides_are_accepted():
    volume = noise((4, 30, 20), "uint16")[::-2, ::-1, ::3]
    np.testing.assert_array_equal(rotate(volume, 20), rotate(volume.copy(), 20))
    np.testing.assert_array_equal(blur(volume.T, 1), blur(volume.T.copy(), 1))


def test_opencv_starts_no_threads():
    assert cv2.getNumThreads() == 1


def test_invalid_volumes_are_rejected_with_a_remedy():
    volume, generator = noise((2, 5, 6)), np.random.default_rng(0)
    invalid_calls = {
        "unknown augmentation 'flip'; expected any of rotation, shift, blur": (
            lambda: augment(volume, ["blur", "flip"], generator)
        ),
        "array of shape (5, 6) and dtype float32; expected (depth, height, width), none of them 0, "
        "of uint8, uint16, float16, float32; convert it": lambda: rotate(volume[0], 5),
        "array of shape (2, 5, 6) and dtype float64; expected (depth, height, width), none of them 0, "
        "of uint8, uint16, float16, float32; convert it": lambda: augment(np.float64(volume), [], generator),
        "array of shape (2, 0, 6) and dtype float32; expected (depth, height, width), none of them 0, "
        "of uint8, uint16, float16, float32; convert it": lambda: shift(volume[:, :0], 1, 1),
        "blur with sigma -1; expected 0 pixels (no blur) or more": lambda: blur(volume, -1),
    }
    for message, call in invalid_calls.items():
        with pytest.raises(ValueError, match="expected") as raised:
            call()
        assert str(raised.value) == message
