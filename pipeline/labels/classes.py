"""Classes: labels as text become classes counted from 0; and the effect of a change of class names. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cache.schema import Entry, composed


class Classes:
    """Maps labels as text to classes, counted from 0.

    A label is a class name or the number of a class. Names match in any letter case and with or without spaces, `_` or
    `-` between letters, where that is unambiguous. Numbers count from 1, unless class names are numbers themselves.
    """

    def __init__(self, names: Sequence[str]) -> None:
        names = [composed(name) for name in names]
        self._exact = {name: number for number, name in enumerate(names)}
        keys = Counter(map(_key, names))
        self._similar = {_key(name): number for name, number in self._exact.items() if keys[_key(name)] == 1}
        own = {value: number for number, name in enumerate(names) if (value := whole_number(name)) is not None}
        self._numbers = own or {number + 1: number for number in range(len(names))}
        self.expected = f"{'a' if own else f'1 to {len(names)} or a'} class name"

    def of(self, text: str) -> int | None:
        """The class named by `text`; None where there is no such class."""
        name = composed(text)
        for classes, key in ((self._exact, name), (self._similar, _key(name))):
            if key in classes:
                return classes[key]
        value = whole_number(text)
        return None if value is None else self._numbers.get(value)

    def counts_from_zero(self, text: str) -> bool:
        """Whether `text` is 0 and not the name of a class."""
        return whole_number(text) == 0 and self.of(text) is None


def _key(name: str) -> str:
    return re.sub(r"(?<=[^\W\d_])[\s_-]+(?=[^\W\d_])", "", name).casefold()


def whole_number(text: str) -> int | None:
    """`text` as a whole number, also as spreadsheets write it: "3", "3.0", "3,0"; None for any other text."""
    try:
        value = float(re.sub(r",(0{1,2})$", r".\1", text))
    except ValueError:
        return None
    return int(value) if value.is_integer() and "_" not in text else None


@dataclass(frozen=True)
class Relabelling:
    """A change in the meaning of class numbers.

    `before` and `after` are the class names. `samples` maps each name to the number of existing samples in that class
    before and after.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    samples: Mapping[str, tuple[int, int]]


def relabelling(
    entries: Iterable[Entry], labels: Mapping[str, int], before: Sequence[str], after: Sequence[str]
) -> Relabelling | None:
    """How many samples change class where class numbers get another meaning; None where classes are only added.

    `labels` maps the ids of relabelled samples to their new labels.
    """
    if tuple(after[: len(before)]) == tuple(before):
        return None
    complete = [entry for entry in entries if entry.state == "complete"]
    old = Counter(before[entry.label] for entry in complete if 0 <= entry.label < len(before))
    new_labels = [labels.get(entry.id, entry.label) for entry in complete]
    new = Counter(after[label] for label in new_labels if 0 <= label < len(after))
    names = dict.fromkeys((*before, *after))
    return Relabelling(tuple(before), tuple(after), {name: (old[name], new[name]) for name in names})
