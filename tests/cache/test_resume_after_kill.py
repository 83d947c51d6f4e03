"""A run killed at any moment is finished by the next one, with the same arrays and without repeating committed work."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cache import open_cache
from cache.catalog import read_entries
from cache.store import chunk_path
from cache.verify import verify
from pipeline.demo import phantoms
from tests.helpers.commands import STOPPED

ROOT = Path(__file__).resolve().parents[2]
SCANS = ROOT.parent / "shared" / "data" / "ct"


def start(source, cache, *options, kind="ct"):
    command = [sys.executable, "cli.py", "preprocess", kind, str(source), str(cache), "--quiet", *options]
    return subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process):
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def committed(cache):
    """(row, inode, time) of each committed sample's chunk by id."""
    chunks = {}
    for entry in read_entries(cache).values():
        if entry.state == "complete":
            stat = chunk_path(cache, entry.row).stat()
            chunks[entry.id] = (entry.row, stat.st_ino, stat.st_mtime_ns)
    return chunks


def kill_and_finish(source, expected, cache, moments, options, kind="ct"):
    """Kill runs at `moments` (s), then let one finish, without rewriting samples; its bytes must equal `expected`'s."""
    before = {}
    for moment in moments:
        process = start(source, cache, *options, kind=kind)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        finish(process)
        if not (cache / "zarr.json").exists():
            continue
        assert verify(cache).sound
        after = committed(cache)
        assert before.items() <= after.items()
        before = after
    code, output = finish(start(source, cache, *options, kind=kind))
    assert (code, output) == (0, "")
    assert before.items() <= committed(cache).items()
    assert verify(cache).sound
    assert open_cache(cache).ids == open_cache(expected).ids
    for entry in read_entries(expected).values():
        assert chunk_path(cache, entry.row).read_bytes() == chunk_path(expected, entry.row).read_bytes()


@pytest.fixture(scope="module")
def phantom_scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "scans"
    phantoms.write_scans(folder, per_class=4, size=48, slices=(12, 16))
    for path in folder.glob("TRN_0021*"):
        path.unlink()
    return folder


def test_runs_killed_with_all_their_processes_are_finished_with_the_same_arrays(phantom_scans, tmp_path):
    options = ("--workers", "2", "--depth", "16", "--height", "64", "--width", "64")
    begin = time.monotonic()
    assert finish(start(phantom_scans, tmp_path / "uninterrupted.zarr", *options)) == (0, "")
    duration = time.monotonic() - begin
    moments = [random.Random(7).uniform(0.5, 0.95) * duration, 0.2 * duration]
    kill_and_finish(phantom_scans, tmp_path / "uninterrupted.zarr", tmp_path / "killed.zarr", moments, options)


@pytest.mark.slow
def test_ten_kills_at_random_moments_on_real_scans_lose_nothing(tmp_path):
    if not SCANS.is_dir():
        pytest.skip(f"{SCANS} does not exist")
    source = tmp_path / "scans"
    for number in range(6):
        for scan in SCANS.iterdir():
            (source / str(number)).mkdir(parents=True, exist_ok=True)
            (source / str(number) / scan.name).symlink_to(scan)
    assert finish(start(source, tmp_path / "uninterrupted.zarr", "--workers", "2")) == (0, "")
    moments = [random.uniform(0.2, 3) for _ in range(10)]
    print("killed after", ", ".join(f"{moment:.2f}" for moment in moments), "s")
    kill_and_finish(source, tmp_path / "uninterrupted.zarr", tmp_path / "killed.zarr", moments, ("--workers", "2"))


@pytest.mark.slow
def test_ten_kills_at_random_moments_on_real_clips_lose_nothing(tmp_path):
    clips = SCANS.parent / "clips"
    if not clips.is_dir():
        pytest.skip(f"{clips} does not exist")
    source = tmp_path / "clips"
    for number in range(400):
        scene = source / "Nasa" / f"v_Nasa_g{number:03d}_c01.avi"
        scene.parent.mkdir(parents=True, exist_ok=True)
        scene.symlink_to(clips / "Nasa" / f"v_Nasa_g01_c0{1 + number % 2}.avi")
    assert finish(start(source, tmp_path / "uninterrupted.zarr", "--workers", "2", kind="video")) == (0, "")
    moments = [random.uniform(0.5, 3) for _ in range(10)]
    print("killed after", ", ".join(f"{moment:.2f}" for moment in moments), "s")
    options = ("--workers", "2")
    kill_and_finish(source, tmp_path / "uninterrupted.zarr", tmp_path / "killed.zarr", moments, options, "video")


def test_a_killed_coordinator_leaves_no_process_behind(phantom_scans, tmp_path):
    process = start(phantom_scans, tmp_path / "ct.zarr", "--workers", "2")
    deadline = time.monotonic() + 240
    while not committed(tmp_path / "ct.zarr") and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    deadline = time.monotonic() + 240
    while group_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert group_members(process.pid) == []


def group_members(group):
    members = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            members.append(folder.name)
    return members


def test_ctrl_c_in_a_terminal_reaches_all_processes_and_leaves_a_sound_cache(phantom_scans, tmp_path):
    cache, large = tmp_path / "ct.zarr", ("--depth", "280")  # takes seconds
    process = start(phantom_scans, cache, "--workers", "2", *large)
    deadline = time.monotonic() + 240
    while not committed(cache) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process) == (130, STOPPED)
    assert verify(cache).sound
    done = committed(cache)
    assert finish(start(phantom_scans, cache, "--workers", "2", *large)) == (0, "")
    assert done.items() <= committed(cache).items()
