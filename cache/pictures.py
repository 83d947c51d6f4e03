"""Matplotlib with its default settings: a user's matplotlibrc is for their other pictures."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from cache.errors import CacheError

# Settings that do not affect how a picture looks.
SESSION_SETTINGS = ("backend", "backend_fallback", "interactive")


@contextmanager
def own_settings() -> Iterator[None]:
    """A block or decorated function that draws with Matplotlib's default settings, and without its log messages.

    Raises CacheError where Matplotlib cannot be loaded, for example because of a matplotlibrc that is not text.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # no remarks about a matplotlibrc or fonts
    try:
        matplotlib = _load()
        with matplotlib.rc_context():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
                defaults = matplotlib.rcParamsDefault
                matplotlib.rcParams.update({key: defaults[key] for key in defaults if key not in SESSION_SETTINGS})
            yield
    finally:
        logger.setLevel(level)


def _load() -> ModuleType:
    try:
        import matplotlib
        import matplotlib.figure
    except Exception as error:  # settings of the machine can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CacheError(
            f"cannot load Matplotlib ({reason}); check the matplotlibrc in the current folder or in "
            "~/.config/matplotlib, MPLBACKEND and MPLCONFIGDIR"
        ) from error
    return matplotlib
