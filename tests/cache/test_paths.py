"""A path keeps its meaning after chdir; a path that cannot be a cache is rejected in one line."""

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
def cwd(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def features(path):
    return write_features(path, ["a"], [0], None, np.ones((1, 2, 3)), class_names=["one"], extractor="mine")


def error(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result.output
    return result.stderr.removeprefix("Error: ").removesuffix("\n")


# -- resolving paths ---------------------------------------------------------------------------------------------------


def test_a_cache_opened_by_a_relative_path_is_still_read_after_chdir(tiny, cwd, monkeypatch):
    cache = open_cache(tiny.name)
    (cwd / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert cache.path == tiny
    assert cache["s1"].shape == cache.shape
    assert [row["id"] for row in cache.inputs()] == cache.ids


def test_the_home_folder_may_be_written_as_a_tilde(home, cwd):
    make_cache(home / "ct.zarr")
    for path in ("~/ct.zarr", Path("~/ct.zarr")):
        assert open_cache(path).path == home / "ct.zarr"
    assert features("~/f").path == home / "f"
    assert not (cwd / "~").exists()


def test_a_tilde_in_a_name_is_part_of_the_name(home, cwd):
    make_cache(cwd / "~nobody-of-this-name.zarr")
    assert len(open_cache("~nobody-of-this-name.zarr")) == 3
    assert absolute("a/~/b") == cwd / "a/~/b"
    assert absolute("./~/b") == cwd / "~/b"


def test_commands_expand_a_tilde_that_the_shell_did_not_expand(home, cwd):
    scan(home / "scans" / "a.nii")
    (home / "l.csv").write_text("FileName,TypeOfTB\na.nii,1\n")
    size = [f"--{name}={value}" for name, value in SMALL.items()]
    arguments = ["preprocess", "ct", "~/scans", "~/ct.zarr", "--labels=~/l.csv", "--workers=0", *size]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert open_cache(home / "ct.zarr").labels.tolist() == [0]
    assert error("info", "~/none").startswith(f"{home}/none is not a cache")


def test_requests_store_absolute_paths(home, cwd):
    request = Request("pretrain", Path("c"), Path("~/run"), {}, Path("p"), Path("s.json"), features=Path("f"))
    assert (request.cache, request.run, request.parent) == (cwd / "c", home / "run", cwd / "p")
    assert (request.split, request.features) == (cwd / "s.json", cwd / "f")
    assert Request("pretrain", Path("c"), Path("r"), {}).parent is None
    extraction = Extraction(Path("c"), Path("~/f"), {}, Path("r"))
    assert (extraction.cache, extraction.features, extraction.run) == (cwd / "c", home / "f", cwd / "r")
    experiment = Experiment(Path("a"), Path("b"), Path("~/d"), {}, {})
    assert (experiment.clips, experiment.scans, experiment.folder) == (cwd / "a", cwd / "b", home / "d")


def test_listing_the_inputs_of_a_moved_cache_raises(tiny):
    cache = open_cache(tiny)
    tiny.rename(tiny.parent / "moved")
    with pytest.raises(NotACache, match=str(tiny)):
        cache.inputs()
    assert len(open_cache(tiny.parent / "moved").inputs()) == 3


def test_an_empty_cache_lists_no_inputs(tmp_path):
    assert open_cache(make_cache(tmp_path / "c", 0)).inputs() == []


# -- invalid paths of a new cache --------------------------------------------------------------------------------------


def creation_errors(source, root):
    """The error of each way to create a cache at `root`."""
    messages = [error("preprocess", "ct", source, root, "--workers", 0)]
    for call in (lambda: preprocess.prepare(source, root, CtRecipe()), lambda: features(root)):
        with pytest.raises(CacheError) as caught:
            call()
        messages.append(str(caught.value))
    return messages


@pytest.fixture
def source(tmp_path):
    return scan(tmp_path / "scans" / "a.nii").parent


def test_a_dangling_link_is_rejected_and_its_target_is_not_created(source, tmp_path):
    root = tmp_path / "c"
    root.symlink_to(tmp_path / "unmounted" / "c")
    for message in creation_errors(source, root):
        assert message == (
            f"{root} is a link to {tmp_path}/unmounted/c, which does not exist; restore it, delete the link, or "
            "choose another path"
        )
    assert not (tmp_path / "unmounted").exists()


def test_a_link_to_itself_is_rejected(source, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for root in (tmp_path / "loop", tmp_path / "loop" / "c"):
        for message in creation_errors(source, root):
            assert str(root) in message
            assert "link" in message


def test_a_file_in_place_of_a_cache_is_rejected(source, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    assert {*creation_errors(source, file)} == {f"{file} exists and is not a cache; choose a new path"}
    below = file / "c"
    expected = f"cannot write to {below}: {file} is not a folder; choose a CACHE that can be written"
    with pytest.raises(CacheError) as caught:
        features(below)
    assert error("preprocess", "ct", source, below, "--workers", 0) == str(caught.value) == expected


def test_a_cache_may_be_a_link(tiny, tmp_path):
    (tmp_path / "link").symlink_to(tiny)
    make_cache(tmp_path / "link", 1)
    assert len(open_cache(tmp_path / "link")) == len(open_cache(tiny)) == 4


@pytest.mark.parametrize("folders", ["", "ledger", "ledger/partial", "volume/c", "features/c", "notes/2026"])
def test_a_folder_without_files_is_accepted_as_a_new_cache(tmp_path, source, folders):
    (tmp_path / "c" / folders).mkdir(parents=True)
    (tmp_path / "f" / folders).mkdir(parents=True)
    assert preprocess.prepare(source, tmp_path / "c", CtRecipe(**SMALL)).plan.tasks
    assert len(features(tmp_path / "f")) == 1


@pytest.mark.parametrize("name", ["notes.txt", "a/b/c/notes.txt", "ledger/notes.txt", "lock"])
def test_a_folder_with_a_file_at_any_depth_is_rejected(tmp_path, source, name):
    (tmp_path / "c" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "c" / name).write_text("mine")
    assert {*creation_errors(source, tmp_path / "c")} == {f"{tmp_path}/c exists and is not a cache; choose a new path"}


def test_a_folder_with_a_link_is_rejected(tmp_path, source):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "link").symlink_to(source)
    assert "exists and is not a cache" in creation_errors(source, tmp_path / "c")[0]


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
