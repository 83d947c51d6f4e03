"""Adding to an existing cache: is it the same recipe, and how do its labels carry over?"""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from cache import catalog
from cache.errors import CacheError, NotACache, RecipeMismatch
from cache.schema import Attributes, Entry
from cache.text import cut, listed


def attributes_to_extend(root: Path, recipe: Mapping[str, Any]) -> Attributes | None:
    """The attributes of the cache in `root`, to which samples of `recipe` may be added; None if there is no cache yet.

    Raises RecipeMismatch where its recipe differs, NotACache where it cannot be read, and CacheError where `root` is
    something else.
    """
    try:
        old = catalog.read_attributes(root)
    except NotACache as error:
        if _is_new(root):
            return None
        if not catalog.is_started(root):
            raise CacheError(f"{root} exists and is not a cache; choose a new path") from error
        if catalog.has_attributes(root) or catalog.read_entries(root):
            raise
        return None  # begun by a run that was stopped before it wrote any attributes
    if old.kind != recipe["kind"]:
        raise RecipeMismatch(f"{root} is a cache of kind {old.kind}, not {recipe['kind']}; give another path")
    if difference := describe_difference(old.recipe, recipe):
        raise RecipeMismatch(f"{root} has another recipe ({difference}); give the same options, or another path")
    return old


def _is_new(root: Path) -> bool:
    """Whether `root` does not exist, or has only the empty folders of a run that was killed at its start."""
    return catalog.is_empty(root) if root.is_dir() else not root.exists()


def describe_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The differences between two recipes, such as "order 3 → 1, source.window …"; empty if they are equal."""
    return listed(f"{cut(name)} {cut(before)} → {cut(after)}" for name, before, after in _differences(old, new))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name in (*old, *(key for key in new if key not in old)):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{inside}{name}.")
        elif before != after:
            yield f"{inside}{name}", before, after


def carry_labels(
    entries: Mapping[str, Entry], relabelled: Container[str], old: Sequence[str], names: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, Entry]]:
    """The new class names, and the entries whose label must change so that they keep their class.

    Samples in `relabelled` get new labels anyway. `old` are the class names so far, `names` the new ones; old classes
    that are still in use are added after them.
    """
    unchanged = [entry for entry in entries.values() if entry.id not in relabelled and 0 <= entry.label < len(old)]
    names = (*names, *sorted({old[entry.label] for entry in unchanged} - set(names)))
    position = {name: label for label, name in enumerate(names)}
    moved = [entry.replace(label=position[old[entry.label]]) for entry in unchanged]
    return names, {entry.id: entry for entry in moved if entry != entries[entry.id]}


def free_rows(entries: Iterable[Entry], reserved: Collection[int] = ()) -> Iterator[int]:
    """The rows that no entry has and that are not `reserved`, lowest first."""
    taken = {*reserved, *(entry.row for entry in entries)}
    return (row for row in count() if row not in taken)
