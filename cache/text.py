"""The one way to show in a message what anybody may have written: an id, a label, a cell, a path."""

from collections.abc import Iterable
from itertools import islice

SHOWN = 200  # characters of a value in a message
MAX_REASON = 1000  # characters of a sentence that names several values
MAX_NAMES = 10


def cut(text: object, most: int = SHOWN) -> str:
    """`text` as it is, cut where it is too long for a message."""
    whole = str(text)
    return whole if len(whole) <= most else f"{whole[:most]}…"


def shown(text: str) -> str:
    """`text` in quotes, cut where it is too long for a message."""
    return repr(cut(text))


def listed(names: Iterable[object], most: int = MAX_NAMES) -> str:
    """The first ten of `names`, or `most`, each cut, and how many more there are."""
    rest = iter(names)
    first = ", ".join(map(cut, islice(rest, most)))
    more = sum(1 for _ in rest)
    return f"{first} and {more} more" if more else first
