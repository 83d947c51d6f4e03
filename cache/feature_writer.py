"""The writer of a cache of features: samples are stored one by one and committed in small batches."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cache import catalog, store
from cache.durable import has_content
from cache.feature_checks import encoded_features
from cache.fingerprint import digest_bytes, digest_recipe
from cache.paths import cache_root
from cache.reader import Cache
from cache.resume import attributes_to_extend, carry_labels, free_rows
from cache.schema import MAX_SOURCES, UNLABELLED, Attributes, Entry, Source
from cache.writer import CacheWriter, open_writer

COMMIT_SAMPLES = 16  # samples are committed when this many are waiting,
COMMIT_SECONDS = 5.0  # or after this long


def is_made_from(features: Entry, sample: Entry) -> bool:
    """Whether `features` were computed from the present chunk of `sample`."""
    return bool(sample.digest) and features.source.digest == sample.digest


def source_of(volumes: Cache, key: str | int) -> Source:
    """The source of features: the chunk of a sample in `volumes`, as recorded there; -1 bytes where it is missing.

    Call this before reading the sample, so that a chunk replaced in between counts as newer.
    """
    entry = volumes.entry(key)
    file = volumes.attributes.layout.chunk(entry.row)
    root = volumes.path.resolve()
    try:
        stat = (root / file).stat()
    except OSError:
        return Source(str(root), (file,), -1, 0, entry.digest)
    return Source(str(root), (file,), stat.st_size, stat.st_mtime_ns, entry.digest)


def extractor_path(path: str | Path) -> Path:
    """The file with the weights of the extractor, if they were stored, in the format of the program that did."""
    return Path(path) / "ledger" / "extractor.npz"


class FeatureWriter:
    """The one writer of a cache of features. Made by `writing_features`."""

    def __init__(self, writer: CacheWriter) -> None:
        self._writer = writer
        self._recipe = digest_recipe(writer.attributes.recipe)
        self._rows = free_rows(writer.entries.values(), writer.reserved_rows)
        self._uncommitted: dict[str, Entry] = {}
        self._committed = time.monotonic()

    def put(
        self,
        sample_id: str,
        values: np.ndarray,
        label: int = UNLABELLED,
        group: str = "",
        source: Source = Source("", ()),  # noqa: B008 - frozen
    ) -> bool:
        """Store the `values` of one sample, of the cache's shape; return False if they were already stored.

        The sample is committed with the next batch, at the latest at the end. Raises InvalidFeatures, which names the
        sample, for values that are not finite, too large for the dtype, or of another shape.
        """
        root, attributes = self._writer.root, self._writer.attributes
        encoded = encoded_features(sample_id, values, attributes)
        digest = digest_bytes(encoded)
        existing = self._entry(sample_id)
        row = self._row(existing, digest)
        path = store.chunk_path(root, row, attributes.layout)
        is_stored = existing is not None and existing.digest == digest and has_content(path, encoded)
        if not is_stored:
            store.write_encoded(root, row, encoded, attributes.layout, self._writer.linked)
        self._record(
            Entry(
                sample_id,
                "complete",
                row=row,
                label=int(label),
                group=group,
                source=source,
                recipe=self._recipe,
                nbytes=len(encoded),
                digest=digest,
            )
        )
        return not is_stored

    def follow(self, volumes: Cache) -> list[str]:
        """Take over labels and groups from `volumes`; return the ids that changed.

        Where the volumes were moved, the recorded sources follow too.
        """
        changed = []
        for sample in volumes.samples:
            if entry := self._entry(sample.id):
                source = source_of(volumes, sample.id) if is_made_from(entry, sample) else entry.source
                self._record(entry.replace(label=sample.label, group=sample.group, source=source))
                if (entry.label, entry.group) != (sample.label, sample.group):
                    changed.append(sample.id)
        return changed

    def keep_extractor(self, data: bytes) -> None:
        """Store the weights of the extractor in `extractor_path`."""
        path = extractor_path(self._writer.root)
        if not has_content(path, data):
            self._writer.write(path.relative_to(self._writer.root).as_posix(), data)

    def commit(self) -> None:
        """Make all samples put so far durable."""
        self._writer.commit(self._uncommitted.values())
        self._uncommitted = {}
        self._committed = time.monotonic()

    def _row(self, existing: Entry | None, digest: str) -> int:
        """The row for values with `digest`; a new one where readers may have the existing chunk open."""
        if existing is None or existing.row < 0:
            return next(self._rows)
        layout = self._writer.attributes.layout
        path = store.chunk_path(self._writer.root, existing.row, layout)
        is_other = existing.digest not in ("", digest) and path.exists()
        return next(self._rows) if is_other else existing.row

    def _entry(self, sample_id: str) -> Entry | None:
        return self._uncommitted.get(sample_id) or self._writer.entries.get(sample_id)

    def _record(self, entry: Entry) -> None:
        if entry == self._entry(entry.id):
            return
        self._uncommitted[entry.id] = entry
        if len(self._uncommitted) >= COMMIT_SAMPLES or time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()


@contextmanager
def writing_features(
    path: str | Path, attributes: Attributes, ids: Collection[str], linked: str = ""
) -> Iterator[FeatureWriter]:
    """Open the cache of features in `path` for writing, and create it if it does not exist.

    `ids` are the samples that this run labels; others keep their class, by its name. When the block ends, also by an
    exception, all stored samples are committed. Raises RecipeMismatch or CacheError where `path` is something else,
    CacheLocked while another run writes.
    """
    root, relabelled = cache_root(path), set(ids)
    old = attributes_to_extend(root, attributes.recipe)
    entries = catalog.read_entries(root)
    names, moved = carry_labels(entries, relabelled, old.class_names if old else (), attributes.class_names)
    sources = tuple(dict.fromkeys((*(old.sources if old else ()), *attributes.sources)))[-MAX_SOURCES:]
    with open_writer(root, attributes.replace(class_names=names, sources=sources), entries, linked) as writer:
        writer.commit(moved.values())
        features = FeatureWriter(writer)
        try:
            yield features
        finally:
            features.commit()
