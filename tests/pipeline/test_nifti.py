"""A file becomes header facts and raw slices exactly as nibabel reads it, or is refused in three parts."""

import bz2
import gzip
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from xxhash import xxh3_128_hexdigest

from pipeline.errors import InvalidInput
from pipeline.readers.nifti import open_scan

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data"
SHAPE = (6, 7, 8)
LPS = np.diag([-1.0, -2.0, 3.0, 1.0])

# NIfTI-1 header fields the tests damage: byte offset and struct format
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, INTER = (40, "8h"), (70, "h"), (76, "8f"), (108, "f"), (112, "f"), (116, "f")
QFORM_CODE, SFORM_CODE, SROW, MAGIC = (252, "h"), (254, "h"), (280, "12f"), (344, "4s")


def voxels(dtype="int16", shape=SHAPE):
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def nifti(data=None, *, kind=nib.Nifti1Image, affine=LPS):
    """A single file's bytes: 352 of header, then the voxels."""
    return kind(voxels() if data is None else data, affine, dtype=None if data is None else data.dtype).to_bytes()


def patched(*changes, image=None):
    """A file whose header says something else: each change is a field and the values to put there."""
    raw = bytearray(nifti() if image is None else image)
    for (offset, layout), *values in changes:
        struct.pack_into("<" + layout, raw, offset, *values)
    return bytes(raw)


def dims(*sizes):
    return patched((DIM, len(sizes), *sizes, *[1] * (7 - len(sizes))))


def read(paths):
    """Everything a scan gives: itself, its voxels in file order, its digest."""
    with open_scan(paths) as scan:
        array = np.stack([raw.copy() for raw in scan.slices()]).T
        return scan, array, scan.digest


def refusal(paths):
    """Why a scan is refused, its three parts checked: each says something, on one printable line."""
    with pytest.raises(InvalidInput) as caught:
        read(paths)
    error = caught.value
    for part in (error.given, error.expected, error.remedy):
        assert part
        assert part.isprintable()
    return error


@pytest.fixture
def write(tmp_path):
    def write(raw, name="scan.nii"):
        path = tmp_path / name
        path.write_bytes(raw)
        return (path,)

    return write


def flipped_bit(raw, position):
    damaged = bytearray(raw)
    damaged[position] ^= 1 << position % 8
    return bytes(damaged)


# What is read


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


def test_a_gzip_of_several_members_is_one_stream(write):
    raw = nifti()
    _, array, _ = read(write(gzip.compress(raw[:500]) + gzip.compress(raw[500:]), "scan.nii.gz"))
    np.testing.assert_array_equal(array, voxels())


def test_case_of_the_name_does_not_matter(write):
    read(write(gzip.compress(nifti()), "SCAN.NII.GZ"))


def test_trailing_axes_of_one_are_dropped(write):
    scan, _, _ = read(write(dims(*SHAPE, 1, 1)))
    assert scan.shape == SHAPE


@pytest.mark.parametrize("slope", [0, np.nan, np.inf, -np.inf])
def test_an_invalid_slope_means_no_scaling_as_in_nibabel_and_is_noted(write, slope):
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


def test_a_negative_pixdim_is_repaired_as_by_nibabel_and_noted(write):
    raw = patched((PIXDIM, 1, -1, -2, 3, 1, 1, 1, 1), (SFORM_CODE, 0), (QFORM_CODE, 1))
    scan, _, _ = read(write(raw))
    assert any("pixdim" in note for note in scan.notes)
    np.testing.assert_array_equal(scan.affine, nib.Nifti1Image.from_bytes(raw).affine)


