"""Implausible geometry of a scan is flagged."""

import nibabel as nib
import numpy as np
import pytest

from tests.helpers.implausible_scans import names


def affine_at(*spacing, origin=(-170, -190, 30)):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (affine_at(3.6, 3.6, 5), set()),
        (affine_at(1, 1, 1, origin=(0, 0, 0)), {"spacing never set", "extent"}),
        (None, {"spacing never set", "extent"}),
        (affine_at(1, 1, 1), {"extent"}),
        (affine_at(0.0036, 0.0036, 0.005), {"extent"}),
        (affine_at(36, 36, 50), {"extent", "slice spacing"}),
        (affine_at(3.6, 3.6, 15), {"slice spacing"}),
        (affine_at(1.5, 3.6, 5), {"pixels not square"}),
    ],
)
def test_implausible_geometry_is_flagged(flags_of, chest, affine, expected):
    assert names(flags_of(chest, affine)[0]) == expected


def test_512_pixels_of_exactly_1_mm_are_flagged_in_any_orientation(flags_of):
    hu = np.tile(np.random.default_rng(0).integers(-1000, 400, (64, 64, 60), np.int16), (8, 8, 1))
    assert names(flags_of(hu, affine_at(1, 1, 1))[0]) == {"spacing never set"}
    assert flags_of(hu, affine_at(0.9, 0.9, 1))[0] == []
    assert flags_of(hu[:300, :300], affine_at(1, 1, 1))[0] == []


@pytest.mark.parametrize("codes", ["RAS", "PIR", "SLA"])
def test_slices_are_counted_along_the_body_axis_in_any_orientation(flags_of, chest, codes):
    image = nib.Nifti1Image(chest[:, :, ::4], affine_at(3.6, 3.6, 10))
    rotated = image.as_reoriented(nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)))  # fmt: skip
    flags, record = flags_of(np.asarray(rotated.dataobj), rotated.affine)
    assert flags == [
        "few slices: 10 slices along the body, a chest CT has 20 or more; "
        "check that this is neither a localizer nor a part of the scan"
    ]
    assert record["measured"]["extent_z"] == 100
