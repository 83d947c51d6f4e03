"""The writer of a cache of features: one sample after the other, committed a handful at a time."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cache import catalog, store
from cache.durable import holds
from cache.feature_checks import encoded_features
from cache.fingerprint import digest_bytes, digest_recipe
from cache.paths import cache_root
from cache.reader import Cache
from cache.resume import carry_labels, existing, free_rows
from cache.schema import MAX_SOURCES, UNLABELLED, Attributes, Entry, Source
from cache.writer import CacheWriter, open_writer

HANDFUL = 16  # samples that are committed together,
HANDFUL_SECONDS = 5.0  # or whatever there is after this long


def is_made_from(features: Entry, sample: Entry) -> bool:
    return bool(sample.digest) and features.source.digest == sample.digest


def source_of(volumes: Cache, key: str | int) -> Source:
    """The source of features: one sample's chunk in `volumes`, as recorded there; -1 bytes where there is none.

    Take it before reading the sample: a chunk that is replaced in between is then seen to be newer.
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
    """Where a cache of features keeps its extractor, where that was kept: bytes that its own program knows."""
    return Path(path) / "ledger" / "extractor.npz"


class FeatureWriter:
    """The one writer of a cache of features. Made by `writing_features`."""

    def __init__(self, writer: CacheWriter) -> None:
        self._writer = writer
        self._recipe = digest_recipe(writer.attributes.recipe)
        self._rows = free_rows(writer.entries.values(), writer.reserved_rows)
        self._waiting: dict[str, Entry] = {}
        self._committed = time.monotonic()

    def put(
        self,
        sample_id: str,
        values: np.ndarray,
        label: int = UNLABELLED,
        group: str = "",
        source: Source = Source("", ()),  # noqa: B008 - frozen
    ) -> bool:
        """Store one sample's `values`, of the cache's shape; False where they were there already.

        It is committed with the next handful, and at the end at the latest. Raises InvalidFeatures, naming the sample,
        for values that are not finite, too large for the dtype, or of another shape.
        """
        root, attributes = self._writer.root, self._writer.attributes
        encoded = encoded_features(sample_id, values, attributes)
        digest = digest_bytes(encoded)
        known = self._known(sample_id)
        row = self._row(known, digest)
        path = store.chunk_path(root, row, attributes.layout)
        there = known is not None and known.digest == digest and holds(path, encoded)
        if not there:
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
        return not there

    def follow(self, volumes: Cache) -> list[str]:
        """Give the samples that are here the label and group that `volumes` has for them; the ids that changed.

        Where the volumes were moved, what is recorded of each source follows too.
        """
        changed = []
        for sample in volumes.samples:
            if known := self._known(sample.id):
                source = source_of(volumes, sample.id) if is_made_from(known, sample) else known.source
                self._record(known.replace(label=sample.label, group=sample.group, source=source))
                if (known.label, known.group) != (sample.label, sample.group):
                    changed.append(sample.id)
        return changed

    def keep_extractor(self, data: bytes) -> None:
        """Keep what made the features beside them, as `extractor_path` has it."""
        path = extractor_path(self._writer.root)
        if not holds(path, data):
            self._writer.write(path.relative_to(self._writer.root).as_posix(), data)

    def commit(self) -> None:
        """Make all samples put so far durable."""
        self._writer.commit(self._waiting.values())
        self._waiting = {}
        self._committed = time.monotonic()

    def _row(self, known: Entry | None, digest: str) -> int:
        """Where to store what has `digest`: in another row than what readers may have open."""
        if known is None or known.row < 0:
            return next(self._rows)
        layout = self._writer.attributes.layout
        replaces = known.digest not in ("", digest) and store.chunk_path(self._writer.root, known.row, layout).exists()
        return next(self._rows) if replaces else known.row

    def _known(self, sample_id: str) -> Entry | None:
        return self._waiting.get(sample_id) or self._writer.entries.get(sample_id)

    def _record(self, entry: Entry) -> None:
        if entry == self._known(entry.id):
            return
        self._waiting[entry.id] = entry
        if len(self._waiting) >= HANDFUL or time.monotonic() - self._committed > HANDFUL_SECONDS:
            self.commit()


@contextmanager
def writing_features(
    path: str | Path, attributes: Attributes, ids: Collection[str], linked: str = ""
) -> Iterator[FeatureWriter]:
    """Open the cache of features in `path` for writing, making it where there is none.

    `ids` are the samples whose label this run tells; others that are there keep their class by its name. However the
    block ends, short of a kill, what was put is committed. Raises RecipeMismatch or CacheError where `path` is
    something else, CacheLocked while another run writes.
    """
    root, told = cache_root(path), set(ids)
    old = existing(root, attributes.recipe)
    entries = catalog.read_entries(root)
    names, moved = carry_labels(entries, told, old.class_names if old else (), attributes.class_names)
    sources = tuple(dict.fromkeys((*(old.sources if old else ()), *attributes.sources)))[-MAX_SOURCES:]
    with open_writer(root, attributes.replace(class_names=names, sources=sources), entries, linked) as writer:
        writer.commit(moved.values())
        features = FeatureWriter(writer)
        try:
            yield features
        finally:
            features.commit()
