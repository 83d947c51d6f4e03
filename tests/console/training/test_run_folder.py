"""RUN: an existing folder is left alone, and one process at a time trains into it."""

import shutil
import subprocess
import sys

import pytest

from tests.helpers.commands import contents, error
from tests.helpers.runs import pretrain


def test_a_run_that_exists_is_left_alone(clips, copy, pretrained):
    run = copy(pretrained)
    before = contents(run)
    assert error(pretrain(clips, run)) == (
        f"Error: {run} holds a run already; go on with it by --resume, or choose another RUN\n"
    )
    assert contents(run) == before


@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_a_run_that_is_something_else_is_left_alone(tmp_path, clips, run, options):
    run.write_text("mine")
    nowhere = tmp_path / "nowhere"
    nowhere.symlink_to(tmp_path / "gone")
    for path in (run, nowhere):
        assert error(pretrain(clips, path, *options)) == (
            f"Error: {path} is a file; expected a folder that is new or empty, or a run to --resume\n"
        )
    assert (run.read_text(), nowhere.is_symlink()) == ("mine", True)
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("mine")
    (folder / "partial-results.csv").write_text("mine")
    before = contents(folder)
    assert error(pretrain(clips, folder, *options)) == (
        f"Error: {folder} holds 'chapter.tex' and no run; expected a folder that is new or empty\n"
    )
    assert contents(folder) == before


def test_a_cache_is_no_place_for_a_run(clips, scans):
    before = contents(clips), contents(scans)
    for cache in (clips, scans):
        for path in (cache, cache / "run", cache / "ledger" / "deep" / "run"):
            assert error(pretrain(clips, path)) == (
                f"Error: {path} is inside the cache {cache.resolve()}, which holds samples only; choose another RUN\n"
            )
    assert (contents(clips), contents(scans)) == before


def test_while_a_process_trains_into_a_run_no_other_may(clips, copy, pretrained):
    run = copy(pretrained)
    hold = "import fcntl, sys\nfcntl.flock(file := open(sys.argv[1], 'a'), fcntl.LOCK_EX)\nprint(flush=True), input()"
    command = [sys.executable, "-c", hold, run / "lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        before = contents(run)
        message = error(pretrain(clips, run, "--resume"))
        other.communicate(b"\n")
    assert message == f"Error: another process trains into {run}; wait for it to end, or choose another RUN\n"
    assert contents(run) == before


def test_a_run_that_another_process_began_meanwhile_is_left_alone(clips, pretrained, run, monkeypatch):
    from trainer.training import train

    def first_model(*_):
        shutil.copytree(pretrained, run)

    monkeypatch.setattr(train, "starting_model", first_model)
    assert error(pretrain(clips, run)) == (
        f"Error: {run} holds a run already; go on with it by --resume, or choose another RUN\n"
    )
    assert {path.name: path.read_bytes() for path in run.glob("*.*")} == {
        path.name: path.read_bytes() for path in pretrained.glob("*.*")
    }
    shutil.rmtree(run)
    assert error(pretrain(clips, run, "--resume")) == (
        f"Error: another process has trained into {run} meanwhile; run the same command again\n"
    )
