"""The folder of arrays may be a link to another disk, where the command line names that disk, and only then."""

import shutil

import pytest

from cache import catalog, open_cache
from cache.verify import verify
from tests.helpers.commands import SMALL, cli, error, info_json, mentions, tree
from tests.helpers.runs import make_clips
from tests.helpers.scans import write_invalid, write_scan


@pytest.fixture
def cache(tmp_path):
    """A cache of two scans whose `volume` was moved to the folder `disk` and linked; the source of a third is new."""
    for number, name in enumerate(("a", "b")):
        write_scan(tmp_path / f"s/{name}.nii", number)
    cli("preprocess", "ct", tmp_path / "s", tmp_path / "c", *SMALL)
    move(tmp_path / "c/volume", tmp_path / "disk")
    write_scan(tmp_path / "s/c.nii", 3)
    return tmp_path / "c"


def move(folder, disk):
    folder.rename(disk)
    folder.symlink_to(disk)


def commands(folder):
    (folder / "l.csv").write_text("FileName,TypeOfTB\na,2\n")
    return {
        "preprocess": ("preprocess", "ct", folder / "s", folder / "c", *SMALL),
        "repair": ("repair", folder / "c", "--workers", 0),
        "remove": ("remove", folder / "c", "b", "--yes"),
        "label": ("label", folder / "c", folder / "l.csv"),
    }


@pytest.mark.parametrize("name", ["preprocess", "repair", "remove", "label"])
def test_nothing_is_written_through_a_link_that_the_user_did_not_name(cache, tmp_path, name):
    (tmp_path / "other").mkdir()
    (tmp_path / "disk/c/0/0/0/0").write_bytes(b"damaged")
    before = tree(tmp_path / "disk") | tree(cache / "ledger")
    command = commands(tmp_path)[name]
    mentions(error(cli(*command)), f"{cache}/volume", f"{tmp_path}/disk", "--linked-volume")
    for wrong in (tmp_path / "other", tmp_path / "missing"):
        mentions(error(cli(*command, "--linked-volume", wrong)), f"{cache}/volume", f"{tmp_path}/disk", wrong)
    assert tree(tmp_path / "disk") | tree(cache / "ledger") == before


def test_every_command_writes_to_the_disk_that_was_named(cache, tmp_path):
    there = ("--linked-volume", tmp_path / "disk")
    assert "1 made, 2 already present" in cli(*commands(tmp_path)["preprocess"], *there).stdout
    (tmp_path / "disk/c/0/0/0/0").write_bytes(b"damaged")
    (tmp_path / "disk/zarr.json").write_bytes(b"damaged")
    assert "2 repaired, 0 not repaired" in cli(*commands(tmp_path)["repair"], *there).stdout
    assert cli(*commands(tmp_path)["remove"], *there).exit_code == 0
    assert cli(*commands(tmp_path)["label"], *there).exit_code == 0
    assert (cache / "volume").is_symlink()
    assert sorted(path.name for path in (tmp_path / "disk/c").iterdir()) == ["0", "2"]
    assert open_cache(cache).ids == ["a", "c"]
    assert info_json(cache)["labels"]["Focal"] == 1
    assert verify(cache).sound


def test_workers_write_to_the_linked_folder_too(cache, tmp_path):
    write_invalid(tmp_path / "s/bad.nii")
    size = ("--depth", 8, "--height", 16, "--width", 16)
    there = ("--linked-volume", tmp_path / "disk", "--workers", 1)
    ended = cli("preprocess", "ct", tmp_path / "s", cache, *size, *there)
    assert (ended.exit_code, info_json(cache)["complete"]) == (3, 3)
    assert verify(cache).sound


def test_a_folder_that_is_not_a_link_is_reported(tmp_path):
    write_scan(tmp_path / "s/a.nii")
    command = ("preprocess", "ct", tmp_path / "s", tmp_path / "c", *SMALL)
    for _ in range(2):
        line = error(cli(*command, "--linked-volume", tmp_path))
        mentions(line, f"{tmp_path}/c/volume is not a link", tmp_path)
        cli(*command)


def test_no_other_link_is_followed_because_that_of_the_arrays_was_named(cache, tmp_path):
    move(cache / "ledger", tmp_path / "ledger")
    before = tree(tmp_path / "ledger")
    line = error(cli("repair", cache, "--workers", 0, "--linked-volume", tmp_path / "disk"))
    assert line.startswith(f"Error: {cache}/ledger is a link to {tmp_path}/ledger; nothing is written through a link")
    assert tree(tmp_path / "ledger") == before
    assert "--linked-volume" not in line


def test_features_may_lie_on_another_disk(tmp_path):
    clips = make_clips(tmp_path / "clips", 4)
    options = ("--backbone", "small", "--weights", "none")
    into = tmp_path / "f"
    assert cli("features", clips, into, *options).exit_code == 0
    move(into / "features", tmp_path / "disk")
    name = open_cache(into).ids[0]
    shutil.rmtree(into / f"features/c/{catalog.read_entries(into)[name].row}")
    assert f"{into}/features is a link to" in error(cli("features", clips, into, *options))
    there = ("--linked-volume", tmp_path / "disk")
    assert cli("features", clips, into, *options, *there).stdout.startswith(f"{into}: 1 made, 3 already present")
    assert verify(into).sound
    assert "is a link to" in error(cli("remove", into, name, "--yes"))
    assert cli("remove", into, name, "--yes", *there).exit_code == 0
    assert len(open_cache(into)) == 3
    assert (into / "features").is_symlink()
