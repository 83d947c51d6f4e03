"""Fixtures for several rooms: generated clips, and silence."""

import pytest

from tests.helpers.clips import write_xvid


@pytest.fixture
def silence(capfd):
    """FFmpeg and OpenCV print nothing, whatever they are given."""
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="session")
def xvid(tmp_path_factory):
    """A function: the XviD clip with this number of frames, written once per session."""
    folder, clips = tmp_path_factory.mktemp("xvid"), {}

    def clip(count):
        if count not in clips:
            clips[count] = write_xvid(folder / f"{count}.avi", count)
        return clips[count]

    return clip
