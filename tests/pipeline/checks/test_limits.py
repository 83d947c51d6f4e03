"""Each measurement is flagged beyond its limit and not within it."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.checks.ct import CHECKS, flags
from pipeline.checks.measure import measure
from tests.helpers.implausible_scans import HU, names


def test_a_plausible_scan_is_not_flagged_and_check_names_are_unique():
    plausible = measure(
        np.sort(np.random.default_rng(0).uniform(-1000, 400, 5000)), 5000,
        nonfinite=0, window=HU, shape=(512, 512, 100), spacing=(0.7, 0.7, 2), origin=200,
    )  # fmt: skip
    assert flags(plausible) == []
    assert len({check.name for check in CHECKS}) == len(CHECKS)


# Measurements just inside their limits, and just outside


@pytest.fixture(scope="module")
def plausible():
    """The measurements of a chest."""
    values = np.sort(np.random.default_rng(0).uniform(-1000, 400, 5000))
    geometry = {"nonfinite": 0, "window": HU, "shape": (512, 512, 100), "spacing": (0.7, 0.7, 2), "origin": 200}
    return measure(values, 5000, **geometry)


@pytest.mark.parametrize(
    ("inside", "outside", "name"),
    [
        ({"nonfinite": 0.01}, {"nonfinite": 0.011}, "not finite"),
        ({"distinct": 51}, {"distinct": 50}, "few values"),
        ({"air": 0.01}, {"air": 0.009}, "no air"),
        ({"soft_tissue": 0.02}, {"soft_tissue": 0.019}, "no soft tissue"),
        ({"dense": 0.2, "air_spread": 2}, {"dense": 0.21, "air_spread": 2}, "too dense"),
        ({"dense": 0.08, "air_spread": 1}, {"dense": 0.09, "air_spread": 1}, "too dense"),
        ({"bright": 0.15, "soft_tissue": 0.05}, {"bright": 0.16, "soft_tissue": 0.05}, "too bright"),
        ({"bright": 0.4, "soft_tissue": 0.2}, {"bright": 0.5, "soft_tissue": 0.2}, "too bright"),
        ({"below_air": 0.1}, {"below_air": 0.11}, "below air"),
        ({"clipped_low": 0.9, "clipped_high": 0.08}, {"clipped_low": 0.9, "clipped_high": 0.09}, "clipped"),
        ({"slices": 20}, {"slices": 19}, "few slices"),
        ({"spacing_z": 12}, {"spacing_z": 12.1}, "slice spacing"),
        ({"spacing_x": 1.4}, {"spacing_x": 1.5}, "pixels not square"),
        ({"spacing_x": 0.35}, {"spacing_x": 0.34}, "pixels not square"),
        ({"extent_x": 700}, {"extent_x": 701}, "extent"),
        ({"extent_y": 100}, {"extent_y": 99}, "extent"),
        ({"extent_z": 800}, {"extent_z": 801}, "extent"),
        ({"extent_z": 50}, {"extent_z": 49}, "extent"),
    ],
)
def test_a_measurement_beyond_its_limit_is_flagged(plausible, inside, outside, name):
    assert names(flags(replace(plausible, **inside))) <= ({"too dense"} if "distinct" in inside else set())
    assert name in names(flags(replace(plausible, **outside)))


def test_fractions_are_not_checked_for_a_scan_with_few_values(plausible):
    fractions = {"air": 0, "soft_tissue": 0, "dense": 0.9, "bright": 0.9, "below_air": 0.9, "clipped_low": 1}
    assert names(flags(replace(plausible, distinct=2, **fractions))) == {"few values"}
    assert names(flags(replace(plausible, distinct=1, **fractions))) == {"constant"}


@pytest.mark.parametrize(
    ("measured", "cause"),
    [
        ({"low": 25_001}, "32768 too high"),
        ({"low": 25_000}, "check that this is a CT"),
        ({"low": -1201, "high": 599}, "applied twice"),
        ({"least": -1.05, "most": 1.05, "low": -1}, "scaled to [0, 1] or [-1, 1]"),
        ({"least": -1.06, "most": 1.05, "low": -1}, "standardised"),
        ({"least": -1.05, "most": 1.06, "low": -1}, "standardised"),
        ({"least": -20, "most": 20, "low": -10}, "standardised"),
        ({"least": -21, "most": 20, "low": -10, "high": 100}, "check that this is a CT"),
        ({"least": 0, "most": 20, "low": 1}, "8-bit gray"),
        ({"least": -0.5, "most": 20.5, "low": 1}, "8-bit gray"),
        ({"least": -5, "most": 260, "low": 1}, "8-bit gray"),
        ({"least": -6, "most": 260, "low": 1}, "check that this is a CT"),
        ({"low": -149, "dense": 0.031}, "shifted by +1024"),
        ({"low": 149, "dense": 0.031}, "shifted by +1024"),
        ({"low": 0, "dense": 0.03}, "check that this is a CT"),
        ({"low": -150, "dense": 0.031}, "check that this is a CT"),
        ({"low": 150, "dense": 0.031}, "check that this is a CT"),
        ({"low": -1200, "high": -201}, "everything but air and lung is missing"),
        ({"low": 1, "high": -201}, "everything but air and lung is missing"),
        ({"low": -151, "dense": 0.081}, "inverted, shifted or scaled"),
        ({"low": -150, "dense": 0.081}, "check that this is a CT"),
    ],
)
def test_a_flag_for_missing_air_names_the_likely_cause(plausible, measured, cause):
    usual = {"least": -1000, "low": -900, "high": 700, "most": 3000, "dense": 0}
    (flag,) = flags(replace(plausible, air=0, distinct=1000, **usual | measured, bright=0))[:1]
    assert flag.startswith("no air")
    assert cause in flag
