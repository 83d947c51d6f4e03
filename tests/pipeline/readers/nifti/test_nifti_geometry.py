"""The affine: which form is used, and notes on unusual geometry."""

import nibabel as nib
import numpy as np
import pytest

from tests.helpers.nifti_files import (
    LPS,
    PIXDIM,
    QFORM_CODE,
    SFORM_CODE,
    SHAPE,
    SROW,
    nifti,
    notes,
    patched,
    read,
    refusal,
    voxels,
)


def both_forms(qform):
    """A file whose sform is LPS and whose qform is `qform`."""
    image = nib.Nifti1Image(voxels(), LPS)
    image.set_qform(qform, 1)
    image.set_sform(LPS, 1)
    return image.to_bytes()


def test_sform_and_qform_that_disagree_are_noted(write):
    mirrored = read(write(both_forms(np.diag([1.0, -2, 3, 1]))))[0]
    assert mirrored.notes == ["its sform and qform have axes toward LPS and RPS; the sform was used"]
    np.testing.assert_array_equal(mirrored.affine, LPS)
    spacing = read(write(both_forms(np.diag([-1.0, -2, 5, 1]))))[0].notes
    assert spacing == ["its sform has a spacing of 1 × 2 × 3 mm and its qform of 1 × 2 × 5 mm; the sform was used"]
    rotated = np.eye(4)
    rotated[:3, :3] = nib.eulerangles.euler2mat(0, 0, 0.4) @ LPS[:3, :3]
    angles = read(write(both_forms(rotated)))[0].notes
    assert angles == ["its sform and qform have axes at different angles; the sform was used"]


def test_sform_and_qform_that_differ_in_origin_or_by_rounding_are_not_noted(write):
    moved = LPS.copy()
    moved[:3, 3] = 100, -50, 7
    moved[:3, :3] *= 1.001
    assert read(write(both_forms(moved)))[0].notes == []


def test_an_unusable_qform_does_not_matter_with_a_valid_sform(write):
    scan, _, _ = read(write(patched((QFORM_CODE, 1), ((256, "3f"), 9, 9, 9))))
    assert scan.notes[0].startswith("its qform cannot be read (")
    np.testing.assert_array_equal(scan.affine, LPS)


def test_a_pixdim_that_disagrees_with_the_sform_is_noted(write):
    assert notes(write, (PIXDIM, 1, 1, 2, 1, 1, 1, 1, 1)) == [
        "its sform has a spacing of 1 × 2 × 3 mm and its pixdim of 1 × 2 × 1 mm; the sform was used"
    ]


@pytest.mark.parametrize(
    ("shape", "x", "z", "noted"),
    [((6, 7, 8), 1, 3.14, False), ((6, 7, 8), 1, 3.145, True), ((6, 7, 8), 1.19, 3, False), ((6, 7, 8), 1.21, 3, True),
     ((2, 21, 8), 1.9, 3, False), ((2, 21, 8), 2.1, 3, True)],
)  # fmt: skip
def test_spacings_disagree_if_they_differ_by_one_millimetre_over_the_scan(write, shape, x, z, noted):
    raw = patched((SFORM_CODE, 1), (PIXDIM, 1, x, 2, z, 1, 1, 1, 1), image=nifti(voxels(shape=shape)))
    assert bool(read(write(raw))[0].notes) == noted


def test_gantry_tilt_is_noted(write):
    tilted = LPS.copy()
    tilted[1, 2] = 3 * np.tan(np.radians(17))
    assert notes(write, affine=tilted) == [
        "its axes are 17 degrees from perpendicular (gantry tilt); the scan was not straightened"
    ]


@pytest.mark.parametrize(("unit", "name"), [(1, "metres"), (3, "micrometres"), (2, ""), (10, ""), (0, "")])
def test_units_that_are_not_millimetres_are_noted(write, unit, name):
    expected = [f"its header says {name}; the spacing was assumed to be in millimetres"] if name else []
    assert notes(write, ((123, "B"), unit)) == expected


@pytest.mark.parametrize(("sform", "qform"), [(0, 0), (1, 0), (0, 1), (2, 0), (0, 4)])
def test_a_scan_has_a_position_if_a_form_has_a_code(write, sform, qform):
    assert read(write(patched((SFORM_CODE, sform), (QFORM_CODE, qform))))[0].has_position == bool(sform or qform)


@pytest.mark.parametrize(("angle", "rejected"), [(0.0001, True), (0.05, False)])
def test_nearly_parallel_axes_are_rejected(write, angle, rejected):
    affine = LPS.copy()
    affine[:3, 1] = [-np.cos(angle), np.sin(angle), 0]
    file = write(patched((SFORM_CODE, 1), (SROW, *affine[:3].ravel())))
    if rejected:
        assert "affine" in refusal(file).problem
    else:
        assert read(file)[0].shape == SHAPE


def test_a_missing_orientation_is_noted(write):
    assert notes(write, (SFORM_CODE, 0), (QFORM_CODE, 0)) == [
        "no orientation codes: axes assumed to be nibabel's default, LAS"
    ]
