"""Options that several commands share: structs whose fields are the options (see `console.options`)."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from console.output import note, print_json, print_lines

TASK_SECONDS = 300.0  # for one scan or clip


def flag(option: str, text: str) -> Meta:
    """The declaration of a flag, which is False by default."""
    return Meta(description=text, extra={"option": option})


class Output(msgspec.Struct, frozen=True):
    """How a command prints its result."""

    as_json: Annotated[bool, flag("--json", "Print the result as JSON.")] = False
    quiet: Annotated[bool, flag("--quiet", "Print errors only: no progress, no tables.")] = False

    def show(
        self, data: Callable[[], Mapping[str, Any]], lines: Callable[[], Iterable[str]], even_if_quiet: bool = False
    ) -> None:
        """Print the JSON that `data` returns, or the text that `lines` returns, or nothing if quiet."""
        if self.as_json:
            print_json(data())
        elif even_if_quiet or not self.quiet:
            print_lines(lines())

    def note(self, line: str) -> None:
        """Print a remark on stderr, or nothing if quiet."""
        if not self.quiet:
            note(line)


class Storage(msgspec.Struct, frozen=True):
    """Where the arrays of a cache are."""

    linked_volume: Annotated[
        Path | None,
        Meta(
            description="The folder of arrays in the cache is a link to DIR, on a disk with more space.",
            extra={"metavar": "DIR"},
        ),
    ] = None

    def linked_array(self, root: Path, array: str) -> str:
        """`array` where its folder in the cache in `root` is a link to --linked-volume; "" without that option."""
        from cache.confined import linked_folder
        from cache.paths import absolute, cache_root

        folder = self.linked_volume
        return linked_folder(cache_root(root), array, absolute(folder)) if folder else ""


class Reading(msgspec.Struct, frozen=True):
    """How a cache is read."""

    readers: Annotated[int, Meta(ge=1, description="Threads that read from the cache.")] = 2


class Features(msgspec.Struct, frozen=True):
    """Cached features instead of volumes."""

    features: Annotated[
        Path | None, Meta(description="Cached features of CACHE, so that the backbone need not run.")
    ] = None