@pytest.mark.parametrize("sizes", [(0,), (0, 0), (1, 0), (-1,)])
def test_further_sizes_below_one_count_as_one_as_in_the_nifti_library_and_are_noted(write, sizes):
    scan, array, _ = read(write(dims(*SHAPE, *sizes)))
    np.testing.assert_array_equal(array, voxels())
    given = " x ".join(map(str, (*SHAPE, *sizes)))
    assert (
        f"dim says {given} voxels: sizes below 1 after the third were taken as 1, as by the NIfTI library" in scan.notes
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


def notes(write, *changes, affine=LPS):
    return read(write(patched(*changes, image=nifti(affine=affine))))[0].notes


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


def both_forms(qform):
    """The bytes of a file whose sform is LPS and whose qform is another."""
    image = nib.Nifti1Image(voxels(), LPS)
    image.set_qform(qform, 1)
    image.set_sform(LPS, 1)
    return image.to_bytes()


def test_sform_and_qform_that_disagree_are_noted(write):
    other_way = read(write(both_forms(np.diag([1.0, -2, 3, 1]))))[0]
    assert other_way.notes == ["its sform and qform have axes toward LPS and RPS; the sform was used"]
    np.testing.assert_array_equal(other_way.affine, LPS)
    spacing = read(write(both_forms(np.diag([-1.0, -2, 5, 1]))))[0].notes
    assert spacing == ["its sform has a spacing of 1 × 2 × 3 mm and its qform of 1 × 2 × 5 mm; the sform was used"]
    turned = np.eye(4)
    turned[:3, :3] = nib.eulerangles.euler2mat(0, 0, 0.4) @ LPS[:3, :3]
    angles = read(write(both_forms(turned)))[0].notes
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
def test_spacings_disagree_from_one_millimetre_over_the_complete_scan(write, shape, x, z, noted):
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
    expected = [f"its header says {name}; the spacing was taken as millimetres"] if name else []
    assert notes(write, ((123, "B"), unit)) == expected


@pytest.mark.parametrize(("sform", "qform"), [(0, 0), (1, 0), (0, 1), (2, 0), (0, 4)])
def test_a_scan_is_placed_if_a_form_has_a_code(write, sform, qform):
    assert read(write(patched((SFORM_CODE, sform), (QFORM_CODE, qform))))[0].placed == bool(sform or qform)


def test_two_voxels_along_an_axis_are_enough(write):
    assert read(write(dims(2, 21, 8)))[0].shape == (2, 21, 8)
    assert read(write(dims(21, 8, 2)))[0].shape == (21, 8, 2)


@pytest.mark.parametrize(("angle", "refused"), [(0.0001, True), (0.05, False)])
def test_axes_that_are_nearly_parallel_are_refused(write, angle, refused):
    affine = LPS.copy()
    affine[:3, 1] = [-np.cos(angle), np.sin(angle), 0]
    file = write(patched((SFORM_CODE, 1), (SROW, *affine[:3].ravel())))
    if refused:
        assert "affine" in refusal(file).given
    else:
        assert read(file)[0].shape == SHAPE


def test_a_missing_orientation_is_noted(write):
    assert notes(write, (SFORM_CODE, 0), (QFORM_CODE, 0)) == [
        "no orientation codes: axes taken as nibabel's default, LAS"
    ]


# What is refused: file bytes -> a word of the reason

SINGULAR = (1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3, 0)
PLAIN = {
    "empty file": (b"", "empty file"),
    "three bytes": (b"abc", "no NIfTI header"),
    "text": (b"patient,name\n" * 100, "no NIfTI header"),
    "half a header": (nifti()[:200], "200 bytes of header"),
    "header only": (nifti()[:352], "claims 1024 bytes"),
    "one byte short": (nifti()[:-1], "claims 1024 bytes"),
    "analyze": (patched((MAGIC, b"\0\0\0\0")), "no NIfTI header"),
    "magic of a pair": (patched((MAGIC, b"ni1\0")), "magic ni1"),
    "gzip named .nii": (gzip.compress(nifti()), "gzip data without .gz"),
    "32000 cubed": (dims(32000, 32000, 32000), "32000 x 32000 x 32000"),
    "4000 cubed": (dims(4000, 4000, 4000), "claims 128000000352 bytes"),
    "0 dimensions": (patched((DIM, 0, *SHAPE, 1, 1, 1, 1)), "0 dimensions"),
    "1 dimension": (dims(336), "1 dimension"),
    "2 dimensions": (dims(42, 8), "2 dimensions"),
    "8 dimensions": (patched((DIM, 8, *SHAPE, 1, 1, 1, 1)), "8 dimensions"),
    "4-D": (dims(6, 7, 4, 2), "more than one volume"),
    "5-D": (dims(6, 7, 4, 1, 2), "more than one volume"),
    "7-D": (dims(6, 7, 2, 1, 1, 2, 2), "more than one volume"),
    "a size of 0": (dims(6, 0, 8), "6 x 0 x 8"),
    "a negative size": (dims(6, -7, 8), "6 x -7 x 8"),
    "one slice": (dims(6, 56, 1), "6 x 56 x 1"),
    "one column": (dims(1, 42, 8), "1 x 42 x 8"),
    "binary voxels": (patched((DATATYPE, 1)), "data code 1 "),
    "unknown datatype": (patched((DATATYPE, 3)), "data code 3 "),
    "colour": (patched((DATATYPE, 128)), "colour voxels"),
    "colour with alpha": (patched((DATATYPE, 2304)), "colour voxels"),
    "complex": (nifti(voxels("complex64")), "complex64 voxels"),
    "128-bit floats": (patched((DATATYPE, 1536)), "data code 1536"),
    "voxels inside the header": (patched((VOX_OFFSET, 351)), "offset 351"),
    "voxels at byte 0": (patched((VOX_OFFSET, 0)), "vox_offset 0"),
    "voxels at a negative byte": (patched((VOX_OFFSET, -16)), "offset -16"),
    "voxels at a broken byte": (patched((VOX_OFFSET, 352.5)), "vox_offset 352.5"),
    "voxels at byte nan": (patched((VOX_OFFSET, np.nan)), "vox_offset nan"),
    "voxels at byte inf": (patched((VOX_OFFSET, np.inf)), "vox_offset inf"),
    "voxels beyond the end": (patched((VOX_OFFSET, 1e6)), "claims 100"),
    "voxels at 512 GB": (patched((VOX_OFFSET, 512e9)), "vox_offset 512000000000"),
    "inter nan": (patched((SLOPE, 2), (INTER, np.nan)), "scl_inter nan"),
    "inter inf": (patched((SLOPE, 2), (INTER, np.inf)), "scl_inter inf"),
    "singular affine": (patched((SFORM_CODE, 1), (SROW, *SINGULAR)), "affine"),
    "affine of zeros": (patched((SFORM_CODE, 1), (SROW, *[0] * 12)), "affine"),
    "affine with nan": (patched((SFORM_CODE, 1), (SROW, *[np.nan] * 12)), "affine"),
    "affine with inf": (patched((SFORM_CODE, 1), (SROW, np.inf, *[0] * 11)), "affine"),
    "impossible quaternion": (patched((SFORM_CODE, 0), (QFORM_CODE, 1), ((256, "3f"), 9, 9, 9)), "affine"),
    "too much after the voxels": (nifti() + bytes((1 << 20) + 1), "after the voxels"),
}
ZIPPED = {
    "plain data named .nii.gz": (nifti(), "plain data named .gz"),
    "a header without magic": (patched((MAGIC, b"\0\0\0\0")), "plain data named .gz"),
    "one of the other byte order": (b"\0\0\x01\x5c" + bytes(400), "plain data named .gz"),
    "zeros": (bytes(400), "it starts with zeros"),
    "nobody knows what": (b"\xff\xfe\xfd\xfc" * 99, r"it starts with b'\xff\xfe\xfd\xfc"),
    "gzip of nothing": (gzip.compress(b""), "no NIfTI header"),
    "gzip in gzip": (gzip.compress(gzip.compress(nifti())), "gzip inside gzip"),
    "header only": (gzip.compress(nifti()[:352]), "0 bytes of voxels"),
    "one byte short": (gzip.compress(nifti()[:-1]), "671 bytes of voxels"),
    "4000 cubed": (gzip.compress(dims(4000, 4000, 4000)), "claims 128000000352 bytes"),
    "wrong checksum": (gzip.compress(nifti())[:-8] + b"\1\2\3\4" + gzip.compress(nifti())[-4:], "damaged gzip"),
    "wrong length": (gzip.compress(nifti())[:-4] + b"\1\2\3\4", "damaged gzip"),
    "no trailer": (gzip.compress(nifti())[:-8], "damaged gzip"),
    "a byte of junk at the end": (gzip.compress(nifti()) + b"j", "damaged gzip"),
    "junk at the end": (gzip.compress(nifti()) + b"junk" * 99, "damaged gzip"),
    "junk after zero padding": (gzip.compress(nifti()) + bytes(99) + b"j", "damaged gzip"),
    "half a second member": (gzip.compress(nifti()) + gzip.compress(nifti())[:90], "damaged gzip"),
    "zlib in gzip's clothes": (b"\x1f\x8b" + zlib.compress(nifti()), "damaged gzip"),
    "too much after the voxels": (gzip.compress(nifti() + bytes((1 << 20) + 1)), "after the voxels"),
}


@pytest.mark.parametrize(("raw", "reason"), PLAIN.values(), ids=PLAIN)
def test_bad_input_is_refused_with_its_reason(write, raw, reason):
    assert reason in refusal(write(raw)).given


@pytest.mark.parametrize(("raw", "reason"), ZIPPED.values(), ids=ZIPPED)
def test_bad_gzip_input_is_refused_with_its_reason(write, raw, reason):
    assert reason in refusal(write(raw, "scan.nii.gz")).given


@pytest.mark.parametrize("magic", [b"n+1\0", b"\0\0\0\0"])
def test_a_pair_needs_a_pairs_magic(tmp_path, magic):
    (tmp_path / "s.hdr").write_bytes(patched((MAGIC, magic))[:348])
    (tmp_path / "s.img").write_bytes(voxels().tobytes("F"))
    assert "magic" in refusal((tmp_path / "s.hdr", tmp_path / "s.img")).given


def test_an_img_may_begin_like_gzip(tmp_path):
    data = voxels("uint8")
    data[:2, 0, 0] = 0x1F, 0x8B
    nib.save(nib.Nifti1Pair(data, LPS), tmp_path / "s.hdr")
    np.testing.assert_array_equal(read((tmp_path / "s.hdr", tmp_path / "s.img"))[1], data)


@pytest.mark.parametrize(
    ("shape", "given", "remedy"),
    [
        ((1, 6, 7, 8), "of size 1 along axis 1 (a channel?)", "remove axis 1, "),
        ((6, 7, 1, 8), "of size 1 along axis 3 (a channel?)", "remove axis 3, "),
        ((1, 6, 1, 7, 8), "of size 1 along axes 1 and 3 (a channel?)", "remove axes 1 and 3, "),
        ((1, 6, 7, 8, 1), "of size 1 along axis 1 (a channel?)", "remove axis 1, "),
        ((3, 6, 7, 8), "more than one volume: axis 1 looks like 3 channels", "keep one channel"),
        ((6, 7, 8, 3), "more than one volume", "split it"),
    ],
)
def test_an_axis_of_channels_is_named_with_a_remedy(write, shape, given, remedy):
    error = refusal(write(dims(*shape)))
    assert error.given.endswith(given)
    assert error.remedy.startswith(remedy)


FETCH = "fetch or export it again"
REMEDIES = {  # a file's bytes -> what its owner must do
    "pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "git lfs pull"),
    "login page": (b"<!DOCTYPE html><html>", "log in and download the file again"),
    "error of a server": (b'{"error": "forbidden"}', "the reply of the server"),
    "DICOM": (bytes(128) + b"DICM" + bytes(400), "dcm2niix"),
    "ZIP archive": (b"PK\3\4" + bytes(400), "unpack it"),
    "bzip2": (bz2.compress(nifti()), "decompress it"),
    "NRRD": (b"NRRD0004\ntype: short\n", "convert it to NIfTI"),
    "zeros": (bytes(400), FETCH),
    "nobody knows what": (b"\xff\xfe\xfd\xfc" * 99, "check what the file is"),
    "empty file": (b"", FETCH),
}


@pytest.mark.parametrize("how", ["plain", "plain named .gz", "inside gzip"])
@pytest.mark.parametrize("what", REMEDIES)
def test_the_remedy_depends_on_the_type_of_the_file(write, what, how):
    raw, remedy = REMEDIES[what]
    raw = gzip.compress(raw) if how == "inside gzip" else raw
    assert remedy in refusal(write(raw, "scan.nii" if how == "plain" else "scan.nii.gz")).remedy


@pytest.mark.parametrize(
    "raw",
    [dims(6, 0, 8), dims(6, -7, 8), patched((VOX_OFFSET, 0)), patched((VOX_OFFSET, 352.5)), patched((MAGIC, bytes(4)))],
    ids=["a size of 0", "a negative size", "voxels in the header", "voxels at a broken byte", "Analyze"],
)
def test_only_damaged_files_should_be_fetched_again(write, raw):
    assert FETCH not in refusal(write(raw)).remedy


@pytest.mark.parametrize(("header", "image"), [("s.hdr.gz", "s.img.gz"), ("s.hdr", "s.img.gz"), ("s.hdr.gz", "s.img")])
def test_either_half_of_a_pair_may_be_compressed(tmp_path, header, image):
    nib.save(nib.Nifti1Pair(voxels(), LPS), tmp_path / "plain.hdr")
    paths = []
    for name, plain in ((header, "plain.hdr"), (image, "plain.img")):
        raw = (tmp_path / plain).read_bytes()
        paths.append(tmp_path / name)
        paths[-1].write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    _, array, digest = read(tuple(paths))
    np.testing.assert_array_equal(array, voxels())
    assert digest == xxh3_128_hexdigest(b"".join(path.read_bytes() for path in paths))
    paths[1].write_bytes(paths[1].read_bytes()[:-9])
    refusal(tuple(paths))


def test_voxels_that_were_not_fetched_are_distinguished_from_damaged_ones(tmp_path):
    nib.save(nib.Nifti1Pair(voxels(), LPS), tmp_path / "s.hdr")
    paths = (tmp_path / "s.hdr", tmp_path / "s.img")
    paths[1].write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 672\n")
    assert "its .img is a Git LFS pointer" in refusal(paths).remedy
    paths[1].write_bytes(voxels().tobytes()[:-9])
    assert FETCH in refusal(paths).remedy


def test_a_message_is_one_line_of_given_expected_and_remedy(write):
    assert str(refusal(write(dims(6, 7, 4, 2)))) == (
        "6 x 7 x 4 x 2 voxels, more than one volume; expected one 3-D volume; split it and keep one volume"
    )


def test_a_gzip_cut_anywhere_is_refused(write):
    raw = gzip.compress(nifti(voxels(shape=(30, 31, 32))))
    for percent in range(0, 100, 5):
        refusal(write(raw[: len(raw) * percent // 100], "scan.nii.gz"))


def test_a_flipped_bit_is_refused_or_harmless(write):
    raw = gzip.compress(nifti())
    _, wanted, _ = read(write(raw, "scan.nii.gz"))
    harmless = 0
    for position in [*range(20), *np.linspace(20, len(raw) - 1, 80).astype(int).tolist()]:
        paths = write(flipped_bit(raw, position), "scan.nii.gz")
        try:
            _, array, _ = read(paths)
        except InvalidInput:
            continue
        np.testing.assert_array_equal(array, wanted)
        harmless += 1
    assert harmless < 20  # the gzip header's time, flags and system only


def test_a_header_with_random_bytes_is_read_as_nibabel_reads_it_or_refused(write):
    generator = np.random.default_rng(1)
    accepted = 0
    for _ in range(400):
        raw = bytearray(nifti())
        for position in generator.integers(0, 348, 3):
            raw[position] = generator.integers(256)
        try:
            scan, array, _ = read(write(bytes(raw)))
        except InvalidInput:
            continue
        accepted += 1
        image = nib.Nifti1Image.from_bytes(bytes(raw))
        np.testing.assert_array_equal(scan.affine, image.affine)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(array * scan.slope + scan.inter, image.get_fdata().reshape(scan.shape))
    assert accepted > 200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_a_huge_claim_is_refused_before_any_allocation(write):
    paths = write(gzip.compress(dims(4000, 4000, 4000)) + bytes(1 << 20), "scan.nii.gz")
    program = (
        "import sys; from pathlib import Path; from pipeline.readers.nifti import open_scan\n"
        "def peak():\n    return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])  # kB\n"
        "before = peak()\n"
        "try:\n    open_scan((Path(sys.argv[1]),)).__enter__()\n"
        "except ValueError as error:\n    print('claims' in str(error), peak() - before)\n"
    )
    command = [sys.executable, "-c", program, str(paths[0])]
    refused, kilobytes = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=250, cwd=ROOT
    ).stdout.split()
    assert refused == "True"
    assert int(kilobytes) < 20_000


@pytest.mark.parametrize("name", ["folder.nii.gz", "pipe.nii.gz"])
def test_anything_but_a_regular_file_is_refused_without_waiting(tmp_path, name):
    path = tmp_path / name
    (Path.mkdir if name.startswith("folder") else os.mkfifo)(path)
    assert refusal((path,)).given == "not a regular file"


def test_a_vanished_file_raises_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read((tmp_path / "gone.nii",))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_raises_the_systems_error(write):
    paths = write(nifti())
    paths[0].chmod(0)
    with pytest.raises(PermissionError):
        read(paths)


# Real files


@pytest.mark.skipif(not DATA.exists(), reason="real scans are not here (../shared/data)")
def test_real_scans_are_read_as_nibabel_reads_them():
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


@pytest.mark.skipif(not DATA.exists(), reason="real scans are not here (../shared/data)")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("3DCT_lung_small_plain_named.nii.gz", "plain data named .gz"),
        ("3DCT_lung_small_truncated.nii", "claims 569440 bytes"),
        ("example_ct_sm_truncated.nii.gz", "damaged gzip"),
    ],
)
def test_real_damaged_scans_are_refused(name, reason):
    assert reason in refusal((DATA / "damaged" / name,)).given
