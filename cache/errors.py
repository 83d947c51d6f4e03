"""Errors of a cache; each is also the builtin exception that a caller would expect."""


class CacheError(Exception):
    """An operation on a cache failed; the message is one line for the user."""


class NotACache(CacheError, FileNotFoundError):
    """There is no cache of this format at the path."""


class RecipeMismatch(CacheError, ValueError):
    """The cache has a different recipe."""


class InvalidFeatures(CacheError, ValueError):
    """Features, or their labels, groups or names, cannot be stored in a cache."""


class CacheLocked(CacheError, BlockingIOError):
    """Another run is writing to this cache."""


class LinkInside(CacheError, OSError):
    """A folder or file of a cache or run is a link; nothing is written through it."""


class DamagedSample(CacheError, OSError):
    """The chunk of a sample is missing or differs from its record; no values were returned."""


class MissingSample(DamagedSample):
    """The chunk file of a sample does not exist."""


class UnreadableSample(CacheError, OSError):
    """The system could not read the chunk of a sample, which may be intact."""


class UnknownSample(CacheError, KeyError):
    """No complete sample has this id."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])
