"""Reading a cache: `open_cache` and what it returns. A reader never writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache import ledger, store
from cache.errors import UnknownSample
from cache.schema import Attributes, Entry, scale_factor

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray


class Cache:
    """The complete samples of a cache, in the order of their rows. Get one by `open_cache`.

    `cache[0]`, `cache[-1]` and `cache["TRN_0001"]` return a new float32 array (depth, height, width) in [0, 1], after
    comparing every byte read with the sample's record. The view is the moment's: samples that a running
    `preprocess` commits later are seen by opening the cache again. Safe to use from several threads, and to pickle.
    """

    def __init__(self, path: Path, attributes: Attributes, samples: list[Entry]) -> None:
        self.path = path
        self.attributes = attributes
        self.samples = samples
        self._row_of = {entry.id: number for number, entry in enumerate(samples)}

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._row_of

    def __getitem__(self, key: int | str) -> np.ndarray:
        stored = self.stored(key)
        values = stored.astype(np.float32)
        scale = scale_factor(self.attributes.dtype)
        return values if scale is None else np.multiply(values, np.float32(scale), out=values)

    def stored(self, key: int | str) -> np.ndarray:
        """One sample as it is stored: the cache's own dtype, `scale_factor` not yet applied.

        Raises UnknownSample, IndexError, or DamagedSample where the bytes are not what was written.
        """
        return store.read_chunk(self.path, self.entry(key), self.shape, self.attributes.dtype)

    def entry(self, key: int | str) -> Entry:
        """The ledger entry of one sample: its source, digests and record."""
        if isinstance(key, str):
            if key not in self._row_of:
                raise UnknownSample(
                    f"no complete sample {key!r} in {self.path}; `.ids` lists the {len(self)} there are"
                )
            return self.samples[self._row_of[key]]
        return self.samples[key]

    @property
    def kind(self) -> str:
        """ "ct" or "video"."""
        return self.attributes.kind

    @property
    def shape(self) -> tuple[int, int, int]:
        """(depth, height, width) of one sample."""
        return self.attributes.shape

    @property
    def recipe(self) -> dict[str, Any]:
        """What made the samples out of their sources."""
        return dict(self.attributes.recipe)

    @property
    def class_names(self) -> list[str]:
        return list(self.attributes.class_names)

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.samples]

    @property
    def labels(self) -> np.ndarray:
        """int64 (n,), an index into `class_names`; -1 where unknown."""
        return np.array([entry.label for entry in self.samples], np.int64)

    @property
    def groups(self) -> list[str]:
        """For each sample what must stay on one side of a split: its patient, or the scene of a clip."""
        return [entry.group for entry in self.samples]

    def to_xarray(self) -> "xarray.Dataset":
        """All samples as a lazy Dataset backed by Dask, one chunk a sample; reading checks digests as `[]` does."""
        from cache.view import dataset

        return dataset(self)

    def montage(self, key: int | str, slices: int = 20) -> "matplotlib.figure.Figure":
        """A figure of `slices` evenly spaced slices of one sample, the first at the top left."""
        from cache.view import montage

        return montage(self, key, slices)

    def __repr__(self) -> str:
        depth, height, width = self.shape
        return f"<Cache {self.path} · {self.kind} · {len(self)} samples of {depth}×{height}×{width}>"

    def _repr_html_(self) -> str:
        from cache.view import summary_html

        return summary_html(self)


def open_cache(path: str | Path) -> Cache:
    """Open the cache in `path`, read-only; a damaged one opens too, and raises when a damaged sample is read.

    Raises NotACache where `path` holds no cache. Samples whose ledger line was lost but which the published index
    still names are listed, so that a loss is met as an error and not as a shorter data set.
    """
    root = Path(path)
    attributes = store.read_attributes(root)
    entries = ledger.load(store.ledger_path(root)).entries
    samples = [entry for entry in entries.values() if entry.state == "complete"]
    samples += lost_entries(root, entries)
    return Cache(root, attributes, sorted(samples, key=lambda entry: entry.row))


def lost_entries(root: Path, entries: dict[str, Entry]) -> list[Entry]:
    """Samples that the published arrays name and the ledger does not know: without a record to check them by."""
    return [sample for sample in published_samples(root) if sample.id not in entries]


def published_samples(root: Path) -> list[Entry]:
    """What the published arrays, which plain Zarr users read, say is there; empty where they cannot be read."""
    import zarr

    try:
        columns = [zarr.open_array(root / name, mode="r")[:] for name in ("sample_id", "label", "group")]
        ids, labels, groups = (np.asarray(column).tolist() for column in columns)
    except Exception:  # noqa: BLE001 - a damaged array raises whatever its codec meets; `verify` reports it
        return []
    return [
        Entry(name, "complete", row=row, label=label, group=group, reason="its ledger line is lost")
        for row, (name, label, group) in enumerate(zip(ids, labels, groups, strict=False))
        if name
    ]
