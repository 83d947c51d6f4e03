"""A run is written only into its own folder and by one process at a time."""

import os

import pytest

from tests.helpers.caches import make_cache
from tests.helpers.errors import error_message
from tests.helpers.run_documents import root
from trainer.errors import TrainerError
from trainer.runs.folder import RUN_FILES, check_folder, enclosing_cache, lock_run

__all__ = ["root"]  # a fixture

FOREIGN = "{root} holds {name!r} and no run; expected a folder that is new or empty"


def test_a_new_run_folder_is_created_with_its_parents(tmp_path):
    root = tmp_path / "runs" / "of" / "today"
    assert check_folder(root, resume=False) is False
    with lock_run(root, resume=False) as is_resumed:
        assert not is_resumed
    assert {path.name for path in root.iterdir()} <= {"lock"}
    with lock_run(root, resume=False) as is_resumed:  # a run that never started leaves no run
        assert not is_resumed


def test_a_run_folder_may_be_a_link_to_an_empty_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with lock_run(tmp_path / "link", resume=False):
        assert (tmp_path / "real" / "lock").exists()


def test_a_run_with_a_path_that_is_not_unicode_is_rejected(tmp_path):
    root = tmp_path / os.fsdecode(b"\xff")
    assert error_message(check_folder, root, False) == f"{root} has a path that is not valid UTF-8; choose another RUN"


def test_a_run_is_resumed_only_with_the_resume_option(root):
    assert error_message(check_folder, root, False) == (
        f"{root} holds a run already; resume it with --resume, or choose another RUN"
    )
    assert check_folder(root, True) is True


def test_files_of_a_run_killed_before_its_config_are_replaced_with_resume(root):
    (root / "config.json").rename(root / "partial-config.json")
    assert error_message(check_folder, root, False) == (
        f"{root} holds 'manifest.json', left by a run that was stopped as it started; start it again with --resume, "
        "or choose another RUN"
    )
    with lock_run(root, resume=True) as is_resumed:
        assert not is_resumed
        assert not (root / "partial-config.json").exists()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["notes.txt", "partial-results.csv", "model.keras", ".hidden", "partial-"])
def test_a_run_folder_with_other_files_is_rejected(tmp_path, name, resume):
    (tmp_path / name).write_text("mine")
    with pytest.raises(TrainerError) as error, lock_run(tmp_path, resume):
        pass
    assert str(error.value) == FOREIGN.format(root=tmp_path, name=name)
    assert (tmp_path / name).read_text() == "mine"
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208 - only the names


def test_only_partially_written_files_of_the_run_are_removed(root):
    for name in RUN_FILES:
        (root / f"partial-{name}").write_text("half")
    (root / "partial-results.csv").write_text("mine")
    with lock_run(root, resume=True):
        assert [path.name for path in root.glob("partial-*")] == ["partial-results.csv"]


def test_the_lock_of_a_run_is_released_after_an_error(root):
    with pytest.raises(RuntimeError), lock_run(root, resume=True):
        raise RuntimeError
    with lock_run(root, resume=True):
        pass


def test_a_path_inside_a_cache_is_recognised_through_links(tmp_path):
    cache = make_cache(tmp_path / "tiny.zarr")
    (tmp_path / "link").symlink_to(cache / "volume")
    for path in (cache, cache / "run", cache / "ledger/run", tmp_path / "link/run"):
        assert enclosing_cache(path) == cache.resolve()
        assert "is inside the cache" in error_message(check_folder, path, False)
    assert enclosing_cache(tmp_path / "run") is None
    assert enclosing_cache(tmp_path / "tiny.zarr2") is None
