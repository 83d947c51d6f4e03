"""Each benchmark runs; how fast is for people to read, never for a test to judge."""

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
    "memory",
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
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()
