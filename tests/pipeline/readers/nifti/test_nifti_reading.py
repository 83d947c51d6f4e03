"""Valid NIfTI files of every kind are read completely, with their digest and notes."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from xxhash import xxh3_128_hexdigest

from tests.helpers.nifti_files import (
    DATA,
    INTER,
    LPS,
    PIXDIM,
    QFORM_CODE,
    SFORM_CODE,
    SHAPE,
    SLOPE,
    dims,
    nifti,
    notes,
    patched,
    read,
    refusal,
    voxels,
)

# Valid files


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u2", ">i4", "<u4", "<i8", ">u8", "<f4", ">f4", "<f8"])
def test_every_plain_dtype_and_byte_order_is_read(write, kind, dtype):
    data = voxels(dtype)
    header = kind.header_class(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(data.dtype)
    raw = kind(data, LPS, header).to_bytes()
    for paths in (write(raw), write(gzip.compress(raw), "scan.nii.gz")):
        scan, array, _ = read(paths)
        np.testing.assert_array_equal(array, data)
        assert (scan.shape, scan.dtype, scan.orientation) == (SHAPE, np.dtype(dtype), "LPS")
        assert scan.spacing == pytest.approx((1, 2, 3))
        np.testing.assert_array_equal(scan.affine, LPS)
        assert not [note for note in scan.notes if "slope" not in note]


def test_a_pair_is_read_and_its_digest_covers_both_files_in_order(tmp_path):
    nib.save(nib.Nifti1Pair(voxels(), LPS), tmp_path / "scan.hdr")
    paths = tmp_path / "scan.hdr", tmp_path / "scan.img"
    _, array, digest = read(paths)
    np.testing.assert_array_equal(array, voxels())
    assert digest == xxh3_128_hexdigest(b"".join(path.read_bytes() for path in paths))


@pytest.mark.parametrize("tail", [b"", bytes(100_000)], ids=["plain", "zero padding"])
def test_the_digest_covers_every_byte_on_disk(write, tail):
    raw = gzip.compress(nifti()) + tail
    _, array, digest = read(write(raw, "scan.nii.gz"))
    np.testing.assert_array_equal(array, voxels())
    assert digest == xxh3_128_hexdigest(raw)


def test_a_gzip_file_of_several_members_is_read_as_one_stream(write):
    raw = nifti()
    _, array, _ = read(write(gzip.compress(raw[:500]) + gzip.compress(raw[500:]), "scan.nii.gz"))
    np.testing.assert_array_equal(array, voxels())


def test_the_case_of_the_file_name_does_not_matter(write):
    read(write(gzip.compress(nifti()), "SCAN.NII.GZ"))


def test_trailing_axes_of_size_one_are_dropped(write):
    scan, _, _ = read(write(dims(*SHAPE, 1, 1)))
    assert scan.shape == SHAPE


@pytest.mark.parametrize("slope", [0, np.nan, np.inf, -np.inf])
def test_with_an_invalid_slope_values_are_not_scaled_as_in_nibabel_and_it_is_noted(write, slope):
    raw = patched((SLOPE, slope), (INTER, 5))
    scan, _, _ = read(write(raw))
    assert (scan.slope, scan.inter) == (1, 0)
    assert "no scaling" in scan.notes[0]
    np.testing.assert_array_equal(nib.Nifti1Image.from_bytes(raw).get_fdata(), voxels())


def test_without_orientation_codes_nibabels_default_is_used_and_noted(write):
    raw = patched((SFORM_CODE, 0), (QFORM_CODE, 0))
    scan, _, _ = read(write(raw))
    np.testing.assert_array_equal(scan.affine, nib.Nifti1Image.from_bytes(raw).affine)
    assert scan.orientation == "LAS"
    assert "no orientation codes" in scan.notes[-1]


def test_a_negative_pixdim_is_corrected_as_by_nibabel_and_noted(write):
    raw = patched((PIXDIM, 1, -1, -2, 3, 1, 1, 1, 1), (SFORM_CODE, 0), (QFORM_CODE, 1))
    scan, _, _ = read(write(raw))
    assert any("pixdim" in note for note in scan.notes)
    np.testing.assert_array_equal(scan.affine, nib.Nifti1Image.from_bytes(raw).affine)


@pytest.mark.parametrize("sizes", [(0,), (0, 0), (1, 0), (-1,)])
def test_sizes_below_one_after_the_third_axis_count_as_one_and_are_noted(write, sizes):
    scan, array, _ = read(write(dims(*SHAPE, *sizes)))
    np.testing.assert_array_equal(array, voxels())
    shape = " x ".join(map(str, (*SHAPE, *sizes)))
    assert (
        f"dim says {shape} voxels: sizes below 1 after the third were treated as 1, as by the NIfTI library"
        in scan.notes
    )


def test_header_extensions_are_skipped(write):
    image = nib.Nifti1Image(voxels(), LPS)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 3000))
    _, array, _ = read(write(image.to_bytes()))
    np.testing.assert_array_equal(array, voxels())


def test_surplus_bytes_are_noted(write):
    for paths in (write(nifti() + b"xyz"), write(gzip.compress(nifti() + b"xyz"), "scan.nii.gz")):
        scan, _, digest = read(paths)
        assert scan.notes[-1] == "3 bytes after the voxels were ignored"
        assert digest == xxh3_128_hexdigest(paths[0].read_bytes())


def test_a_valid_header_gives_no_notes(write):
    oblique = np.eye(4)
    oblique[:3, :3] = nib.eulerangles.euler2mat(0.2, -0.3, 0.4) * (0.7, 0.7, 2.5)
    for affine in (LPS, oblique):
        assert notes(write, affine=affine) == []
        assert notes(write, (QFORM_CODE, 1), affine=affine) == []


def test_an_intercept_that_a_slope_of_0_drops_is_noted(write):
    assert notes(write, (SLOPE, 0), (INTER, -1024)) == [
        "scl_slope is 0, which means no scaling; its scl_inter of -1024 was not added"
    ]
    assert notes(write, (SLOPE, 0), (INTER, 0)) == ["scl_slope is 0, which means no scaling"]
    assert notes(write, (SLOPE, np.nan), (INTER, np.nan)) == ["scl_slope is nan, which means no scaling"]


def test_two_voxels_along_an_axis_are_enough(write):
    assert read(write(dims(2, 21, 8)))[0].shape == (2, 21, 8)
    assert read(write(dims(21, 8, 2)))[0].shape == (21, 8, 2)


def test_an_img_file_may_start_with_the_gzip_signature(tmp_path):
    data = voxels("uint8")
    data[:2, 0, 0] = 0x1F, 0x8B
    nib.save(nib.Nifti1Pair(data, LPS), tmp_path / "s.hdr")
    np.testing.assert_array_equal(read((tmp_path / "s.hdr", tmp_path / "s.img"))[1], data)


@pytest.mark.parametrize(("header", "image"), [("s.hdr.gz", "s.img.gz"), ("s.hdr", "s.img.gz"), ("s.hdr.gz", "s.img")])
def test_a_pair_with_a_compressed_header_or_image_is_read(tmp_path, header, image):
    nib.save(nib.Nifti1Pair(voxels(), LPS), tmp_path / "plain.hdr")
    paths = []
    for name, original in ((header, "plain.hdr"), (image, "plain.img")):
        raw = (tmp_path / original).read_bytes()
        paths.append(tmp_path / name)
        paths[-1].write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    _, array, digest = read(tuple(paths))
    np.testing.assert_array_equal(array, voxels())
    assert digest == xxh3_128_hexdigest(b"".join(path.read_bytes() for path in paths))
    paths[1].write_bytes(paths[1].read_bytes()[:-9])
    refusal(tuple(paths))


# Real files


@pytest.mark.skipif(not DATA.exists(), reason="real scans are missing (../shared/data)")
def test_real_scans_are_read_as_by_nibabel():
    for path in [*sorted((DATA / "ct").iterdir()), *sorted((DATA / "nifti_odd").glob("*.nii*"))]:
        if path.stat().st_size > 10_000_000:
            continue
        image = nib.load(path)
        if image.ndim > 3 or image.get_data_dtype().kind not in "iuf":
            assert refusal((path,))
            continue
        scan, array, digest = read((path,))
        np.testing.assert_array_equal(array * scan.slope + scan.inter, image.get_fdata())
        np.testing.assert_array_equal(scan.affine, image.affine)
        assert scan.orientation == "".join(nib.aff2axcodes(image.affine))
        assert digest == xxh3_128_hexdigest(path.read_bytes())
