"""Phantom chest CT scans with lesions of the five tuberculosis types, for the demo and the tests.

A chest is described in millimetres (z from the lowest slice up, y from the middle of the body backwards,
x from the midline to the patient's left) and sampled on whatever grid is asked for, so one patient can be
scanned twice, thick or thin. Left and right, front and back, top and bottom all differ: the heart and the
aorta lie left, the liver dome stands higher on the right, the breastbone is in front, the spine and the
table behind, the lungs narrow upwards. A picture shown the wrong way round looks wrong.

Every surface is a signed distance (mm, positive inside), every pipe, vessel and nodule a capsule. Details
thinner than the grid are drawn about a voxel wide, so that a 2 mm nodule is still seen on a coarse grid.
"""

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

ORIENTATION = "SPL"  # array axes (slice, row, column) grow toward Superior, Posterior, Left
FIELD = (280.0, 345.0, 345.0)  # mm along (z, y, x): a grid over this much holds any of our chests
AIR, LUNG, FAT, BLOOD, MUSCLE, LIVER, DENSE, BONE = -1000, -860, -100, 40, 55, 65, 60, 420  # HU
RIGHT, LEFT = -1, 1  # side of the patient, the sign of x


@dataclass(frozen=True)
class Chest:
    """One patient: what differs between two healthy chests, and the side that scarring has shrunk."""

    size: Spacing  # around 1, along (z, y, x)
    heart: float  # mm, centre of the heart to the left of the midline
    domes: tuple[float, float]  # mm, tops of the right and left diaphragm above the lowest slice
    apices: tuple[float, float]  # mm, tops of the right and left lung
    shrunk: int = 0  # RIGHT, LEFT or 0 for neither

    def midline(self, z: Array) -> Array:
        """x (mm) of the middle of the mediastinum at height z: scarring pulls its upper part over."""
        return self.shrunk * 14 * np.clip((z - 110) / 90, 0, 1)

    def cage(self, z: Array, y: Array, x: Array) -> Array:
        """Distance (mm) inside the surface the ribs lie on."""
        narrowing = 1 - 0.42 * np.clip((z - 120) / 150, 0, 1) ** 2
        return (1 - _oval(y, x, 92, 136) / narrowing) * 100 * narrowing

    def heart_depth(self, z: Array, y: Array, x: Array) -> Array:
        """Distance (mm) inside the heart, whose tip points down, forward and left."""
        lean = 0.25 * (z - 105)
        return 48 * (1 - np.sqrt(((z - 105) / 55) ** 2 + ((y + 30) / 46) ** 2 + ((x - self.heart + lean) / 54) ** 2))

    def dome(self, side: int, y: Array, x: Array) -> Array:
        """Height (mm) of the diaphragm: a dome on each side, falling to a deep groove at the back."""
        top = self.domes[side > 0] + 14 * (side == self.shrunk)
        return top - 32 * (((x - side * 62) / 62) ** 2 + ((y + 8) / 72) ** 2) - 0.12 * y

    def lung(self, side: int, z: Array, y: Array, x: Array) -> Array:
        """Distance (mm) inside one lung."""
        top = self.apices[side > 0] - 20 * (side == self.shrunk)
        rise = np.clip((z - 150) / (top - 150), 0, None) ** 2
        apex = 110 * (1 - np.sqrt(rise + ((x - side * 66) / 76) ** 2 + ((y - 8) / 96) ** 2))
        inner = side * (x - self.midline(z)) - 6 - 22 * np.exp(-(((y - 4) / 45) ** 2))
        spine = np.hypot(x / 1.1, y - 72) - 27
        depth = np.minimum(np.minimum(self.cage(z, y, x) - 8, z - self.dome(side, y, x)), np.minimum(inner, spine))
        return np.minimum(np.minimum(depth, -self.heart_depth(z, y, x) - 3), np.where(z > 150, apex, depth))


def _oval(y: Array, x: Array, half_depth: float, half_width: float) -> Array:
    """1 on a rounded rectangle about the origin, growing in proportion to the distance from it."""
    return ((np.abs(y) / half_depth) ** 2.4 + (np.abs(x) / half_width) ** 2.4) ** (1 / 2.4)


