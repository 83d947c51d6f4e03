"""NIfTI file -> header facts and raw slices; nibabel's and isal's only door.

No header is believed before it is checked against the file: what it claims must fit in the file's own size
(for gzip, in the most that deflate can hold) before anything is allocated. The file is then read once,
front to back, every byte of it hashed, and to its very end, so that a gzip's checksum and length are checked.
Whatever cannot become a sample is `InvalidInput`; only the system's own OSErrors (permission, vanished file) pass.
"""

from __future__ import annotations

import gzip
import io
import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from isal import igzip, igzip_lib
from nibabel import nifti1, nifti2
from nibabel.orientations import aff2axcodes, io_orientation
from xxhash import xxh3_128

from cache.confined import UnexpectedFile, open_regular
from pipeline.errors import InvalidInput
from pipeline.sources.contents import GZIP, HEAD, NIFTI, describe

MAX_INFLATION = 1032  # deflate's limit: output bytes per input byte
MAX_AXIS = 4096  # voxels; far above any CT, and it bounds what one slice can ask for
MAX_OFFSET = 1 << 26  # bytes before the voxels: a header and its extensions
MAX_SURPLUS = 1 << 20  # bytes after the voxels that are tolerated, with a note
MAX_EMPTY = 1 << 22  # bytes of a gzip file that give nothing: padding, empty members
MIN_VOLUME = 1e-4  # of the parallelepiped of the three axis directions; gantry tilt leaves 0.8 and more
MIN_TILT = 1.0  # degrees from perpendicular axes that are noted
MAX_DISAGREEMENT = 1.0  # mm over the whole scan between what sform and qform say, origin apart
WRONG_UNITS = {1: "metres", 3: "micrometres"}  # xyzt_units -> name
CHUNK = 1 << 19  # bytes a read; isal gains nothing above

HEADERS = {  # (header bytes, magic) -> nibabel's class
    (348, b"n+1\0"): nifti1.Nifti1Header,
    (348, b"ni1\0"): nifti1.Nifti1PairHeader,
    (540, b"n+2\0"): nifti2.Nifti2Header,
    (540, b"ni2\0"): nifti2.Nifti2PairHeader,
}
CONVERT = "convert it to single-channel NIfTI, e.g. with dcm2niix"
FETCH_AGAIN = "the file is damaged or incomplete: fetch or export it again"
WRONG_HEADER = "its header is wrong: correct it, or export the scan again with another program"


class _HashingFile(io.RawIOBase):
    """A regular file that hashes every byte read from it. The hasher continues from file to file.

    `allowed` is how many more bytes it gives. Raises InvalidInput where more are asked for: a gzip file may be padded
    without end, and its reader would go through all of that in a single call.
    """

    def __init__(self, file: io.BufferedReader, hasher: xxh3_128) -> None:
        self._file, self._hasher = file, hasher
        self.allowed = MAX_EMPTY

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self.allowed <= 0:
            raise InvalidInput(
                f"more than {MAX_EMPTY} bytes in which nothing is stored", "a gzip file of one scan", FETCH_AGAIN
            )
        count = self._file.readinto(buffer) or 0
        self.allowed -= count
        self._hasher.update(memoryview(buffer)[:count])
        return count


