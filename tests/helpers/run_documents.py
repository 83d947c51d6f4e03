"""A run folder that contains only documents."""

import pytest

from tests.helpers.run_folders import RUN, SPLIT
from trainer.runs.folder import write_run_files
from trainer.runs.samples import SampleFingerprint


@pytest.fixture
def root(tmp_path):
    """The folder of a run that has just started."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_run_files(folder, RUN, SPLIT, {"s0": SampleFingerprint("d0", "", 0), "s1": SampleFingerprint("d1", "", 1)})
    return folder