class Canvas:
    """HU values on a grid (mm), painted from the outside in: each layer covers what is below it."""

    def __init__(self, shape: Shape, spacing: Spacing, size: Spacing) -> None:
        middle = (FIELD[0] / 2, 0.0, 0.0)
        self.pitch = np.array([step / scale for step, scale in zip(spacing, size, strict=True)])
        self.axes = [
            ((np.arange(n) - (n - 1) / 2) * step + at).astype(np.float32)
            for n, step, at in zip(shape, self.pitch, middle, strict=True)
        ]
        self.z, self.y, self.x = np.ix_(*self.axes)
        self.hu = np.full(shape, AIR, np.float32)
        self.inside = np.ones(shape, np.float32)  # where capsules may paint: all, later only the lungs

    def cover(self, depth: Array) -> Array:
        """Share of each voxel inside a surface, from the distance (mm) of its centre."""
        return np.clip(0.5 + depth / self.pitch[1], 0, 1)

    def fill(self, depth: Array, hu: float | Array) -> None:
        """Paint the inside of a surface."""
        self.hu += self.cover(depth) * (hu - self.hu)

    def capsule(
        self, start: Array, end: Array, radius: float, hu: float, soft: float = 0.0, strength: float = 1.0
    ) -> None:
        """Paint a round-ended rod (a ball where start is end), its border `soft` mm wide or one voxel."""
        stretch = np.maximum(1, 0.6 * self.pitch / radius)  # at least about a voxel wide along each axis
        edge = max(soft, float(self.pitch[1] / stretch[1]))
        reach = (radius + edge / 2) * stretch
        first = [float(axis[0]) for axis in self.axes]
        low = np.floor((np.minimum(start, end) - reach - first) / self.pitch).astype(int).clip(0)
        high = np.ceil((np.maximum(start, end) + reach - first) / self.pitch).astype(int) + 1
        box = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
        if 0 in self.hu[box].shape:
            return
        gap = [(axis[part] - at) / s for axis, part, at, s in zip(self.axes, box, start, stretch, strict=True)]
        z, y, x = np.ix_(*gap)
        along = (end - start) / stretch
        length = float(along @ along) or 1.0
        t = np.clip((z * along[0] + y * along[1] + x * along[2]) / length, 0, 1)
        distance = np.sqrt((z - t * along[0]) ** 2 + (y - t * along[1]) ** 2 + (x - t * along[2]) ** 2)
        share = np.clip(0.5 + (radius - distance) / edge, 0, 1) * self.inside[box] * strength
        self.hu[box] += share * (hu - self.hu[box])


def scan(
    kind: int, seed: int, shape: Shape = (70, 160, 160), spacing: Spacing | None = None, *, visit: int = 0
) -> Array:
    """A chest CT as int16 HU in [-1024, 1500], of exactly `shape`, axes as in `ORIENTATION`.

    `kind` is the tuberculosis type 1..5, or 0 for healthy lungs; `seed` is the patient (build, vessels,
    lesions), `visit` changes only the noise. `spacing` is mm between voxel centres along (z, y, x) about
    the middle of the chest; without it the grid covers `FIELD`. Same arguments, same array.
    """
    if kind not in LESIONS:
        raise ValueError(f"tuberculosis type {kind}; expected 1..5, or 0 for healthy lungs")
    lesions = np.random.default_rng([seed, 1, kind])
    side = int(lesions.choice([RIGHT, LEFT]))
    chest = _patient(np.random.default_rng([seed, 0]), side if kind == 5 else 0)
    mm = spacing or (FIELD[0] / shape[0], FIELD[1] / shape[1], FIELD[2] / shape[2])
    canvas = Canvas(shape, mm, chest.size)
    _body(canvas, chest)
    _bones(canvas, chest)
    _airways(canvas, chest)
    right, left = (chest.lung(side, canvas.z, canvas.y, canvas.x) for side in (RIGHT, LEFT))
    canvas.inside = canvas.cover(np.maximum(right, left))
    canvas.hu += canvas.inside * (LUNG + 0.5 * canvas.y - canvas.hu)  # the lower-lying back is denser
    _vessels(canvas, chest, np.random.default_rng([seed, 2]))
    LESIONS[kind](canvas, chest, side, lesions)
    noise = np.random.default_rng([seed, 3, visit]).standard_normal(shape, np.float32)
    return np.clip(np.rint(canvas.hu + 18 * noise), -1024, 1500).astype(np.int16)


def _patient(rng: np.random.Generator, shrunk: int) -> Chest:
    z, y, x = rng.uniform(0.95, 1.05, 3)
    left_dome, apex = rng.uniform(62, 74), rng.uniform(258, 268)
    domes = (left_dome + rng.uniform(12, 20), left_dome)
    return Chest((z, y, x), rng.uniform(20, 30), domes, (apex, apex - rng.uniform(2, 8)), shrunk)


