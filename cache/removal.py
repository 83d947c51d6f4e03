"""Removal of samples for good, as when a patient withdraws consent."""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from cache import catalog
from cache.errors import UnknownSample
from cache.schema import Entry
from cache.text import SHOWN, cut, shown
from cache.writer import open_writer

MIN_SIMILARITY = 0.4  # of an id that is suggested, from 0 to 1


def inputs_named(root: Path, ids: Sequence[str], entries: Mapping[str, Entry]) -> list[Entry]:
    """The `entries` of the cache in `root` with these ids, each once, in the order of `ids`.

    Raises UnknownSample as `remove` does.
    """
    _check_ids(root, ids, entries)
    return [entries[name] for name in dict.fromkeys(ids) if name in entries]


def remove(root: Path, ids: Sequence[str], linked: str = "") -> None:
    """Delete every trace of the inputs `ids` from the cache in `root`: chunks, ledger lines and published values.

    Readers that have the cache open lose them too. If it is killed, the same call completes the work; until then, ids
    that are not in the cache count as removed. Raises UnknownSample before anything is written, with the first id that
    is not in the cache and the most similar one; NotACache, CacheLocked and CacheError as all writers do.
    """
    attributes, entries = catalog.read_attributes(root), catalog.read_entries(root)
    _check_ids(root, ids, entries)
    with open_writer(root, attributes, entries, linked) as writer:
        writer.remove(set(ids))


def _check_ids(root: Path, ids: Sequence[str], entries: Mapping[str, Entry]) -> None:
    unknown = next((name for name in ids if name not in entries), None)
    if unknown is None or catalog.unpublished(root):
        return
    raise UnknownSample(f"no input {cut(unknown)} in {root}; {_nearest(unknown, entries)}`info` lists the inputs")


def _nearest(name: str, ids: Collection[str]) -> str:
    similar = get_close_matches(name[:SHOWN], [other[:SHOWN] for other in ids], 1, MIN_SIMILARITY)
    return f"the most similar is {shown(similar[0])}; " if similar else ""
