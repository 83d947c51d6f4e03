"""An error of the system while writing a cache → one line for the user."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache.errors import CacheError
from cache.oserrors import reason, remedy

# Errors whose path the user must see.
NAMED = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)


@contextmanager
def write_errors(root: Path) -> Iterator[None]:
    """Convert an OSError to a CacheError that says what to do."""
    try:
        yield
    except CacheError:  # some are also an OSError
        raise
    except OSError as error:
        advice = remedy(error, "choose a CACHE that can be written")
        file = f" ({error.filename})" if isinstance(error, NAMED) and error.filename else ""
        raise CacheError(f"cannot write to {root}: {reason(error)}{file}; {advice}") from error
