"""Output of all commands: names, terminals, pipes, progress, errors."""

import io
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import (
    ROOT,
    SMALL,
    cli,
    ct,
    error,
    info_json,
    mentions,
    shell,
)
from tests.helpers.scans import INVALID, write_invalid


def test_control_characters_in_names_are_escaped(tmp_path, cache):
    for name in ("\x1b[31mred\n.nii", "\u202eevil.nii"):
        write_invalid(tmp_path / "scans" / name)
    write_invalid(Path(os.fsdecode(os.fsencode(tmp_path / "scans") + b"/bad\xff.nii")))
    result = ct(tmp_path / "scans", cache)
    assert result.exit_code == 3
    reason = "its name is not valid UTF-8; expected a name that every system can read; rename it"
    assert result.stdout.splitlines()[3:] == [
        f"  \\x1b[31mred\\n.nii: {INVALID}",
        f"  bad\\udcff.nii: {reason}",
        f"  \\u202eevil.nii: {INVALID}",
    ]
    assert info_json(cache)["quarantined"] == 3


def test_characters_that_the_terminal_cannot_show_are_escaped(scans, cache):
    ct(scans, cache)
    result = shell("info", cache, env=os.environ | {"PYTHONIOENCODING": "cp866"})
    assert result.returncode == 0
    assert result.stdout.startswith(f"{cache}: ct, 3 samples of 8\\xd716\\xd716\n")


def test_quiet_commands_print_nothing_for_any_exit_code(scans, cache):
    for command in (
        ("preprocess", "ct", scans, cache, *SMALL, "--dry-run"),
        ("preprocess", "ct", scans, cache, *SMALL),
        ("verify", cache),
        ("repair", cache, "--workers", "0"),
    ):
        result = cli(*command, "--quiet")
        assert (result.exit_code, result.output) == (0, "")
    write_invalid(scans / "bad.nii")
    result = ct(scans, cache, "--quiet")
    assert (result.exit_code, result.output) == (3, "")


def test_without_a_terminal_progress_is_plain_lines_on_stderr(scans, cache, monkeypatch):
    write_invalid(scans / "bad.nii")
    monkeypatch.setattr("console.progress.LINE_SECONDS", 0)
    result = ct(scans, cache, "--json")
    lines = result.stderr.splitlines()
    assert len(lines) == 4
    assert [line.split(" done, ")[0] for line in lines] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]
    assert lines[3].endswith("/s, 0 s left, 1 quarantined")
    json.loads(result.stdout)
    (line,) = cli("verify", cache).stderr.splitlines()
    assert line.startswith("3 of 3 checked, ")
    assert line.endswith("/s, 0 s left")


def test_on_a_terminal_a_bar_shows_the_rate_time_left_and_quarantined_inputs(scans, cache):
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    write_invalid(scans / "bad.nii")
    controller, terminal = pty.openpty()
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        command = [sys.executable, ROOT / "cli.py", "preprocess", "ct", scans, cache, *SMALL]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, timeout=250)
        bar = os.read(controller, 65536).decode()
    finally:
        os.close(controller)
        os.close(terminal)
    assert result.returncode == 3
    assert re.search(r"100%\|█+\| 4/4 \[00:0\d<00:00, +[\d.]+ samples/s, quarantined=1\]", bar)


def test_a_closed_pipe_gives_no_traceback(scans, cache):
    for number in range(2000):
        (scans / f".{number}").touch()
    ct(scans, cache)
    with subprocess.Popen(
        [sys.executable, ROOT / "cli.py", "info", cache], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith(str(cache))
        process.stdout.close()
        assert process.stderr.read() == ""
        process.wait(timeout=250)


def test_preprocess_works_with_stdout_and_stderr_closed(scans, cache):
    command = f"exec {sys.executable} {ROOT / 'cli.py'} preprocess ct {scans} {cache} {' '.join(SMALL)} >&- 2>&-"
    assert subprocess.run(command, shell=True, timeout=250).returncode == 0
    assert cli("verify", cache).exit_code == 0


def test_unwritable_output_gives_a_one_line_error(scans, cache):
    ct(scans, cache)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("w") as output:
        command = [sys.executable, ROOT / "cli.py", "info", cache]
        result = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=250)
    assert result.returncode == 1
    mentions(io.StringIO(result.stderr).readline(), "continue", "command")


def test_an_unexpected_error_prints_one_line_that_requests_a_report(scans, cache, monkeypatch):
    def fail(*_):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("pipeline.jobs.preprocess.prepare", fail)
    mentions(error(ct(scans, cache)), "command", "Runtime")


def test_a_system_error_names_the_path(scans, cache, monkeypatch):
    def fail(*_):
        raise PermissionError(13, "Permission denied", str(cache))

    monkeypatch.setattr("pipeline.jobs.preprocess.prepare", fail)
    mentions(error(ct(scans, cache)), cache, "permissions", "Permission")
