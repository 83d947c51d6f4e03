"""A path means what it meant when it was given; one that cannot hold a cache is refused in one line."""

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cache import CacheError, NotACache, open_cache, write_features
from cache.paths import absolute
from cli import main
from pipeline.jobs import preprocess
from pipeline.recipes.ct import CtRecipe
from tests.helpers.caches import make_cache
from tests.helpers.small_sources import SMALL, scan
from trainer.experiments.experiment import Experiment
from trainer.features.extract import Extraction
from trainer.runs.plan import Request


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def features(path):
    return write_features(path, ["a"], [0], None, np.ones((1, 2, 3)), class_names=["one"], extractor="mine")


def error(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
    return result.stderr.removeprefix("Error: ").removesuffix("\n")


# -- what a path means -------------------------------------------------------------------------------------------------


def test_a_cache_opened_by_a_relative_path_stays_that_one_after_chdir(tiny, here, monkeypatch):
    cache = open_cache(tiny.name)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert cache.path == tiny
    assert cache["s1"].shape == cache.shape
    assert [row["id"] for row in cache.inputs()] == cache.ids


def test_the_home_folder_may_be_written_as_a_tilde(home, here):
    make_cache(home / "ct.zarr")
    for path in ("~/ct.zarr", Path("~/ct.zarr")):
        assert open_cache(path).path == home / "ct.zarr"
    assert features("~/f").path == home / "f"
    assert not (here / "~").exists()


def test_a_tilde_in_a_name_is_part_of_the_name(home, here):
    make_cache(here / "~nobody-of-this-name.zarr")
    assert len(open_cache("~nobody-of-this-name.zarr")) == 3
    assert absolute("a/~/b") == here / "a/~/b"
    assert absolute("./~/b") == here / "~/b"


def test_commands_take_a_tilde_that_the_shell_left(home, here):
    scan(home / "scans" / "a.nii")
    (home / "l.csv").write_text("FileName,TypeOfTB\na.nii,1\n")
    size = [f"--{name}={value}" for name, value in SMALL.items()]
    arguments = ["preprocess", "ct", "~/scans", "~/ct.zarr", "--labels=~/l.csv", "--workers=0", *size]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert open_cache(home / "ct.zarr").labels.tolist() == [0]
    assert error("info", "~/none").startswith(f"{home}/none is not a cache")


def test_requested_paths_stay_the_same_after_chdir(home, here):
    request = Request("pretrain", Path("c"), Path("~/run"), {}, Path("p"), Path("s.json"), features=Path("f"))
    assert (request.cache, request.run, request.parent) == (here / "c", home / "run", here / "p")
    assert (request.split, request.features) == (here / "s.json", here / "f")
    assert Request("pretrain", Path("c"), Path("r"), {}).parent is None
    extraction = Extraction(Path("c"), Path("~/f"), {}, Path("r"))
    assert (extraction.cache, extraction.features, extraction.run) == (here / "c", home / "f", here / "r")
    experiment = Experiment(Path("a"), Path("b"), Path("~/d"), {}, {})
    assert (experiment.clips, experiment.scans, experiment.folder) == (here / "a", here / "b", home / "d")


def test_the_inputs_of_a_cache_that_has_vanished_are_an_error(tiny):
    cache = open_cache(tiny)
    tiny.rename(tiny.parent / "moved")
    with pytest.raises(NotACache, match=str(tiny)):
        cache.inputs()
    assert len(open_cache(tiny.parent / "moved").inputs()) == 3


def test_a_cache_without_inputs_has_none(tmp_path):
    assert open_cache(make_cache(tmp_path / "c", 0)).inputs() == []


# -- where a cache cannot be -------------------------------------------------------------------------------------------


def starts(source, root):
    """What each command that makes a cache says of `root`."""
    said = [error("preprocess", "ct", source, root, "--workers", 0)]
    for call in (lambda: preprocess.prepare(source, root, CtRecipe()), lambda: features(root)):
        with pytest.raises(CacheError) as caught:
            call()
        said.append(str(caught.value))
    return said


@pytest.fixture
def source(tmp_path):
    return scan(tmp_path / "scans" / "a.nii").parent


def test_a_dangling_link_is_rejected_and_its_target_is_not_created(source, tmp_path):
    root = tmp_path / "c"
    root.symlink_to(tmp_path / "unmounted" / "c")
    for message in starts(source, root):
        assert message == (
            f"{root} is a link to {tmp_path}/unmounted/c, which does not exist; restore it, delete the link, or "
            "choose another path"
        )
    assert not (tmp_path / "unmounted").exists()


def test_a_link_to_itself_is_rejected(source, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for root in (tmp_path / "loop", tmp_path / "loop" / "c"):
        for message in starts(source, root):
            assert str(root) in message
            assert "link" in message


def test_a_file_in_place_of_a_cache_is_rejected(source, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert {*starts(source, tmp_path / "file")} == {f"{tmp_path}/file exists and is not a cache; choose a new path"}
    below = tmp_path / "file" / "c"
    expected = f"cannot write to {below}: {tmp_path}/file is not a folder; choose a CACHE that can be written"
    with pytest.raises(CacheError) as caught:
        features(below)
    assert error("preprocess", "ct", source, below, "--workers", 0) == str(caught.value) == expected


def test_a_cache_may_be_a_link(tiny, tmp_path):
    (tmp_path / "link").symlink_to(tiny)
    make_cache(tmp_path / "link", 1)
    assert len(open_cache(tmp_path / "link")) == len(open_cache(tiny)) == 4


@pytest.mark.parametrize("folders", ["", "ledger", "ledger/partial", "volume/c", "features/c", "notes/2026"])
def test_a_folder_that_holds_no_file_is_new(tmp_path, source, folders):
    (tmp_path / "c" / folders).mkdir(parents=True)
    (tmp_path / "f" / folders).mkdir(parents=True)
    assert preprocess.prepare(source, tmp_path / "c", CtRecipe(**SMALL)).plan.tasks
    assert len(features(tmp_path / "f")) == 1


@pytest.mark.parametrize("name", ["notes.txt", "a/b/c/notes.txt", "ledger/notes.txt", "lock"])
def test_a_folder_with_a_file_at_any_depth_is_not_empty(tmp_path, source, name):
    (tmp_path / "c" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "c" / name).write_text("mine")
    assert {*starts(source, tmp_path / "c")} == {f"{tmp_path}/c exists and is not a cache; choose a new path"}


def test_a_folder_with_a_link_is_not_empty(tmp_path, source):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "link").symlink_to(source)
    assert "exists and is not a cache" in starts(source, tmp_path / "c")[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_rejected(tmp_path, source):
    (tmp_path / "c").mkdir(mode=0o500)
    assert error("preprocess", "ct", source, tmp_path / "c", "--workers", 0) == (
        f"cannot write to {tmp_path}/c: Permission denied ({tmp_path}/c/ledger); change the permissions"
    )
    (tmp_path / "c").chmod(0)
    assert error("preprocess", "ct", source, tmp_path / "c", "--workers", 0) == (
        f"cannot read {tmp_path}/c/zarr.json: Permission denied; change the permissions"
    )
