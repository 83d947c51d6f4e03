"""Ids in messages about splits."""

from collections.abc import Sequence

from cache.text import shown


def some_ids(ids: Sequence[str], limit: int) -> str:
    """The first `limit` of `ids`, with "…" for more."""
    return ", ".join(map(shown, ids[:limit])) + (", …" if len(ids) > limit else "")


def plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
