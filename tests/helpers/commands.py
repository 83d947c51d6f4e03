"""Run the command line in tests, in this process or in a new one, and check its output and files."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner

from cli import main
from tests.helpers.caches import without_progress

ROOT = Path(__file__).resolve().parents[2]
SIZE = ("--depth", "8", "--height", "16", "--width", "16")
STOPPED = "Stopped. Finished work is kept; run the same command again to continue.\n"
SMALL = (*SIZE, "--workers", "0")


def cli(*arguments):
    """Run the command line in this process; checks that there is no traceback."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def shell(*arguments, **options):
    """Run the command line in a new process."""
    command = [sys.executable, ROOT / "cli.py", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=250, **options)
    process.stderr = without_progress(process.stderr)
    return process


def ct(source, cache, *options):
    return cli("preprocess", "ct", source, cache, *SMALL, *options)


def error(result, code=1):
    """The one line on stderr of a command that failed."""
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def mentions(message, *words):
    """Check that an error names paths, options and values; its exact wording is in tests/messages.txt."""
    assert [word for word in words if str(word) not in message] == [], message


def usage(result):
    """The message of a usage error, without the usage lines."""
    assert result.exit_code == 2
    assert result.stdout == ""
    first, second, blank, *last = result.stderr.splitlines()
    assert first.startswith("Usage: ")
    assert second.endswith("--help' for help.")
    assert blank == ""
    return "\n".join(last)


def info_json(cache):
    """The result of `info --json`; checks that the ledger balances."""
    data = json.loads(cli("info", cache, "--json").stdout)
    assert data["discovered"] == data["complete"] + data["quarantined"] + data["excluded"]
    return data


def arrays(cache):
    """Path → inode, time and bytes of each chunk file, so that a rewritten file shows."""
    files = (path for path in (cache / "volume" / "c").rglob("*") if path.is_file())
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def tree(folder):
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in [folder, *folder.rglob("*")]}


def contents(folder):
    """Path → bytes of every file in `folder`, None for folders."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in [folder, *folder.rglob("*")]}


def refusal(result, run):
    """The error of a command that failed before it created RUN."""
    message = error(result)
    assert not run.exists()
    return message


def read_json(path):
    return json.loads(path.read_text())


def edit_json(path, **changes):
    """Change keys of a JSON file in a run, and delete the run's manifest, which earlier versions lacked."""
    path.with_name("manifest.json").unlink()
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@contextmanager
def running(source, cache, *options):
    """A `preprocess` process that has committed some samples and has many left."""
    command = [sys.executable, ROOT / "cli.py", "preprocess", "ct", source, cache, *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        ledger, deadline = cache / "ledger" / "entries.jsonl", time.monotonic() + 240
        committed = 2
        for _ in range(2):  # the last lines may be removed again, until more lines follow
            while not (ledger.exists() and ledger.read_bytes().count(b"\n") > committed):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            committed = ledger.read_bytes().count(b"\n")
        try:
            yield process
        finally:
            process.kill()
