"""Types of command-line values: paths, bounded numbers, and lists of names."""

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cache.registry import names

UNBOUNDED = 2**31 - 1  # limits from here on are technical and hidden from the help


class ExpandedPath(click.Path):
    """A path that is not empty (an unset shell variable gives an empty one).

    A leading `~` that the shell has not expanded, as in quotes or after `=`, becomes the home folder.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; expected a path", param, ctx)
        if isinstance(value, str):
            value = os.path.expanduser(value)  # noqa: PTH111 - Path's own fails for a file named ~x
        return super().convert(value, param, ctx)


PATH = ExpandedPath(path_type=Path, readable=False)  # unreadable paths are reported where they are read


class WholeNumber(click.IntRange):
    """An integer within bounds; the help does not show technical limits."""

    def _describe_range(self) -> str:
        if self.max is not None and self.max >= UNBOUNDED:
            return "" if self.min is None else f"x>{'' if self.min_open else '='}{self.min}"
        return "" if self.min is None and self.max is None else super()._describe_range()


class FiniteFloat(click.FloatRange):
    """A number within bounds, neither infinite nor NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number

    def _describe_range(self) -> str:
        return "" if self.min is None and self.max is None else super()._describe_range()


class RegistryChoice(click.Choice[str]):
    """The name of a module in `package`, which is searched when the value is read, so that files may be added."""

    def __init__(self, package: str) -> None:
        self.package = package
        super().__init__(())

    @property
    def choices(self) -> tuple[str, ...]:
        return names(self.package)

    @choices.setter
    def choices(self, value: object) -> None:
        """Ignore what click's own constructor sets."""


class NameList(click.ParamType):
    """Distinct names in one line of CSV, normalised to Unicode NFC; if `choices` are given, only those."""

    name = "A,B,…"

    def __init__(self, choices: Sequence[str] = ()) -> None:
        self.choices = tuple(choices)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        from cache.schema import composed
        from cache.text import shown

        try:
            cells = next(csv.reader([value], skipinitialspace=True, strict=True), [])
        except csv.Error:
            cells = []
        listed = tuple(composed(cell.strip()) for cell in cells)
        if not listed or not all(name and name.isprintable() for name in listed) or len(set(listed)) != len(listed):
            self.fail(f"{shown(value)}: expected different names with commas between them", param, ctx)
        unknown = [name for name in listed if self.choices and name not in self.choices]
        if unknown:
            self.fail(f"{shown(unknown[0])} is not one of {', '.join(self.choices)}", param, ctx)
        return listed
