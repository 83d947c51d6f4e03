"""File types by their first bytes, and the remedy for a file of each type in SOURCE. Pure."""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

HEAD = 352  # bytes needed: the signatures of DICOM and NIfTI-1 are at 128 and 344
GZIP = b"\x1f\x8b"
CONVERT_SERIES = "convert its series to NIfTI, e.g. with dcm2niix"
CONVERT_SCAN = "convert it to NIfTI, e.g. with SimpleITK or ITK-SNAP"
UNPACK = "unpack it into SOURCE"
DECOMPRESS = "decompress it, and compress it with gzip if it should stay small"
NOT_HERE = "its contents are not on this machine"
SEE_REPLY = "open it in a text editor to see the reply of the server, and download the file again"
REMOVE = "replace it with the file that belongs there, or move it out of SOURCE"
PICTURE = "move it out of SOURCE; if it is one slice or frame of many, convert all of them into one file"
VIDEO = "move it out of SOURCE; clips are read by `preprocess video`"
EXPORT = "export it as NIfTI with the program that wrote it"


@dataclass(frozen=True, slots=True)
class Contents:
    """A type of file.

    Arguments:
        name: as a noun phrase.
        remedy: the advice to the user.
        kind: the source format that such data belong to, "ct" or "video"; empty for any other.
    """

    name: str
    remedy: str
    kind: str = ""


ANNEX = Contents("a git-annex link", f"{NOT_HERE}: run `git annex get` or `datalad get` on it")
DICOM = Contents("a DICOM file", CONVERT_SERIES, "ct")
ZIPPED_NIFTI = Contents("NIfTI in gzip", "rename it so that it ends in .nii.gz", "ct")
LFS = Contents("a Git LFS pointer", f"{NOT_HERE}: run `git lfs pull` in its repository")
NIFTI = Contents("NIfTI", "move it out of SOURCE; scans are read by `preprocess ct`", "ct")