class _Stream:
    """The uncompressed bytes of one file, front to back. `capacity`: the most that they can be."""

    def __init__(self, path: Path, hasher: xxh3_128, stack: ExitStack) -> None:
        file = stack.enter_context(_open(path))
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if size == 0:
            raise InvalidInput("empty file", "a NIfTI header and voxels", FETCH_AGAIN)
        self._raw = _HashingFile(file, hasher)
        source = io.BufferedReader(self._raw, CHUNK)
        self.zipped = path.name.lower().endswith(".gz")
        self.head = source.peek(HEAD)[:HEAD]
        if self.zipped and not self.head.startswith(GZIP):
            raise _not_gzip(self.head)
        self.capacity = size * MAX_INFLATION if self.zipped else size
        self._file = igzip.IGzipFile(fileobj=source, mode="rb") if self.zipped else source

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, fewer only at the end; InvalidInput if the gzip stream is damaged."""
        self._raw.allowed = 2 * count + MAX_EMPTY  # what cannot be compressed takes a little more than its size
        try:
            return self._file.read(count)
        except (EOFError, gzip.BadGzipFile, igzip_lib.error) as exc:  # type: ignore[misc]  # its stub errs
            raise InvalidInput(
                f"damaged gzip data, or other bytes after its end ({_line(exc)})",
                "one sound gzip stream up to the end of the file",
                FETCH_AGAIN,
            ) from exc

    def skip(self, count: int) -> int:
        """Read past `count` bytes; how many there really were."""
        left = count
        while left and (got := len(self.read(min(left, CHUNK)))):
            left -= got
        return count - left


def _open(path: Path) -> io.BufferedReader:
    """A regular file, open for reading; opening a pipe would wait for ever."""
    try:
        return cast(io.BufferedReader, open_regular(path))
    except UnexpectedFile as error:
        raise InvalidInput("not a regular file", "a NIfTI file", "point to the file itself") from error


def _not_gzip(head: bytes) -> InvalidInput:
    """What a file named .gz is that starts with `head`, not as gzip does."""
    found = describe(head)
    if found is NIFTI or head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return InvalidInput("plain data named .gz", "gzip data", "rename it without .gz, or compress it")
    if found:
        return InvalidInput(f"{found.name}, though named .gz", "NIfTI in gzip", found.remedy)
    return InvalidInput(f"no gzip data, though named .gz ({_start(head)})", "NIfTI in gzip", _unknown(head))


def _start(head: bytes) -> str:
    return f"it starts with {head[:8]!r}" if any(head) else "it starts with zeros"


def _unknown(head: bytes) -> str:
    """The remedy where nobody knows what a file is. Zeros are left where a download or a copy broke off."""
    return "check what the file is, and convert it to NIfTI if it is a scan" if any(head) else FETCH_AGAIN


def _line(message: object) -> str:
    """What a library had to say, as one short printable line."""
    return ascii(" ".join(str(message).split())[:160])[1:-1] or type(message).__name__


@dataclass(frozen=True)
class Scan:
    """What a checked header says, axes in file order (fastest first), and the voxels still to be read."""

    shape: tuple[int, int, int]
    dtype: np.dtype  # with the file's byte order
    slope: float  # value = slope * raw + inter; 1 and 0 where the header sets no (valid) scaling
    inter: float
    affine: np.ndarray  # float64 (4, 4), voxel indices to mm in RAS+
    axes: tuple[tuple[int, int], ...]  # per file axis: world axis (0 R, 1 A, 2 S), +1 along it or -1 against
    spacing: tuple[float, float, float]  # mm
    notes: list[str]  # what was odd, yet accepted
    _stream: _Stream = field(repr=False)
    _hasher: xxh3_128 = field(repr=False)
    placed: bool = True  # False without orientation codes: then axes and origin are nibabel's default

    @property
    def orientation(self) -> str:
        """The directions that the file axes grow toward, such as "LPS"."""
        return "".join(("RL", "AP", "SI")[world][step < 0] for world, step in self.axes)

    @property
    def digest(self) -> str:
        """xxh3_128 of the source files' own bytes, in order; complete once `slices` is exhausted."""
        return self._hasher.hexdigest()

    def slices(self) -> Iterator[np.ndarray]:
        """Yield each raw (mid, fast) slice, slowest axis outermost: read-only, `dtype`; once only.

        InvalidInput on damage, wherever in the file it shows: a volume counts only once this is exhausted.
        """
        n_fast, n_mid, n_slow = self.shape
        size = n_fast * n_mid * self.dtype.itemsize
        for index in range(n_slow):
            block = self._stream.read(size)
            if len(block) < size:
                raise InvalidInput(
                    f"{index * size + len(block)} bytes of voxels",
                    f"{n_slow * size} as its header claims",
                    FETCH_AGAIN,
                )
            yield np.frombuffer(block, self.dtype).reshape(n_mid, n_fast)
        surplus = self._stream.skip(MAX_SURPLUS)  # reading on to the end is what checks a gzip's checksum
        if self._stream.read(1):
            raise _too_long(n_slow * size)
        if surplus:
            self.notes.append(f"{surplus} bytes after the voxels were ignored")


