"""Checks of the arguments of `write_features`: ids, labels, groups, class names, extractor and values."""

import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cache import store
from cache.errors import InvalidFeatures
from cache.schema import MAX_ID_BYTES, UNLABELLED, Attributes, composed
from cache.text import SHOWN, cut

Extractor = str | Mapping[str, Any]


def checked_samples(
    ids: list[str], labels: Sequence[int | None] | np.ndarray | None, groups: Sequence[str | None] | None, classes: int
) -> list[tuple[str, int, str]]:
    """(id, label, group) of every sample. Raises InvalidFeatures."""
    all_labels = [None] * len(ids) if labels is None else list(labels)
    all_groups = [None] * len(ids) if groups is None else list(groups)
    if not len(ids) == len(all_labels) == len(all_groups):
        raise InvalidFeatures(
            f"{len(ids)} ids, {len(all_labels)} labels, {len(all_groups)} groups; expected equal numbers"
        )
    seen: set[str] = set()
    for name in map(checked_id, ids):
        if name in seen:
            raise InvalidFeatures(f"id {name!r} occurs twice; expected one row for each id")
        seen.add(name)
    return [
        (str(name), checked_label(name, label, classes), checked_group(name, group))
        for name, label, group in zip(ids, all_labels, all_groups, strict=True)
    ]


def checked_id(name: Any) -> str:
    """An id: printable, and a relative path that stays below its folder. Raises InvalidFeatures."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidFeatures(f"id {name!r:.{SHOWN}}; expected printable text, not empty")
    if len(name.encode()) > MAX_ID_BYTES:
        raise InvalidFeatures(f"id {cut(name)}; expected at most {MAX_ID_BYTES} bytes")
    if name.startswith("/") or ".." in name.split("/"):
        raise InvalidFeatures(f"id {name!r:.{SHOWN}}; expected a name, or a relative path without ..")
    return str(name)


def checked_label(name: str, label: Any, classes: int) -> int:
    """A label from 0 to `classes` - 1, or -1 for None. Raises InvalidFeatures."""
    if label is None:
        return UNLABELLED
    try:
        number = UNLABELLED - 1 if isinstance(label, bool) else operator.index(label)
    except TypeError:
        number = UNLABELLED - 1
    if not UNLABELLED <= number < classes:
        raise InvalidFeatures(
            f"{name}: label {label!r}; expected 0 to {classes - 1} for the {classes} class names, or None"
        )
    return number


def checked_group(name: str, group: Any) -> str:
    """A group, "" for None. Raises InvalidFeatures."""
    if group is None:
        return ""
    if not isinstance(group, str) or not all(char.isprintable() for char in group):
        raise InvalidFeatures(f"{name}: group {group!r:.{SHOWN}}; expected printable text, or None")
    if len(group.encode()) > MAX_ID_BYTES:
        raise InvalidFeatures(f"{name}: group {cut(group)}; expected at most {MAX_ID_BYTES} bytes")
    return str(group)


def checked_class_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names in Unicode NFC, all different. Raises InvalidFeatures."""
    listed = list(names)
    valid = all(isinstance(name, str) and name and name.isprintable() for name in listed)
    if isinstance(names, str) or not valid or len(set(map(composed, listed))) < len(listed):
        raise InvalidFeatures(f"class names {names!r}; expected a list of different names")
    return tuple(composed(str(name)) for name in listed)


def checked_extractor(extractor: Extractor) -> Any:
    """`extractor` as JSON stores it. Raises InvalidFeatures."""
    try:
        read_again = json.loads(json.dumps(extractor, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidFeatures(f"extractor {extractor!r:.200} is not JSON ({error}); expected text or a dict") from error
    if not isinstance(read_again, str | dict) or not read_again:
        raise InvalidFeatures(f"extractor {extractor!r:.200}; expected text or a dict that identifies the extractor")
    return read_again


def encoded_features(name: str, values: np.ndarray, attributes: Attributes) -> bytes:
    """The chunk of the features of one sample. Raises InvalidFeatures."""
    if values.shape != attributes.shape:
        raise InvalidFeatures(f"{name}: features of shape {values.shape}; expected {attributes.shape}")
    if values.dtype.kind in "cOSUMm":
        raise InvalidFeatures(f"{name}: features of dtype {values.dtype}; expected real numbers")
    try:
        return store.encode(values, attributes.dtype, attributes.layout)
    except ValueError as error:
        raise InvalidFeatures(f"{name}: {error}; leave the sample out, or compute its features again") from error
