"""A clip's first 70 frames, file to stored sample, against the original's steps: `python benchmarks/video.py [PATH]`.

One run, one process. PATH is a clip (default: one of ../shared/data/clips, else XViD made here); `--quick` is a tiny
one. `--long` instead measures a 10-minute 1080p clip in samplings uniform and spline: seconds, and peak memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402

from cache import store  # noqa: E402
from cache.fingerprint import digest_files  # noqa: E402
from pipeline.readers.clip.decode import open_clip  # noqa: E402
from pipeline.readers.clip.demuxer import HEAD, demuxer  # noqa: E402
from pipeline.transforms.video import video_clip  # noqa: E402
from pipeline.workers.limits import peak_memory  # noqa: E402
from pipeline.workers.threads import pin_threads  # noqa: E402

CLIP = ROOT.parent / "shared/data/clips/Nasa/v_Nasa_g01_c02.avi"
SIZE = 224
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", type=Path, default=CLIP)
    parser.add_argument("--quick", action="store_true", help="few frames of a tiny clip made here")
    parser.add_argument("--long", action="store_true", help="memory on 10 minutes of 1080p; with --quick on 4 s")
    parser.add_argument("--sampling", choices=["uniform", "spline"], help=argparse.SUPPRESS)  # one part of --long
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.sampling:
            measure_memory(options.path, options.sampling)
        elif options.long:
            report_long(Path(scratch), groups=4 if options.quick else 625)
        else:
            report(options, Path(scratch))


# -- speed -------------------------------------------------------------------------------------------------------------


def report(options: argparse.Namespace, scratch: Path) -> None:
    path, depth, rounds = options.path, 70, 25
    if options.quick or not path.exists():
        path, depth, rounds = scratch / "made.avi", *((8, 2) if options.quick else (70, 25))
        write_xvid(path, depth, (64, 48) if options.quick else (320, 240))
    (scratch / "ledger/partial").mkdir(parents=True)
    chunk = scratch / "chunk"
    encoded = store.encode(ours(path, depth), "uint8")
    threads = cv2.getNumThreads()

    def as_original() -> np.ndarray:
        cv2.setNumThreads(threads)  # the original used all threads
        return original(path, depth, scratch / "original.npy")

    def as_ours() -> np.ndarray:
        cv2.setNumThreads(1)
        return ours(path, depth)

    def to_sample() -> None:
        store.write_chunk(scratch, 0, as_ours(), "uint8")

    pin_threads()
    times = timed(
        rounds,
        {
            "decoding alone": lambda: decode(path, depth),
            "decoding to BGR": lambda: decode(path, depth, convert=True),
            "decoding alone, by OpenCV": lambda: grab(path, depth),
            "the original's steps": as_original,
            "the original's, one thread": lambda: original(path, depth, scratch / "original.npy", one_thread=True),
            "ours, to the array": as_ours,
            "ours, to a committed sample": to_sample,
            "  of which: hash the file": lambda: digest_files((path,)),
            "  of which: encode": lambda: store.encode(frames, "uint8"),
            "  of which: write": lambda: chunk.write_bytes(encoded),
            "  of which: encode, write, flush": lambda: store.write_chunk(scratch, 1, frames, "uint8"),
        },
        frames := as_ours(),
    )
    difference = int(np.abs(as_original().astype(int) - frames).max())
    print(f"{path.name}: {depth} frames to {SIZE} x {SIZE}; ms of {rounds} rounds, taken in turns: shortest, median")
    for name, seconds in times.items():
        print(f"{name:32} {min(seconds) * 1e3:8.2f} {median(seconds) * 1e3:8.2f}")
    print_ratio("original / ours, to a sample", times, "the original's steps", "ours, to a committed sample", "≥ 1.8")
    print_ratio("original / ours, to the array", times, "the original's steps", "ours, to the array", "")
    print_ratio("ours, to a sample / decoding", times, "ours, to a committed sample", "decoding alone", "≤ 6")
    print_ratio("ours, to the array / decoding", times, "ours, to the array", "decoding alone", "")
    print(f"{'largest difference':32} {difference:8} gray levels (target: 1)")


def print_ratio(label: str, times: dict[str, list[float]], above: str, below: str, target: str) -> None:
    shortest = min(times[above]) / min(times[below])
    middle = median(times[above]) / median(times[below])
    print(f"{label:32} {shortest:8.2f} {middle:8.2f}{f' (target: {target})' if target else ''}")


def timed(rounds: int, contenders: dict[str, Callable[[], object]], _warm: object) -> dict[str, list[float]]:
    """Seconds of each contender, round by round, so that a busy machine slows all of them equally."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return times


