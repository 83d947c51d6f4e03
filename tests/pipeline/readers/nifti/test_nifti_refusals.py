"""A NIfTI file that cannot become a sample is rejected with a reason and a remedy."""

import bz2
import gzip
import zlib

import nibabel as nib
import numpy as np
import pytest

from tests.helpers.nifti_files import (
    DATATYPE,
    DIM,
    INTER,
    LPS,
    MAGIC,
    QFORM_CODE,
    SFORM_CODE,
    SHAPE,
    SLOPE,
    SROW,
    VOX_OFFSET,
    dims,
    nifti,
    patched,
    refusal,
    voxels,
)

# Rejected files: name → contents, part of the reason

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
    "unknown bytes": (b"\xff\xfe\xfd\xfc" * 99, r"it starts with b'\xff\xfe\xfd\xfc"),
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
    "zlib with the signature of gzip": (b"\x1f\x8b" + zlib.compress(nifti()), "damaged gzip"),
    "too much after the voxels": (gzip.compress(nifti() + bytes((1 << 20) + 1)), "after the voxels"),
}


@pytest.mark.parametrize(("raw", "reason"), PLAIN.values(), ids=PLAIN)
def test_bad_input_is_rejected_with_a_reason(write, raw, reason):
    assert reason in refusal(write(raw)).problem


@pytest.mark.parametrize(("raw", "reason"), ZIPPED.values(), ids=ZIPPED)
def test_bad_gzip_input_is_rejected_with_a_reason(write, raw, reason):
    assert reason in refusal(write(raw, "scan.nii.gz")).problem


@pytest.mark.parametrize("magic", [b"n+1\0", b"\0\0\0\0"])
def test_a_pair_without_the_magic_of_pairs_is_rejected(tmp_path, magic):
    (tmp_path / "s.hdr").write_bytes(patched((MAGIC, magic))[:348])
    (tmp_path / "s.img").write_bytes(voxels().tobytes("F"))
    assert "magic" in refusal((tmp_path / "s.hdr", tmp_path / "s.img")).problem


@pytest.mark.parametrize(
    ("shape", "problem", "remedy"),
    [
        ((1, 6, 7, 8), "of size 1 along axis 1 (a channel?)", "remove axis 1, "),
        ((6, 7, 1, 8), "of size 1 along axis 3 (a channel?)", "remove axis 3, "),
        ((1, 6, 1, 7, 8), "of size 1 along axes 1 and 3 (a channel?)", "remove axes 1 and 3, "),
        ((1, 6, 7, 8, 1), "of size 1 along axis 1 (a channel?)", "remove axis 1, "),
        ((3, 6, 7, 8), "more than one volume: axis 1 looks like 3 channels", "keep one channel"),
        ((6, 7, 8, 3), "more than one volume", "split it"),
    ],
)
def test_a_channel_axis_is_named_with_a_remedy(write, shape, problem, remedy):
    error = refusal(write(dims(*shape)))
    assert error.problem.endswith(problem)
    assert error.remedy.startswith(remedy)


FETCH = "fetch or export it again"
REMEDIES = {  # name → contents, part of the remedy
    "pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "git lfs pull"),
    "login page": (b"<!DOCTYPE html><html>", "log in and download the file again"),
    "error of a server": (b'{"error": "forbidden"}', "the reply of the server"),
    "DICOM": (bytes(128) + b"DICM" + bytes(400), "dcm2niix"),
    "ZIP archive": (b"PK\3\4" + bytes(400), "unpack it"),
    "bzip2": (bz2.compress(nifti()), "decompress it"),
    "NRRD": (b"NRRD0004\ntype: short\n", "convert it to NIfTI"),
    "zeros": (bytes(400), FETCH),
    "unknown bytes": (b"\xff\xfe\xfd\xfc" * 99, "check what the file is"),
    "empty file": (b"", FETCH),
}


@pytest.mark.parametrize("wrapping", ["plain", "plain named .gz", "inside gzip"])
@pytest.mark.parametrize("kind", REMEDIES)
def test_the_remedy_depends_on_the_type_of_the_file(write, kind, wrapping):
    raw, remedy = REMEDIES[kind]
    raw = gzip.compress(raw) if wrapping == "inside gzip" else raw
    assert remedy in refusal(write(raw, "scan.nii" if wrapping == "plain" else "scan.nii.gz")).remedy


@pytest.mark.parametrize(
    "raw",
    [dims(6, 0, 8), dims(6, -7, 8), patched((VOX_OFFSET, 0)), patched((VOX_OFFSET, 352.5)), patched((MAGIC, bytes(4)))],
    ids=["a size of 0", "a negative size", "voxels in the header", "voxels at a broken byte", "Analyze"],
)
def test_the_remedy_for_files_that_are_not_damaged_is_not_to_fetch_them_again(write, raw):
    assert FETCH not in refusal(write(raw)).remedy


def test_an_img_that_was_not_fetched_is_distinguished_from_a_damaged_one(tmp_path):
    nib.save(nib.Nifti1Pair(voxels(), LPS), tmp_path / "s.hdr")
    paths = (tmp_path / "s.hdr", tmp_path / "s.img")
    paths[1].write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 672\n")
    assert "its .img is a Git LFS pointer" in refusal(paths).remedy
    paths[1].write_bytes(voxels().tobytes()[:-9])
    assert FETCH in refusal(paths).remedy


def test_a_message_is_one_line_with_the_problem_the_expectation_and_the_remedy(write):
    assert str(refusal(write(dims(6, 7, 4, 2)))) == (
        "6 x 7 x 4 x 2 voxels, more than one volume; expected one 3-D volume; split it and keep one volume"
    )
