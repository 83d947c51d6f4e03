"""Reading a cache: `open_cache` and what it returns. A reader never writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from cache import catalog, store
from cache.errors import UnknownSample
from cache.lease import Lease
from cache.paths import absolute
from cache.schema import Attributes, Entry, scale_factor

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray


class Cache:
    """The complete samples of a cache, in the order of their rows. Get one by `open_cache`.

    `cache[0]`, `cache[-1]` and `cache["TRN_0001"]` return a new float32 array after comparing every byte read with the
    sample's record: (depth, height, width) in [0, 1], or for features any finite values of shape `shape`.
    It shows the cache as it was when it was opened; open it again to see samples that a running `preprocess` has
    committed since. It may be used from several threads, and pickled.
    """

    def __init__(self, path: Path, attributes: Attributes, samples: list[Entry], lease: Lease | None = None) -> None:
        self.path = path
        self._lease = lease
        self.attributes = attributes
        self.samples = samples
        self._row_of = {entry.id: number for number, entry in enumerate(samples)}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lease": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_lease": Lease(state["path"])}

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._row_of

    def __getitem__(self, key: SupportsIndex | str) -> np.ndarray:
        stored = self.stored(key)
        scale = scale_factor(self.attributes.dtype)
        if scale is None:
            return stored.astype(np.float32, copy=False)
        return np.multiply(stored, np.float32(scale), dtype=np.float32)

    def stored(self, key: SupportsIndex | str) -> np.ndarray:
        """One sample as stored: in the cache's own dtype, without `scale_factor`.

        Raises UnknownSample, IndexError, DamagedSample if the bytes differ from the record, UnreadableSample if the
        system cannot read them.
        """
        attributes = self.attributes
        return store.read_chunk(self.path, self.entry(key), self.shape, attributes.dtype, attributes.layout)

    def entry(self, key: SupportsIndex | str) -> Entry:
        """The ledger entry of one sample: its source, digests and record."""
        if isinstance(key, str):
            if key not in self._row_of:
                raise UnknownSample(f"no complete sample {key!r} in {self.path}; `.ids` lists all {len(self)}")
            return self.samples[self._row_of[key]]
        if isinstance(key, bool) or not isinstance(key, SupportsIndex):
            raise TypeError(
                f"{key!r} is neither a number nor an id; expected one sample, as in cache[0] or cache['ID']"
            )
        try:
            return self.samples[key]
        except IndexError:
            raise IndexError(f"sample {key} of {len(self)} in {self.path}") from None

    def record(self, key: SupportsIndex | str) -> dict[str, Any]:
        """The record of one sample: its file, label and group, properties of the file, notes and digests."""
        entry = self.entry(key)
        about = {"id": entry.id, "file": entry.file, "label": entry.label, "group": entry.group}
        digests = {"source digest": entry.source.digest, "chunk digest": entry.digest, "chunk bytes": entry.nbytes}
        return about | dict(entry.details) | digests

    def inputs(self) -> list[dict[str, str]]:
        """The outcome of every input, one row each: id, file, state (complete, quarantined or excluded) and reason.

        Raises NotACache if the cache has been deleted.
        """
        entries = catalog.read_entries(self.path)
        if not entries:
            catalog.read_attributes(self.path)
        return [
            {"id": entry.id, "file": entry.file, "state": entry.state, "reason": entry.reason}
            for entry in entries.values()
        ]

    @property
    def kind(self) -> str:
        """ "ct", "video" or "features"."""
        return self.attributes.kind

    @property
    def shape(self) -> tuple[int, ...]:
        """(depth, height, width) of one sample; of features (depth, channels), or (angles, depth, channels)."""
        return self.attributes.shape

    @property
    def angles(self) -> tuple[float, ...]:
        """The rotation of each set of features of a sample, in degrees; empty unless there are several sets."""
        return self.attributes.angles

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe by which samples are made from their sources."""
        return dict(self.attributes.recipe)

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of their labels."""
        return list(self.attributes.class_names)

    @property
    def ids(self) -> list[str]:
        """The ids of the samples, in the order of their rows."""
        return [entry.id for entry in self.samples]

    @property
    def labels(self) -> np.ndarray:
        """int64 (n,), an index into `class_names`; -1 where unknown."""
        return np.array([entry.label for entry in self.samples], np.int64)

    @property
    def groups(self) -> list[str]:
        """The group of each sample, such as its patient or scene; a split keeps groups together."""
        return [entry.group for entry in self.samples]

    def to_xarray(self) -> "xarray.Dataset":
        """All samples as a lazy Dataset backed by Dask, one chunk a sample; digests are checked on reading."""
        from cache.view import dataset

        return dataset(self)

    def montage(self, key: SupportsIndex | str, slices: int = 20) -> "matplotlib.figure.Figure":
        """A figure of `slices` evenly spaced slices of one sample, the first at the top left.

        Features are one image, depth by channels, of the first angle.
        """
        from cache.view import montage

        return montage(self, key, slices)

    def __repr__(self) -> str:
        return f"<Cache {self.path} · {self.kind} · {len(self)} samples of {'×'.join(map(str, self.shape))}>"

    def _repr_html_(self) -> str:
        from cache.view import summary_html

        return summary_html(self)


def open_cache(path: str | Path) -> Cache:
    """Open the cache in `path`, read-only. A damaged cache opens too; reading a damaged sample raises DamagedSample.

    `~` is the home folder; a relative path is resolved once, so a later `chdir` does no harm. Samples whose ledger line
    is lost but whose row is published are listed, so that a loss shows as an error and not as fewer samples. Raises
    NotACache where `path` holds no cache.
    """
    root = absolute(path)
    lease = Lease(root)
    attributes = catalog.read_attributes(root)
    samples = catalog.read_contents(root).ledger.in_state("complete")
    return Cache(root, attributes, sorted(samples, key=lambda entry: entry.row), lease)
