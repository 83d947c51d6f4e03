"""Runs that are killed at each of their system calls."""

import shutil

import pytest

from cache import writer as cache_writer
from tests.faults.calls import Calls, Killed, watched


@pytest.fixture(autouse=True)
def documents_built_once(monkeypatch):
    """Build each set of documents once: building takes most of the time of a test, and makes no system call."""
    built, build = {}, cache_writer.documents_of

    def cached(attributes, entries):
        key = repr((attributes, list(entries)))
        if key not in built:
            built[key] = build(attributes, entries)
        return dict(built[key])

    monkeypatch.setattr(cache_writer, "documents_of", cached)


def copied(folder, target):
    shutil.copytree(folder, target, copy_function=shutil.copy2)
    return target


def killed_at_each_call(folder, work, tmp_path):
    """Yield a copy of the cache in `folder` for each system call of `work`, which was killed at that call."""
    uninterrupted = copied(folder, tmp_path / "uninterrupted")
    with watched(Calls(uninterrupted)) as calls:
        work(uninterrupted)
    assert calls.count > 20
    for number in range(calls.count):
        root = copied(folder, tmp_path / f"killed {number}")
        with watched(Calls(root, number)), pytest.raises(Killed):
            work(root)
        yield root
        shutil.rmtree(root)


def traces(root, name):
    """The files below `root` whose bytes contain `name`."""
    return [str(path) for path in root.rglob("*") if path.is_file() and name.encode() in path.read_bytes()]
