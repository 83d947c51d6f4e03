"""NIfTI files that are unusual, damaged or not NIfTI at all: variants of one small scan, and real files."""

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data"
HEADER = 352  # bytes before the voxels of a single NIfTI-1 file
DIM, PIXDIM, SLOPE, INTER = (40, "8h"), (76, "8f"), (112, "f"), (116, "f")
QFORM, SFORM, SROW, DATATYPE, VOX_OFFSET = (252, "h"), (254, "h"), (280, "12f"), (70, "2h"), (108, "f")


def nifti(data=None):
    """The bytes of an intact single-file NIfTI."""
    if data is None:
        data = np.random.default_rng(0).integers(-1000, 400, (12, 13, 14), np.int16)
    return nib.Nifti1Image(data, np.diag([-1.0, -1.0, 2.0, 1.0])).to_bytes()


GOOD = nifti()
ZIPPED = gzip.compress(GOOD, mtime=0)


def patched(*changes, image=GOOD):
    raw = bytearray(image)
    for (offset, layout), *values in changes:
        struct.pack_into("<" + layout, raw, offset, *values)
    return bytes(raw)


def dims(*sizes):
    return patched((DIM, len(sizes), *sizes, *[1] * (7 - len(sizes))))


def flipped(position, bit):
    raw = bytearray(ZIPPED)
    raw[position] ^= 1 << bit
    return bytes(raw)


