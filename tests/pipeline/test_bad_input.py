"""Every unusual but intact scan becomes a sample; every bad one is quarantined, with its reason."""

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
REASON = re.compile(r"(?P<given>.+); expected (?P<expected>.+?); (?P<remedy>.+)")


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
    for part in ("ct", "nifti_odd", "damaged"):
        (folder / "real" / part).mkdir(parents=True)
        for path in DATA.glob(f"{part}/*"):
            (folder / "real" / part / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def caches(source):
    """All inputs cached in this process (0) and by two workers (2): workers → cache."""
    caches = {}
    for workers in (0, 2):
        caches[workers] = source.parent / f"{workers}.zarr"
        command = [sys.executable, "cli.py", "preprocess", "ct", source, caches[workers], *SIZE, "--workers", workers]
        ended = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=250)
        assert ended.returncode == 3
        lines = ended.stderr.splitlines()  # of progress, on a slow machine
        assert all(re.match(r"\d+ of 1\d\d done, ", line) for line in lines)
        assert "Traceback" not in ended.stdout
    return caches


@pytest.fixture(scope="module")
def ends(caches):
    """The ledger's entry of each input, by (part, name)."""
    entries = {}
    for entry in read_entries(caches[0]).values():
        part, _, rest = entry.source.files[0].partition("/")
        name = rest.partition("/")[2] if part in ("intact", "bad", "flipped") else rest
        entries[part, name] = entry
    return entries


def outcome(entry):
    return "complete" if entry.state == "complete" else f"{entry.state}: {entry.reason}"


@pytest.mark.parametrize("name", INTACT, ids=ascii)
def test_an_unusual_but_intact_scan_becomes_a_sample(ends, name):
    assert outcome(ends["intact", name]) == "complete"


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_bad_scan_is_quarantined_with_its_reason(ends, name):
    entry = ends["bad", name]
    assert entry.state == "quarantined"
    assert re.match(BAD[name][1], entry.reason), entry.reason


@pytest.mark.parametrize("name", SPECIAL, ids=ascii)
def test_a_path_that_is_not_a_regular_file_is_quarantined_unopened(ends, name):
    entry = ends["others", name]
    assert entry.state == "quarantined"
    assert re.match(SPECIAL[name], entry.reason), entry.reason


def test_a_flipped_bit_never_gives_other_values(ends, caches):
    opened = open_cache(caches[0])
    expected = opened[ends["intact", "good.nii.gz"].id]
    complete = [ends["flipped", name].id for name in FLIPPED if ends["flipped", name].state == "complete"]
    assert len(complete) < 5  # where the bit is in gzip header fields that do not affect the voxels
    for name in complete:
        np.testing.assert_array_equal(opened[name], expected)


@pytest.mark.skipif(not DATA.exists(), reason=f"the real scans are not here ({DATA})")
def test_real_scans_end_as_expected(ends):
    entries = {name: entry for (part, name), entry in ends.items() if part == "real"}
    assert {name for name, entry in entries.items() if entry.state == "complete"} == REAL_INTACT
    assert entries.keys() == REAL_INTACT | REAL_BAD.keys()
    for name, given in REAL_BAD.items():
        assert entries[name].reason.startswith(given)


def test_every_reason_names_the_fault_the_expectation_and_the_remedy(ends):
    for entry in ends.values():
        if entry.state == "quarantined":
            assert REASON.fullmatch(entry.reason), entry.reason
            assert entry.reason.isprintable()
            assert not entry.reason.startswith("reading it failed")  # an unforeseen error


def test_the_ledger_accounts_for_every_input(caches):
    shown = subprocess.run(
        [sys.executable, "cli.py", "info", caches[0], "--json"], cwd=ROOT, capture_output=True, check=True
    )
    facts = json.loads(shown.stdout)
    inputs = len(INTACT) + len(BAD) + len(FLIPPED) + len(SPECIAL)
    real = len(REAL_INTACT) + len(REAL_BAD) if DATA.exists() else 0
    assert facts["discovered"] == facts["complete"] + facts["quarantined"] + facts["excluded"]
    assert facts["excluded"] == 2
    assert facts["discovered"] == inputs + real + 2


def test_worker_processes_give_the_same_bytes_as_this_process(caches):
    serial_entries, parallel_entries = (read_entries(cache) for cache in caches.values())
    assert serial_entries == parallel_entries
    for entry in serial_entries.values():
        if entry.state == "complete":
            assert chunk_path(caches[0], entry.row).read_bytes() == chunk_path(caches[2], entry.row).read_bytes()


def test_bad_inputs_do_not_change_other_samples(tmp_path, ends, caches):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/good.nii.gz").write_bytes(ZIPPED)
    run(preprocess.prepare(tmp_path / "scans", tmp_path / "ct.zarr", RECIPE))
    alone = chunk_path(tmp_path / "ct.zarr", 0).read_bytes()
    row = ends["intact", "good.nii.gz"].row
    assert chunk_path(caches[0], row).read_bytes() == alone


def run(job):
    return preprocess.run(job, nullcontext(serial))
