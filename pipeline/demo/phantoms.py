"""Phantom chest CT scans with lesions of the five tuberculosis types, for the demo and the tests.

A chest is described in millimetres and sampled on any grid, so that one patient can be scanned twice, in thick or thin
slices.
"""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cache.progress import Callback
from pipeline.demo import anatomy
from pipeline.demo.anatomy import LEFT, LUNG, RIGHT
from pipeline.demo.canvas import FIELD, Array, Canvas, Shape, Spacing
from pipeline.demo.lesions import LESIONS

ORIENTATION = "SPL"  # array axes (slice, row, column) grow toward Superior, Posterior, Left
ORIENTATIONS = ("LPS", "RAS", "LAS", "PIR", "SPR", "RPI", "LPI", "ASL", "IRP", "RSA")  # nibabel axis codes


def scan(
    kind: int, seed: int, shape: Shape = (70, 160, 160), spacing: Spacing | None = None, *, visit: int = 0
) -> Array:
    """A chest CT as int16 HU in [-1024, 1500], of exactly `shape`, axes as in `ORIENTATION`.

    `kind` is the tuberculosis type 1..5, or 0 for healthy lungs; `seed` is the patient (build, vessels, lesions);
    `visit` changes only the noise. `spacing` is mm between voxel centres along (z, y, x), around the middle of the
    chest; without it the grid covers `FIELD`. The same arguments give the same array. Raises ValueError where `kind` is
    out of range.
    """
    if kind not in LESIONS:
        raise ValueError(f"tuberculosis type {kind}; expected 1..5, or 0 for healthy lungs")
    lesions = np.random.default_rng([seed, 1, kind])
    side = int(lesions.choice([RIGHT, LEFT]))
    chest = anatomy.random_chest(np.random.default_rng([seed, 0]), side if kind == 5 else 0)
    mm = spacing or (FIELD[0] / shape[0], FIELD[1] / shape[1], FIELD[2] / shape[2])
    canvas = Canvas(shape, mm, chest.size)
    anatomy.paint_body(canvas, chest)
    anatomy.paint_bones(canvas, chest)
    anatomy.paint_airways(canvas, chest)
    right, left = (chest.lung(side, canvas.z, canvas.y, canvas.x) for side in (RIGHT, LEFT))
    canvas.inside = canvas.cover(np.maximum(right, left))
    canvas.hu += canvas.inside * (LUNG + 0.5 * canvas.y - canvas.hu)  # the back lies lower and is denser
    anatomy.paint_vessels(canvas, chest, np.random.default_rng([seed, 2]))
    LESIONS[kind](canvas, chest, side, lesions)
    noise = np.random.default_rng([seed, 3, visit]).standard_normal(shape, np.float32)
    return np.clip(np.rint(canvas.hu + 18 * noise), -1024, 1500).astype(np.int16)


def write_scans(
    folder: Path,
    *,
    per_class: int | Sequence[int] = 4,
    seed: int = 0,
    size: int = 160,
    slices: tuple[int, int] = (40, 90),
    callback: Callback | None = None,
) -> Path:
    """Write phantom scans into `folder`, and a labels CSV next to it, whose path is returned.

    `per_class` is the number of scans of each type, or five numbers; one more scan is damaged. Files are
    `TRN_0001.nii.gz` and so on, with types 1 to 5 in rotation, `size` pixels square, with `slices` (fewest, most)
    slices, in varying orientations and spacings. Numbers 2 to 5 are unusual: scaled uint8, float32 with NaN, an
    uncompressed `.nii`, an `.hdr/.img` pair (named by its `.hdr` in the CSV). The last file is a gzip cut at 60 %.

    The CSV has columns FileName, TypeOfTB (1..5), Patient; a few patients have two scans. The same arguments write the
    same bytes. `callback.on_progress` is called after each file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    counts = [per_class] * 5 if isinstance(per_class, int) else list(per_class)
    kinds = [kind for round_ in range(max(counts)) for kind in range(1, 6) if round_ < counts[kind - 1]]
    kinds.append(len(kinds) % 5 + 1)
    total, rows = len(kinds), []
    for number, kind in enumerate(kinds, start=1):
        patient = number - 5 if 6 <= number <= 8 else number  # patients 1 to 3 have a second scan
        rng = np.random.default_rng([seed, 4, number])
        depth, field = int(rng.integers(slices[0], slices[1] + 1)), FIELD[1] * rng.uniform(1, 1.15)
        spacing = (FIELD[0] * rng.uniform(0.95, 1.03) / depth, field / size, field / size)
        hu = scan(kind, 1000 * seed + patient, (depth, size, size), spacing, visit=number)
        path = _write(folder / f"TRN_{number:04d}", number, hu, spacing, rng)
        if number == total:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) * 6 // 10])
        rows.append((path.name, kind, f"P{patient:03d}"))
        if callback:
            callback.on_progress(number, total, "files")
    labels = folder.parent / "labels.csv"
    with labels.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("FileName", "TypeOfTB", "Patient"), *rows])
    return labels


def _write(stem: Path, number: int, hu: Array, spacing: Spacing, rng: np.random.Generator) -> Path:
    """Store one scan under `stem` in the format for its number, and return the path."""
    import nibabel as nib

    data: Array = hu
    if number == 2:
        data = np.clip(np.rint((hu + 1024.0) / 8), 0, 255).astype(np.uint8)
    elif number == 3:
        data = hu.astype(np.float32)
        data.flat[rng.integers(data.size, size=50)] = np.nan
    codes = ORIENTATIONS[(number - 1) % len(ORIENTATIONS)]
    data, affine = _oriented(data, spacing, codes)
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    if number == 2:
        image.header.set_slope_inter(8, -1024)
    if number == 5:
        nib.save(nib.Nifti1Pair.from_image(image), stem.with_suffix(".hdr"))
        return stem.with_suffix(".hdr")
    content = image.to_bytes()
    path = stem.with_suffix(".nii" if number == 4 else ".nii.gz")
    path.write_bytes(content if number == 4 else gzip.compress(content, compresslevel=1, mtime=0))
    return path


def _oriented(volume: Array, spacing: Spacing, codes: str) -> tuple[Array, Array]:
    """`volume` with its axes changed from `ORIENTATION` to `codes`, and its affine (mm, RAS+)."""
    from nibabel import orientations

    step = np.array(spacing)[::-1] * (-1, -1, 1)  # world axes grow to Right, Anterior, Superior
    affine = np.diag([*step, 1.0])
    stored = volume.transpose()
    affine[:3, 3] = -step * (np.array(stored.shape) - 1) / 2
    change = orientations.ornt_transform(orientations.axcodes2ornt("LPS"), orientations.axcodes2ornt(codes))
    moved = orientations.apply_orientation(stored, change)
    return np.ascontiguousarray(moved), affine @ orientations.inv_ornt_aff(change, stored.shape)
