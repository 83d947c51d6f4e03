"""Every benchmark runs. Its timings are for people to read; no test checks them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.name != "common.py")
SLOW = {
    "batches",
    "codec",
    "ct_run",
    "features",
    "frame_blocks",
    "gpu",
    "memory",
    "plain_jax",
    "plan",
    "startup",
    "time_distributed",
    "video_run",
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in BENCHMARKS]
)
def test_a_benchmark_runs(name):
    command = [sys.executable, f"benchmarks/{name}.py", "--quick"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
