"""The demo: every command once, on generated data, as a newcomer runs it."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # half a minute; `.ci/run` runs it after `make test`
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of a quick demo, and its output."""
    folder = tmp_path_factory.mktemp("end to end") / "demo"
    command = [sys.executable, "cli.py", "demo", "--quick", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_the_demo_shows_each_command_and_its_metrics(demo):
    folder, stdout = demo
    for command in ("preprocess ct", "preprocess video", "verify", "info", "experiment", "features", "train pretrain"):
        assert f"$ python cli.py {command} " in stdout
    assert stdout.count("kappa ") >= 4
    assert f"{folder / 'report.md'} shows the results" in stdout


def test_the_report_of_the_demo_links_its_pictures(demo):
    folder, _ = demo
    report = (folder / "report.md").read_text()
    pictures = re.findall(r"!\[[^]]*\]\(([^)]*)\)", report)
    assert len(pictures) > 10
    assert [name for name in pictures if not (folder / name).read_bytes().startswith(b"\x89PNG")] == []
    assert "cached features of the middle frame" in report
    assert "| PT+CW+AUG |" in report


def test_the_demo_writes_a_submission_and_the_metrics_of_every_strategy(demo):
    folder, _ = demo
    rows = list(csv.reader((folder / "submission.csv").read_text().splitlines()))
    assert len(rows) == 15
    assert all(re.fullmatch(r"TRN_\d{4}\.(nii|nii\.gz|hdr)", name) and label in "12345" for name, label in rows)
    for name in ("pretrained", "no_pt", "pt", "pt_cw", "pt_cw_aug"):
        assert {"kappa", "accuracy", "ci95", "f1", "confusion", "n"} <= set(
            json.loads((folder / "table1" / "seed0" / name / "metrics.json").read_text())
        )


def test_a_second_run_of_the_demo_writes_no_sample_or_clip_again(demo):
    folder, _ = demo
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".avi", ".gz", ".npz")}
    command = [sys.executable, "cli.py", "demo", "--quick", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_demo_does_not_write_into_a_folder_with_other_contents(demo):
    folder, _ = demo
    before = sorted(path.name for path in folder.iterdir())
    command = [sys.executable, "cli.py", "demo", str(folder)]  # the folder has a demo made with --quick
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {folder} holds something other than this demo; delete it, or give the demo a new folder\n"
    )
    assert sorted(path.name for path in folder.iterdir()) == before