def _body(c: Canvas, chest: Chest) -> None:
    """Skin to heart: fat, muscle, table, what fills the cage, the organs below the diaphragm, great vessels."""
    skin = (1 - _oval(c.y, c.x, 114, 158)) * 120
    c.fill(skin, FAT)
    c.fill(skin - 11 - 5 * np.cos(c.x / 28), MUSCLE)
    c.fill(4 - np.abs(c.y - 122 + (c.x / 60) ** 2), np.where(np.abs(c.x) < 150, -150, AIR))
    cage = chest.cage(c.z, c.y, c.x)
    c.fill(np.minimum(cage - 4, 255 - c.z), FAT + 20)
    for side, hu in ((RIGHT, LIVER), (LEFT, BLOOD)):
        below = chest.dome(side, c.y, c.x) - c.z
        c.fill(np.minimum(np.minimum(below, cage - 6), side * c.x + 12), hu)
    c.capsule(np.array([20.0, -40, 55]), np.array([0.0, -35, 40]), 26, AIR + 30)  # gas in the stomach
    c.fill(chest.heart_depth(c.z, c.y, c.x), BLOOD)
    arch = np.array([[120, -25, 0], [175, -30, -14], [200, -8, 6], [190, 32, 22], [0, 42, 20]], float)
    for radius, path in ((14, arch), (9, np.array([[120, -20, -24], [215, -22, -24]], float))):
        for start, end in pairwise(path):
            c.capsule(start, end, radius, BLOOD)


def _bones(c: Canvas, chest: Chest) -> None:
    """Ribs falling forward, spine with canal and discs, breastbone, shoulder blades, collarbones."""
    back = c.y / 92
    phase = np.mod(c.z - 55 * back + 8 * np.abs(c.x) / 136, 27) - 13.5
    ring = 4.2 - np.hypot(chest.cage(c.z, c.y, c.x) - 2, 0.65 * phase)
    gristle = (c.y < -62) & (np.abs(c.x) < 85)  # in front, ribs end in cartilage
    c.fill(np.where(gristle | (c.z > 258), -9, ring), BONE)
    disc = np.abs(np.mod(c.z, 26) - 13) > 10
    c.fill(18 - np.hypot(c.x / 1.15, (c.y - 72) / 0.9), np.where(disc, 90.0, BONE - 200))
    c.fill(3.5 - np.abs(16 - np.hypot(c.x / 1.15, (c.y - 72) / 0.9)), np.where(disc, 90.0, BONE))
    c.fill(13 - np.hypot(c.x, c.y - 94), BONE)
    c.fill(8 - np.hypot(c.x, c.y - 94), 25)
    for low in range(-10, 300, 26):
        c.capsule(np.array([low + 10.0, 104, 0]), np.array([low, 108.0, 0]), 4, BONE)
        for side in (RIGHT, LEFT):
            c.capsule(np.array([low + 10.0, 93, side * 14]), np.array([low + 10.0, 98, side * 38]), 5, BONE)
    wide = 17 + 10 * np.clip((c.z - 200) / 20, 0, 1)
    c.fill(np.minimum(np.minimum(5 - np.abs(c.y + 86 - 0.22 * np.clip(c.z - 120, 0, None)), wide - np.abs(c.x)),
                      np.minimum(c.z - 95, 235 - c.z)), BONE - 150)  # fmt: skip
    for side in (RIGHT, LEFT):
        c.capsule(np.array([240.0, -56, side * 22]), np.array([262.0, -30, side * 120]), 6, BONE)
        for rise in np.linspace(0, 1, 9):
            c.capsule(np.array([150 + 100 * rise, 84, side * (92 - 14 * rise)]),
                      np.array([150 + 100 * rise, 56 - 8 * rise, side * (118 + 14 * rise)]), 4, BONE)  # fmt: skip


CARINA = (178.0, 10.0, 0.0)  # mm, where the windpipe divides
HILUM = {RIGHT: (160.0, 10.0, -36.0), LEFT: (166.0, 12.0, 38.0)}  # mm, where bronchi and vessels enter


