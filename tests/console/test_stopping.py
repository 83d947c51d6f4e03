"""Ctrl-C and SIGTERM end a command cleanly and keep committed samples."""

import json
import os
import signal
import time

import pytest

from tests.helpers.caches import without_progress
from tests.helpers.commands import STOPPED, cli, running
from tests.helpers.scans import write_scan


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("sent_signal", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_preprocess_explains_how_to_continue_and_keeps_committed_samples(
    tmp_path, cache, workers, sent_signal, code
):
    first = write_scan(tmp_path / "scans/0.nii", shape=(60, 60, 60))
    for number in range(1, 300):
        os.link(first, first.with_name(f"{number}.nii"))
    with running(tmp_path / "scans", cache, "--workers", str(workers)) as process:
        process.send_signal(sent_signal)
        stdout, stderr = process.communicate(timeout=250)
    assert (process.returncode, stdout, without_progress(stderr)) == (code, "", STOPPED)
    report = json.loads(cli("verify", cache, "--json").stdout)
    assert report["ok"] >= 2
    assert not report["damaged"]
    assert not report["missing"]


def test_repeated_ctrl_c_stops_as_cleanly_as_one(tmp_path, cache):
    first = write_scan(tmp_path / "scans/0.nii", shape=(60, 60, 60))
    for number in range(1, 300):
        os.link(first, first.with_name(f"{number}.nii"))
    with running(tmp_path / "scans", cache, "--workers", "0") as process:
        for _ in range(4):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        stdout, stderr = process.communicate(timeout=250)
    assert (process.returncode, stdout, without_progress(stderr)) == (130, "", STOPPED)
    assert cli("verify", cache).exit_code == 0
