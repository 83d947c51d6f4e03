"""Phantom action clips whose classes differ only in order and tempo, for the demo and the tests.

An outline grows, shrinks or pulses (grows and shrinks alternately), fast or slowly, in front of a textured background.
In every class its size passes evenly through the same range, from a random start and in full cycles within 70 frames.
So neither one frame nor the unordered set of frames identifies the class: only their sequence does, and a network that
pools each frame needs memory. The clips of a group share their scene, which is the same in every class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cache.progress import Callback

CLASSES = ("GrowFast", "GrowSlow", "PulseFast", "PulseSlow", "ShrinkFast", "ShrinkSlow")
FPS = 25
PERIODS = {"Fast": 14, "Slow": 35}  # frames a cycle; both divide 70
LENGTHS = (75, 110)  # frames of an intact clip: fewest, most
SHORT = 43  # frames of the short clip
INTACT_SHARE = 0.4  # share of the damaged clip's bytes
SIZE = (240, 320)  # pixels: height, width
RADII = (0.09, 0.36)  # smallest and largest radius of the outline, in heights of the frame
OUTLINES = ((np.inf, 0.8, 1.0), (1.0, 1.13, 1.41), (2.0, 1.0, 1.0))  # power, reach, width: the lit area is the same
NOISE = 2.5  # gray levels


@dataclass(frozen=True)
class Scene:
    """The background and the outline, which clips of one group share in every class."""

    background: np.ndarray  # gray levels, float32 (height, width)
    power: float  # of the norm whose unit circle the outline is: 1 a diamond, 2 a ring, infinity a square
    light: float  # gray levels by which the outline is brighter than the mean background
    scale: float  # of its radius
    width: float  # of its line, in heights of the frame
    centre: np.ndarray  # (row, column), in heights of the frame


def scene(group: int, seed: int, size: tuple[int, int] = SIZE) -> Scene:
    """The scene of a group, counted from 1; groups take the three outlines in rotation."""
    rng = np.random.default_rng([seed, group])
    background = rng.uniform(68, 72) + _texture(rng, size, cells=5, level=5) + _texture(rng, size, cells=24, level=3)
    power, reach, across = OUTLINES[group % len(OUTLINES)]
    return Scene(
        background=background.astype(np.float32),
        power=power,
        light=rng.uniform(114, 122),
        scale=reach * rng.uniform(0.97, 1.03),
        width=across * rng.uniform(0.048, 0.052),
        centre=np.array([0.5, 0.5 * size[1] / size[0]]) + rng.uniform((-0.02, -0.18), (0.02, 0.18)),
    )


def _texture(rng: np.random.Generator, size: tuple[int, int], cells: int, level: float) -> np.ndarray:
    """Smooth noise around 0: random gray levels at `cells` points a side, bilinear between them."""
    near = [np.linspace(0, cells - 1, pixels)[:, None] - np.arange(cells) for pixels in size]
    rows, columns = (np.clip(1 - np.abs(distance), 0, None) for distance in near)
    levels = rng.normal(0, level, (cells, cells))
    return np.einsum("rj,cj->rc", np.einsum("ri,ij->rj", rows, levels), columns)  # `@` would use other cores


def growth_curve(kind: int, start: float, frames: int) -> np.ndarray:
    """The growth of the outline in each frame, 0 to 1; `start` is a share of a cycle."""
    phase = np.arange(frames) / PERIODS[CLASSES[kind][-4:]] + start
    if CLASSES[kind].startswith("Pulse"):
        return 1 - np.abs(2 * (phase % 1) - 1)
    return phase % 1 if CLASSES[kind].startswith("Grow") else -phase % 1


def clip(kind: int, group: int, number: int, seed: int, frames: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Gray frames of one clip, uint8 (frames, height, width). Same arguments, same array.

    `kind` is an index into CLASSES, `group` and `number` count from 1, `size` is (height, width) in pixels.
    """
    if not 0 <= kind < len(CLASSES):
        raise ValueError(f"class {kind}; expected 0 to {len(CLASSES) - 1}, an index into CLASSES")
    view = scene(group, seed, size)
    rng = np.random.default_rng([seed, group, number, kind])
    centre = view.centre + rng.uniform(-0.015, 0.015, 2)
    growth = growth_curve(kind, rng.random(), frames)
    row, column = (np.abs(np.arange(n) / size[0] - at) for n, at in zip(size, centre, strict=True))
    corner = np.stack(np.broadcast_arrays(row[:, None], column))
    distance = np.linalg.norm(corner, view.power, axis=0).astype(np.float32)
    radii = (view.scale * (RADII[0] + (RADII[1] - RADII[0]) * growth)).astype(np.float32)
    contrast = view.background.mean() + view.light - view.background
    result = np.empty((frames, *size), np.uint8)
    for frame, radius in zip(result, radii, strict=True):
        inside = (view.width / 2 - np.abs(distance - radius)) * size[0]  # pixels
        picture = view.background + np.clip(0.5 + inside, 0, 1) * contrast
        picture += np.float32(NOISE) * rng.standard_normal(size, np.float32)
        np.copyto(frame, np.clip(np.rint(picture), 0, 255), casting="unsafe")
    return result


def write_clips(
    folder: Path,
    *,
    groups: int = 4,
    clips: int = 3,
    seed: int = 0,
    callback: Callback | None = None,
) -> tuple[str, ...]:
    """Write `groups` × `clips` intact clips of each class, and two faulty ones; return the names of the classes.

    Files are XviD, `FOLDER/Class/v_Class_gNN_cMM.avi`, 320x240, 25 fps, 75 to 110 frames. The last clip in the last
    group of the first class is short, with a correct header and 43 frames; that of the last class is damaged, cut at
    40 %. On one machine the same arguments write the same bytes. `callback.on_progress` is called after each file.
    Raises OSError where OpenCV cannot write XviD.
    """
    planned = list(_plan(groups, clips))
    for done, (kind, group, number) in enumerate(planned, start=1):
        path = Path(folder) / CLASSES[kind] / f"v_{CLASSES[kind]}_g{group:02d}_c{number:02d}.avi"
        faulty = number > clips
        length = int(np.random.default_rng([seed, 1, kind, group, number]).integers(*LENGTHS, endpoint=True))
        _write(path, clip(kind, group, number, seed, SHORT if faulty and kind == 0 else length))
        if faulty and kind != 0:
            content = path.read_bytes()
            path.write_bytes(content[: int(INTACT_SHARE * len(content))])
        if callback:
            callback.on_progress(done, len(planned), "files")
    return CLASSES


def _plan(groups: int, clips: int) -> Iterator[tuple[int, int, int]]:
    """Kind, group and number of every clip; the short and the damaged one follow the intact ones of their group."""
    for kind in range(len(CLASSES)):
        for group in range(1, groups + 1):
            faulty = group == groups and kind in (0, len(CLASSES) - 1)
            yield from ((kind, group, number) for number in range(1, clips + faulty + 1))


def _write(path: Path, frames: np.ndarray) -> None:
    """Store gray frames as an XviD AVI; folders are made as needed."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    name, size = str(path.absolute()), frames.shape[:0:-1]
    if name != name.encode(errors="replace").decode():
        raise OSError(f"{name!r} is not UTF-8; expected a path that is: OpenCV crashes on any other")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(name, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"XVID"), FPS, size)
    if not writer.isOpened():
        raise OSError(
            f"{path}: OpenCV {cv2.__version__} cannot write XviD there; check the path and the free disk space"
        )
    try:
        for frame in frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    finally:
        writer.release()
