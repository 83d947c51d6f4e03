"""AVI and MP4 files."""

from pathlib import Path
from typing import Any

from tests.faults.fuzz.byte_changes import change_bytes
from tests.faults.fuzz.target import Target
from tests.faults.server import ROOT

REAL_CLIPS = ROOT.parent / "shared" / "data" / "clips"  # if it exists, its smallest clip of a format is in the corpus


def avi(folder: Path) -> Target:
    from pipeline.demo import phantom_clips

    for kind in (0, 1):
        phantom_clips._write(folder / f"{kind}.avi", phantom_clips.clip(kind, 1, 1, 0, 6, (24, 32)))
    return Target(_corpus(folder, "*.avi"), ".avi", change_bytes, read_clip)


def mp4(folder: Path) -> Target:
    import cv2
    import numpy as np

    from pipeline.demo import phantom_clips

    folder.mkdir()
    for codec in ("mp4v", "mjpg"):
        writer = cv2.VideoWriter(
            str(folder / f"{codec}.mp4"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25, (32, 24)
        )
        for frame in phantom_clips.clip(1, 1, 1, 0, 6, (24, 32)):
            writer.write(np.repeat(frame[..., None], 3, 2))
        writer.release()
    return Target(_corpus(folder, "*.mp4"), ".mp4", change_bytes, read_clip)


def _corpus(folder: Path, pattern: str) -> list[bytes]:
    real = sorted(REAL_CLIPS.rglob(pattern), key=lambda path: path.stat().st_size)[:1]
    return [path.read_bytes() for path in sorted(folder.glob(pattern)) + real]


def read_clip(path: Path) -> Any:
    from pipeline.transforms.video import video_clip

    for sampling in ("head", "spline"):
        video_clip(path, depth=4, height=8, width=8, sampling=sampling)
