"""One scan, file to committed sample, in one process on one thread, against reading it alone and the original's steps.

python benchmarks/ct_sample.py [--quick]
"""

import sys
import tempfile
from pathlib import Path

from common import a_scan, original_steps, seconds, verdict
from isal import igzip
from threadpoolctl import threadpool_limits

from cache.schema import Attributes
from cache.writer import open_writer
from pipeline.jobs.plan import Task
from pipeline.jobs.sample import make_sample
from pipeline.recipes.ct import CtRecipe
from pipeline.sources.records import make_record


def read_alone(scan: Path) -> None:
    with igzip.open(scan) as file:
        while file.read(1 << 20):
            pass


def main(quick: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        scan = a_scan(Path(folder, "scans"), quick)
        root, recipe = Path(folder, "ct.zarr"), CtRecipe()
        task = Task(make_record(scan.parent, "scan", (scan.name,)), 0)
        with open_writer(root, Attributes("ct", recipe.to_json(), ("a",)), {}) as writer:

            def committed() -> None:
                entry = make_sample(root, recipe, task)
                assert entry.state == "complete", entry.reason
                writer.commit([entry.replace(id="scan")])

            ours = seconds(committed)
        alone = seconds(lambda: read_alone(scan))
        original = seconds(lambda: original_steps(scan, Path(folder, "original.npy")), 1)
    print(f"{scan.name}: to committed sample {ours:.3f} s, isal.igzip alone {alone:.3f} s, original {original:.2f} s")
    verdict("times igzip alone", ours / alone, 2.5, at_most=True)
    verdict("times faster than the original's steps", original / ours, 12)


if __name__ == "__main__":
    main("--quick" in sys.argv)
