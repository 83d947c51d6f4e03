"""Fixtures for clips."""

import pytest

from tests.helpers.encoded_clips import encode


@pytest.fixture(autouse=True)
def _silent(silence):
    """Checks that reading clips prints nothing."""


@pytest.fixture(scope="session")
def mp4(tmp_path_factory):
    """80 frames of H.264 without B frames, in MP4."""
    return encode(tmp_path_factory.mktemp("mp4") / "clip.mp4", "libx264", "mp4", bf="0", g="20")