def decode(path: Path, depth: int, convert: bool = False) -> None:
    with path.open("rb") as file:
        name = demuxer(file.read(HEAD))
    assert name
    with open_clip(path, name) as clip:
        for _, frame in zip(range(depth), clip.frames(), strict=False):
            if convert:
                clip.picture(frame)


def grab(path: Path, depth: int) -> None:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    for _ in range(depth):
        capture.grab()


def original(path: Path, depth: int, target: Path, one_thread: bool = False) -> np.ndarray:
    """What the original notebook does to one clip, on all threads of OpenCV as there, or on one."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1] if one_thread else [])
    frames = []
    while len(frames) < depth:
        _, image = capture.read()
        image = cv2.resize(image, (SIZE, SIZE))
        frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    array = np.asarray(frames)
    np.save(target, array)
    return array


def ours(path: Path, depth: int) -> np.ndarray:
    return video_clip(path, depth=depth, height=SIZE, width=SIZE)[0]


# -- memory ------------------------------------------------------------------------------------------------------------


def report_long(scratch: Path, groups: int) -> None:
    path = scratch / "long.avi"
    write_long(path, groups)
    for sampling in ("uniform", "spline"):  # each in a process of its own: peaks never fall
        command = [sys.executable, __file__, str(path), "--sampling", sampling]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def measure_memory(path: Path, sampling: str) -> None:
    pin_threads()
    before, start = peak_memory(), time.perf_counter()
    _, _, record = video_clip(path, depth=70, height=SIZE, width=SIZE, sampling=sampling)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    print(
        f"{sampling:8} {record['frames']} frames of {' x '.join(map(str, record['size']))}: {seconds:.1f} s, "
        f"peak {peak_memory() / MIB:.0f} MiB, {before / MIB:.0f} of it before (target: 500 MB)"
    )


# -- clips -------------------------------------------------------------------------------------------------------------


def write_xvid(path: Path, count: int, size: tuple[int, int], detail: int = 8) -> None:
    """Smooth noise, a grain every `detail` pixels, that drifts sideways, 25 frames a second."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 256, (size[1] // detail, size[0] // detail, 3), np.uint8), size)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"XVID"), 25, size)
    for index in range(count):
        writer.write(np.roll(ground, 3 * index, axis=1))
    writer.release()


def write_long(path: Path, groups: int) -> None:
    """A 1080p AVI of `groups` times the same 24 frames, its key frames among them; an AVI without index."""
    write_xvid(path, 24, (1920, 1080), detail=60)
    data = path.read_bytes()
    start = data.index(b"movi") + 4
    end = start - 4 + int.from_bytes(data[start - 8 : start - 4], "little")
    size = groups * (end - start)
    lengths = [(4, start - 8 + size), (start - 8, 4 + size)]
    lengths += [(data.index(b"avih") + 24, 24 * groups), (data.index(b"strh") + 40, 24 * groups)]
    head = bytearray(data[:start])
    for place, length in lengths:
        head[place : place + 4] = length.to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(head)
        for _ in range(groups):
            file.write(data[start:end])


if __name__ == "__main__":
    main()
