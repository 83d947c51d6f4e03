"""Batches of two clips from a warm cache of 200, against float32 `.npy` files, and against the time of a training step.

python benchmarks/batches.py [--quick]
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import ROOT, in_own_process, verdict
from frame_blocks import step

from cache import open_cache, store
from cache.schema import Attributes, Entry
from cache.writer import open_writer
from pipeline.recipes.video import VideoRecipe
from trainer.data.batches import epoch_order
from trainer.data.stream import Subset, batches

CLIPS = ROOT.parent / "shared" / "data" / "clips"


def sample_clips(recipe: VideoRecipe) -> list[np.ndarray]:
    """Real clips if available, else noise on moving stripes."""
    files = sorted(CLIPS.glob("Nasa/*_c01.avi"))
    if files:
        return [recipe.make((file,)).values for file in files]
    ramp = np.arange(recipe.depth)[:, None, None] + np.arange(recipe.width)
    noise = np.random.default_rng(0).integers(0, 8, (recipe.depth, recipe.height, recipe.width))
    return [(ramp % 64 * 3 + noise).astype(np.uint8)]


def write_both(folder: Path, recipe: VideoRecipe, count: int) -> tuple[Path, list[Path]]:
    """The same samples as a cache and as float32 `.npy` files, each clip rolled by a different amount."""
    clips, files = sample_clips(recipe), []
    root = folder / "clips.zarr"
    attributes = Attributes("video", recipe.to_json(), ("a", "b"))
    with open_writer(root, attributes, {}) as writer:
        for row in range(count):
            values = np.roll(clips[row % len(clips)], row, axis=(0, 2))
            nbytes, digest = store.write_chunk(root, row, values, attributes.dtype)
            writer.commit([Entry(f"s{row}", "complete", row=row, label=row % 2, nbytes=nbytes, digest=digest)])
            files.append(folder / f"{row}.npy")
            np.save(files[-1], values.astype(np.float32) / 255)
    return root, files


def original_epoch(files: list[Path], order: np.ndarray) -> int:
    """The original's loader: load, stack, cast."""
    return sum(
        len(np.stack([np.load(files[n]) for n in order[first : first + 2]]).astype(np.float32, copy=False))
        for first in range(0, len(order), 2)
    )


def our_epoch(part: Subset, order: np.ndarray) -> int:
    return sum(len(batch.values) for batch in batches(part, order, 2))


def rate(epoch, *arguments) -> float:
    """Clips a second of the best of three epochs after one that warms the files."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        count = epoch(*arguments)
        times.append(time.perf_counter() - start)
    return count / min(times[1:])


def main(quick: bool) -> None:
    recipe, count = (VideoRecipe(depth=4, height=32, width=32), 6) if quick else (VideoRecipe(), 200)
    with tempfile.TemporaryDirectory() as folder:
        root, files = write_both(Path(folder), recipe, count)
        cache = open_cache(root)
        part = Subset(cache, tuple(cache.ids), cache.labels)
        order = epoch_order(count, 0, 0)
        naive, ours = rate(original_epoch, files, order), rate(our_epoch, part, order)
    taken = 2 / in_own_process(step, (recipe.depth, recipe.height, recipe.width), 0)["seconds"]
    print(f"clips a second: .npy {naive:.0f}, cache {ours:.0f}, checked; a training step takes {taken:.3f}")
    verdict("against .npy", ours / naive, 1.5)
    verdict("against a step", ours / taken, 30)


if __name__ == "__main__":
    main("--quick" in sys.argv)
