"""Peak memory of a worker process that makes a sample of a 512×512×600 int16 .nii.gz.

python benchmarks/memory.py [--quick]
"""

import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from common import verdict

from pipeline.recipes.ct import CtRecipe
from pipeline.workers.executor import Settings
from pipeline.workers.executors.local import local_cluster
from pipeline.workers.limits import peak_memory
from pipeline.workers.threads import pin_threads

MB = 1e6


def write_scan(path: Path, slices: int) -> None:
    rng = np.random.default_rng(0)
    volume = np.empty((512, 512, slices), np.int16, order="F")
    for number in range(slices):
        volume[..., number] = rng.integers(-1000, 400, (512, 512))
    nib.save(nib.Nifti1Image(volume, np.diag([-0.7, -0.7, 1, 1])), path)


def peak_after(path: Path) -> int:
    """Peak memory in bytes of a worker that makes one sample; runs on the worker."""
    pin_threads()
    CtRecipe().make((path,))
    return peak_memory()


def main(quick: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder, "scan.nii.gz")
        write_scan(scan, 20 if quick else 600)
        with local_cluster(Settings(1)) as run_all:
            ((_, peak),) = next(run_all(peak_after, [scan]))
    print(f"worker's peak {peak / MB:.0f} MB")
    verdict("MB", peak / MB, 700, at_most=True)


if __name__ == "__main__":
    main("--quick" in sys.argv)
