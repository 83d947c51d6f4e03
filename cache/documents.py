"""Typed JSON documents: declared once as a `Document`, checked whenever one is made or read.

A field's annotation holds its type, bounds and description, so that checks, command-line options and documentation
come from one line:

    epochs: Annotated[int, Meta(ge=1, lt=2**31, description="Largest number of epochs.")] = 100

`Meta.extra` may hold `registry`, a package whose modules are the choices (see `cache.registry`).
"""

import math
import reprlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, structs

from cache.registry import names
from cache.text import SHOWN

T = TypeVar("T", bound="Document")
R = TypeVar("R", bound="Record")
MAX_MESSAGE = 400  # characters
META_FIELDS = ("gt", "ge", "lt", "le", "max_length", "description", "extra")
NOUNS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class InvalidDocument(ValueError):
    """A value, or a document that was read, is not what its type says."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frozen value whose fields are checked when it is read, and trusted when our own code makes it."""

    def replace(self, **changes: Any) -> Self:
        """A copy with these fields changed."""
        return structs.replace(self, **changes)


class Document(Record, frozen=True):
    """A frozen value whose fields are checked whenever it is made. Raises InvalidDocument."""

    def __post_init__(self) -> None:
        for name, annotation in annotations(type(self)).items():
            structs.force_setattr(self, name, checked(name, getattr(self, name), annotation))

    def to_json(self) -> dict[str, Any]:
        """All fields as values that JSON has."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}


def annotations(kind: type) -> dict[str, Any]:
    """The annotation of each field, `Annotated` included."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hints[name] for name in kind.__struct_fields__}  # type: ignore[attr-defined]


def meta(annotation: Any) -> Meta:
    """The description and bounds of a field; an empty one where it has none."""
    extras = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    set_by_any = {
        name: value
        for extra in extras
        if isinstance(extra, Meta)
        for name in META_FIELDS
        if (value := getattr(extra, name)) is not None
    }
    return Meta(**set_by_any)


def plain(annotation: Any) -> Any:
    """The type of a field without its description and bounds."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def choices(annotation: Any) -> tuple[str, ...]:
    """The values that a field may have: of a Literal, or the modules of a registry; none where any value will do."""
    kind = plain(annotation)
    if get_origin(kind) is tuple:
        return choices(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return get_args(kind)
    registry = (meta(annotation).extra or {}).get("registry")
    return names(registry) if registry else ()


def checked(name: str, value: Any, annotation: Any) -> Any:
    """`value` as the field `name` holds it. Raises InvalidDocument where its type or size is another."""
    try:
        result = msgspec.convert(value, annotation, strict=True)
    except (msgspec.ValidationError, OverflowError) as error:
        raise InvalidDocument(f"{name} {_short(value)}; expected {expected(annotation)}") from error
    allowed = choices(annotation)
    values = result if isinstance(result, tuple) else (result,)
    if (type(value) is not type(result) and plain(annotation) is int) or (allowed and not {*values} <= {*allowed}):
        raise InvalidDocument(f"{name} {_short(value)}; expected {expected(annotation)}")
    if isinstance(result, float) and not math.isfinite(result):
        raise InvalidDocument(f"{name} {result}; expected {expected(annotation)}")
    return result


def _short(value: Any) -> str:
    """The beginning of the repr of a value, which may be very long."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = SHOWN
    short.maxlist = short.maxtuple = short.maxdict = SHOWN // 4
    return short.repr(value)[:SHOWN]


def expected(annotation: Any) -> str:
    """The expected values of a field, in words."""
    if allowed := choices(annotation):
        several = get_origin(plain(annotation)) is tuple
        return f"{'some' if several else 'one'} of {', '.join(allowed)}"
    bounds = meta(annotation)
    if bounds.gt is not None and bounds.lt is not None and plain(annotation) is float:
        return f"a number between {bounds.gt} and {bounds.lt}"
    text = NOUNS.get(plain(annotation), "a list" if get_origin(plain(annotation)) is tuple else "an object")
    if bounds.ge is not None:
        return f"{text}, at least {bounds.ge}"
    return f"{text} above {bounds.gt}" if bounds.gt is not None else text


def convert(kind: type[R], data: Any) -> R:
    """The record of this kind in `data`, values as JSON has them. Raises InvalidDocument."""
    try:
        return msgspec.convert(data, kind, strict=True)
    except (msgspec.ValidationError, OverflowError) as error:
        raise InvalidDocument(f"{error}"[:MAX_MESSAGE]) from error


def from_json(kind: type[T], data: Mapping[str, Any], complete: bool = False) -> T:
    """The document of this kind in `data`, a JSON object. Raises InvalidDocument for unknown, missing or wrong keys.

    With `complete` every key must be present; otherwise a field that has a default may be left out.
    """
    fields = structs.fields(kind)
    known = [field.encode_name for field in fields]
    for name in data:
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise InvalidDocument(f"unknown key {name!r:.200}" + (f"; did you mean {near[0]!r}?" if near else ""))
    for field in fields:
        if (complete or field.required) and field.encode_name not in data:
            raise InvalidDocument(f"no key {field.encode_name!r}")
    return kind(**{field.name: data[field.encode_name] for field in fields if field.encode_name in data})
