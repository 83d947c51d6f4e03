"""Training on a full or read-only disk."""

import shutil
import subprocess

import pytest

from tests.helpers.commands import cli, contents, error, mentions
from tests.helpers.runs import pretrain


@pytest.fixture
def disk(tmp_path):
    """A function that mounts a small disk with these options and returns its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        mounted = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"cannot mount a test disk: {mounted.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", folder], capture_output=True)


def test_on_a_full_disk_training_gives_a_one_line_error_and_keeps_the_best_weights(clips, copy, pretrained, disk):
    size = sum(path.stat().st_size for path in pretrained.rglob("*") if path.is_file())
    run = shutil.copytree(pretrained, disk("-o", f"size={size + 1_000_000}") / "run")
    before = contents(run)
    message = error(pretrain(clips, run, "--resume", "--epochs", 2))
    assert "No space left on device; the earlier file is kept; free some space" in message
    after = contents(run)
    assert after[str(run / "model.keras")] == before[str(run / "model.keras")]
    assert not list(run.glob("partial-*"))
    assert cli("evaluate", run, clips, "--quiet").exit_code == 0
    subprocess.run(["mount", "-o", f"remount,size={3 * size}", run.parent], check=True)
    assert pretrain(clips, run, "--resume", "--epochs", 2).exit_code == 0
    assert (run / "history.csv").read_text().count("\n") == 3


def test_a_read_only_run_gives_a_one_line_error(clips, disk):
    folder = disk("-o", "ro")
    message = error(pretrain(clips, folder / "run"))
    mentions(message, folder, "Read-only", "another")
