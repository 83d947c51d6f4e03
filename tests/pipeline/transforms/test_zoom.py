"""The zoom equals that of SciPy for any order, size, edge mode and direction."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.transforms.spline import rotate_by_spline
from pipeline.transforms.zoom import Axis, Zoom, matrix, tiles, zoom

ROOT = Path(__file__).resolve().parents[3]
SIZES = st.integers(2, 1200)
ORDERS = st.integers(0, 5)


def noise(shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def scipy_zoom(volume, shape, order, mode="nearest"):
    return ndimage.zoom(np.float64(volume), np.divide(shape, volume.shape), order=order, mode=mode)


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize(("n_in", "n_out"), [(2, 2), (2, 300), (65, 64), (138, 70), (300, 7), (97, 500), (400, 400)])
def test_the_matrix_equals_scipy_on_each_column_of_the_identity(n_in, n_out, order):
    columns = [ndimage.zoom(column, n_out / n_in, order=order, mode="nearest") for column in np.eye(n_in)]
    np.testing.assert_allclose(matrix(Axis(n_in, n_out, order)), np.transpose(columns), rtol=0, atol=2e-8)


@settings(max_examples=300)
@given(SIZES, SIZES, ORDERS, st.integers(0, 2), st.integers(0, 99))
def test_the_zoom_equals_scipy_for_any_order_and_size(n_in, n_out, order, axis, seed):
    shape_in, shape_out = [5, 4, 6], [3, 7, 6]
    shape_in[axis], shape_out[axis] = n_in, n_out
    volume = noise(shape_in, seed)
    np.testing.assert_allclose(zoom(volume, shape_out, order), scipy_zoom(volume, shape_out, order), rtol=0, atol=1e-5)


@settings(max_examples=150)
@given(SIZES, SIZES, ORDERS, st.floats(0, 1, width=32))
def test_a_constant_volume_stays_constant(n_in, n_out, order, value):
    zoomed = zoom(np.full((3, 4, n_in), value), (5, 3, n_out), order)
    np.testing.assert_allclose(zoomed, value, rtol=2e-6, atol=1e-30)  # float32 has fewer digits below this


@pytest.mark.parametrize("order", range(6))
def test_the_zoom_of_three_axes_equals_scipy(order):
    volume, shape = noise((70, 90, 80)), (35, 40, 101)
    np.testing.assert_allclose(zoom(volume, shape, order), scipy_zoom(volume, shape, order), rtol=0, atol=1e-5)


@pytest.mark.parametrize("order", range(6))
def test_a_flipped_axis_equals_the_zoom_of_the_flipped_volume_even_for_ties(order):
    # 9 -> 5 and 6 -> 16 put samples half-way between voxels, where rounding up or down depends on direction.
    volume, shape = noise((33, 9, 6)), (65, 5, 16)
    for flips in [(True, False, False), (False, True, False), (False, False, True), (True, True, True)]:
        zoomer = Zoom(volume.shape, shape, order, flips=flips)
        for plane in np.float32(volume):
            zoomer.feed(plane)
        rotated = np.flip(volume, np.flatnonzero(flips))
        np.testing.assert_allclose(zoomer.result(), scipy_zoom(rotated, shape, order), rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", [82, 120, 138, 163, 170, 232])
def test_mode_constant_blanks_the_edges_that_scipy_blanks(depth):
    volume, shape = 1 + noise((depth, 64, 64)), (70, 28, 28)
    expected = scipy_zoom(volume, shape, 1, "constant")
    np.testing.assert_allclose(zoom(volume, shape, 1, "constant"), expected, rtol=0, atol=1e-5)
    assert (expected[-1] == 0).all() == (depth != 138)


def test_planes_may_be_fed_in_one_reused_buffer():
    volume, shape = np.float32(noise((75, 40, 50))), (30, 20, 25)
    zoomer, buffer = Zoom(volume.shape, shape, 3), np.empty((40, 50), np.float32)
    for plane in volume:
        buffer[:] = plane
        zoomer.feed(buffer)
    np.testing.assert_array_equal(zoomer.result(), zoom(volume, shape, 3))


def test_missing_planes_raise_an_error():
    zoomer = Zoom((3, 4, 4), (2, 2, 2), 1)
    zoomer.feed(np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match="1 planes were fed; expected 3"):
        zoomer.result()


def test_tiles_have_no_slow_subnormal_weights():
    for order in range(6):
        weights = np.concatenate([tile.weights.ravel() for tile in tiles(Axis(512, 224, order), 512)])
        assert (np.abs(weights[weights != 0]) > 1e-9).all()


@pytest.mark.parametrize("side", [7, 8, 64, 512])
def test_spline_rotation_of_a_square_by_90_degrees_is_exact(side):
    plane = np.float32(noise((side, side)))
    np.testing.assert_allclose(rotate_by_spline(plane), np.rot90(plane), rtol=0, atol=1e-6)


def test_the_zoom_benchmark_runs():
    command = [sys.executable, str(ROOT / "benchmarks/zoom.py"), "--quick"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)
    assert "ratio" in result.stdout
    assert "largest difference" in result.stdout
