"""Paths as users give them."""

import os
from pathlib import Path

from cache.errors import CacheError


def absolute(path: str | Path) -> Path:
    """`path` from the root of the file system, `~` being the home folder, so that a later `chdir` does not move it."""
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - Path's own fails for a file named ~x


def make_absolute(request: object, *names: str) -> None:
    """Make the paths in the fields `names` of a frozen dataclass absolute; those of None stay."""
    for name in names:
        if (path := getattr(request, name)) is not None:
            object.__setattr__(request, name, absolute(path))


def cache_root(path: str | Path) -> Path:
    """Where the cache at `path` is, or will be: absolute, without links. Raises CacheError for a link to nowhere."""
    root = absolute(path)
    if root.is_symlink() and not root.exists():
        raise CacheError(
            f"{root} is a link to {root.readlink()}, which does not exist; restore that, delete the link, or choose "
            "another path"
        )
    try:
        return root.resolve()
    except RuntimeError as error:  # before Python 3.13
        raise CacheError(f"{root} lies below a link that leads back to itself; choose another path") from error
