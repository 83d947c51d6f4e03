"""Malicious scans and label sheets give one short line in bounded time and memory."""

import gzip
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.labels.apply import apply_labels
from pipeline.labels.sheet import MAX_ROW, MAX_ROWS, read_sheet
from pipeline.sources.records import Record, Source
from tests.helpers.caches import without_progress
from tests.helpers.commands import SMALL, cli, info_json
from tests.helpers.scans import write_scan

ROOT = Path(__file__).resolve().parents[2]
SECONDS, KIBIBYTES = 10, 500 * 1024  # limits of processor time and memory for one command
DIM, DATATYPE, VOX_OFFSET = 40, 70, 108  # offsets in a NIfTI-1 header

MEASURE = """
import os, pathlib, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
pathlib.Path(sys.argv[1]).write_text(f"{used.ru_utime + used.ru_stime} {used.ru_maxrss}")
sys.exit(process.returncode)
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "wait4"), reason="the resources of a command are measured with wait4")


@dataclass(frozen=True)
class Completed:
    code: int
    stdout: str
    stderr: str
    seconds: float
    kibibytes: int

    @property
    def is_bounded(self):
        return self.seconds < SECONDS and self.kibibytes < KIBIBYTES


def run_measured(folder, *arguments):
    """Run the command line in its own process, and measure its time and memory.

    A small process starts it, since on Linux the peak memory of a forked process includes that of its parent.
    """
    line = [sys.executable, ROOT / "cli.py", *map(str, arguments)]
    command = [sys.executable, "-c", MEASURE, folder / "usage", *line]
    result = subprocess.run(command, capture_output=True, text=True)
    seconds, memory = (folder / "usage").read_text().split()
    unit = 1024 if sys.platform == "darwin" else 1
    return Completed(
        result.returncode, result.stdout, without_progress(result.stderr), float(seconds), int(memory) // unit
    )


def sparse(path, size=8 << 30, start=b""):
    path.write_bytes(start)
    os.truncate(path, size)
    return path


# -- scans -------------------------------------------------------------------------------------------------------------


def with_header(path, offset, layout, *values):
    raw = bytearray(path.read_bytes())
    struct.pack_into(layout, raw, offset, *values)
    path.write_bytes(raw)
    return path


def with_offset(folder, number):
    return with_header(write_scan(folder / "bad.nii"), VOX_OFFSET, "<f", number)


def zipped(folder, tail):
    path = folder / "bad.nii.gz"
    path.write_bytes(gzip.compress(write_scan(folder / "bad.nii").read_bytes()) + tail)
    (folder / "bad.nii").unlink()
    return path


def gzip_zeros(mebibytes):
    """Gzip members that contain `mebibytes` MiB of zeros in total."""
    packer = zlib.compressobj(9, wbits=31)
    member = packer.compress(bytes(16 << 20)) + packer.flush()
    return member * (mebibytes // 16)


def voxel_bomb(folder):
    """A scan of 8 GB of voxels in 8 MB of gzip."""
    path = with_header(write_scan(folder / "bad.nii"), DIM, "<4h", 3, 1024, 1024, 4096)
    start = path.read_bytes()[:352]
    path.unlink()
    bomb = folder / "bad.nii.gz"
    bomb.write_bytes(gzip.compress(start) + gzip_zeros(8192))
    return bomb


SCANS = {
    "voxels at 512 GB": (lambda folder: with_offset(folder, 512e9), "vox_offset 512000000000"),
    "voxels beyond the end": (lambda folder: with_offset(folder, 1e6), "a header that claims 1001680 bytes"),
    "a gzip bomb after the voxels": (
        lambda folder: zipped(folder, gzip_zeros(8192)),
        "more than 1048576 bytes after the voxels",
    ),
    "empty members after the voxels": (
        lambda folder: zipped(folder, gzip.compress(b"") * (1 << 20)),
        "more than 4194304 bytes of empty gzip data",
    ),
    "padding after the voxels": (
        lambda folder: os.truncate(zipped(folder, b""), 8 << 30),
        "more than 4194304 bytes of empty gzip data",
    ),
    "a sparse file": (lambda folder: sparse(folder / "bad.nii"), "no NIfTI header (it starts with zeros)"),
    "a sparse gzip": (lambda folder: sparse(folder / "bad.nii.gz"), "not gzip data, though named .gz"),
    "sparse after the voxels": (
        lambda folder: os.truncate(write_scan(folder / "bad.nii"), 8 << 30),
        "more than 1048576 bytes after the voxels",
    ),
    "a pipe": (lambda folder: os.mkfifo(folder / "bad.nii"), "'bad.nii' is not a regular file"),
    "a device": (lambda folder: (folder / "bad.nii").symlink_to("/dev/zero"), "'bad.nii' is not a regular file"),
    "a pipe as half of a pair": (
        lambda folder: [os.mkfifo(folder / "bad.hdr"), (folder / "bad.img").touch()],
        "'bad.hdr' is not a regular file",
    ),
}


@pytest.mark.parametrize("name", SCANS)
def test_a_malicious_scan_is_quarantined_in_bounded_time_and_memory(name, tmp_path):
    make, reason = SCANS[name]
    (tmp_path / "scans").mkdir()
    make(tmp_path / "scans")
    write_scan(tmp_path / "scans/good.nii")
    result = run_measured(tmp_path, "preprocess", "ct", tmp_path / "scans", tmp_path / "c", *SMALL)
    assert (result.code, result.stderr) == (3, "")
    assert result.is_bounded, result
    (quarantine_reason,) = info_json(tmp_path / "c")["reasons"]["quarantined"].values()
    assert quarantine_reason.startswith(reason)
    assert info_json(tmp_path / "c")["complete"] == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_scan_that_takes_too_long_is_quarantined_after_the_time_limit(tmp_path, workers):
    (tmp_path / "scans").mkdir()
    voxel_bomb(tmp_path / "scans")
    write_scan(tmp_path / "scans/good.nii")
    size = ("--depth", "8", "--height", "16", "--width", "16")
    options = (*size, "--workers", workers, "--scan-timeout", "4")
    result = run_measured(tmp_path, "preprocess", "ct", tmp_path / "scans", tmp_path / "c", *options)
    assert (result.code, result.stderr) == (3, "")
    assert info_json(tmp_path / "c")["complete"] == 1
    assert info_json(tmp_path / "c")["reasons"]["quarantined"] == {
        "bad.nii.gz": "not finished after 4 s; expected it to finish; check the file, or allow more time "
        "(--scan-timeout, --clip-timeout)"
    }
    if workers:
        return
    plan = run_measured(tmp_path, "preprocess", "ct", tmp_path / "scans", tmp_path / "c", *options, "--dry-run")
    assert plan.code == 0
    assert plan.is_bounded, plan


def test_slices_of_the_maximum_size_take_bounded_memory(tmp_path):
    path = with_header(write_scan(tmp_path / "s/large.nii"), DIM, "<4h", 3, 4096, 4096, 4)
    start = with_header(path, DATATYPE, "<2h", 64, 64).read_bytes()[:352]  # float64
    path.unlink()
    (tmp_path / "s/large.nii.gz").write_bytes(gzip.compress(start) + gzip_zeros(512))
    result = run_measured(tmp_path, "preprocess", "ct", tmp_path / "s", tmp_path / "c", *SMALL)
    assert (result.code, info_json(tmp_path / "c")["complete"]) == (0, 1)
    assert result.is_bounded, result


# -- label sheets ------------------------------------------------------------------------------------------------------


def write_text(path, content):
    path.write_text(content)
    return path


SHEETS = {
    "a pipe": (lambda path: os.mkfifo(path), "it is a pipe or a device"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "it is a pipe or a device"),
    "a sparse file": (sparse, f"has {8 << 30} bytes"),
    "a sparse table": (lambda path: sparse(path, start=b"FileName,TypeOfTB\na,1\n"), f"has {8 << 30} bytes"),
    "zeros": (lambda path: sparse(path, 60 << 20), "cannot be read"),
    "a cell of 5 MB": (
        lambda path: write_text(path, f"FileName,TypeOfTB\na,{'x' * 5_000_000}\n"),
        "cannot be read after line 1",
    ),
    "a header of 5 MB": (
        lambda path: write_text(path, f"{'x' * 5_000_000},TypeOfTB\na,1\n"),
        "cannot be read after line 0",
    ),
    "a row of 60 MB": (lambda path: write_text(path, "FileName,TypeOfTB\n" + "," * (60 << 20)), "a row of more than"),
    "a row of many lines": (
        lambda path: write_text(path, "FileName,TypeOfTB\n" + '"a\n",' * (10 << 20)),
        "a row of more than",
    ),
    "too many rows": (
        lambda path: write_text(path, "FileName,TypeOfTB\n" + "a,1\n" * (15 << 20)),
        "have more than 250000 rows",
    ),
    "cells of 100 kB": (
        lambda path: write_text(path, "FileName,TypeOfTB\n" + f"{'x' * 100_000},{'y' * 100_000}\n" * 300),
        "names a scan",
    ),
    "paths of 50,000 folders": (
        lambda path: write_text(path, "FileName,TypeOfTB\n" + f"{'b/' * 50_000},1\n" * 300),
        "names a scan",
    ),
}


@pytest.mark.parametrize(
    ("command", "name"), [*(("label", name) for name in SHEETS), ("preprocess", "a pipe"), ("preprocess", "a device")]
)
def test_a_malicious_sheet_gives_one_short_line_in_bounded_time_and_memory(name, command, tmp_path):
    make, problem = SHEETS[name]
    write_scan(tmp_path / "scans/a.nii")
    cli("preprocess", "ct", tmp_path / "scans", tmp_path / "c", *SMALL)
    make(tmp_path / "s.csv")
    label = ("label", tmp_path / "c", tmp_path / "s.csv")
    preprocess = ("preprocess", "ct", tmp_path / "scans", tmp_path / "c", *SMALL, "--labels", tmp_path / "s.csv")
    result = run_measured(tmp_path, *(label if command == "label" else preprocess))
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 4000
    assert problem in result.stderr
    assert result.is_bounded, result
    assert info_json(tmp_path / "c")["labels"]["null"] == 1


def test_a_sheet_with_the_maximum_number_of_rows_is_read_and_its_problems_are_reported(tmp_path):
    write_scan(tmp_path / "scans/a.nii")
    cli("preprocess", "ct", tmp_path / "scans", tmp_path / "c", *SMALL)
    rows = "".join(f"{number},1\n" for number in range(MAX_ROWS - 1))
    sheet = write_text(tmp_path / "s.csv", f"FileName,TypeOfTB\na,2\n{rows}")
    result = run_measured(tmp_path, "label", tmp_path / "c", sheet)
    assert (result.code, result.stderr) == (3, "")
    assert result.kibibytes < KIBIBYTES, result
    assert len(result.stdout) < 2000
    assert info_json(tmp_path / "c")["labels"]["Focal"] == 1


@pytest.mark.parametrize("cell", ["x" * 1000, "é" * 1000, "\\" * 1000])
def test_long_cells_of_a_sheet_are_shortened_in_every_message(cell, tmp_path):
    rows = {
        "label": f"FileName,TypeOfTB\na,{cell}\n",
        "name": f"FileName,TypeOfTB\na,1\n{cell},1\n",
        "patient": f"FileName,TypeOfTB,Patient\na,1,{cell * 5}\n",
        "zero": f"FileName,TypeOfTB\n{cell},0\n",
        "unused": f"FileName,TypeOfTB,{cell}\n{cell},0\n",
        "header": f"{cell},{cell}1,{cell}2\na,1,\n",
        "alike": f"File{'!' * 1000},File{'?' * 1000},TypeOfTB\na,1\n",
        "no scan": f"FileName,TypeOfTB\n{cell},1\n",
    }
    for number, content in enumerate(rows.values()):
        sheet = write_text(tmp_path / f"{number}.csv", content)
        try:
            _, report = apply_labels([Record("a", Source("/s", ("a.nii",)))], sheet, ["one"])
            message = "; ".join(map(str, report.wrong))
        except PipelineError as error:
            message = str(error)
        assert 0 < len(message) < 1000 + len(str(tmp_path)), message


def test_a_short_row_may_span_several_lines(tmp_path):
    content = "FileName,TypeOfTB,Remark\n" + 'a,1,"one\ntwo"\n' * 50
    assert len(read_sheet(write_text(tmp_path / "s.csv", content)).rows) == 50
    long_sheet = write_text(tmp_path / "l.csv", "FileName,TypeOfTB\n" + '"a\n",' * (MAX_ROW // 4))
    with pytest.raises(PipelineError, match=f"a row of more than {MAX_ROW} characters"):
        read_sheet(long_sheet)
