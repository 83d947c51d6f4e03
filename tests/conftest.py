"""Fixtures for all tests: a tiny cache written with `cache.store` alone, and the real samples if present."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.caches import make_cache

if "PYTEST_XDIST_WORKER" in os.environ:  # a process on each core is enough
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# No test depends on the machine's speed. The examples of a test share its fixtures, so each writes its own files.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a background shell; processes under test need Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """Skip fsync: no test cuts the power, and flushing is tested by recording the calls."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def no_progress_lines(monkeypatch):
    """Print no progress lines: a slow machine would print some, and tests that compare the output would fail."""
    monkeypatch.setattr("console.progress.LINE_SECONDS", float("inf"))


@pytest.fixture(scope="session")
def real_data():
    """The folder of real scans and clips."""
    folder = Path(__file__).resolve().parents[2] / "shared/data"
    if not folder.is_dir():
        pytest.skip(f"the real samples are missing ({folder})")
    return folder


@pytest.fixture
def tiny(tmp_path):
    """A cache of three samples, s0 to s2, on uint16."""
    return make_cache(tmp_path / "tiny.zarr")


@pytest.fixture(scope="module")
def shared_tiny(tmp_path_factory):
    """Like `tiny`, for tests that do not change it."""
    return make_cache(tmp_path_factory.mktemp("shared") / "tiny.zarr")
