"""What long work shows meanwhile: a bar in a terminal, a line now and then elsewhere, nothing where nobody wants it."""

import io
import sys

import pytest

from console import app
from console import progress as progress_module


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


def terminal_of(monkeypatch):
    """To be called by the test: between fixtures and test pytest puts its own stderr back."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    monkeypatch.setattr(progress_module, "LINE_SECONDS", 5)
    return clock


def test_a_terminal_shows_a_bar_with_how_many_were_quarantined(monkeypatch):
    terminal = terminal_of(monkeypatch)
    with progress_module.Progress(10, quiet=False) as progress:
        assert progress.bar.total == 10
        for done, quarantined in enumerate((0, 1, 1), start=1):
            progress.on_progress(done, 10, "samples", {"quarantined": quarantined})
        assert progress.bar.n == 3
        progress.at(7, 20)
        assert (progress.bar.n, progress.bar.total) == (7, 20)
        progress.bar.refresh()
    assert "7/20" in terminal.getvalue()
    assert "quarantined=1" in terminal.getvalue()


def test_the_bar_of_a_check_has_no_quarantine(monkeypatch):
    terminal = terminal_of(monkeypatch)
    with progress_module.Progress(0, quiet=False, verb="checked") as progress:
        assert progress.bar.total is None
        progress.at(3, 5)
        progress.bar.refresh()
    assert "3/5" in terminal.getvalue()
    assert "quarantined" not in terminal.getvalue()


def test_there_is_no_bar_where_it_is_to_be_quiet_or_no_terminal(monkeypatch):
    terminal = terminal_of(monkeypatch)
    with progress_module.Progress(10, quiet=True) as progress:
        progress.at(3, 10)
        assert progress.bar is None
    with progress_module.Training(quiet=True) as training:
        training.at_step(0, 3, 10, 0.5)
        assert training.bar is None
    assert terminal.getvalue() == ""
    for stderr in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stderr", stderr)
        with progress_module.Progress(10, quiet=False) as progress:
            assert progress.bar is None


def test_elsewhere_a_line_is_printed_now_and_then(clock, capsys):
    progress = progress_module.Progress(10, quiet=False)
    for seconds, done in ((4, 1), (5, 2), (5.5, 3), (9, 4), (11, 5)):
        clock.now = 100 + seconds
        progress.at(done, 10)
    assert capsys.readouterr().err.splitlines() == [
        "3 of 10 done, 0.5/s, 13 s left, 0 quarantined",
        "5 of 10 done, 0.5/s, 11 s left, 0 quarantined",
    ]
    clock.now = 200
    progress.at(0, 10)
    progress_module.Progress(10, quiet=True).at(5, 10)
    assert capsys.readouterr().err == ""


def test_each_epoch_has_a_bar_that_goes_when_it_is_through(monkeypatch):
    terminal = terminal_of(monkeypatch)
    with progress_module.Training(quiet=False) as training:
        for done in (1, 4, 9):
            training.at_step(2, done, 10, 0.25)
            assert (training.bar.n, training.bar.total) == (done, 10)
        training.bar.refresh()
        assert "epoch 3" in terminal.getvalue()
        assert "loss 0.2500" in terminal.getvalue()
        training.at_step(2, 10, 10, 0.25)
        assert training.bar is None
        training.at_sample(1, 3)
        assert training.bar.n == 1
    assert training.bar is None


def test_training_elsewhere_prints_a_line_now_and_then(clock, capsys):
    training = progress_module.Training(quiet=False)
    for seconds, done in ((5, 1), (5.5, 2), (6, 3), (11, 4)):
        clock.now = 100 + seconds
        training.at_step(0, done, 10, 0.5)
    clock.now = 200
    training.at_sample(7, 8)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1, 2 of 10 steps, loss 0.5000",
        "epoch 1, 4 of 10 steps, loss 0.5000",
        "features, 7 of 8 samples",
    ]


def test_a_note_is_said_once_for_each_part(capsys):
    training = progress_module.Training(quiet=False)
    training.note("on the CPU")
    training.note("on the CPU")
    training.note("another")
    training.part("second")
    training.note("on the CPU")
    assert capsys.readouterr().err.splitlines() == ["on the CPU", "another", "-- second", "on the CPU"]
    progress_module.Training(quiet=True).note("on the CPU")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "more"),
    [(["train"], ", with --resume,"), (["train", "--resume"], ""), (["preprocess", "train"], ""), ([], "")],
)
def test_only_train_needs_an_option_to_go_on(words, more, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cli.py", *words])
    assert app._resuming() == more
