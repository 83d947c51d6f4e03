"""Paint the lesions of the five types of tuberculosis into a healthy chest."""

import numpy as np

from pipeline.demo.anatomy import LEFT, RIGHT, Chest, points_in_lung
from pipeline.demo.canvas import AIR, Canvas

DENSE = 60  # HU


def _healthy(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """Healthy lungs: nothing to paint."""


def _infiltrative(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """Patchy shadowing with soft borders in an upper lobe, 5 to 8 cm across."""
    centre = points_in_lung(chest, side, rng, 1, margin=22, low=185, high=225)[0]
    for offset in rng.normal(0, rng.uniform(14, 20), (rng.integers(45, 75), 3)):
        c.capsule(centre + offset, centre + offset, rng.uniform(5, 10), -20, 12, rng.uniform(0.3, 0.65))


def _focal(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """Six to eleven sharp dense foci, each 6 to 10 mm across, within a few cm of each other."""
    centre = points_in_lung(chest, side, rng, 1, margin=22, low=110, high=220)[0]
    for offset in rng.normal(0, 13, (rng.integers(6, 12), 3)):
        c.capsule(centre + offset, centre + offset, rng.uniform(3, 4.8), DENSE + 40)


def _tuberculoma(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """One round, sharply bounded nodule, 2 to 3 cm across, often with a calcified centre."""
    centre = points_in_lung(chest, side, rng, 1, margin=18, low=100, high=225)[0]
    radius = rng.uniform(10, 15)
    c.capsule(centre, centre, radius, DENSE)
    if rng.random() < 0.6:
        c.capsule(centre, centre, 0.35 * radius, 700)


def _miliary(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """About 3,000 evenly spread nodules of 2 to 3 mm in both lungs; fewer on a grid with too few voxels."""
    room = int(0.04 * c.inside.sum())
    for lung in (RIGHT, LEFT):
        for point in points_in_lung(chest, lung, rng, min(int(rng.integers(1200, 1700)), room // 2), margin=2):
            c.capsule(point, point, rng.uniform(1.0, 1.6), DENSE)


def _fibrocavernous(c: Canvas, chest: Chest, side: int, rng: np.random.Generator) -> None:
    """A thick-walled air cavity, 4 to 6 cm across, surrounded by scars, in a shrunken upper lobe."""
    centre = points_in_lung(chest, side, rng, 1, margin=24, low=180, high=215)[0]
    radius = rng.uniform(19, 28)
    for _ in range(rng.integers(14, 22)):
        scar = rng.normal(size=3)
        scar *= rng.uniform(1.3, 2.6) * radius / np.linalg.norm(scar)
        c.capsule(centre, centre + scar, rng.uniform(0.8, 2.0), 0, 2)
        c.capsule(centre + 0.7 * scar, centre + 0.8 * scar, rng.uniform(4, 9), -50, 9, 0.6)
    c.capsule(centre, centre, radius, DENSE)
    for offset in np.vstack([np.zeros(3), rng.normal(0, 0.15 * radius, (3, 3))]):  # an uneven inner wall
        c.capsule(centre + offset, centre + offset, radius - rng.uniform(5, 9), AIR + 20)


LESIONS = {
    0: _healthy, 1: _infiltrative, 2: _focal, 3: _tuberculoma, 4: _miliary, 5: _fibrocavernous,
}  # fmt: skip
