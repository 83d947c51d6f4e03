"""Pictures do not depend on the Matplotlib settings of the user, and a failure to draw one loses no result."""

import logging
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import matplotlib
import pytest

from cache import CacheError, open_cache
from cache.pictures import own_settings
from tests.helpers.caches import make_cache
from tests.helpers.scores import TYPES, history, metrics
from trainer.errors import TrainerError
from trainer.evaluation.pictures import add_picture, confusion_picture, curves_picture, write_picture

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = {
    "text.usetex": True,
    "image.origin": "lower",
    "savefig.dpi": 300,
    "figure.dpi": 7,
    "savefig.bbox": "tight",
    "font.size": 40,
    "axes.prop_cycle": "cycler('color', ['white'])",
    "figure.facecolor": "black",
}


@pytest.fixture
def hostile():
    """Settings that a matplotlibrc may contain; LaTeX is not installed here."""
    with matplotlib.rc_context(HOSTILE):
        yield


DRAWINGS = {
    "curves.png": lambda: curves_picture(history(3)),
    "confusion.png": lambda: confusion_picture(metrics(TYPES)),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_user_settings_do_not_change_the_pictures_of_a_run(tmp_path, name):
    for folder, settings in (("plain", {}), ("hostile", HOSTILE)):
        (tmp_path / folder).mkdir()
        with matplotlib.rc_context(settings):
            write_picture(tmp_path / folder / name, DRAWINGS[name]())
    assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "hostile" / name).read_bytes()


def test_user_settings_do_not_change_the_montage_or_summary_of_a_cache(tmp_path):
    cache = open_cache(make_cache(tmp_path / "cache"))
    outputs = []
    for settings in ({}, HOSTILE):
        with matplotlib.rc_context(settings):
            figure = cache.montage("s1", 2)
            figure.savefig(tmp_path / "montage.png")
            picture = (tmp_path / "montage.png").read_bytes()
            outputs.append((picture, figure._repr_png_(), cache._repr_html_()))
    assert outputs[0] == outputs[1]


def test_user_settings_are_restored_after_drawing(hostile):
    level = logging.getLogger("matplotlib").level
    before = dict(matplotlib.rcParams)
    with own_settings():
        assert matplotlib.rcParams["text.usetex"] is False
    assert dict(matplotlib.rcParams) == before
    assert logging.getLogger("matplotlib").level == level


def failing():
    raise RuntimeError("latex could not\nbe found")


def test_a_failed_picture_becomes_a_note_and_the_outdated_one_is_removed(tmp_path):
    path, notes = tmp_path / "curves.png", []
    path.write_bytes(b"before")
    add_picture(path, failing, notes.append)
    assert notes == ["no picture: latex could not\nbe found"]
    assert list(tmp_path.iterdir()) == []
    add_picture(path, partial(curves_picture, history(2)), notes.append)
    assert (len(notes), path.read_bytes()[:4]) == (1, b"\x89PNG")


def test_a_picture_that_cannot_be_drawn_raises_a_one_line_error_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *args, **options: failing())
    with pytest.raises(TrainerError) as caught:
        write_picture(tmp_path / "curves.png", curves_picture(history(2)))
    assert str(caught.value) == (
        f"cannot draw {tmp_path}/curves.png (RuntimeError: latex could not be found); the numbers are not affected"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_summary_of_a_cache_is_shown_without_matplotlib(tmp_path, monkeypatch):
    cache = open_cache(make_cache(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CacheError, match=r"cannot load Matplotlib \(.*\); check the matplotlibrc"):
        cache.montage(0)
    page = cache._repr_html_()
    assert "cannot load Matplotlib" in page
    assert "unlabelled" in page


# Draws after a command has run, like `train` and `experiment`.
DRAW = """
import sys
from pathlib import Path
import cli

cli.main(["info", sys.argv[1], "--json"], standalone_mode=False)
from trainer.evaluation.pictures import curves_picture, write_picture

row = dict.fromkeys(("epoch", "loss", "val_loss", "accuracy", "val_accuracy", "val_kappa"), 1)
write_picture(Path(sys.argv[2]), curves_picture([row]))
"""
USER = "text.usetex: True\nno colon\nno.such.key: 1\nfont.size: huge\ntext.usetex: True\n"


@pytest.mark.parametrize(
    "settings", [USER.encode(), b"\xff\xfe not text", None], ids=["odd values", "not text", "a folder that is a file"]
)
def test_bad_matplotlib_settings_neither_break_the_command_line_nor_print_warnings(tmp_path, settings):
    home = tmp_path / "home"
    if settings is None:
        home.write_text("")  # like a folder that cannot be written
    else:
        home.mkdir()
        (home / "matplotlibrc").write_bytes(settings)
    make_cache(tmp_path / "tiny.zarr")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MATPLOTLIB")}
    process = subprocess.run(
        [sys.executable, "-c", DRAW, tmp_path / "tiny.zarr", tmp_path / "curves.png"],
        cwd=ROOT,
        env=environment | {"MPLCONFIGDIR": str(home), "MPLBACKEND": "nonsense", "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert (process.stderr, process.returncode) == ("", 0)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
