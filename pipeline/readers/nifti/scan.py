"""One NIfTI scan: its checked header, and its raw slices as they are read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel import nifti1
from xxhash import xxh3_128

from pipeline.errors import InvalidInput
from pipeline.readers.nifti.geometry import read_affine
from pipeline.readers.nifti.header import read_header
from pipeline.readers.nifti.stream import Stream
from pipeline.readers.nifti.voxels import read_dtype, read_offset, read_scaling, read_shape
from pipeline.readers.remedies import FETCH_AGAIN
from pipeline.sources.contents import describe

MAX_SURPLUS = 1 << 20  # bytes after the voxels that are tolerated, with a note


@dataclass(frozen=True)
class Scan:
    """The fields of a checked header, axes in file order (fastest first), and the voxels, to be read once."""

    shape: tuple[int, int, int]
    dtype: np.dtype  # with the file's byte order
    slope: float  # value = slope * raw + inter; 1 and 0 where the header sets no (valid) scaling
    inter: float
    affine: np.ndarray  # float64 (4, 4), voxel indices to mm in RAS+
    axes: tuple[tuple[int, int], ...]  # per file axis: world axis (0 R, 1 A, 2 S), +1 along it or -1 against
    spacing: tuple[float, float, float]  # mm
    notes: list[str]  # unusual but accepted values
    _stream: Stream = field(repr=False)
    _hasher: xxh3_128 = field(repr=False)
    has_position: bool = True  # False without orientation codes: axes and origin are then nibabel's default

    @property
    def orientation(self) -> str:
        """The directions that the file axes point to, such as "LPS"."""
        return "".join(("RL", "AP", "SI")[world][step < 0] for world, step in self.axes)

    @property
    def digest(self) -> str:
        """xxh3_128 of the bytes of the source files, in order; complete once `slices` is exhausted."""
        return self._hasher.hexdigest()

    def slices(self) -> Iterator[np.ndarray]:
        """Yield each raw (mid, fast) slice along the slowest axis: read-only, `dtype`; once only.

        Raises InvalidInput at damage anywhere in the file: a volume is valid only once this is exhausted.
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
        surplus = self._stream.skip(MAX_SURPLUS)  # reading to the end checks the checksum of gzip
        if self._stream.read(1):
            raise _too_long(n_slow * size)
        if surplus:
            self.notes.append(f"{surplus} bytes after the voxels were ignored")


@contextmanager
def open_scan(paths: tuple[Path, ...]) -> Iterator[Scan]:
    """Open one `.nii` or `.nii.gz`, or a `(.hdr, .img)` pair, and check its header before anything else.

    Raises InvalidInput for a file that cannot become a sample, OSError for one that the system cannot read.
    """
    hasher = xxh3_128()
    with ExitStack() as stack:
        stream = Stream(paths[0], hasher, stack)
        paired = len(paths) == 2
        header, length, notes = read_header(stream, paired)
        if paired:
            if stream.skip(MAX_SURPLUS) == MAX_SURPLUS:
                raise InvalidInput("a .hdr of more than 1 MiB", "a NIfTI header", "check which file is which")
            stream, length = Stream(paths[1], hasher, stack), 0
        yield _checked(header, length, stream, notes, hasher)


def _checked(header: nifti1.Nifti1Header, length: int, stream: Stream, notes: list[str], hasher: xxh3_128) -> Scan:
    """The scan, its stream at the first voxel. Raises InvalidInput where the header cannot be that of a CT volume."""
    shape, dtype = read_shape(header, notes), read_dtype(header)
    offset = read_offset(header, length)
    claimed = offset + math.prod(shape) * dtype.itemsize
    if claimed > stream.capacity:
        contents = None if length else describe(stream.head)  # a .img may be an LFS pointer or a web page
        raise InvalidInput(
            f"a header that claims {claimed} bytes ({' x '.join(map(str, shape))} of {dtype.name})",
            f"at most {stream.capacity}, the capacity of this file",
            f"its .img is {contents.name}: {contents.remedy}" if contents else FETCH_AGAIN,
        )
    if not stream.zipped and stream.capacity - claimed > MAX_SURPLUS:
        raise _too_long(claimed - offset)
    slope, inter = read_scaling(header, notes)
    affine, axes = read_affine(header, notes)
    spacing = tuple(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    stream.skip(offset - length)
    has_position = bool(header["sform_code"] > 0 or header["qform_code"] > 0)
    return Scan(shape, dtype, slope, inter, affine, axes, spacing, notes, stream, hasher, has_position)  # type: ignore[arg-type]


def _too_long(voxels: int) -> InvalidInput:
    return InvalidInput(
        f"more than {MAX_SURPLUS} bytes after the voxels",
        f"the file to end after {voxels} bytes of voxels",
        "its header and voxels do not belong together: export it again",
    )
