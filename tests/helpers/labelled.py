"""Run commands on four labelled scans, and read labels and patients from the cache."""

from cache import open_cache
from tests.helpers.commands import cli as run

SMALL = ("--depth", "4", "--height", "8", "--width", "8", "--workers", "0")
SCANS = ("TRN_0001", "TRN_0002", "TRN_0003", "TRN_0004")
PAIRS = {"TRN_0001": "P0", "TRN_0002": "P0", "TRN_0003": "P1", "TRN_0004": "P1"}


def cli(*arguments, code=0):
    """Run the command line and check its exit code."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    return result


def ct(source, cache, *options, code=0):
    return cli("preprocess", "ct", source, cache, *SMALL, *options, code=code)


def classes(cache):
    opened = open_cache(cache)
    names = [*opened.class_names, None]
    return {name: names[label] for name, label in zip(opened.ids, opened.labels, strict=True)}


def groups(cache):
    opened = open_cache(cache)
    return dict(zip(opened.ids, opened.groups, strict=True))


def state(cache):
    """Every byte of a cache except its chunks."""
    return {path: path.read_bytes() for path in cache.rglob("*") if path.is_file() and "volume/c" not in str(path)}
