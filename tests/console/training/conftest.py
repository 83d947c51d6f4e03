"""Two caches and a run on each, trained once, for tests that only read them."""

import shutil
import signal

import pytest

from tests.helpers.runs import trained


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return trained(tmp_path_factory.getbasetemp())[0]


@pytest.fixture
def clips(made):
    return made / "clips.zarr"


@pytest.fixture
def scans(made):
    return made / "ct.zarr"


@pytest.fixture
def pretrained(made):
    return made / "pretrained"


@pytest.fixture
def copy(tmp_path):
    """Function that copies a run or a cache, so that a test can damage it."""
    return lambda folder: shutil.copytree(folder, tmp_path / folder.name)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def signals():
    """Restore signal handlers: after Ctrl-C the command line ignores further signals."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
