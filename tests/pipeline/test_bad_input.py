"""Every unusual but intact scan becomes a sample; every bad scan is quarantined with a reason."""

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from cache import open_cache
from cache.catalog import read_entries
from cache.store import chunk_path
from pipeline.jobs import preprocess
from pipeline.recipes.ct import CtRecipe
from pipeline.workers.executors.serial import serial
from tests.helpers.bad_scans import BAD, DATA, FLIPPED, GOOD, INTACT, REAL_BAD, REAL_INTACT, SPECIAL, ZIPPED, place

ROOT = Path(__file__).resolve().parents[2]
RECIPE = CtRecipe(depth=8, height=16, width=16)
SIZE = ("--depth", "8", "--height", "16", "--width", "16")
REASON = re.compile(r"(?P<problem>.+); expected (?P<expected>.+?); (?P<remedy>.+)")


def bind(path):
    """Create a socket at `path`, which may be longer than a socket address allows."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as unix_socket:
            unix_socket.bind(path.name)
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign") / "scans"
    place(folder / "intact", INTACT)
    place(folder / "bad", {name: data for name, (data, _) in BAD.items()})
    place(folder / "flipped", FLIPPED)
    others = folder / "others"
    (others / "folder.nii.gz").mkdir(parents=True)
    os.mkfifo(others / "pipe.nii")
    bind(others / "socket.nii")
    (others / "device.nii").symlink_to("/dev/zero")
    (others / "annexed.nii.gz").symlink_to("../.git/annex/objects/0x/k2/SHA256E-s9--ab/SHA256E-s9--ab")
    (others / "loop.nii").symlink_to("loop.nii")
    (others / "broken.nii").symlink_to("nowhere")
    (others / "not UTF-8 \udcff.nii").write_bytes(GOOD)
    (others / "up").symlink_to("..")
    (others / ".DS_Store").touch()
    for subfolder in ("ct", "nifti_odd", "damaged"):
        (folder / "real" / subfolder).mkdir(parents=True)
        for path in DATA.glob(f"{subfolder}/*"):
            (folder / "real" / subfolder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def caches(source):
    """The caches of all inputs by number of workers: 0, which is this process, and 2."""
    caches = {}
    for workers in (0, 2):
        caches[workers] = source.parent / f"{workers}.zarr"
        command = [sys.executable, "cli.py", "preprocess", "ct", source, caches[workers], *SIZE, "--workers", workers]
        result = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=250)
        assert result.returncode == 3
        lines = result.stderr.splitlines()  # progress, printed on a slow machine
        assert all(re.match(r"\d+ of 1\d\d done, ", line) for line in lines)
        assert "Traceback" not in result.stdout
    return caches


@pytest.fixture(scope="module")
def entry_by_name(caches):
    """The ledger entry of each input by (folder, name)."""
    entries = {}
    for entry in read_entries(caches[0]).values():
        subfolder, _, rest = entry.source.files[0].partition("/")
        name = rest.partition("/")[2] if subfolder in ("intact", "bad", "flipped") else rest
        entries[subfolder, name] = entry
    return entries


def outcome(entry):
    return "complete" if entry.state == "complete" else f"{entry.state}: {entry.reason}"


@pytest.mark.parametrize("name", INTACT, ids=ascii)
def test_an_unusual_but_intact_scan_becomes_a_sample(entry_by_name, name):
    assert outcome(entry_by_name["intact", name]) == "complete"


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_bad_scan_is_quarantined_with_a_reason(entry_by_name, name):
    entry = entry_by_name["bad", name]
    assert entry.state == "quarantined"
    assert re.match(BAD[name][1], entry.reason), entry.reason


@pytest.mark.parametrize("name", SPECIAL, ids=ascii)
def test_a_path_that_is_not_a_regular_file_is_quarantined_without_opening_it(entry_by_name, name):
    entry = entry_by_name["others", name]
    assert entry.state == "quarantined"
    assert re.match(SPECIAL[name], entry.reason), entry.reason


def test_a_flipped_bit_never_changes_the_values_of_a_sample(entry_by_name, caches):
    opened = open_cache(caches[0])
    expected = opened[entry_by_name["intact", "good.nii.gz"].id]
    complete = [
        entry_by_name["flipped", name].id for name in FLIPPED if entry_by_name["flipped", name].state == "complete"
    ]
    assert len(complete) < 5  # the bit is in a gzip header field that does not affect the voxels
    for name in complete:
        np.testing.assert_array_equal(opened[name], expected)


@pytest.mark.skipif(not DATA.exists(), reason=f"the real scans are missing ({DATA})")
def test_real_scans_have_the_expected_outcome(entry_by_name):
    entries = {name: entry for (subfolder, name), entry in entry_by_name.items() if subfolder == "real"}
    assert {name for name, entry in entries.items() if entry.state == "complete"} == REAL_INTACT
    assert entries.keys() == REAL_INTACT | REAL_BAD.keys()
    for name, problem in REAL_BAD.items():
        assert entries[name].reason.startswith(problem)


def test_every_reason_has_a_problem_an_expectation_and_a_remedy(entry_by_name):
    for entry in entry_by_name.values():
        if entry.state == "quarantined":
            assert REASON.fullmatch(entry.reason), entry.reason
            assert entry.reason.isprintable()
            assert not entry.reason.startswith("reading it failed")  # an unexpected error


def test_the_ledger_accounts_for_every_input(caches):
    result = subprocess.run(
        [sys.executable, "cli.py", "info", caches[0], "--json"], cwd=ROOT, capture_output=True, check=True
    )
    info = json.loads(result.stdout)
    inputs = len(INTACT) + len(BAD) + len(FLIPPED) + len(SPECIAL)
    real = len(REAL_INTACT) + len(REAL_BAD) if DATA.exists() else 0
    assert info["discovered"] == info["complete"] + info["quarantined"] + info["excluded"]
    assert info["excluded"] == 2
    assert info["discovered"] == inputs + real + 2


def test_worker_processes_write_the_same_bytes_as_this_process(caches):
    serial_entries, parallel_entries = (read_entries(cache) for cache in caches.values())
    assert serial_entries == parallel_entries
    for entry in serial_entries.values():
        if entry.state == "complete":
            assert chunk_path(caches[0], entry.row).read_bytes() == chunk_path(caches[2], entry.row).read_bytes()


def test_bad_inputs_do_not_change_other_samples(tmp_path, entry_by_name, caches):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/good.nii.gz").write_bytes(ZIPPED)
    run(preprocess.prepare(tmp_path / "scans", tmp_path / "ct.zarr", RECIPE))
    expected = chunk_path(tmp_path / "ct.zarr", 0).read_bytes()
    row = entry_by_name["intact", "good.nii.gz"].row
    assert chunk_path(caches[0], row).read_bytes() == expected


def run(job):
    return preprocess.run(job, nullcontext(serial))
