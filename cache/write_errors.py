"""What the system says when a cache cannot be written → one line for the user."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache.errors import CacheError
from cache.oserrors import reason, remedy

NAMED = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)  # of which the user must see the path


@contextmanager
def write_errors(root: Path) -> Iterator[None]:
    """Turn an OSError into the CacheError that tells the user what to do."""
    try:
        yield
    except CacheError:  # some are an OSError too
        raise
    except OSError as error:
        todo = remedy(error, "choose a CACHE that can be written")
        file = f" ({error.filename})" if isinstance(error, NAMED) and error.filename else ""
        raise CacheError(f"cannot write to {root}: {reason(error)}{file}; {todo}") from error
