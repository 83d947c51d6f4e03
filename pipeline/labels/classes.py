"""Labels as text → classes counted from 0, and what a change of class names means. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cache.schema import Entry, composed


class Classes:
    """Labels as text → classes counted from 0. A label is a class name, in any letter case and with or without spaces,
    `_` or `-` between letters where that is clear, or a number: that of the class, from 1, unless class names are
    numbers themselves."""

    def __init__(self, names: Sequence[str]) -> None:
        names = [composed(name) for name in names]
        self._exact = {name: number for number, name in enumerate(names)}
        keys = Counter(map(_key, names))
        self._nearly = {_key(name): number for name, number in self._exact.items() if keys[_key(name)] == 1}
        own = {value: number for number, name in enumerate(names) if (value := whole_number(name)) is not None}
        self._numbers = own or {number + 1: number for number in range(len(names))}
        self.expected = f"{'a' if own else f'1 to {len(names)} or a'} class name"

    def of(self, text: str) -> int | None:
        """The class that `text` means; None where it is not one."""
        name = composed(text)
        for known, key in ((self._exact, name), (self._nearly, _key(name))):
            if key in known:
                return known[key]
        value = whole_number(text)
        return None if value is None else self._numbers.get(value)

    def counts_from_zero(self, text: str) -> bool:
        """Whether `text` is a 0 that is not a class."""
        return whole_number(text) == 0 and self.of(text) is None


def _key(name: str) -> str:
    return re.sub(r"(?<=[^\W\d_])[\s_-]+(?=[^\W\d_])", "", name).casefold()


def whole_number(text: str) -> int | None:
    """The whole number that `text` is, also as spreadsheets write it: "3", "3.0", "3,0"; None for anything else."""
    try:
        value = float(re.sub(r",(0{1,2})$", r".\1", text))
    except ValueError:
        return None
    return int(value) if value.is_integer() and "_" not in text else None


@dataclass(frozen=True)
class Relabelling:
    """A change of what class numbers mean: class names `before` and `after`, and of the samples that were there already
    how many each class had and has, by its name."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    samples: Mapping[str, tuple[int, int]]


def relabelling(
    entries: Iterable[Entry], labels: Mapping[str, int], before: Sequence[str], after: Sequence[str]
) -> Relabelling | None:
    """How samples change class where numbers come to mean other classes; None where they mean the same or only new
    ones were added. `labels` are the new ones by id, of those that get one."""
    if tuple(after[: len(before)]) == tuple(before):
        return None
    complete = [entry for entry in entries if entry.state == "complete"]
    old = Counter(before[entry.label] for entry in complete if 0 <= entry.label < len(before))
    new_labels = [labels.get(entry.id, entry.label) for entry in complete]
    new = Counter(after[label] for label in new_labels if 0 <= label < len(after))
    names = dict.fromkeys((*before, *after))
    return Relabelling(tuple(before), tuple(after), {name: (old[name], new[name]) for name in names})