# (offset, signature) -> type, from the specifications of the formats.
MAGIC: dict[tuple[int, bytes], Contents] = {
    (0, b"version https://git-lfs.github.com/spec/"): LFS,
    (0, b"version https://hawser.github.com/spec/"): LFS,
    (0, b"/annex/objects/"): ANNEX,
    (128, b"DICM"): DICOM,
    (0, b"\x08\0\x05\0CS"): DICOM,  # this and the next four lack the preamble
    (0, b"\x08\0\x05\0\x0a\0\0\0"): DICOM,
    (0, b"\x08\0\x08\0CS"): DICOM,
    (0, b"\x08\0\0\0\x04\0\0\0"): DICOM,
    (0, b"\x02\0\0\0UL"): DICOM,
    (344, b"n+1\0"): NIFTI,
    (344, b"ni1\0"): NIFTI,
    (4, b"n+2\0\r\n\x1a\n"): NIFTI,
    (4, b"ni2\0\r\n\x1a\n"): NIFTI,
    (0, b"NRRD000"): Contents("NRRD", CONVERT_SCAN, "ct"),
    (0, b"ObjectType ="): Contents("MetaImage", CONVERT_SCAN, "ct"),
    (0, b"NDims ="): Contents("MetaImage", CONVERT_SCAN, "ct"),
    (252, b"\xef\xff\xe9\xb0"): Contents("GIPL", CONVERT_SCAN, "ct"),
    (252, b"\x2a\xe3\x89\xb8"): Contents("GIPL", CONVERT_SCAN, "ct"),
    (0, b"%PDF-"): Contents("a PDF document", REMOVE),
    (0, b"PK\3\4"): Contents("a ZIP archive", UNPACK),
    (0, b"PK\5\6"): Contents("an empty ZIP archive", REMOVE),
    (0, b"7z\xbc\xaf\x27\x1c"): Contents("a 7-Zip archive", UNPACK),
    (0, b"Rar!\x1a\x07"): Contents("a RAR archive", UNPACK),
    (257, b"ustar"): Contents("a tar archive", UNPACK),
    (0, GZIP): Contents("gzip data", DECOMPRESS),
    (0, b"\xfd7zXZ\0"): Contents("xz data", DECOMPRESS),
    (0, b"\x28\xb5\x2f\xfd"): Contents("Zstandard data", DECOMPRESS),
    (0, b"\x04\x22\x4d\x18"): Contents("LZ4 data", DECOMPRESS),
    (0, b"\x89PNG\r\n\x1a\n"): Contents("a PNG image", PICTURE),
    (0, b"\xff\xd8\xff"): Contents("a JPEG image", PICTURE),
    (0, b"\0\0\0\x0cjP  "): Contents("a JPEG 2000 image", PICTURE),
    (0, b"GIF8"): Contents("a GIF image", f"{PICTURE}, e.g. with FFmpeg"),
    (0, b"II*\0"): Contents("a TIFF image", PICTURE),
    (0, b"MM\0*"): Contents("a TIFF image", PICTURE),
    (0, b"\x89HDF\r\n\x1a\n"): Contents("HDF5 data", EXPORT),
    (0, b"MATLAB 5.0 MAT-file"): Contents("MATLAB data", EXPORT),
    (0, b"\x93NUMPY"): Contents("a NumPy array", EXPORT),
    (0, b"\x1a\x45\xdf\xa3"): Contents("a Matroska or WebM video", VIDEO, "video"),
    (0, b"FLV\1"): Contents("an FLV video", VIDEO, "video"),
    (0, b"OggS"): Contents("an Ogg file", VIDEO, "video"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"): Contents("a WMV or ASF video", VIDEO, "video"),
    (0, b"\0\0\1\xba"): Contents("an MPEG video", VIDEO, "video"),
    (0, b"\0\0\1\xb3"): Contents("an MPEG video", VIDEO, "video"),
}
# Regular expression of the first bytes -> type, for signatures with gaps.
STARTS: dict[bytes, Contents] = {
    rb"RIFF....AVI ": Contents("an AVI video", VIDEO, "video"),
    rb"RIFF....WEBP": Contents("a WebP image", PICTURE),
    rb"\0...(ftyp|moov|mdat|wide|free|skip|pnot)": Contents("an MP4 or MOV video", VIDEO, "video"),
    rb"(....)?\x47.{187}(....)?\x47": Contents("an MPEG transport stream", VIDEO, "video"),
    rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": Contents("bzip2 data", DECOMPRESS),
    rb"(\x5c\x01\0\0|\0\0\x01\x5c).{344}": Contents(
        "an Analyze 7.5 header, which has no magic or orientation", CONVERT_SCAN
    ),
}
# Regular expression of the first characters, in lower case and without leading blanks -> type.
TEXTS: dict[bytes, Contents] = {
    rb"(<\?xml[^>]*>\s*)?<(!doctype html|html|head|body|script|meta|!--)": Contents(
        "an HTML page", "it may be a login or error page: log in and download the file again"
    ),
    rb"<\?xml|<error\b": Contents("XML text", SEE_REPLY),
    rb"\{\s*(\"|\}|$)|\[\s*(\{|\"|\[|\]|$)": Contents("JSON text", SEE_REPLY),
}


def describe(head: bytes) -> Contents | None:
    """The type of a file that starts with `head`, its first `HEAD` bytes or fewer; None where it is unknown.

    Any gzip data have the type gzip; `inside_gzip` looks further.
    """
    return next(_by_signature(head), None) or _text(head)


def _by_signature(head: bytes) -> Iterator[Contents]:
    yield from (contents for (offset, magic), contents in MAGIC.items() if head.startswith(magic, offset))
    yield from (contents for start, contents in STARTS.items() if re.match(start, head, re.DOTALL))


def _text(head: bytes) -> Contents | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text or any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in text):
        return None
    if contents := next((contents for start, contents in TEXTS.items() if re.match(start, text.lower())), None):
        return contents
    excerpt = ascii(" ".join(text.decode("utf-8", "replace").split())[:40])
    is_ascii = sum(byte < 127 for byte in text) > 0.75 * len(text)
    return Contents(f"text that starts with {excerpt}", REMOVE) if is_ascii else None


def inside_gzip(head: bytes) -> Contents | None:
    """The type of the data in a gzip stream that starts with `head`; None where it is unknown."""
    try:
        inner = zlib.decompressobj(31).decompress(head, HEAD)
    except zlib.error:
        return None
    is_nifti = {348, 540} & {int.from_bytes(inner[:4], "little"), int.from_bytes(inner[:4], "big")}
    return ZIPPED_NIFTI if is_nifti else describe(inner)
