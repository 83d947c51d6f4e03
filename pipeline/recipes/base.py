"""The base class of recipes: sizes, checks of fields, and the sample that a recipe makes.

A recipe is one frozen value. Its JSON is stored in the cache and decides, together with the bytes of the source files,
whether a sample is up to date. `VERSION` is increased when the same fields would give other arrays. The fields of a
recipe are also the options of its command, so this package imports nothing heavy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from cache import registry
from cache.schema import DTYPES, MAX_SAMPLE_BYTES
from cache.text import cut
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
Dtype = Literal["uint8", "uint16", "float16", "float32"]


@dataclass(frozen=True)
class Sample:
    """One sample.

    Arguments:
        values: (depth, height, width), float32 in [0, 1], or already in the stored dtype.
        digest: xxh3_128 of the bytes of the source files.
        details: its record in the ledger, ready for JSON, with `notes` and `flags`.
    """

    values: np.ndarray
    digest: str
    details: dict[str, Any]


class Recipe(msgspec.Struct, frozen=True):
    """How a source file becomes a sample. Raises PipelineError where a field is out of bounds."""

    kind: ClassVar[str]
    depth: Annotated[int, Meta(ge=2, le=4096, description="Slices or frames of a sample.")] = 70
    height: Annotated[int, Meta(ge=2, le=4096, description="Rows of a sample.")] = 224
    width: Annotated[int, Meta(ge=2, le=4096, description="Columns of a sample.")] = 224

    def __post_init__(self) -> None:
        _check_fields(self)
        dtype = self.dtype
        nbytes = math.prod((self.depth, self.height, self.width, DTYPES[dtype]))
        if nbytes > MAX_SAMPLE_BYTES:
            raise PipelineError(
                f"a sample of {self.depth}×{self.height}×{self.width} {dtype} has {nbytes / 1e9:.1f} GB; "
                "expected at most 2.1 GB"
            )

    if TYPE_CHECKING:  # each kind has its own default

        @property
        def dtype(self) -> str: ...

    @classmethod
    def completed(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """`options`, the fields that the user set, and the values of other fields that follow from them."""
        return dict(options)

    def to_json(self) -> dict[str, Any]:
        """The JSON in the cache: `kind`, `version` and every field, in a fixed order."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, data: Any) -> Recipe:
        """The recipe of a cache. Raises KeyError, TypeError, ValueError or PipelineError for any other data."""
        raise NotImplementedError

    def make(self, paths: tuple[Path, ...]) -> Sample:
        """Make the sample in `paths`. Raises InvalidInput where they hold none, OSError where they are unreadable."""
        raise NotImplementedError


def choices(kind: Any) -> tuple[str, ...]:
    """The values that a field's type allows: those of a Literal or the names in a registry; empty for other types."""
    if get_origin(kind) is Annotated:
        kind, *metas = get_args(kind)
        packages = [(meta.extra or {}).get("registry") for meta in metas if isinstance(meta, Meta)]
        if package := next(filter(None, packages), None):
            return registry.names(package)
    return get_args(kind) if get_origin(kind) is Literal else ()


def _check_fields(recipe: Recipe) -> None:
    for field in msgspec.structs.fields(recipe):
        value, allowed = getattr(recipe, field.name), choices(field.type)
        try:
            msgspec.convert(value, field.type)
            is_valid = not allowed or value in allowed
        except msgspec.ValidationError:
            is_valid = False
        if not is_valid:
            given = repr(value) if isinstance(value, str) else value
            raise PipelineError(f"{field.name} {cut(given)}; expected {_expected(field.type, allowed)}")


def _expected(kind: Any, allowed: tuple[str, ...]) -> str:
    if allowed:
        return f"one of {', '.join(allowed)}"
    meta = next((meta for meta in get_args(kind)[1:] if isinstance(meta, Meta)), Meta())
    return f"{meta.ge} to {meta.le}" if meta.ge is not None else "a value of another type"
