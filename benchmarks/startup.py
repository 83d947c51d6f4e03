"""From the command to the first task on two workers, and the time that --help takes.

python benchmarks/startup.py [--quick]
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, seconds, verdict

from pipeline.demo import phantoms


def first_task(source: Path, root: Path) -> float:
    """Seconds until the first chunk is there, a tiny sample's, which takes a task some milliseconds."""
    start = time.perf_counter()
    command = [sys.executable, "cli.py", "preprocess", "ct", str(source), str(root), "--workers", "2", "--quiet"]
    process = subprocess.Popen([*command, "--depth", "6", "--height", "16", "--width", "16"], cwd=ROOT)
    while not any((root / "volume" / "c").glob("*")) and process.poll() is None:
        time.sleep(0.002)
    took = time.perf_counter() - start
    process.wait()
    return took


def main(quick: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "scans")
        phantoms.write_scans(source, per_class=1, size=24, slices=(6, 9))
        took = [first_task(source, Path(folder, f"{number}.zarr")) for number in range(1 if quick else 5)]
    help_time = seconds(
        lambda: subprocess.run([sys.executable, "cli.py", "--help"], cwd=ROOT, check=True, capture_output=True)
    )
    verdict("seconds to the first task", sorted(took)[len(took) // 2], 4, at_most=True)
    verdict("seconds for --help", help_time, 0.5, at_most=True)


if __name__ == "__main__":
    main("--quick" in sys.argv)
