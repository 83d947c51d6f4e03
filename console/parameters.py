"""Types and checks of command-line parameters."""

import csv
import os
import re
from pathlib import Path
from typing import Any

import click

ADDRESS = re.compile(r"((tcp|tls|ws|wss|ucx)://)?([^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")


class GivenPath(click.Path):
    """A path; "", as an unset variable of a shell script gives it, would mean the current folder.

    A `~` that the shell has left as it is, as in quotes or after `=`, is the home folder.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; expected a path", param, ctx)
        if isinstance(value, str):
            value = os.path.expanduser(value)  # noqa: PTH111 - Path's own fails for a file named ~x
        return super().convert(value, param, ctx)


PATH = GivenPath(path_type=Path, readable=False)  # what cannot be read is said where it is read


def one_of_both(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Refuse --workers beside --scheduler, and what cannot be an address."""
    from cache.text import shown
    from pipeline.errors import PipelineError

    other = {"workers": "scheduler", "scheduler": "workers"}[str(param.name)]
    if value is not None and ctx.params.get(other) is not None:
        raise click.UsageError("--workers starts local processes, --scheduler uses others; expected one of the two")
    if isinstance(value, str) and not ADDRESS.fullmatch(value):
        raise PipelineError(f"scheduler {shown(value)} is no address; expected one such as tcp://host:8786")
    return value


def names_from_csv(option: str, text: str | None) -> tuple[str, ...] | None:
    """The names in one line of CSV, in Unicode's NFC."""
    from cache.schema import composed
    from cache.text import shown

    if text is None:
        return None
    try:
        line = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error:
        line = []
    names = tuple(composed(name.strip()) for name in line)
    if not names or not all(name and name.isprintable() for name in names) or len(set(names)) != len(names):
        raise click.UsageError(f"{option} {shown(text)}: expected different names with commas between them")
    return names


def linked_array(root: Path, array: str, folder: Path | None) -> str:
    """`array` where its folder in the cache in `root` is a link to `folder`; empty where the user names none."""
    from cache.confined import linked_folder
    from cache.paths import absolute, cache_root

    return linked_folder(cache_root(root), array, absolute(folder)) if folder else ""


def check_drop_shared(drop_shared: bool, split: Path | None) -> None:
    if drop_shared and split is None:
        raise click.UsageError("--drop-shared is about the samples of --split; expected --split FILE too")
