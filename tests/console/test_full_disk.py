"""`preprocess`, `verify` and `repair` on a full or read-only disk."""

import subprocess

import pytest

from tests.helpers.commands import cli, ct, error, mentions, shell
from tests.helpers.scans import write_scan


@pytest.fixture
def disk(tmp_path):
    """A mounted disk of 3 MB, with a file of 1 MB that a test can delete."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a test disk: {mounted.stderr.strip()}")
    try:
        (folder / "ballast").write_bytes(bytes(1_000_000))
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_gives_a_one_line_error_and_the_run_resumes_after_freeing_space(tmp_path, disk, workers):
    for number in range(3):
        write_scan(tmp_path / "scans" / f"{number}.nii", number, (40, 40, 40))
    cache = disk / "ct.zarr"
    run = ("preprocess", "ct", tmp_path / "scans", cache, "--depth", 60, "--height", 90, "--width", 90)
    result = shell(*run, "--workers", workers)
    assert (result.returncode, result.stdout, result.stderr) == (
        1,
        "",
        f"Error: cannot write to {cache}: No space left on device; free some space and run the same command again\n",
    )
    assert cli("verify", cache).exit_code == 0
    (disk / "ballast").unlink()
    assert cli(*run, "--workers", 0).exit_code == 0
    assert cli("verify", cache).stdout == "3 intact, 0 damaged, 0 missing, 0 stale\n"


def test_a_read_only_cache_gives_a_one_line_error(scans, disk):
    cache = disk / "ct.zarr"
    ct(scans, cache)
    write_scan(scans / "new.nii", 9)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for path in (cache, disk / "new.zarr"):
        mentions(error(ct(scans, path)), path, "Read-only", "another")
    assert cli("verify", cache).stdout == "3 intact, 0 damaged, 0 missing, 0 stale\n"
    mentions(error(cli("repair", cache, "--workers", 0)), cache, "Read-only", "another")
