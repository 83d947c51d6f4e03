"""Files that look like inputs but are not read: the reason and a remedy, from their names or first bytes.

Only regular files are opened, and only those whose names say neither that they are inputs nor that they are something
else. At most the first 352 bytes are read.
"""

import os
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property

from pipeline.sources.contents import DICOM, GZIP, HEAD, NIFTI, Contents, describe, inside_gzip
from pipeline.sources.format import format_of, kinds

PARTIAL = "unfinished download; finish the download, or delete it"
ARCHIVE = "archive, not unpacked; unpack it into SOURCE"
ENCRYPTED = "encrypted; decrypt it into SOURCE"
COMPRESSED = "compressed, but not by gzip; decompress it, or compress it with gzip instead"
COPY = "name with text after its ending, like a copy or a backup; rename it so that it ends in {}, or delete it"
ANIMATED = "GIF, not read as a clip; convert it to a video, e.g. with FFmpeg"
OTHER_VIDEO = "video format that is not read; convert it to MP4, e.g. with FFmpeg"
NOT_NAMED = "{} by its first bytes, but not by its name; {}"
# These are reported once for each folder, with the number of files.
DICOM_FILES = "DICOM files ({}), not read; convert each series to NIfTI, e.g. with dcm2niix"
PICTURES = "image files ({}), not read as clips; convert the frames of each clip to a video, e.g. with FFmpeg"
PER_FOLDER = (DICOM_FILES, PICTURES)

UNFINISHED = {"part", "partial", "crdownload", "download", "filepart", "opdownload", "aria2", "!ut", "!qb", "bc!"}
ARCHIVES = {"zip", "7z", "rar", "tar", "tgz", "tbz", "tbz2", "txz", "tzst"}
ENCRYPTIONS = {"gpg", "pgp", "enc", "age"}
COMPRESSIONS = {"bz2", "xz", "zst", "lzma", "lz4", "lz", "z", "br"}
# Endings of files that are neither scans nor clips: they are ignored without being opened.
IGNORED = """
csv tsv txt json xml yaml yml toml ini md rst html htm pdf doc docx xls xlsx ods ppt pptx log bib tex rtf url lnk
bval bvec mat npy npz h5 hdf5 pkl pt pth keras onnx zarr parquet feather db sqlite lock torrent md5 sha1 sha256 sha512
sig asc dvc raw zraw vtk stl obj ply lut xcf psd svg ico exr srt vtt sub ass wav mp3 aac flac m4a
py ipynb r m sh bat c cpp js css exe dll so
"""


@dataclass(frozen=True)
class Lookalikes:
    """Recognises files that look like inputs of one format.

    Arguments:
        kind: of the format.
        endings: of its inputs.
        unread: endings of related formats → why they are not read.
        ignored: endings of files that are something else.
        rename: the remedy for a file that is an input by its contents only; None where it depends on its type.
    """

    kind: str
    endings: tuple[str, ...]
    unread: Mapping[str, str]
    ignored: Set[str]
    rename: str | None = None

    def reason(self, entry: os.DirEntry[str]) -> str:
        """Why a file that looks like an input is not read; empty for other files. May be one of `PER_FOLDER`."""
        name = entry.name.lower()
        stem, suffix = _suffix(name)
        if reason := self._by_ending(stem, suffix):
            return reason
        if suffix in self.ignored | UNFINISHED or name == "dicomdir":
            return ""
        if match := self._inner_ending.search(name):
            return self._copy(match[0], suffix)
        return self._by_contents(entry)

    def _by_ending(self, stem: str, suffix: str) -> str:
        """The reason that the name alone gives; `stem` is the name without `suffix`."""
        if suffix in UNFINISHED and _suffix(stem)[1] not in self.ignored:
            return PARTIAL
        if suffix == "tmp" and self._inner_ending.search(stem):
            return PARTIAL
        if suffix in ARCHIVES or (stem.endswith(".tar") and suffix in COMPRESSIONS | {"gz"}):
            return ARCHIVE
        return self.unread.get(suffix, "")

    @cached_property
    def _inner_ending(self) -> re.Pattern[str]:
        """Matches the ending of an input anywhere in a name, the longest possible."""
        longest_first = "|".join(re.escape(ending) for ending in sorted(self.endings, key=len, reverse=True))
        return re.compile(f"({longest_first})(?![a-z0-9])")

    def _copy(self, ending: str, suffix: str) -> str:
        if suffix in COMPRESSIONS:
            return COMPRESSED
        if suffix in ENCRYPTIONS:
            return ENCRYPTED
        zipped = f"{ending}.gz"  # "x.nii (1).gz" was a .nii.gz
        return COPY.format(zipped if suffix.endswith(("gz", "gzip")) and zipped in self.endings else ending)

    def _by_contents(self, entry: os.DirEntry[str]) -> str:
        contents = _contents(entry)
        if contents is None or contents.kind != self.kind:
            return ""
        if contents is DICOM:
            return DICOM_FILES
        if contents is NIFTI:
            return NOT_NAMED.format(contents.name, "rename it so that it ends in .nii")
        return NOT_NAMED.format(contents.name, self.rename or contents.remedy)


def lookalikes(kind: str) -> Lookalikes:
    """The lookalikes of the inputs of `kind`; inputs of other formats are ignored."""
    own = format_of(kind)
    formats = [format_of(name) for name in kinds()]
    inputs = {ending.rpartition(".")[2] for other in formats if other.kind != kind for ending in other.endings}
    unread = {ending for each in formats for ending in each.unread}
    ignored = (set(IGNORED.split()) | unread | inputs) - {"gz"}
    return Lookalikes(kind, own.endings, own.unread, ignored, own.rename)


def _suffix(name: str) -> tuple[str, str]:
    """The parts of `name` before and after its last dot; (`name`, "") where it has none."""
    before, dot, after = name.rpartition(".")
    return (before, after) if dot else (name, "")


def _contents(entry: os.DirEntry[str]) -> Contents | None:
    """The type of a file by its first bytes; None if it is unknown, or for anything but a readable file."""
    try:
        if not entry.is_file():
            return None
        descriptor = os.open(entry.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            head = os.read(descriptor, HEAD)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return inside_gzip(head) if head.startswith(GZIP) else describe(head)
