"""Fixtures and commands for tests of evaluate and predict: two caches and a run on each, which no test may change."""

import csv
import json
import shutil

import pytest

from cache.schema import Source
from tests.helpers.caches import volume
from tests.helpers.commands import cli, contents
from tests.helpers.runs import SHAPE, make_scans, trained
from trainer import backend

backend.start()  # before Keras is imported, to hide TensorFlow's messages


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
def tuned(made):
    return made / "tuned"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.csv"


@pytest.fixture
def copy(tmp_path):
    return lambda folder: shutil.copytree(folder, tmp_path / folder.name)


@pytest.fixture(autouse=True)
def shared_files_are_unchanged(made):
    before = {name: contents(made / name) for name in ("clips.zarr", "ct.zarr", "pretrained", "tuned")}
    yield
    assert {name: contents(made / name) for name in before} == before


def evaluate(run, cache, *options):
    return cli("evaluate", run, cache, *options)


def predict(run, cache, out, *options):
    return cli("predict", run, cache, out, *options)


def scores(*arguments):
    """The JSON that `evaluate --json` prints; it prints nothing else."""
    result = evaluate(*arguments, "--json", "--quiet")  # no progress, however slow the machine
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return json.loads(result.stdout)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def other_scans(root, **options):
    """A cache of scans on which no run was trained."""
    values = [1 - volume(row, SHAPE) for row in range(12)]
    return make_scans(root, values, **({"source": Source("", ())} | options))
