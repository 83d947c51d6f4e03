"""A file is identified by its first bytes, with a remedy."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import nibabel as nib
import numpy as np
import pytest

from pipeline.sources.contents import HEAD, NIFTI, ZIPPED_NIFTI, describe, inside_gzip

SCAN = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)).to_bytes()


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.nii", SCAN)
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("x.nii")
        member.size = len(SCAN)
        archive.addfile(member, io.BytesIO(SCAN))
    return buffer.getvalue()


KNOWN = {
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "git lfs pull"),
    "git-annex": (b"/annex/objects/SHA256E-s9--ab.nii.gz\n", "git annex get"),
    "HTML": (b"\r\n  <!DOCTYPE HTML><html><title>Sign in", "log in and download"),
    "HTML with a byte order mark": (b"\xef\xbb\xbf<html lang=de>", "log in and download"),
    "XHTML": (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC', "log in and download"),
    "XML": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied', "the reply of the server"),
    "JSON": (b'{"message": "Not Found"}', "the reply of the server"),
    "a JSON": (b'[\n  {"id": 1}]', "the reply of the server"),
    "DICOM": (bytes(128) + b"DICM" + bytes(400), "dcm2niix"),
    "DICOM without a preamble": (b"\x08\0\x05\0CS\x0a\0ISO_IR 100", "dcm2niix"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3", "move it out"),
    "ZIP": (zipped(), "unpack it"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c\0\4", "unpack it"),
    "RAR": (b"Rar!\x1a\x07\1\0", "unpack it"),
    "tar": (tarred(), "unpack it"),
    "gzip": (gzip.compress(SCAN), "decompress it"),
    "bzip2": (bz2.compress(SCAN), "decompress it"),
    "xz": (lzma.compress(SCAN), "decompress it"),
    "Zstandard": (b"\x28\xb5\x2f\xfd\4\0", "decompress it"),
    "PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", "move it out"),
    "JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF", "move it out"),
    "GIF": (b"GIF89a", "FFmpeg"),
    "NRRD": (b"NRRD0005\ntype: short\n", "convert it to NIfTI"),
    "MetaImage": (b"ObjectType = Image\nNDims = 3\n", "convert it to NIfTI"),
    "Analyze": (b"\x5c\1\0\0" + bytes(344), "convert it to NIfTI"),
    "MP4": (b"\0\0\0\x20ftypisom", "preprocess video"),
    "AVI": (b"RIFF\1\2\3\4AVI LIST", "preprocess video"),
    "Matroska": (b"\x1a\x45\xdf\xa3\x9f", "preprocess video"),
    "MPEG transport stream": ((b"\x47" + bytes(187)) * 2, "preprocess video"),
    "text that starts with 'patient,label 1,2'": (b"patient,label\n1,2\n", "move it out"),
}


@pytest.mark.parametrize(("name", "case"), KNOWN.items(), ids=KNOWN)
def test_a_file_is_recognised_by_its_first_bytes_and_has_a_remedy(name, case):
    head, remedy = case
    kind = describe(head[:HEAD])
    assert name.removeprefix("a ").split(" with")[0].replace("XHTML", "HTML") in kind.name
    assert remedy in kind.remedy
    assert kind.name.isprintable()


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti1Pair, nib.Nifti2Image])
def test_nifti_is_recognised_with_and_without_gzip(kind):
    header = kind(np.zeros((4, 5, 6), np.int16), np.eye(4)).header
    raw = header.binaryblock + bytes(4)
    assert describe(raw[:HEAD]) is NIFTI
    assert inside_gzip(gzip.compress(raw + bytes(500))[:HEAD]) is ZIPPED_NIFTI


@pytest.mark.parametrize("head", [b"", b"\0", bytes(HEAD), bytes(range(256)), b"\xde\xad\xbe\xef" * 80, b"\x1f\x8c"])
def test_bytes_without_a_known_signature_are_unknown(head):
    assert describe(head) is None


def test_text_that_contains_a_signature_is_recognised_as_text():
    assert describe(b"the wide road").name.startswith("text")


@pytest.mark.parametrize("head", [b"\x1f\x8b", b"\x1f\x8bnothing", gzip.compress(b"", mtime=0)])
def test_gzip_without_a_known_signature_inside_is_unknown(head):
    assert inside_gzip(head) is None


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100", "a DICOM file"),
        (b"\x08\0\x08\0CS\x16\0ORIGINAL", "a DICOM file"),
        (b"\x08\0\0\0\x04\0\0\0\x80\1\0\0", "a DICOM file"),
        (b"\x02\0\0\0UL\4\0", "a DICOM file"),
        (b"\x1c\2\0\0n+2\0\r\n\x1a\n" + bytes(528), "NIfTI"),
        (b"\x1c\2\0\0ni2\0\r\n\x1a\n" + bytes(528), "NIfTI"),
        (b"NRRD0001\n", "NRRD"),
        (b"NDims = 3\nDimSize = 4 4 4\n", "MetaImage"),
        (bytes(252) + b"\xef\xff\xe9\xb0", "GIPL"),
        (bytes(252) + b"\x2a\xe3\x89\xb8", "GIPL"),
        (b"x" * 257 + b"ustar\x0000", "a tar archive"),
        (b"PK\5\6" + bytes(18), "an empty ZIP archive"),
        (b"\x04\x22\x4d\x18\x40", "LZ4 data"),
        (b"\xff\xd8\xff\xdb\0\x43", "a JPEG image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"II*\0\x08\0\0\0", "a TIFF image"),
        (b"MM\0*\0\0\0\x08", "a TIFF image"),
        (b"\x89HDF\r\n\x1a\n\0", "HDF5 data"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "MATLAB data"),
        (b"\x93NUMPY\1\0v\0{'descr': '<f4'", "a NumPy array"),
        (b"\x1a\x45\xdf\xa3\x01", "a Matroska or WebM video"),
        (b"FLV\1\5\0\0\0\x09", "an FLV video"),
        (b"OggS\0\2", "an Ogg file"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "a WMV or ASF video"),
        (b"\0\0\1\xba\x44", "an MPEG video"),
        (b"\0\0\1\xb3\x16", "an MPEG video"),
    ],
)
def test_a_signature_is_recognised_only_at_the_offset_of_its_specification(head, name):
    assert describe(head).name.startswith(name)
    assert describe(b"\x01" + head) is None or not describe(b"\x01" + head).name.startswith(name)
