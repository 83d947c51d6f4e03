"""The commands in the README run one after the other as a reader would type them, on phantoms with small networks."""

import re
import shlex
from pathlib import Path

import pytest

from pipeline.demo import phantom_clips, phantoms
from pipeline.sources.formats.video import PAPER_CLASSES
from tests.helpers.commands import cli

README = Path(__file__).resolve().parent.parent / "README.md"
SMALL = {"preprocess": "--depth 8 --height 16 --width 16 --workers 0", "train": "--epochs 1 --backbone small"}
NOT_RUN = {  # program → reason
    "make": "the complete test suite, or minutes",
    "source": "a shell builtin",
    "jupyter": "a server; tests/test_notebooks.py runs the notebook",
}


def commands():
    """Every command line in the README's shell blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), flags=re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


@pytest.fixture
def folder_with_inputs(tmp_path, monkeypatch):
    """The inputs that the README assumes: scans and their sheet, clips, and a cache of test scans."""
    pytest.importorskip("cv2")
    labels = phantoms.write_scans(tmp_path / "TrainSet", per_class=3, size=24, slices=(10, 12))
    labels.rename(tmp_path / "train.csv")
    phantom_clips.write_clips(tmp_path / "phantoms", groups=2, clips=1)
    clips = sorted((tmp_path / "phantoms").rglob("*.avi"))
    for number, name in enumerate(PAPER_CLASSES):
        for group in (1, 2):
            path = tmp_path / "UCF50" / name / f"v_{name}_g{group:02}_c01.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(clips[(2 * number + group) % len(clips)].read_bytes())
    monkeypatch.chdir(tmp_path)
    words = ("preprocess", "ct", "TrainSet", "test.zarr", *SMALL["preprocess"].split())
    assert cli(*words).exit_code in (0, 3)
    return tmp_path


def test_every_command_runs_in_the_order_of_the_readme(folder_with_inputs):
    for words in commands():
        if words[0] in NOT_RUN:
            continue
        assert words[:2] == ["python", "cli.py"]
        result = cli(*words[2:], *SMALL.get(words[2], "").split())
        assert result.exit_code in (0, 3), f"{words}: {result.output}"
    assert (folder_with_inputs / "submission.csv").read_text().count("\n") > 5


def test_the_sample_sheet_has_three_columns():
    (sheet,) = re.findall(r"```csv\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert sheet.splitlines()[0] == "FileName,TypeOfTB,Patient"
    assert all(len(line.split(",")) == 3 for line in sheet.splitlines())