@contextmanager
def open_scan(paths: tuple[Path, ...]) -> Iterator[Scan]:
    """Open one `.nii` or `.nii.gz`, or a `(.hdr, .img)` pair, and check its header before anything else.

    Raises InvalidInput for what cannot become a sample, OSError for what the system would not let us read.
    """
    hasher = xxh3_128()
    with ExitStack() as stack:
        stream = _Stream(paths[0], hasher, stack)
        paired = len(paths) == 2
        header, length, notes = _read_header(stream, paired)
        if paired:
            if stream.skip(MAX_SURPLUS) == MAX_SURPLUS:
                raise InvalidInput("a .hdr of more than 1 MiB", "a NIfTI header", "check which file is which")
            stream, length = _Stream(paths[1], hasher, stack), 0
        yield _checked(header, length, stream, notes, hasher)


def _read_header(stream: _Stream, paired: bool) -> tuple[nifti1.Nifti1Header, int, list[str]]:
    """The parsed header, the bytes read for it, and what nibabel found odd and mended."""
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
        given, expected = ("n+1", "ni1") if paired else ("ni1", "n+1")
        kind = "a .hdr/.img pair" if paired else "a single file"
        raise InvalidInput(f"magic {given} in {kind}", f"magic {expected}", "rename it to what its magic says")
    header, notes = _parse(HEADERS[size, magic], block, order)
    return header, size, notes


def _not_nifti(block: bytes) -> InvalidInput:
    """What a file is that starts with `block`, which is not a NIfTI header."""
    found = describe(block)
    if found:
        return InvalidInput(f"no NIfTI header: the file is {found.name}", "NIfTI-1 or NIfTI-2", found.remedy)
    if not block:
        return InvalidInput("no NIfTI header: there is nothing inside", "NIfTI-1 or NIfTI-2", FETCH_AGAIN)
    return InvalidInput(f"no NIfTI header ({_start(block)})", "NIfTI-1 or NIfTI-2", _unknown(block))


def _parse(kind: type[nifti1.Nifti1Header], block: bytes, order: str) -> tuple[nifti1.Nifti1Header, list[str]]:
    """nibabel's reading of a header, mended as `nibabel.load` would, its log kept as notes."""
    notes: list[str] = []
    logger = logging.Logger("a header's own")  # nibabel's would print
    logger.addHandler(_NoteHandler(notes))
    try:
        with np.errstate(all="ignore"):
            header = kind(block, endianness=order, check=False)
            header.check_fix(logger=logger, error_level=40)
    except Exception as exc:
        raise InvalidInput(
            f"a header that nibabel rejects ({_line(exc)})", "a valid NIfTI header", WRONG_HEADER
        ) from exc
    return header, notes


class _NoteHandler(logging.Handler):
    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        self._notes.append(f"header: {_line(record.getMessage())}")


