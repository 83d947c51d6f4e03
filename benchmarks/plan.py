"""Planning 100,000 inputs of which 99,999 are done: time and memory, from the ledger on disk to the one task.

python benchmarks/plan.py [--quick]
"""

import sys
import tempfile
import time
from pathlib import Path

from common import verdict

from cache import store
from cache.fingerprint import digest_recipe
from cache.schema import Attributes, Entry
from cache.writer import open_writer
from pipeline.jobs import preprocess
from pipeline.recipes.ct import CtRecipe
from pipeline.sources.formats.ct import find_scans
from pipeline.workers.executor import Settings
from pipeline.workers.executors.local import local_cluster
from pipeline.workers.limits import peak_memory


def main(quick: bool) -> None:
    count = 1000 if quick else 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        source, root, recipe = folder / "scans", folder / "ct.zarr", CtRecipe()
        for number in range(count):
            scan = source / f"{number // 1000:03d}" / f"TRN_{number:06d}.nii.gz"
            if number % 1000 == 0:
                scan.parent.mkdir(parents=True)
            scan.touch()
        write_cache(root, source, recipe)
        # In a process of its own, so that the peak is that of planning alone.
        with local_cluster(Settings(1)) as run_all:
            ((_, (took, memory, tasks)),) = next(run_all(plan, [(source, root)]))
    print(f"{count} records, {tasks} to make: {took:.2f} s, {memory / 1e6:.0f} MB")
    assert tasks == 1
    verdict("seconds", took, 10, at_most=True)
    verdict("MB", memory / 1e6, 500, at_most=True)


def plan(paths: tuple[Path, Path]) -> tuple[float, int, int]:
    start = time.perf_counter()
    job = preprocess.prepare(*paths, CtRecipe())
    return time.perf_counter() - start, peak_memory(), len(job.plan.tasks)


def write_cache(root: Path, source: Path, recipe: CtRecipe) -> None:
    """A cache in which all but the last scan are complete, with records as real ones have and empty chunk files."""
    details = {"shape": [512, 512, 130], "dtype": "<i2", "slope": 1.0, "inter": 0.0, "orientation": "LPS"}
    details |= {"spacing": [0.7, 0.7, 2.5], "nonfinite": 0, "notes": []}
    digest = digest_recipe(recipe.to_json())
    entries = []
    for row, record in enumerate(find_scans(source).records[:-1]):
        entry = Entry(record.id, "complete", row, 0, record.id, source=record.source, recipe=digest)
        entries.append(entry.replace(nbytes=1, digest="0" * 32, details=details))
        store.chunk_path(root, row).parent.mkdir(parents=True)
        store.chunk_path(root, row).touch()
    with open_writer(root, Attributes("ct", recipe.to_json(), ("a",)), {}) as writer:
        writer.commit(entries)


if __name__ == "__main__":
    main("--quick" in sys.argv)
