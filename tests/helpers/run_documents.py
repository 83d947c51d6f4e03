"""A run folder with documents only."""

import pytest

from tests.helpers.run_folders import RUN, SPLIT
from trainer.runs.folder import write_run_files
from trainer.runs.samples import SampleFingerprint


@pytest.fixture
def root(tmp_path):
    """A run that has just begun."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_run_files(folder, RUN, SPLIT, {"s0": SampleFingerprint("d0", "", 0), "s1": SampleFingerprint("d1", "", 1)})
    return folder
