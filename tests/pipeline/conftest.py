"""Fixtures for several folders: generated clips, and a check that nothing is printed."""

import pytest

from tests.helpers.clips import write_xvid


@pytest.fixture
def silence(capfd):
    """Checks that FFmpeg and OpenCV print nothing."""
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="session")
def xvid(tmp_path_factory):
    """A function that returns an XviD clip with a number of frames, written once per session."""
    folder, clips = tmp_path_factory.mktemp("xvid"), {}

    def clip(count):
        if count not in clips:
            clips[count] = write_xvid(folder / f"{count}.avi", count)
        return clips[count]

    return clip
