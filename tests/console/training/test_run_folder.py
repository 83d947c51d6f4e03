"""RUN: an existing folder stays unchanged, and only one process at a time trains into it."""

import shutil
import subprocess
import sys

import pytest

from tests.helpers.commands import contents, error, mentions
from tests.helpers.runs import pretrain


def test_an_existing_run_is_left_unchanged(clips, copy, pretrained):
    run = copy(pretrained)
    before = contents(run)
    mentions(error(pretrain(clips, run)), run, "--resume")
    assert contents(run) == before


@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_an_existing_path_that_is_not_a_run_is_left_unchanged(tmp_path, clips, run, options):
    run.write_text("mine")
    dangling = tmp_path / "nowhere"
    dangling.symlink_to(tmp_path / "gone")
    for path in (run, dangling):
        mentions(error(pretrain(clips, path, *options)), path, "--resume")
    assert (run.read_text(), dangling.is_symlink()) == ("mine", True)
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("mine")
    (folder / "partial-results.csv").write_text("mine")
    before = contents(folder)
    mentions(error(pretrain(clips, folder, *options)), folder, "'chapter.tex'")
    assert contents(folder) == before


def test_a_run_cannot_be_inside_a_cache(clips, scans):
    before = contents(clips), contents(scans)
    for cache in (clips, scans):
        for path in (cache, cache / "run", cache / "ledger" / "deep" / "run"):
            mentions(error(pretrain(clips, path)), path, cache.resolve())
    assert (contents(clips), contents(scans)) == before


def test_only_one_process_at_a_time_trains_into_a_run(clips, copy, pretrained):
    run = copy(pretrained)
    hold = "import fcntl, sys\nfcntl.flock(file := open(sys.argv[1], 'a'), fcntl.LOCK_EX)\nprint(flush=True), input()"
    command = [sys.executable, "-c", hold, run / "lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        before = contents(run)
        message = error(pretrain(clips, run, "--resume"))
        other.communicate(b"\n")
    mentions(message, run, "another", "process")
    assert contents(run) == before


def test_a_run_started_by_another_process_in_the_meantime_is_left_unchanged(clips, pretrained, run, monkeypatch):
    from trainer.training import train

    def first_model(*_):
        shutil.copytree(pretrained, run)

    monkeypatch.setattr(train, "model_for_training", first_model)
    mentions(error(pretrain(clips, run)), run, "--resume")
    assert {path.name: path.read_bytes() for path in run.glob("*.*")} == {
        path.name: path.read_bytes() for path in pretrained.glob("*.*")
    }
    shutil.rmtree(run)
    mentions(error(pretrain(clips, run, "--resume")), run, "another process")
