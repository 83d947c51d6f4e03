"""24 scans: two workers against one without start-up, and the whole command against the original's steps on two cores.

python benchmarks/ct_run.py [--quick]
"""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from common import ROOT, a_scan, original_steps, steady_seconds, verdict

from pipeline.jobs import preprocess
from pipeline.recipes.ct import CtRecipe


def copies(folder: Path, scan: Path, count: int) -> Path:
    """A SOURCE of `count` links to one scan."""
    folder.mkdir()
    for number in range(count):
        (folder / f"TRN_{number:04d}.nii.gz").symlink_to(scan)
    return folder


def whole_command(source: Path, root: Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "cli.py", "preprocess", "ct", source, root, "--workers", "2", "--quiet"]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)
    return time.perf_counter() - start


def original_on_both_cores(scans: list[Path], out: Path) -> float:
    out.mkdir()
    start = time.perf_counter()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(_original, out), scans))
    return time.perf_counter() - start


def _original(out: Path, scan: Path) -> None:
    original_steps(scan, out / f"{scan.name}.npy")


def main(quick: bool) -> None:
    count = 4 if quick else 24
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = copies(folder / "source", a_scan(folder / "scans", quick), count)
        jobs = [preprocess.prepare(source, folder / f"{workers}.zarr", CtRecipe()) for workers in (1, 2)]
        one, two = (steady_seconds(job, workers) for workers, job in enumerate(jobs, 1))
        print(f"{count} scans without start-up: 1 worker {one:.2f} s, 2 workers {two:.2f} s")
        verdict("two workers against one", one / two, 1.7)
        whole = whole_command(source, folder / "whole.zarr")
        original = original_on_both_cores(sorted(source.iterdir()), folder / "original")
        print(f"whole command, 2 workers {whole:.2f} s; original's steps on both cores {original:.1f} s")
        verdict("whole command against the original's steps", original / whole, 6)


if __name__ == "__main__":
    main("--quick" in sys.argv)
