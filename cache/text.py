"""How messages show untrusted text, such as an id, a label, a cell or a path."""

from collections.abc import Iterable
from itertools import islice

SHOWN = 200  # characters of a value in a message
MAX_REASON = 1000  # characters of a sentence that names several values
MAX_NAMES = 10


def cut(text: object, length: int = SHOWN) -> str:
    """`text`, cut at `length` characters."""
    full = str(text)
    return full if len(full) <= length else f"{full[:length]}…"


def shown(text: str) -> str:
    """`text` in quotes, cut at 200 characters."""
    return repr(cut(text))


def listed(names: Iterable[object], count: int = MAX_NAMES) -> str:
    """The first `count` of `names`, each cut, and the number of the others."""
    rest = iter(names)
    first = ", ".join(map(cut, islice(rest, count)))
    more = sum(1 for _ in rest)
    return f"{first} and {more} more" if more else first
