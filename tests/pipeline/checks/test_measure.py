"""A scan is measured on a sample of its voxels."""

import numpy as np
import pytest

from pipeline.checks.measure import VoxelSample, measure
from tests.helpers.implausible_scans import HU


@pytest.mark.parametrize("slope", [2.0, -2.0])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "<f4", ">f8", "<u8"])
def test_all_voxels_of_a_small_scan_are_measured_in_hu(dtype, slope):
    raw = np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(dtype)
    sample = VoxelSample(raw.shape, raw.dtype)
    for plane in raw:
        sample.add(plane)
    hu, distinct = sample.hu(slope, -30)
    np.testing.assert_array_equal(hu, np.sort(raw.astype(float).ravel() * slope - 30))
    assert distinct == len(np.unique(raw))


def test_a_sample_of_every_slice_of_a_large_scan_is_measured():
    sample = VoxelSample((50, 512, 512), np.dtype("i2"))
    for number in range(50):
        sample.add(np.full((512, 512), number, np.int16))
    hu, distinct = sample.hu(1, 0)
    assert distinct == 50
    assert 100_000 < hu.size <= 220_000


def test_known_values_give_the_expected_measurements():
    """1,000 voxels of padding, 300 of air, 400 of soft tissue, 200 bright and 100 dense, each spread evenly."""
    ranges = (-2010, -1990, 1000), (-1100, -800, 300), (-200, 199, 400), (300, 599, 200), (600, 1500, 100)
    hu = np.concatenate([np.linspace(low, high, count) for low, high, count in ranges])
    measured = measure(hu, 2000, nonfinite=0.25, window=HU, shape=(4, 5, 6), spacing=(2, 3, 4), origin=7)
    assert (measured.voxels, measured.distinct, measured.nonfinite, measured.origin) == (2000, 2000, 0.25, 7)
    assert (measured.least, measured.most) == (-2010, 1500)
    assert measured.low == pytest.approx(-1100 + 300 / 299 * 10)
    assert (measured.padding, measured.below_air) == (0.5, 0)
    assert (measured.air, measured.soft_tissue, measured.bright, measured.dense) == (0.15, 0.2, 0.1, 0.05)
    assert measured.clipped_low == pytest.approx((1000 + 100) / 2000, abs=1e-3)
    assert measured.clipped_high == pytest.approx((100 + 133) / 2000, abs=2e-3)
    assert (measured.slices, measured.extent_x, measured.extent_y, measured.extent_z) == (6, 8, 15, 24)


def test_values_more_than_50_hu_from_the_padding_are_below_air():
    hu = np.concatenate([np.full(500, -2000.0), np.full(200, -1940.0), np.full(1300, -900.0)])
    measured = measure(hu, 3, nonfinite=0, window=HU, shape=(4, 5, 6), spacing=(2, 3, 4), origin=7)
    assert (measured.padding, measured.below_air) == (0.25, pytest.approx(0.1))
    assert measured.low == -1940


def test_a_scan_of_padding_only_has_the_padding_as_its_lowest_value():
    measured = measure(np.full(50, -2000.0), 1, nonfinite=0, window=HU, shape=(4, 5, 6), spacing=(2, 3, 4), origin=7)
    assert (measured.padding, measured.low, measured.air) == (1, -2000, 0)
