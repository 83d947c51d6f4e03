"""Forgetting samples for good, as when a patient withdraws consent."""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from cache import catalog
from cache.errors import UnknownSample
from cache.schema import Entry
from cache.text import SHOWN, cut, shown
from cache.writer import open_writer

LEAST_LIKE = 0.4  # how like another id the nearest one must be, from 0 to 1


def inputs_named(root: Path, ids: Sequence[str], entries: Mapping[str, Entry]) -> list[Entry]:
    """Those of `entries`, of the cache in `root`, whose ids are given, each once, in that order.

    Raises UnknownSample as `remove` does.
    """
    _refuse_unknown(root, ids, entries)
    return [entries[name] for name in dict.fromkeys(ids) if name in entries]


def remove(root: Path, ids: Sequence[str], linked: str = "") -> None:
    """Leave nothing of the inputs `ids` in the cache in `root`: no chunk, ledger line or published value.

    Whoever has the cache open loses them too. Killed at any moment, the same call finishes the work: until then, ids
    that the cache does not know count as removed. Raises UnknownSample, naming the first id that is no input of the
    cache and the nearest one, before anything is written; NotACache, CacheLocked and CacheError as all writers do.
    """
    attributes, entries = catalog.read_attributes(root), catalog.read_entries(root)
    _refuse_unknown(root, ids, entries)
    with open_writer(root, attributes, entries, linked) as writer:
        writer.remove(set(ids))


def _refuse_unknown(root: Path, ids: Sequence[str], entries: Mapping[str, Entry]) -> None:
    unknown = next((name for name in ids if name not in entries), None)
    if unknown is None or catalog.unpublished(root):
        return
    raise UnknownSample(f"no input {cut(unknown)} in {root}; {_nearest(unknown, entries)}`info` lists what there is")


def _nearest(name: str, ids: Collection[str]) -> str:
    found = get_close_matches(name[:SHOWN], [other[:SHOWN] for other in ids], 1, LEAST_LIKE)
    return f"the nearest is {shown(found[0])}; " if found else ""
