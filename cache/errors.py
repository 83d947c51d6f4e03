"""What can go wrong with a cache; each error is also the builtin a caller would catch."""


class CacheError(Exception):
    """The cache cannot do what was asked; the message is one line for the user."""


class NotACache(CacheError, FileNotFoundError):
    """The path holds no cache of this format."""


class RecipeMismatch(CacheError, ValueError):
    """The cache was built by another recipe than the one asked for."""


class InvalidFeatures(CacheError, ValueError):
    """Features, or what was said about them, that no cache can hold."""


class CacheLocked(CacheError, BlockingIOError):
    """Another run is writing to this cache."""


class LinkInside(CacheError, OSError):
    """A link stands where a folder or file of a cache or run was expected; nothing is written through it."""


class DamagedSample(CacheError, OSError):
    """A sample's chunk is missing or is not what its record promises; its values were not returned."""


class MissingSample(DamagedSample):
    """This sample has no chunk file."""


class UnreadableSample(CacheError, OSError):
    """A sample's chunk could not be read, for a reason that says nothing about what is in it; it may be sound."""


class UnknownSample(CacheError, KeyError):
    """No complete sample has this id."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])
