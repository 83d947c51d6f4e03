"""Paths that users give."""

import os
from pathlib import Path

from cache.errors import CacheError


def absolute(path: str | Path) -> Path:
    """`path` as an absolute path, which a later `chdir` does not change; `~` is the home folder."""
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - Path's own fails for a file named ~x


def make_absolute(request: object, *names: str) -> None:
    """Make the paths in the fields `names` of a frozen dataclass absolute; None stays None."""
    for name in names:
        if (path := getattr(request, name)) is not None:
            object.__setattr__(request, name, absolute(path))


def cache_root(path: str | Path) -> Path:
    """The absolute path of the cache at `path`, links resolved. Raises CacheError for a broken link."""
    root = absolute(path)
    if root.is_symlink() and not root.exists():
        raise CacheError(
            f"{root} is a link to {root.readlink()}, which does not exist; restore it, delete the link, or choose "
            "another path"
        )
    try:
        return root.resolve()
    except RuntimeError as error:  # before Python 3.13
        raise CacheError(f"{root} is below a link that leads back to itself; choose another path") from error
