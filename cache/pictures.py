"""Matplotlib by its own defaults: what a user's matplotlibrc says is for their other pictures."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from cache.errors import CacheError

OF_THE_SESSION = ("backend", "backend_fallback", "interactive")  # settings that are not about how a picture looks


@contextmanager
def own_settings() -> Iterator[None]:
    """Draw and save pictures in the block, or the decorated function, by Matplotlib's defaults and without its chatter.

    Raises CacheError where Matplotlib cannot be loaded, as with a matplotlibrc that is not text.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # not what is odd about a matplotlibrc, or that fonts are looked up again
    try:
        matplotlib = _load()
        with matplotlib.rc_context():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
                defaults = matplotlib.rcParamsDefault
                matplotlib.rcParams.update({key: defaults[key] for key in defaults if key not in OF_THE_SESSION})
            yield
    finally:
        logger.setLevel(level)


def _load() -> ModuleType:
    try:
        import matplotlib
        import matplotlib.figure
    except Exception as error:  # whatever the settings of the machine make of it
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CacheError(
            f"cannot load Matplotlib ({reason}); check the matplotlibrc in the current folder or in "
            "~/.config/matplotlib, MPLBACKEND and MPLCONFIGDIR"
        ) from error
    return matplotlib
