"""Training never writes or removes anything through a link inside RUN."""

import shutil
from pathlib import Path

import pytest

from cache import CacheError
from cache.lock import LOCK_FILES
from tests.helpers.networks import OPTIONS, Recorder, make_clips
from tests.helpers.run_folders import RUN, SPLIT, trained
from trainer.errors import TrainerError
from trainer.runs import files
from trainer.runs.files import PARTIAL
from trainer.runs.folder import RUN_FILES, finish, lock_run, write_run_files
from trainer.runs.plan import Request
from trainer.training.tensorboard import TensorBoard
from trainer.training.train import train

TARGETS = ("file", "folder", "nothing")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("links") / "clips.zarr")


@pytest.fixture(scope="module")
def original(clips, tmp_path_factory):
    return trained(clips, tmp_path_factory.mktemp("original") / "run", epochs=1)


@pytest.fixture
def victim(tmp_path):
    """A folder outside the run with files that are named like those of a run."""
    folder = tmp_path / "victim"
    (folder / "folder").mkdir(parents=True)
    for parent in (folder, folder / "folder"):
        for name in ("file", *RUN_FILES):
            (parent / f"mine-{name}").write_text("mine")
    (folder / "file").write_text("mine")
    for name in RUN_FILES:
        (folder / "folder" / name).write_text("mine")
    return folder


def contents(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in folder.rglob("*")
    }


def link(path, victim, target):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(victim / target)


def write_everything(root):
    """Write into RUN in every way that training does."""
    with lock_run(root, resume=True):
        write_run_files(root, RUN, SPLIT, {"s0": ("d0", "", 0), "s1": ("d1", "", 1)})
        for name in RUN_FILES:
            if name not in ("logs", *LOCK_FILES):
                files.replace(root / name, b"new")
        with TensorBoard(root / "logs", print) as board:
            board.on_epoch({"epoch": 1, "loss": 1.0}, {"seconds": 1.0}, 1)
        finish(root)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*RUN_FILES, *(f"{PARTIAL}{name}" for name in RUN_FILES if name != "logs")])
def test_writing_into_a_run_does_not_follow_links(victim, tmp_path, name, target):
    run = tmp_path / "run"
    run.mkdir()
    write_everything(run)
    link(run / name, victim, target)
    before = contents(victim)
    try:
        write_everything(run)
    except (TrainerError, CacheError) as error:
        assert "\n" not in str(error)  # noqa: PT017 - it may also succeed
    assert contents(victim) == before


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*RUN_FILES, *(f"{PARTIAL}{name}" for name in RUN_FILES if name != "logs")])
def test_resuming_a_run_that_contains_a_link_writes_nothing_outside(clips, original, victim, tmp_path, name, target):
    run = Path(shutil.copytree(original, tmp_path / "run"))
    link(run / name, victim, target)
    before = contents(victim)
    try:
        trained(clips, run, epochs=2, resume=True)
    except (TrainerError, CacheError) as error:
        assert "\n" not in str(error)  # noqa: PT017 - it may also succeed
    assert contents(victim) == before


@pytest.mark.parametrize("name", ["lock", "logs", "partial-config.json"])
def test_a_new_run_in_a_folder_with_a_link_writes_nothing_outside(clips, victim, tmp_path, name):
    run = tmp_path / "run"
    run.mkdir()
    link(run / name, victim, "folder" if name == "logs" else "file")
    before = contents(victim)
    for resume in (False, True):
        try:
            train(Request("pretrain", clips, run, {**OPTIONS, "epochs": 1}, readers=1, resume=resume), Recorder())
        except (TrainerError, CacheError) as error:
            assert "\n" not in str(error)  # noqa: PT017 - it may also succeed
    assert contents(victim) == before


def test_the_run_folder_may_be_a_link(clips, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    trained(clips, tmp_path / "run", epochs=1)
    assert (tmp_path / "elsewhere" / "config.json").is_file()
    assert (tmp_path / "run").is_symlink()
