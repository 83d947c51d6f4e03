"""Fixtures for all tests: a tiny cache made by `cache.store` alone, and the real samples if present."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.caches import make_cache

if "PYTEST_XDIST_WORKER" in os.environ:  # a process on each core is enough
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# No test judges how fast a machine is. Examples of one test share its fixtures: each writes its own files.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background; what tests start must get Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """No test cuts the power: what is flushed, and when, is tested by recording the calls."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def no_progress_lines(monkeypatch):
    """A slow machine says how far it is every few seconds; tests that compare what is said would depend on it."""
    monkeypatch.setattr("console.progress.LINE_SECONDS", float("inf"))


@pytest.fixture(scope="session")
def real_data():
    """The folder of real scans and clips."""
    folder = Path(__file__).resolve().parents[2] / "shared/data"
    if not folder.is_dir():
        pytest.skip(f"the real samples are not here ({folder})")
    return folder


@pytest.fixture
def tiny(tmp_path):
    """A cache of three samples, s0 to s2, on uint16."""
    return make_cache(tmp_path / "tiny.zarr")


@pytest.fixture(scope="module")
def shared_tiny(tmp_path_factory):
    """As `tiny`, for tests that do not change it."""
    return make_cache(tmp_path_factory.mktemp("shared") / "tiny.zarr")
