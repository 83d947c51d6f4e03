"""Going on with a cache that is there already: whether its recipe allows it, and what becomes of its labels."""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from cache import catalog
from cache.errors import CacheError, NotACache, RecipeMismatch
from cache.schema import Attributes, Entry
from cache.text import cut, listed


def existing(root: Path, recipe: Mapping[str, Any]) -> Attributes | None:
    """The attributes of the cache in `root`, None where there is none yet. Raises unless `recipe` can go on there.

    That is RecipeMismatch where it is of another recipe, NotACache where it cannot be read, and CacheError where
    something else than a cache is there.
    """
    try:
        old = catalog.read_attributes(root)
    except NotACache as error:
        if _is_new(root):
            return None
        if not catalog.is_begun(root):
            raise CacheError(f"{root} exists and is not a cache; choose a path that is not there yet") from error
        if catalog.has_attributes(root) or catalog.read_entries(root):
            raise
        return None  # begun by a run that was stopped before there was anything to describe
    if old.kind != recipe["kind"]:
        raise RecipeMismatch(f"{root} is a cache of kind {old.kind}, not {recipe['kind']}; give another path")
    if difference := describe_difference(old.recipe, recipe):
        raise RecipeMismatch(
            f"{root} was built by another recipe ({difference}); give the same options, or another path"
        )
    return old


def _is_new(root: Path) -> bool:
    """True where there is nothing, or folders at most: those of a run that was killed on its start are empty."""
    return catalog.is_empty(root) if root.is_dir() else not root.exists()


def describe_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Where two recipes differ, as "order 3 → 1, source.window …"; empty where they do not."""
    return listed(f"{cut(name)} {cut(before)} → {cut(after)}" for name, before, after in _differences(old, new))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name in (*old, *(key for key in new if key not in old)):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{inside}{name}.")
        elif before != after:
            yield f"{inside}{name}", before, after


def carry_labels(
    entries: Mapping[str, Entry], told: Container[str], old: Sequence[str], names: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, Entry]]:
    """Class names, and the entries whose label must change, so that samples not `told` anew keep their class by name.

    `old` are the class names there were, `names` those there shall be; classes still in use are added after them.
    """
    kept = [entry for entry in entries.values() if entry.id not in told and 0 <= entry.label < len(old)]
    names = (*names, *sorted({old[entry.label] for entry in kept} - set(names)))
    position = {name: label for label, name in enumerate(names)}
    moved = [entry.replace(label=position[old[entry.label]]) for entry in kept]
    return names, {entry.id: entry for entry in moved if entry != entries[entry.id]}


def free_rows(entries: Iterable[Entry], kept: Collection[int] = ()) -> Iterator[int]:
    """The rows that no entry has and that are not to be `kept`, lowest first."""
    taken = {*kept, *(entry.row for entry in entries)}
    return (row for row in count() if row not in taken)
