"""Runs that are killed at each of their system calls."""

import shutil

import pytest

from cache import writer as cache_writer
from tests.faults.calls import Calls, Killed, watched


@pytest.fixture(autouse=True)
def documents_built_once(monkeypatch):
    """Building the same documents hundreds of times takes most of the time, and no system call."""
    built, build_them = {}, cache_writer.documents_of

    def remembered(attributes, entries):
        key = repr((attributes, list(entries)))
        if key not in built:
            built[key] = build_them(attributes, entries)
        return dict(built[key])

    monkeypatch.setattr(cache_writer, "documents_of", remembered)


def copied(folder, target):
    shutil.copytree(folder, target, copy_function=shutil.copy2)
    return target


def killed_at_each_call(folder, work, tmp_path):
    """Every state that a kill of `work`, a function of the cache, leaves of a copy of the one in `folder`."""
    whole = copied(folder, tmp_path / "whole")
    with watched(Calls(whole)) as calls:
        work(whole)
    assert calls.count > 20
    for number in range(calls.count):
        root = copied(folder, tmp_path / f"killed {number}")
        with watched(Calls(root, number)), pytest.raises(Killed):
            work(root)
        yield root
        shutil.rmtree(root)


def traces(root, name):
    return [str(path) for path in root.rglob("*") if path.is_file() and name.encode() in path.read_bytes()]
