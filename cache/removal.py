"""Forgetting samples for good, as when a patient withdraws consent."""

from collections.abc import Sequence
from pathlib import Path

from cache import store
from cache.errors import UnknownSample
from cache.text import cut


def remove(root: Path, ids: Sequence[str], linked: str = "") -> None:
    """Leave nothing of the inputs `ids` in the cache in `root`: no chunk, ledger line or published value.

    Whoever has the cache open loses them too. Killed at any moment, the same call finishes the work. Raises
    UnknownSample, naming the first id that is no input of the cache, before anything is written; NotACache, CacheLocked
    and CacheError as all writers do.
    """
    attributes, entries = store.read_attributes(root), store.read_entries(root)
    for name in ids:
        if name not in entries:
            raise UnknownSample(f"no input {cut(name)} in {root}; `info` lists what there is")
    with store.writing(root, attributes, entries, linked) as writer:
        writer.remove(set(ids))
