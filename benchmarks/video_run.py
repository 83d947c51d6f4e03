"""1,000 clips: two workers against one without start-up; then the cache's size and reading speed against float32 .npy.

python benchmarks/video_run.py [--quick]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from common import ROOT, seconds, steady_seconds, verdict

from cache import open_cache
from pipeline.demo import phantom_clips
from pipeline.jobs import preprocess
from pipeline.recipes.video import VideoRecipe

CLIPS = ROOT.parent / "shared" / "data" / "clips"


def tree(folder: Path, clips: list[Path], count: int) -> Path:
    """A SOURCE of `count` links to `clips`, in groups of ten."""
    (folder / "Action").mkdir(parents=True)
    for number in range(count):
        name = f"v_Action_g{number // 10:03d}_c{number % 10:02d}.avi"
        (folder / "Action" / name).symlink_to(clips[number % len(clips)])
    return folder


def long_clips(folder: Path, quick: bool) -> list[Path]:
    """Real clips of at least 70 frames if available, else phantoms."""
    if CLIPS.is_dir() and not quick:
        short = {"v_Bunny_g01_c01.avi", "v_Nasa_g02_c02.avi"}
        return sorted(path for path in CLIPS.rglob("*.avi") if path.name not in short)
    phantom_clips.write_clips(folder, groups=1, clips=1)
    return sorted(folder.rglob("*_g01_c01.avi"))


def main(quick: bool) -> None:
    count, small = (12, {"height": 32, "width": 32}) if quick else (1000, {})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = tree(folder / "source", long_clips(folder / "phantoms", quick), count)
        times = []
        for workers in (1, 2):
            job = preprocess.prepare(source, folder / f"{workers}.zarr", VideoRecipe(**small))
            times.append(steady_seconds(job, workers))
        one, two = times
        rates = f"{count / one:.0f} and {count / two:.0f} a second"
        print(f"{count} clips without start-up: 1 worker {one:.1f} s, 2 workers {two:.1f} s, {rates}")
        verdict("two workers against one", one / two, 1.7)
        compare_reading(folder / "2.zarr", folder / "clip.npy")


def compare_reading(root: Path, npy: Path) -> None:
    clips = open_cache(root)
    np.save(npy, clips[0])
    most = min(100, len(clips))
    ours = seconds(lambda: [clips.stored(number) for number in range(most)], 3) / most
    decoded = seconds(lambda: [clips[number] for number in range(most)], 3) / most
    plain = seconds(lambda: [np.load(npy) for _ in range(most)], 3) / most
    size = np.mean([entry.nbytes for entry in clips.samples])
    print(f"stored: {size / 1e6:.2f} MB a clip, lossless; float32 .npy {npy.stat().st_size / 1e6:.2f} MB")
    checked = f"{1 / ours:.0f} as uint8, {1 / decoded:.0f} as float32"
    print(f"reads a second from warm files: {checked}, checked; float32 .npy {1 / plain:.0f}, unchecked")


if __name__ == "__main__":
    main("--quick" in sys.argv)