def _airways(c: Canvas, chest: Chest) -> None:
    """Windpipe and the two main bronchi (the right one steeper and wider), with their walls."""
    fork = _shifted(chest, CARINA)
    pipes = [(_shifted(chest, (300, -4, 0)), fork, 9.5)]
    pipes += [(fork, _shifted(chest, HILUM[side]), 7.5 - 0.7 * side) for side in (RIGHT, LEFT)]
    for wall, hu in ((2.5, BLOOD), (0.0, AIR)):
        for start, end, radius in pipes:
            c.capsule(start, end, radius + wall, hu)


def _shifted(chest: Chest, point: tuple[float, float, float]) -> Array:
    """A point (mm) of the mediastinum, moved along with its midline."""
    z, y, x = point
    return np.array([z, y, x + float(chest.midline(np.array(z)))])


def _vessels(c: Canvas, chest: Chest, rng: np.random.Generator) -> None:
    """Fill both lungs with a tree of vessels, and thin-walled bronchi beside the thick ones."""
    for side in (RIGHT, LEFT):
        _branch(c, _shifted(chest, HILUM[side]), _inside(chest, side, rng, 480, margin=4), rng)


def _branch(c: Canvas, start: Array, ends: Array, rng: np.random.Generator) -> None:
    """Grow toward the middle of `ends` (mm), part them in two and branch to each, until too thin to see."""
    radius = 0.85 * len(ends) ** 0.32
    seen = min(1.0, 1.6 * radius / float(c.pitch.prod()) ** (1 / 3)) ** 2  # thick voxels thin a vessel out
    if seen < 0.03:
        return
    middle = ends.mean(axis=0)
    end = start + (1.0 if len(ends) == 1 else 0.42) * (middle - start)
    c.capsule(start, end, radius, BLOOD, strength=seen)
    if radius > 1.8:
        beside = np.array([0.0, -1.9, 0.6]) * radius
        c.capsule(start + beside, end + beside, 0.9 * radius + 1, BLOOD - 250, strength=seen)
        c.capsule(start + beside, end + beside, 0.9 * radius, AIR, strength=seen)
    if len(ends) > 1:
        across = ends - middle
        longest = np.linalg.eigh(across.T @ across)[1][:, -1]
        order = np.argsort(across @ (longest + rng.normal(0, 0.25, 3)))
        cut = max(1, round(len(ends) * rng.uniform(0.35, 0.65)))
        _branch(c, end, ends[order[:cut]], rng)
        _branch(c, end, ends[order[cut:]], rng)


def _inside(
    chest: Chest, side: int, rng: np.random.Generator, count: int, margin: float, low: float = 0, high: float = 300
) -> Array:
    """`count` random points (mm) at least `margin` mm deep in one lung, at heights `low` to `high`."""
    z, y, x = rng.uniform((low, -95, 0), (high, 95, 140), (8 * count + 4000, 3)).T
    points = np.stack([z, y, side * x], axis=1)
    return points[chest.lung(side, z, y, side * x) > margin][:count]


