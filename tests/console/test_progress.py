"""Progress of long jobs: a bar on a terminal, lines without one, nothing with --quiet."""

import io
import sys
import time

import pytest

from console import app
from console import progress as progress_module
from console.progress import Progress

LINE_SECONDS = progress_module.LINE_SECONDS


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


def replace_stderr(monkeypatch):
    """Make stderr a terminal. Call this in the test, since pytest restores its own stderr after fixtures."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    monkeypatch.setattr(progress_module, "LINE_SECONDS", 5)
    return clock


def test_on_a_terminal_there_is_a_bar_with_the_number_of_quarantined_inputs(monkeypatch):
    terminal = replace_stderr(monkeypatch)
    with Progress(quiet=False, total=10) as progress:
        assert progress.bar.total == 10
        for done, quarantined in enumerate((0, 1, 1), start=1):
            progress.on_progress(done, 10, "samples", {"quarantined": quarantined})
        assert progress.bar.n == 3
        progress.bar.refresh()
        assert "quarantined=1" in terminal.getvalue()
        progress.on_progress(7, 20)
        assert (progress.bar.n, progress.bar.total) == (7, 20)
        progress.bar.refresh()
    assert "7/20" in terminal.getvalue()


def test_without_counts_the_bar_shows_only_progress(monkeypatch):
    terminal = replace_stderr(monkeypatch)
    with Progress(quiet=False, verb="checked") as progress:
        assert progress.bar is None
        progress.on_progress(3, 5)
        progress.bar.refresh()
    assert "3/5" in terminal.getvalue()
    assert "quarantined" not in terminal.getvalue()


def test_there_is_no_bar_when_quiet_or_without_a_terminal(monkeypatch):
    terminal = replace_stderr(monkeypatch)
    with Progress(quiet=True, total=10) as progress:
        progress.on_progress(3, 10)
        assert progress.bar is None
    assert terminal.getvalue() == ""
    for stderr in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stderr", stderr)
        with Progress(quiet=False, total=10) as progress:
            assert progress.bar is None


def test_without_a_terminal_a_line_is_printed_every_few_seconds(clock, capsys):
    progress = Progress(quiet=False, total=10)
    for seconds, done in ((4, 1), (5, 2), (5.5, 3), (9, 4), (11, 5)):
        clock.now = 100 + seconds
        progress.on_progress(done, 10, "samples", {"quarantined": 1})
    assert capsys.readouterr().err.splitlines() == [
        "3 of 10 done, 0.5/s, 13 s left, 1 quarantined",
        "5 of 10 done, 0.5/s, 11 s left, 1 quarantined",
    ]
    clock.now = 200
    progress.on_progress(0, 10)
    Progress(quiet=True, total=10).on_progress(5, 10)
    assert capsys.readouterr().err == ""


def test_each_epoch_has_its_own_bar_that_closes_when_it_ends(monkeypatch):
    terminal = replace_stderr(monkeypatch)
    with Progress(quiet=False) as progress:
        for done in (1, 4, 9):
            progress.on_progress(done, 10, "steps", {"epoch": 3, "loss": 0.25})
            assert (progress.bar.n, progress.bar.total) == (done, 10)
        progress.bar.refresh()
        assert "epoch 3" in terminal.getvalue()
        assert "loss=0.2500" in terminal.getvalue()
        progress.on_progress(10, 10, "steps", {"epoch": 3, "loss": 0.25})
        assert progress.bar is None
        progress.on_progress(1, 3)
        assert progress.bar.n == 1
    assert progress.bar is None


def test_a_second_round_of_samples_starts_a_new_bar(monkeypatch):
    replace_stderr(monkeypatch)
    with Progress(quiet=False) as progress:
        progress.on_progress(5, 5)
        progress.on_progress(1, 9)
        assert (progress.bar.n, progress.bar.total) == (1, 9)


def test_progress_lines_name_the_epoch_and_its_loss(clock, capsys):
    progress = Progress(quiet=False)
    for seconds, done in ((5, 1), (5.5, 2), (6, 3), (11, 4)):
        clock.now = 100 + seconds
        progress.on_progress(done, 10, "steps", {"epoch": 1, "loss": 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[:2] for line in lines] == [["epoch 1", "2 of 10 steps"], ["epoch 1", "4 of 10 steps"]]
    assert all(line.endswith(" s left, loss 0.5000") for line in lines)


def test_progress_prints_nothing_before_the_first_sample(capsys, monkeypatch):
    monkeypatch.setattr("console.progress.LINE_SECONDS", LINE_SECONDS)
    progress = Progress(quiet=False, verb="extracted")
    for done in (0, 5):
        progress.started = progress.printed = time.monotonic() - LINE_SECONDS - 1  # as if a network had been loading
        progress.on_progress(done, 10)
    assert capsys.readouterr().err.startswith("5 of 10 extracted, ")


def test_a_note_is_printed_once_per_part(capsys):
    progress = Progress(quiet=False)
    progress.on_note("on the CPU")
    progress.on_note("on the CPU")
    progress.on_note("another")
    progress.on_part("second")
    progress.on_note("on the CPU")
    assert capsys.readouterr().err.splitlines() == ["on the CPU", "another", "-- second", "on the CPU"]
    Progress(quiet=True).on_note("on the CPU")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["train"], ", with --resume,"), (["train", "--resume"], ""), (["preprocess", "train"], ""), ([], "")],
)
def test_the_resume_hint_names_resume_only_for_train(words, hint, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cli.py", *words])
    assert app._resume_hint() == hint
