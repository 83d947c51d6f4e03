"""The folder of arrays may be a link to another disk only if the command line names that disk."""

import shutil

import pytest

from cache import catalog, open_cache
from cache.verify import verify
from tests.helpers.commands import SMALL, cli, error, info_json, mentions, tree
from tests.helpers.runs import make_clips
from tests.helpers.scans import write_invalid, write_scan


@pytest.fixture
def cache(tmp_path):
    """A cache of two scans, its `volume` moved to the folder `disk` and linked; a third scan is not yet in it."""
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
    for target in (tmp_path / "other", tmp_path / "missing"):
        mentions(error(cli(*command, "--linked-volume", target)), f"{cache}/volume", f"{tmp_path}/disk", target)
    assert tree(tmp_path / "disk") | tree(cache / "ledger") == before


def test_every_command_writes_to_the_disk_named_by_linked_volume(cache, tmp_path):
    linked = ("--linked-volume", tmp_path / "disk")
    assert "1 made, 2 already present" in cli(*commands(tmp_path)["preprocess"], *linked).stdout
    (tmp_path / "disk/c/0/0/0/0").write_bytes(b"damaged")
    (tmp_path / "disk/zarr.json").write_bytes(b"damaged")
    assert "2 repaired, 0 not repaired" in cli(*commands(tmp_path)["repair"], *linked).stdout
    assert cli(*commands(tmp_path)["remove"], *linked).exit_code == 0
    assert cli(*commands(tmp_path)["label"], *linked).exit_code == 0
    assert (cache / "volume").is_symlink()
    assert sorted(path.name for path in (tmp_path / "disk/c").iterdir()) == ["0", "2"]
    assert open_cache(cache).ids == ["a", "c"]
    assert info_json(cache)["labels"]["Focal"] == 1
    assert verify(cache).sound


def test_workers_write_to_the_linked_folder_too(cache, tmp_path):
    write_invalid(tmp_path / "s/bad.nii")
    size = ("--depth", 8, "--height", 16, "--width", 16)
    options = ("--linked-volume", tmp_path / "disk", "--workers", 1)
    result = cli("preprocess", "ct", tmp_path / "s", cache, *size, *options)
    assert (result.exit_code, info_json(cache)["complete"]) == (3, 3)
    assert verify(cache).sound


def test_linked_volume_is_rejected_if_the_folder_is_not_a_link(tmp_path):
    write_scan(tmp_path / "s/a.nii")
    command = ("preprocess", "ct", tmp_path / "s", tmp_path / "c", *SMALL)
    for _ in range(2):
        line = error(cli(*command, "--linked-volume", tmp_path))
        mentions(line, f"{tmp_path}/c/volume is not a link", tmp_path)
        cli(*command)


def test_linked_volume_allows_no_other_link_inside_the_cache(cache, tmp_path):
    move(cache / "ledger", tmp_path / "ledger")
    before = tree(tmp_path / "ledger")
    line = error(cli("repair", cache, "--workers", 0, "--linked-volume", tmp_path / "disk"))
    assert line.startswith(f"Error: {cache}/ledger is a link to {tmp_path}/ledger; nothing is written through a link")
    assert tree(tmp_path / "ledger") == before
    assert "--linked-volume" not in line


def test_features_may_be_stored_on_another_disk(tmp_path):
    clips = make_clips(tmp_path / "clips", 4)
    options = ("--backbone", "small", "--weights", "none")
    root = tmp_path / "f"
    assert cli("features", clips, root, *options).exit_code == 0
    move(root / "features", tmp_path / "disk")
    name = open_cache(root).ids[0]
    shutil.rmtree(root / f"features/c/{catalog.read_entries(root)[name].row}")
    assert f"{root}/features is a link to" in error(cli("features", clips, root, *options))
    linked = ("--linked-volume", tmp_path / "disk")
    assert cli("features", clips, root, *options, *linked).stdout.startswith(f"{root}: 1 made, 3 already present")
    assert verify(root).sound
    assert "is a link to" in error(cli("remove", root, name, "--yes"))
    assert cli("remove", root, name, "--yes", *linked).exit_code == 0
    assert len(open_cache(root)) == 3
    assert (root / "features").is_symlink()
