"""The header of a NIfTI file: recognised by its size and magic, parsed by nibabel."""

from __future__ import annotations

import logging

import numpy as np
from nibabel import nifti1, nifti2

from pipeline.errors import InvalidInput
from pipeline.readers.nifti.stream import Stream, first_bytes, unknown_remedy
from pipeline.readers.remedies import FETCH_AGAIN, one_line
from pipeline.sources.contents import GZIP, describe

HEADERS = {  # (header bytes, magic) -> nibabel's class
    (348, b"n+1\0"): nifti1.Nifti1Header,
    (348, b"ni1\0"): nifti1.Nifti1PairHeader,
    (540, b"n+2\0"): nifti2.Nifti2Header,
    (540, b"ni2\0"): nifti2.Nifti2PairHeader,
}
WRONG_HEADER = "its header is wrong: correct it, or export the scan again with another program"


def read_header(stream: Stream, paired: bool) -> tuple[nifti1.Nifti1Header, int, list[str]]:
    """The parsed header, the number of bytes read for it, and notes on repairs by nibabel."""
    block = stream.read(348)
    if block[:2] == GZIP:
        if stream.zipped:
            raise InvalidInput("gzip inside gzip", "NIfTI inside gzip", "decompress it once")
        raise InvalidInput("gzip data without .gz in its name", "plain NIfTI", "rename it so that it ends in .gz")
    order = "<" if block[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
    size = int.from_bytes(block[:4], "little" if order == "<" else "big")
    if size == 540:
        block += stream.read(540 - 348)
    if size in (348, 540) and len(block) < size:
        raise InvalidInput(f"{len(block)} bytes of header", f"{size}", FETCH_AGAIN)
    magic = block[344:348] if size == 348 else block[4:8]
    if (size, magic) not in HEADERS:
        raise _not_nifti(block)
    if (magic[1:2] == b"i") != paired:
        problem, expected = ("n+1", "ni1") if paired else ("ni1", "n+1")
        kind = "a .hdr/.img pair" if paired else "a single file"
        raise InvalidInput(f"magic {problem} in {kind}", f"magic {expected}", "rename it as its magic says")
    header, notes = _parse(HEADERS[size, magic], block, order)
    return header, size, notes


def _not_nifti(block: bytes) -> InvalidInput:
    """The error for a file that starts with `block`, which is not a NIfTI header."""
    contents = describe(block)
    if contents:
        return InvalidInput(f"no NIfTI header: the file is {contents.name}", "NIfTI-1 or NIfTI-2", contents.remedy)
    if not block:
        return InvalidInput("no NIfTI header: the file is empty inside", "NIfTI-1 or NIfTI-2", FETCH_AGAIN)
    return InvalidInput(f"no NIfTI header ({first_bytes(block)})", "NIfTI-1 or NIfTI-2", unknown_remedy(block))


def _parse(kind: type[nifti1.Nifti1Header], block: bytes, order: str) -> tuple[nifti1.Nifti1Header, list[str]]:
    """The header as nibabel reads it, repaired as `nibabel.load` does; its log messages become notes."""
    notes: list[str] = []
    logger = logging.Logger("header")  # nibabel's own would print
    logger.addHandler(_NoteHandler(notes))
    try:
        with np.errstate(all="ignore"):
            header = kind(block, endianness=order, check=False)
            header.check_fix(logger=logger, error_level=40)
    except Exception as exc:
        raise InvalidInput(
            f"a header that nibabel rejects ({one_line(exc)})", "a valid NIfTI header", WRONG_HEADER
        ) from exc
    return header, notes


class _NoteHandler(logging.Handler):
    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        self._notes.append(f"header: {one_line(record.getMessage())}")