def _healthy(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """Nothing to add."""


def _infiltrative(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """Patchy shadowing with soft borders in an upper lobe, some 5 to 8 cm across."""
    centre = _inside(chest, side, rng, 1, margin=22, low=185, high=225)[0]
    for offset in rng.normal(0, rng.uniform(14, 20), (rng.integers(45, 75), 3)):
        c.capsule(centre + offset, centre + offset, rng.uniform(5, 10), -20, 12, rng.uniform(0.3, 0.65))


def _focal(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """Six to eleven sharp dense foci, each 6 to 10 mm across, within a few cm of one another."""
    centre = _inside(chest, side, rng, 1, margin=22, low=110, high=220)[0]
    for offset in rng.normal(0, 13, (rng.integers(6, 12), 3)):
        c.capsule(centre + offset, centre + offset, rng.uniform(3, 4.8), DENSE + 40)


def _tuberculoma(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """One round, sharply bounded nodule, 2 to 3 cm across, often with a calcified centre."""
    centre = _inside(chest, side, rng, 1, margin=18, low=100, high=225)[0]
    radius = rng.uniform(10, 15)
    c.capsule(centre, centre, radius, DENSE)
    if rng.random() < 0.6:
        c.capsule(centre, centre, 0.35 * radius, 700)


def _miliary(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """Some 3,000 evenly spread 2 to 3 mm nodules in both lungs; fewer where the grid would run full."""
    room = int(0.04 * c.inside.sum())
    for lung in (RIGHT, LEFT):
        for point in _inside(chest, lung, rng, min(int(rng.integers(1200, 1700)), room // 2), margin=2):
            c.capsule(point, point, rng.uniform(1.0, 1.6), DENSE)


def _fibrocavernous(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """A thick-walled air cavity, 4 to 6 cm across, with scars about it in a shrunken upper lobe."""
    centre = _inside(chest, side, rng, 1, margin=24, low=180, high=215)[0]
    radius = rng.uniform(19, 28)
    for _ in range(rng.integers(14, 22)):
        way = rng.normal(size=3)
        way *= rng.uniform(1.3, 2.6) * radius / np.linalg.norm(way)
        c.capsule(centre, centre + way, rng.uniform(0.8, 2.0), 0, 2)
        c.capsule(centre + 0.7 * way, centre + 0.8 * way, rng.uniform(4, 9), -50, 9, 0.6)
    c.capsule(centre, centre, radius, DENSE)
    for offset in np.vstack([np.zeros(3), rng.normal(0, 0.15 * radius, (3, 3))]):  # an uneven inner wall
        c.capsule(centre + offset, centre + offset, radius - rng.uniform(5, 9), AIR + 20)


LESIONS = {
    0: _healthy, 1: _infiltrative, 2: _focal, 3: _tuberculoma, 4: _miliary, 5: _fibrocavernous,
}  # fmt: skip


ORIENTATIONS = ("LPS", "RAS", "LAS", "PIR", "SPR", "RPI", "LPI", "ASL", "IRP", "RSA")  # nibabel axis codes


def write_scans(
    folder: Path,
    *,
    per_class: int | Sequence[int] = 4,
    seed: int = 0,
    size: int = 160,
    slices: tuple[int, int] = (40, 90),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `per_class` sound scans of each type, or as many of each as five numbers say, and a damaged one.

    Returns the labels CSV beside `folder`.

    Files are `TRN_0001.nii.gz` and on, types 1..5 in turn, `size` pixels square, with `slices` (fewest,
    most) slices, in changing orientations and spacings. Numbers 2 to 5 are the odd ones: scaled uint8,
    float32 with NaN, a bare `.nii`, an `.hdr/.img` pair (named by its `.hdr` in the CSV). The last file is
    a gzip cut at 60 %. The CSV has columns FileName, TypeOfTB (1..5), Patient; a few patients have two
    scans. The same arguments write the same bytes. `progress(done, total)` is called after each file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    counts = [per_class] * 5 if isinstance(per_class, int) else list(per_class)
    kinds = [kind for turn in range(max(counts)) for kind in range(1, 6) if turn < counts[kind - 1]]
    kinds.append(len(kinds) % 5 + 1)
    total, rows = len(kinds), []
    for number, kind in enumerate(kinds, start=1):
        patient = number - 5 if 6 <= number <= 8 else number  # numbers 1 to 3 come back for a second scan
        rng = np.random.default_rng([seed, 4, number])
        depth, field = int(rng.integers(slices[0], slices[1] + 1)), FIELD[1] * rng.uniform(1, 1.15)
        spacing = (FIELD[0] * rng.uniform(0.95, 1.03) / depth, field / size, field / size)
        hu = scan(kind, 1000 * seed + patient, (depth, size, size), spacing, visit=number)
        path = _write(folder / f"TRN_{number:04d}", number, hu, spacing, rng)
        if number == total:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) * 6 // 10])
        rows.append((path.name, kind, f"P{patient:03d}"))
        if progress:
            progress(number, total)
    labels = folder.parent / "labels.csv"
    with labels.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("FileName", "TypeOfTB", "Patient"), *rows])
    return labels


def _write(stem: Path, number: int, hu: Array, spacing: Spacing, rng: np.random.Generator) -> Path:
    """Store one scan under `stem` as its number asks for, and return the path."""
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
    """A volume in `ORIENTATION` with its axes turned to `codes`, and the affine (mm, RAS+) that says so."""
    from nibabel import orientations as turn

    step = np.array(spacing)[::-1] * (-1, -1, 1)  # world axes grow to Right, Anterior, Superior
    affine = np.diag([*step, 1.0])
    stored = volume.transpose()
    affine[:3, 3] = -step * (np.array(stored.shape) - 1) / 2
    change = turn.ornt_transform(turn.axcodes2ornt("LPS"), turn.axcodes2ornt(codes))
    moved = turn.apply_orientation(stored, change)
    return np.ascontiguousarray(moved), affine @ turn.inv_ornt_aff(change, stored.shape)
