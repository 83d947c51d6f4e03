"""Files that look like inputs but are not read: why, and what to do, by their names or their first bytes.

Nothing that is not a regular file is opened, and of a file at most its first 352 bytes are read, only where its name
says neither that it is an input nor that it is something else.
"""

import os
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property

from pipeline.sources.contents import CONVERT_SCAN, DICOM, GZIP, HEAD, NIFTI, Contents, describe, inside_gzip

PARTIAL = "unfinished download; download it to its end, or delete it"
ARCHIVE = "archive, not unpacked; unpack it into SOURCE"
ENCRYPTED = "encrypted; decrypt it into SOURCE"
COMPRESSED = "compressed, but not by gzip; decompress it, or compress it with gzip instead"
COPY = "name that goes on after its ending, like a copy's or a backup's; rename it so that it ends in {}, or delete it"
FORMAT = f"{{}}, not read; {CONVERT_SCAN}"
ANIMATED = "GIF, not read as a clip; convert it to a video, e.g. with FFmpeg"
OTHER_VIDEO = "video format that is not read; convert it to MP4, e.g. with FFmpeg"
NOT_NAMED = "{} by its first bytes, but not by its name; {}"
# These make one entry a folder, which says how many files there are.
DICOM_FILES = "DICOM files ({}), not read; convert each series to NIfTI, e.g. with dcm2niix"
PICTURES = "image files ({}), not read as clips; convert the frames of each clip to a video, e.g. with FFmpeg"
SEVERAL = (DICOM_FILES, PICTURES)

UNFINISHED = {"part", "partial", "crdownload", "download", "filepart", "opdownload", "aria2", "!ut", "!qb", "bc!"}
ARCHIVES = {"zip", "7z", "rar", "tar", "tgz", "tbz", "tbz2", "txz", "tzst"}
ENCRYPTIONS = {"gpg", "pgp", "enc", "age"}
COMPRESSIONS = {"bz2", "xz", "zst", "lzma", "lz4", "lz", "z", "br"}
VIDEOS = {
    **dict.fromkeys(("jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "ppm", "pgm"), PICTURES),
    **dict.fromkeys(("vob", "rm", "rmvb", "divx", "f4v", "3g2", "qt", "mxf", "y4m", "m2v", "dv", "amv"), OTHER_VIDEO),
    "gif": ANIMATED,
}
SCANS = {
    "dcm": DICOM_FILES,
    "dicom": DICOM_FILES,
    "ima": DICOM_FILES,
    "mgz": FORMAT.format("FreeSurfer's MGH format"),
    "mgh": FORMAT.format("FreeSurfer's MGH format"),
    "mha": FORMAT.format("MetaImage"),
    "mhd": FORMAT.format("MetaImage"),
    "nrrd": FORMAT.format("NRRD"),
    "nhdr": FORMAT.format("NRRD"),
    "gipl": FORMAT.format("GIPL"),
    "mnc": FORMAT.format("MINC"),
}
# Endings of files that are neither scans nor clips: they are passed over unopened.
OTHERS = """
csv tsv txt json xml yaml yml toml ini md rst html htm pdf doc docx xls xlsx ods ppt pptx log bib tex rtf url lnk
bval bvec mat npy npz h5 hdf5 pkl pt pth keras onnx zarr parquet feather db sqlite lock torrent md5 sha1 sha256 sha512
sig asc dvc raw zraw vtk stl obj ply lut xcf psd svg ico exr srt vtt sub ass wav mp3 aac flac m4a
py ipynb r m sh bat c cpp js css exe dll so
"""


@dataclass(frozen=True)
class Lookalikes:
    """What looks like an input of `kind`, "ct" or "video", which ends in one of `endings`.

    `formats` maps endings that belong to other formats to why they are not read; files with an ending in `passed` are
    something else.
    """

    kind: str
    endings: tuple[str, ...]
    formats: Mapping[str, str]
    passed: Set[str]

    def reason(self, item: os.DirEntry[str]) -> str:
        """Why what looks like an input is not read; empty for anything else. One of `SEVERAL` is for a whole folder."""
        name = item.name.lower()
        before, suffix = _suffix(name)
        if found := self._by_ending(before, suffix):
            return found
        if suffix in self.passed | UNFINISHED or name == "dicomdir":
            return ""
        if meant := self._meant.search(name):
            return self._copy(meant[0], suffix)
        return self._by_contents(item)

    def _by_ending(self, before: str, suffix: str) -> str:
        """The same from what a name ends in, after what comes `before`."""
        if suffix in UNFINISHED and _suffix(before)[1] not in self.passed:
            return PARTIAL
        if suffix == "tmp" and self._meant.search(before):
            return PARTIAL
        if suffix in ARCHIVES or (before.endswith(".tar") and suffix in COMPRESSIONS | {"gz"}):
            return ARCHIVE
        return self.formats.get(suffix, "")

    @cached_property
    def _meant(self) -> re.Pattern[str]:
        """An input's ending inside a name, the longest that fits."""
        longest_first = "|".join(re.escape(ending) for ending in sorted(self.endings, key=len, reverse=True))
        return re.compile(f"({longest_first})(?![a-z0-9])")

    def _copy(self, ending: str, suffix: str) -> str:
        if suffix in COMPRESSIONS:
            return COMPRESSED
        if suffix in ENCRYPTIONS:
            return ENCRYPTED
        zipped = f"{ending}.gz"  # "x.nii (1).gz" was a .nii.gz
        return COPY.format(zipped if suffix.endswith(("gz", "gzip")) and zipped in self.endings else ending)

    def _by_contents(self, item: os.DirEntry[str]) -> str:
        found = _contents(item)
        if found is None or found.kind != self.kind:
            return ""
        if found is DICOM:
            return DICOM_FILES
        if found is NIFTI:
            return NOT_NAMED.format(found.name, "rename it so that it ends in .nii")
        remedy = found.remedy if self.kind == "ct" else "give it the ending of its format, such as .avi or .mp4"
        return NOT_NAMED.format(found.name, remedy)


def lookalikes(kind: str, endings: Mapping[str, tuple[str, ...]]) -> Lookalikes:
    """Those of the inputs of `kind`, "ct" or "video", among inputs with the `endings` of each kind."""
    formats = {"ct": SCANS, "video": VIDEOS}
    other = {ending.rpartition(".")[2] for name, several in endings.items() if name != kind for ending in several}
    passed = (set(OTHERS.split()) | SCANS.keys() | VIDEOS.keys() | other) - {"gz"}
    return Lookalikes(kind, endings[kind], formats[kind], passed)


def _suffix(name: str) -> tuple[str, str]:
    """What comes before the last dot of `name`, and after it; nothing after it where there is none."""
    before, dot, after = name.rpartition(".")
    return (before, after) if dot else (name, "")


def _contents(item: os.DirEntry[str]) -> Contents | None:
    """What a file of no telling name is; None for what is not a regular file or cannot be read."""
    try:
        if not item.is_file():
            return None
        descriptor = os.open(item.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            head = os.read(descriptor, HEAD)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return inside_gzip(head) if head.startswith(GZIP) else describe(head)
