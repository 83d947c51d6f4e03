"""Shared by the benchmarks: the scan to measure on, the original code's steps, timing."""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runs from a checkout that is not installed

import nibabel as nib
import numpy as np
from scipy import ndimage

from pipeline.jobs import preprocess
from pipeline.workers.executor import Settings
from pipeline.workers.executors.local import local_cluster
from pipeline.workers.limits import peak_memory

ROOT = Path(__file__).resolve().parent.parent
LIDC = ROOT.parent / "shared" / "data" / "ct" / "LIDC-IDRI-0314_2mm.nii.gz"


def a_scan(folder: Path, quick: bool) -> Path:
    """The real scan to measure on, or a phantom in `folder` if it is absent; with `quick` a small phantom."""
    if LIDC.exists() and not quick:
        return LIDC
    from pipeline.demo import phantoms

    if not quick:
        print(f"{LIDC} does not exist: measuring a 512×512×138 phantom instead")
    size, slices = (32, (10, 12)) if quick else (512, (138, 139))
    phantoms.write_scans(folder, per_class=1, size=size, slices=slices)
    return folder / "TRN_0001.nii.gz"


def original_steps(scan: Path, out: Path, shape: tuple[int, int, int] = (70, 224, 224)) -> None:
    """The original code's steps for one scan: read, window, rotate by splines, zoom of order 1, save."""
    volume = nib.load(scan).get_fdata()
    volume[volume < -1000] = -1000
    volume[volume > 400] = 400
    volume = ((volume + 1000) / 1400).astype("float32")
    volume = ndimage.rotate(volume, 90, reshape=False)
    depth, height, width = shape
    factors = (width / volume.shape[0], height / volume.shape[1], depth / volume.shape[2])
    volume = np.clip(ndimage.zoom(volume, factors, order=1), 0, 1)
    np.save(out, np.expand_dims(np.moveaxis(volume, -1, 0), 3))


def seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """The median time of `repeats` calls, after a warm-up call."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def steady_seconds(job: "preprocess.PreprocessJob", workers: int) -> float:
    """Seconds that all tasks of `job` take, scaled up from those after each worker has made its first sample."""
    started: list[float] = []
    with local_cluster(Settings(workers)) as run_all:

        def warm(work: Callable, tasks: list) -> Iterator:
            yield from run_all(work, tasks[:workers])
            started.append(time.perf_counter())
            yield from run_all(work, tasks[workers:])

        preprocess.run(job, nullcontext(warm))
        took = time.perf_counter() - started[0]
    count = len(job.plan.tasks)
    return took * count / (count - workers)


def verdict(title: str, ratio: float, target: float, at_most: bool = False) -> None:
    """Print one ratio and its target."""
    met = ratio <= target if at_most else ratio >= target
    limit = f"{'at most' if at_most else 'at least'} {target:g}"
    print(f"{title}: {ratio:.2f} (target: {limit}) {'met' if met else 'MISSED'}")


def in_own_process(function: Callable, *arguments: object) -> dict:
    """Run a top-level `function` in a new process; return its result and the process's `peak` memory in bytes."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        result = pool.submit(function, *arguments).result()
        return result | {"peak": pool.submit(peak_memory).result()}
