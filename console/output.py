"""Print lines, JSON and notes."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import click


def printable(text: str) -> str:
    """`text` with control characters, line breaks and undecodable bytes escaped, safe to print to a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def print_lines(lines: Iterable[str]) -> None:
    """Print `lines` on stdout, made safe for a terminal."""
    for line in lines:
        click.echo(printable(line))


def print_json(data: Mapping[str, Any]) -> None:
    """Print `data` on stdout as indented JSON."""
    click.echo(json.dumps(data, indent=2))


def note(line: str) -> None:
    """Print `line` on stderr, made safe for a terminal."""
    click.echo(printable(line), err=True)
