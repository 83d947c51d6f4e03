"""Two caches and a run on each, trained once per session; tests only read them."""

import shutil
import signal

import pytest

from tests.helpers.runs import trained


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return trained(tmp_path_factory.getbasetemp())[0]


@pytest.fixture
def clips(runs):
    return runs / "clips.zarr"


@pytest.fixture
def scans(runs):
    return runs / "ct.zarr"


@pytest.fixture
def pretrained(runs):
    return runs / "pretrained"


@pytest.fixture
def copy(tmp_path):
    """A function that copies a run or a cache, so that a test can damage it."""
    return lambda folder: shutil.copytree(folder, tmp_path / folder.name)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def signals():
    """Restores signal handlers: after Ctrl-C the command line ignores further signals."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