def _checked(header: nifti1.Nifti1Header, length: int, stream: _Stream, notes: list[str], hasher: xxh3_128) -> Scan:
    """The scan, its stream at the first voxel; InvalidInput for whatever in the header cannot be a CT volume."""
    shape, dtype = _shape(header, notes), _dtype(header)
    offset = _offset(header, length)
    claimed = offset + math.prod(shape) * dtype.itemsize
    if claimed > stream.capacity:
        instead = None if length else describe(stream.head)  # a .img may be a pointer or a page as well
        raise InvalidInput(
            f"a header that claims {claimed} bytes ({' x '.join(map(str, shape))} of {dtype.name})",
            f"at most {stream.capacity}, what this file can hold",
            f"its .img is {instead.name}: {instead.remedy}" if instead else FETCH_AGAIN,
        )
    if not stream.zipped and stream.capacity - claimed > MAX_SURPLUS:
        raise _too_long(claimed - offset)
    slope, inter = _scaling(header, notes)
    affine, axes = _affine(header, notes)
    spacing = tuple(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    stream.skip(offset - length)
    placed = bool(header["sform_code"] > 0 or header["qform_code"] > 0)
    return Scan(shape, dtype, slope, inter, affine, axes, spacing, notes, stream, hasher, placed)  # type: ignore[arg-type]


def _too_long(voxels: int) -> InvalidInput:
    return InvalidInput(
        f"more than {MAX_SURPLUS} bytes after the voxels",
        f"the file to end after {voxels} bytes of voxels",
        "its header and voxels don't belong together: export it again",
    )


def _shape(header: nifti1.Nifti1Header, notes: list[str]) -> tuple[int, int, int]:
    count, *sizes = (int(size) for size in header["dim"])
    if not 3 <= count <= 7:
        remedy = "export the CT as one 3-D volume" if count in (1, 2) else WRONG_HEADER
        raise InvalidInput(f"an image of {count} dimensions", "3", remedy)
    given = " x ".join(map(str, sizes[:count])) + " voxels"
    if min(sizes[3:count], default=1) < 1:
        notes.append(f"dim says {given}: sizes below 1 after the third were taken as 1, as by the NIfTI library")
    shape = [*sizes[:3], *(max(size, 1) for size in sizes[3:count])]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if min(shape) < 1:
        raise InvalidInput(given, "positive sizes", WRONG_HEADER)
    if len(shape) > 3:
        raise _not_one_volume(shape, given)
    if min(shape) < 2 or max(shape) > MAX_AXIS:
        raise InvalidInput(given, f"2 to {MAX_AXIS} along each axis", "check that this is a CT volume, or resample it")
    return shape[0], shape[1], shape[2]


def _not_one_volume(shape: list[int], given: str) -> InvalidInput:
    """Why `shape`, of four axes or more, is not that of one volume, naming what is likely an axis of channels.

    Such an axis is not just dropped, single though it may be: the affine is for the first three axes.
    """
    single = [str(axis) for axis, size in enumerate(shape, 1) if size == 1]
    if len(shape) - len(single) == 3:
        axes = f"{'axis' if len(single) == 1 else 'axes'} {' and '.join(single)}"
        remedy = f"remove {axes}, e.g. by numpy.squeeze, and save the rest with the affine of its own three axes"
        return InvalidInput(f"{given}, a single one along {axes} (a channel?)", "three axes", remedy)
    if len(shape) == 4 and shape[0] <= 4 < min(shape[1:]):
        remedy = "keep one channel, data[0] in NumPy, and save it with the affine of its own three axes"
        return InvalidInput(
            f"{given}, more than one volume: axis 1 looks like {shape[0]} channels", "three axes", remedy
        )
    return InvalidInput(f"{given}, more than one volume", "one 3-D volume", "split it and keep one volume")


def _dtype(header: nifti1.Nifti1Header) -> np.dtype:
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        name = "colour" if dtype.names else dtype.name
        raise InvalidInput(f"{name} voxels", "8 to 64-bit integers or 32 or 64-bit floats", CONVERT)
    return dtype


def _offset(header: nifti1.Nifti1Header, length: int) -> int:
    """Where in the voxel file its voxels start, from 0; `length` bytes of it are read already."""
    offset = float(header["vox_offset"])
    least = length + 4 if length else 0  # the header is followed by four bytes saying whether it is extended
    if not offset.is_integer() or not least <= offset <= MAX_OFFSET:
        expected = f"a whole number from {least} to {MAX_OFFSET}"
        raise InvalidInput(f"voxels said to start at byte {offset:.15g}", expected, WRONG_HEADER)
    return int(offset)


def _scaling(header: nifti1.Nifti1Header, notes: list[str]) -> tuple[float, float]:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        dropped = f"; its scl_inter of {inter:g} was not added" if inter and math.isfinite(inter) else ""
        notes.append(f"scl_slope is {slope:g}, which means no scaling{dropped}")
        return 1.0, 0.0
    if not math.isfinite(inter):
        raise InvalidInput(f"scl_inter {inter:g}", "a finite intercept", "correct the header's scl_inter")
    return slope, inter


def _affine(header: nifti1.Nifti1Header, notes: list[str]) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """The affine that nibabel would choose, and which way in the world each file axis runs."""
    remedy = "correct its sform or qform, or convert it again from DICOM"
    try:
        with np.errstate(all="ignore"):
            affine = np.array(header.get_best_affine(), np.float64)
            directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
            volume = abs(np.linalg.det(directions)) if np.isfinite(affine).all() else np.nan
            axes = io_orientation(affine)  # NaN for an axis it cannot tell
            if not volume > MIN_VOLUME or not np.isfinite(axes).all():
                raise ValueError("singular, not finite or ambiguous")
    except Exception as exc:
        raise InvalidInput(f"an unusable affine ({_line(exc)})", "three independent axes", remedy) from exc
    notes += _affine_notes(header, affine, volume)
    return affine, tuple((int(world), int(step)) for world, step in axes)


def _affine_notes(header: nifti1.Nifti1Header, affine: np.ndarray, volume: float) -> Iterator[str]:
    """What is odd about the orientation and spacing. `volume` is that of the axis directions' parallelepiped."""
    sform, qform = bool(header["sform_code"] > 0), bool(header["qform_code"] > 0)
    if not sform and not qform:
        yield "no orientation codes: axes taken as nibabel's default, LAS"
    tilt = math.degrees(math.acos(min(1.0, volume)))
    if tilt > MIN_TILT:  # which no qform can say, so that it disagrees
        yield f"its axes are {tilt:.0f} degrees from perpendicular (gantry tilt); the scan was not straightened"
    elif sform:
        yield from _disagreement(header, affine, qform)
    if (unit := int(header["xyzt_units"]) & 7) in WRONG_UNITS:
        yield f"its header says {WRONG_UNITS[unit]}; the spacing was taken as millimetres"


def _disagreement(header: nifti1.Nifti1Header, sform: np.ndarray, qform: bool) -> Iterator[str]:
    """Where the sform, which is used, says something else than the qform or, if that is not set, than pixdim."""
    try:
        with np.errstate(all="ignore"):
            other = np.array(header.get_qform() if qform else header.get_base_affine(), np.float64)
    except (ValueError, ArithmeticError, nifti1.HeaderDataError) as exc:
        yield f"its qform cannot be read ({_line(exc)}); the sform was used"
        return
    steps, others = np.linalg.norm(sform[:3, :3], axis=0), np.linalg.norm(other[:3, :3], axis=0)
    extent = np.maximum(header["dim"][1:4] - 1, 1)
    if not (np.abs(steps - others) * extent).max() <= MAX_DISAGREEMENT:
        name = "qform" if qform else "pixdim"
        yield f"its sform has a spacing of {_mm(steps)} and its {name} of {_mm(others)}; the sform was used"
    elif qform and not (np.abs(sform - other)[:3, :3] * extent).sum(axis=1).max() <= MAX_DISAGREEMENT:
        codes = "".join(aff2axcodes(sform)), "".join(aff2axcodes(other))
        way = f"axes toward {codes[0]} and {codes[1]}" if codes[0] != codes[1] else "axes at different angles"
        yield f"its sform and qform have {way}; the sform was used"


def _mm(steps: np.ndarray) -> str:
    return " × ".join(f"{step:.4g}" for step in steps) + " mm"
