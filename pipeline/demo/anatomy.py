"""A healthy chest in millimetres: its surfaces, and the painting of body, bones, airways and vessels.

z grows from the lowest slice up, y from the middle of the body to the back, x from the midline to the patient's left.
Left and right, front and back, top and bottom all differ: the heart and the aorta lie left, the liver dome is higher on
the right, the breastbone is in front, the spine and the table are behind, the lungs narrow upwards. So a picture in the
wrong orientation looks wrong.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.demo.canvas import AIR, Array, Canvas, Spacing

LUNG, FAT, BLOOD, MUSCLE, LIVER, BONE = -860, -100, 40, 55, 65, 420  # HU
RIGHT, LEFT = -1, 1  # side of the patient, the sign of x
CARINA = (178.0, 10.0, 0.0)  # mm, where the windpipe divides
HILUM = {RIGHT: (160.0, 10.0, -36.0), LEFT: (166.0, 12.0, 38.0)}  # mm, where bronchi and vessels enter


@dataclass(frozen=True)
class Chest:
    """One patient: the dimensions in which healthy chests differ, and the side that scarring has shrunk."""

    size: Spacing  # around 1, along (z, y, x)
    heart: float  # mm, centre of the heart to the left of the midline
    domes: tuple[float, float]  # mm, tops of the right and left diaphragm above the lowest slice
    apices: tuple[float, float]  # mm, tops of the right and left lung
    shrunk: int = 0  # RIGHT, LEFT or 0 for neither

    def midline(self, z: Array) -> Array:
        """x (mm) of the middle of the mediastinum at height z: scarring pulls its upper part over."""
        return self.shrunk * 14 * np.clip((z - 110) / 90, 0, 1)

    def cage(self, z: Array, y: Array, x: Array) -> Array:
        """Distance (mm) inside the surface on which the ribs lie."""
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
    """1 on a rounded rectangle around the origin, proportional to the distance from the origin elsewhere."""
    return ((np.abs(y) / half_depth) ** 2.4 + (np.abs(x) / half_width) ** 2.4) ** (1 / 2.4)


def random_chest(rng: np.random.Generator, shrunk: int) -> Chest:
    """A chest with random dimensions; `shrunk` is RIGHT, LEFT or 0."""
    z, y, x = rng.uniform(0.95, 1.05, 3)
    left_dome, apex = rng.uniform(62, 74), rng.uniform(258, 268)
    domes = (left_dome + rng.uniform(12, 20), left_dome)
    return Chest((z, y, x), rng.uniform(20, 30), domes, (apex, apex - rng.uniform(2, 8)), shrunk)


def paint_body(c: Canvas, chest: Chest) -> None:
    """Paint fat, muscle, table, the tissue in the rib cage, the organs below the diaphragm, heart and great vessels."""
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


def paint_bones(c: Canvas, chest: Chest) -> None:
    """Paint ribs that slope forward, spine with canal and discs, breastbone, shoulder blades and collarbones."""
    back = c.y / 92
    phase = np.mod(c.z - 55 * back + 8 * np.abs(c.x) / 136, 27) - 13.5
    ring = 4.2 - np.hypot(chest.cage(c.z, c.y, c.x) - 2, 0.65 * phase)
    cartilage = (c.y < -62) & (np.abs(c.x) < 85)  # the front ends of the ribs
    c.fill(np.where(cartilage | (c.z > 258), -9, ring), BONE)
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


def paint_airways(c: Canvas, chest: Chest) -> None:
    """Paint the windpipe and the two main bronchi (the right one steeper and wider), with their walls."""
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


def paint_vessels(c: Canvas, chest: Chest, rng: np.random.Generator) -> None:
    """Fill both lungs with a tree of vessels, and thin-walled bronchi next to the thick ones."""
    for side in (RIGHT, LEFT):
        _paint_branch(c, _shifted(chest, HILUM[side]), points_in_lung(chest, side, rng, 480, margin=4), rng)


def _paint_branch(c: Canvas, start: Array, ends: Array, rng: np.random.Generator) -> None:
    """Grow toward the centre of `ends` (mm), divide them in two and branch to each half, until too thin to see."""
    radius = 0.85 * len(ends) ** 0.32
    visible = min(1.0, 1.6 * radius / float(c.pitch.prod()) ** (1 / 3)) ** 2  # large voxels dilute a thin vessel
    if visible < 0.03:
        return
    middle = ends.mean(axis=0)
    end = start + (1.0 if len(ends) == 1 else 0.42) * (middle - start)
    c.capsule(start, end, radius, BLOOD, strength=visible)
    if radius > 1.8:
        offset = np.array([0.0, -1.9, 0.6]) * radius
        c.capsule(start + offset, end + offset, 0.9 * radius + 1, BLOOD - 250, strength=visible)
        c.capsule(start + offset, end + offset, 0.9 * radius, AIR, strength=visible)
    if len(ends) > 1:
        across = ends - middle
        longest = np.linalg.eigh(across.T @ across)[1][:, -1]
        order = np.argsort(across @ (longest + rng.normal(0, 0.25, 3)))
        cut = max(1, round(len(ends) * rng.uniform(0.35, 0.65)))
        _paint_branch(c, end, ends[order[:cut]], rng)
        _paint_branch(c, end, ends[order[cut:]], rng)


def points_in_lung(
    chest: Chest, side: int, rng: np.random.Generator, count: int, margin: float, low: float = 0, high: float = 300
) -> Array:
    """`count` random points (mm) at least `margin` mm deep in one lung, at heights `low` to `high`."""
    z, y, x = rng.uniform((low, -95, 0), (high, 95, 140), (8 * count + 4000, 3)).T
    points = np.stack([z, y, side * x], axis=1)
    return points[chest.lung(side, z, y, side * x) > margin][:count]