INTACT = {  # these become samples
    "good.nii": GOOD,
    "good.nii.gz": ZIPPED,
    "new\nline.nii": GOOD,
    "sp ace.nii": GOOD,
    "Ünïcödé 肺.nii": GOOD,
    "-dash.nii.gz": ZIPPED,
    "%s\x1b[31m.NII.GZ": ZIPPED,
    "two members.nii.gz": gzip.compress(GOOD[:500]) + gzip.compress(GOOD[500:]),
    "zeros after the end.nii.gz": ZIPPED + bytes(5000),
    "junk after the voxels.nii": GOOD + b"junk",
    "five dimensions.nii": dims(12, 13, 14, 1, 1),
    "seven dimensions.nii": dims(12, 13, 14, 1, 1, 1, 1),
    "fourth size 0.nii": dims(12, 13, 14, 0),
    "slope NaN.nii": patched((SLOPE, np.nan)),
    "slope infinite.nii": patched((SLOPE, np.inf)),
    "slope 1e38.nii": patched((SLOPE, 1e38)),
    "slope 1e-38.nii": patched((SLOPE, 1e-38)),
    "slope negative.nii": patched((SLOPE, -1.0)),
    "all NaN.nii": nifti(np.full((5, 6, 7), np.nan, np.float32)),
    "all infinite.nii": nifti(np.full((5, 6, 7), np.inf, np.float64)),
    "constant.nii": nifti(np.zeros((5, 6, 7), np.uint8)),
    "no orientation codes.nii": patched((QFORM, 0), (SFORM, 0)),
    "pixdim negative.nii": patched((QFORM, 0), (SFORM, 0), (PIXDIM, 1, -1, -1, -2, 0, 0, 0, 0)),
    "pixdim zero.nii": patched((PIXDIM, 1, 0, 0, 0, 0, 0, 0, 0)),
    "least.nii": nifti(np.arange(8, dtype=np.int16).reshape(2, 2, 2)),
}
BAD = {  # these are rejected, with a reason that starts like this
    "empty.nii": (b"", "empty file"),
    "empty.nii.gz": (b"", "empty file"),
    "nothing inside.nii.gz": (gzip.compress(b""), "no NIfTI header"),
    "short header.nii": (GOOD[:200], "200 bytes of header"),
    "header only.nii": (GOOD[:HEADER], "a header that claims"),
    "header only.nii.gz": (gzip.compress(GOOD[:HEADER]), "0 bytes of voxels"),
    "32000³.nii": (dims(32000, 32000, 32000), "a header that claims|32000 x 32000 x 32000 voxels"),
    "32000³.nii.gz": (gzip.compress(dims(32000, 32000, 32000)), "a header that claims|32000 x 32000 x 32000 voxels"),
    "cut.nii": (GOOD[:-100], "a header that claims"),
    "wrong CRC.nii.gz": (ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:], "damaged gzip data"),
    "wrong length.nii.gz": (ZIPPED[:-4] + b"\0\0\0\1", "damaged gzip data"),
    "junk after the end.nii.gz": (ZIPPED + b"junk", "damaged gzip data, or other bytes after its end"),
    "gzip in gzip.nii.gz": (gzip.compress(ZIPPED), "gzip inside gzip"),
    "plain.nii.gz": (GOOD, "plain data named .gz"),
    "zipped.nii": (ZIPPED, "gzip data without .gz in its name"),
    "text.nii": (b"FileName,TypeOfTB\n" * 99, "no NIfTI header"),
    "zeros.nii": (bytes(5000), "no NIfTI header"),
    "dimensions 0.nii": (dims(), "an image of 0 dimensions"),
    "dimensions 1.nii": (dims(2184), "an image of 1 dimensions"),
    "dimensions 2.nii": (dims(12, 182), "an image of 2 dimensions"),
    "dimensions 99.nii": (patched((DIM, 99, 1, 1, 1, 1, 1, 1, 1)), "an image of 99 dimensions|a header that nibabel"),
    "two volumes.nii": (dims(12, 13, 7, 2), "12 x 13 x 7 x 2 voxels, more than one volume"),
    "five real dimensions.nii": (dims(12, 13, 7, 1, 2), "12 x 13 x 7 x 1 x 2 voxels, more than one volume"),
    "size 0.nii": (dims(12, 13, 0), "12 x 13 x 0 voxels"),
    "size -5.nii": (dims(12, 13, -5), "12 x 13 x -5 voxels"),
    "channel first.nii": (dims(1, 12, 13, 14), "1 x 12 x 13 x 14 voxels, of size 1 along axis 1"),
    "Git LFS.nii.gz": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "a Git LFS pointer"),
    "login page.nii.gz": (b"<!DOCTYPE html><html>", "an HTML page, though named .gz"),
    "DICOM.nii": (bytes(128) + b"DICM" + bytes(400), "no NIfTI header: the file is a DICOM file"),
    "size 1.nii": (dims(12, 182, 1), "12 x 182 x 1 voxels"),
    "colour.nii": (patched((DATATYPE, 128, 24)), "colour voxels"),
    "complex.nii": (patched((DATATYPE, 32, 64)), "complex64 voxels"),
    "unknown dtype.nii": (patched((DATATYPE, 999, 16)), "a header that nibabel rejects"),
    "voxels in the header.nii": (patched((VOX_OFFSET, 8.0)), "a header that nibabel rejects|voxels said to start"),
    "voxels far off.nii": (patched((VOX_OFFSET, 1e9)), "vox_offset"),
    "intercept NaN.nii": (patched((SLOPE, 1.0), (INTER, np.nan)), "scl_inter nan"),
    "singular affine.nii": (patched((SFORM, 1), (SROW, *[1.0] * 12)), "an unusable affine"),
    "affine NaN.nii": (patched((SFORM, 1), (SROW, *[np.nan] * 12)), "an unusable affine"),
    "lone.hdr": (GOOD[:348], "half of a .hdr/.img pair, without its .img"),
    "lost.img": (GOOD[HEADER:], "half of a .hdr/.img pair, without its .hdr"),
}
BAD |= {
    f"cut at {percent} %.nii.gz": (ZIPPED[: len(ZIPPED) * percent // 100], "damaged gzip data|.* bytes of ")
    for percent in range(5, 100, 5)
}
FLIPPED = {  # these become samples with the right values, or are rejected
    f"bit flipped at {place}.nii.gz": flipped(place * (len(ZIPPED) - 1) // 49, place % 8) for place in range(50)
}
SPECIAL = {  # these are not regular files
    "folder.nii.gz": "'folder.nii.gz' is a folder",
    "pipe.nii": "'pipe.nii' is not a regular file",
    "socket.nii": "'socket.nii' is not a regular file",
    "device.nii": "'device.nii' is not a regular file",
    "annexed.nii.gz": "a git-annex link; expected the file itself; .* run `git annex get`",
    "loop.nii": r"it cannot be read \(Too many levels of symbolic links\)",
    "broken.nii": r"it cannot be read \(No such file or directory\)",
    "not UTF-8 \udcff.nii": "its name is not valid UTF-8",
}
REAL_INTACT = {f"ct/{path.name}" for path in DATA.glob("ct/*")} | {
    f"nifti_odd/{name}"
    for name in (
        "AIL.nii.gz", "LPS.nii.gz", "RAS.nii.gz", "SPR.nii.gz", "anatomical.nii", "low_res.nii.gz", "minimal.nii.gz",
        "ras.hdr", "reoriented_anat_moved.nii", "resampled_anat_moved.nii", "someones_epi.nii.gz", "standard.nii.gz",
    )
}  # fmt: skip
REAL_BAD = {
    "nifti_odd/complex_image.nii.gz": "complex64 voxels",
    "nifti_odd/ct_perfusion.nii.gz": "colour voxels",
    "nifti_odd/example4d.nii.gz": "128 x 96 x 24 x 2 voxels, more than one volume",
    "nifti_odd/example_nifti2.nii.gz": "32 x 20 x 12 x 2 voxels, more than one volume",
    "nifti_odd/functional.nii": "17 x 21 x 3 x 20 voxels, more than one volume",
    "damaged/3DCT_lung_small_plain_named.nii.gz": "plain data named .gz",
    "damaged/3DCT_lung_small_truncated.nii": "a header that claims",
    "damaged/example_ct_sm_truncated.nii.gz": "damaged gzip data",
}


def place(folder, files):
    """Write each file into its own folder, so that no two get the same id."""
    for number, (name, data) in enumerate(files.items()):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / name).write_bytes(data)
