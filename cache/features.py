"""Caches of features: what any extractor gives for each sample, (depth, channels), or one such set for each angle.

`write_features` stores an array of any origin. A program that makes features of a volume cache's samples, one after the
other, does

    attributes = feature_attributes(70, 512, volumes.class_names, extractor, volumes=volumes)
    work = pending(volumes, path, attributes)
    with writing_features(path, attributes, volumes.ids) as features:
        features.follow(volumes)
        for name in work.to_make:
            entry, source = volumes.entry(name), source_of(volumes, name)
            features.put(name, extract(volumes[name]), entry.label, entry.group, source)

The source of such a sample is its chunk in the volume cache, with the digest recorded there: that is how `pending` and
`verify` find features of volumes that were made again. Samples of `write_features` have no source and are never stale.
Everything else - rows, ledger, lock, what a kill leaves - is as for volumes (`store.py`).
"""

import json
import operator
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cache import catalog, store
from cache.durable import holds
from cache.errors import DamagedSample, InvalidFeatures
from cache.fingerprint import digest_bytes, digest_recipe
from cache.paths import absolute, cache_root
from cache.reader import Cache, open_cache
from cache.resume import carry_labels, existing, free_rows
from cache.schema import FEATURES, MAX_ID_BYTES, MAX_SOURCES, UNLABELLED, Attributes, Entry, Source, composed
from cache.text import SHOWN, cut
from cache.writer import CacheWriter, open_writer

VERSION = 1  # counts up when the same extractor over the same volumes would be stored otherwise
HANDFUL = 16  # samples that are committed together,
HANDFUL_SECONDS = 5.0  # or whatever there is after this long

Extractor = str | Mapping[str, Any]


class Rows(Protocol):
    """What `write_features` needs of an array: NumPy's, a memmap, or anything else that gives one row at a time."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, number: int, /) -> Any: ...


# -- an array of any origin --------------------------------------------------------------------------------------------


def write_features(
    path: str | Path,
    ids: Sequence[str],
    labels: Sequence[int | None] | np.ndarray | None,
    groups: Sequence[str | None] | None,
    array: Rows,
    class_names: Sequence[str],
    extractor: Extractor,
    dtype: str | None = None,
) -> Cache:
    """Store `array` (n, depth, channels) as the features of `ids` in a cache at `path`, and open that.

    `labels` count from 0 into `class_names`, -1 or None where unknown; `groups` name what must stay on one side of a
    split, None for a sample on its own. `extractor` is text or JSON that says what made the features. `dtype` is
    float16 or float32; by default that of `array`, or float32. Rows are read one at a time.

    Where `path` has features of the same extractor, shape and dtype, samples of other ids stay, equal ones are kept
    and changed ones replaced; so after a kill, or after an error in a row, the same call goes on where it was. Raises
    InvalidFeatures for values that cannot be stored, RecipeMismatch or CacheError where `path` is something else.
    """
    path = absolute(path)
    names = _checked_class_names(class_names)
    samples = _checked_samples(list(ids), labels, groups, len(names))
    shape = tuple(array.shape)
    if len(shape) != 3 or shape[0] != len(samples):
        raise InvalidFeatures(f"array of shape {shape}; expected ({len(samples)} ids, depth, channels)")
    given = getattr(array.dtype, "name", "")
    stored = dtype or (given if given in FEATURES.dtypes else "float32")
    attributes = feature_attributes(int(shape[1]), int(shape[2]), names, extractor, dtype=stored)
    with writing_features(path, attributes, {name for name, _, _ in samples}) as features:
        for number, (name, label, group) in enumerate(samples):
            features.put(name, np.asarray(array[number]), label, group)
    return open_cache(path)


# -- features of a volume cache ----------------------------------------------------------------------------------------


def feature_attributes(
    depth: int,
    channels: int,
    class_names: Sequence[str],
    extractor: Extractor,
    *,
    dtype: str = "float16",
    angles: Sequence[float] = (),
    volumes: Cache | None = None,
) -> Attributes:
    """What a cache of features says about itself. Its recipe holds that of `volumes`, the cache they come from.

    With `angles`, in degrees, a sample has one set of features for each. Raises InvalidFeatures.
    """
    size = {"dtype": dtype, "depth": depth, "channels": channels}
    turned = {"angles": [float(angle) for angle in angles]} if len(angles) else {}  # 0 and 0.0 are one recipe
    origin = {} if volumes is None else {"source": volumes.recipe}
    sources = () if volumes is None else (str(volumes.path.resolve()),)
    made_by = {"extractor": _checked_extractor(extractor)}
    recipe = {"kind": "features", "version": VERSION, **size, **turned, **made_by, **origin}
    try:
        return Attributes("features", recipe, tuple(class_names), sources)
    except ValueError as error:
        raise InvalidFeatures(f"features cannot be stored so: {error}") from error


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


@dataclass
class Pending:
    """What features lack of a volume cache: `to_make` are the ids that are missing, stale or damaged.

    `kept` counts those that need nothing but perhaps a label; `vanished` are ids that the volume cache has no more:
    their features stay.
    """

    to_make: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    kept: int = 0


def pending(volumes: Cache, path: str | Path, attributes: Attributes) -> Pending:
    """Compare the samples of `volumes` with the features in `path`; nothing is written.

    Features are fresh while they are of this recipe and of the chunk that the volume cache has on record, and whole.
    Raises RecipeMismatch or CacheError where `path` cannot take features of `attributes`.
    """
    root = cache_root(path)
    entries = catalog.read_entries(root) if existing(root, attributes.recipe) else {}
    recipe = digest_recipe(attributes.recipe)
    work = Pending()
    for sample in volumes.samples:
        known = entries.get(sample.id)
        if known and known.recipe == recipe and _is_made_of(known, sample) and _is_whole(root, known, attributes):
            work.kept += 1
        else:
            work.to_make.append(sample.id)
    work.vanished = [name for name in entries if name not in volumes]
    return work


def _is_made_of(features: Entry, sample: Entry) -> bool:
    return bool(sample.digest) and features.source.digest == sample.digest


def _is_whole(root: Path, entry: Entry, attributes: Attributes) -> bool:
    try:
        store.check_chunk(root, entry, attributes.layout)
        return True
    except DamagedSample:
        return False


# -- writing -----------------------------------------------------------------------------------------------------------


def extractor_path(path: str | Path) -> Path:
    """Where a cache of features keeps its extractor, where that was kept: bytes that its own program knows."""
    return Path(path) / "ledger" / "extractor.npz"


class FeatureWriter:
    """The one writer of a cache of features. Made by `writing_features`."""

    def __init__(self, writer: CacheWriter) -> None:
        self._writer = writer
        self._recipe = digest_recipe(writer.attributes.recipe)
        self._rows = free_rows(writer.entries.values(), writer.kept)
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
        encoded = _encoded(sample_id, values, attributes)
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
                source = source_of(volumes, sample.id) if _is_made_of(known, sample) else known.source
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


def _encoded(name: str, values: np.ndarray, attributes: Attributes) -> bytes:
    if values.shape != attributes.shape:
        raise InvalidFeatures(f"{name}: features of shape {values.shape}; expected {attributes.shape}")
    if values.dtype.kind in "cOSUMm":
        raise InvalidFeatures(f"{name}: features of dtype {values.dtype}; expected real numbers")
    try:
        return store.encode(values, attributes.dtype, attributes.layout)
    except ValueError as error:
        raise InvalidFeatures(f"{name}: {error}; leave the sample out, or make its features again") from error


# -- what callers give -------------------------------------------------------------------------------------------------


def _checked_samples(
    ids: list[str], labels: Sequence[int | None] | np.ndarray | None, groups: Sequence[str | None] | None, classes: int
) -> list[tuple[str, int, str]]:
    """(id, label, group) of every sample. Raises InvalidFeatures."""
    given_labels = [None] * len(ids) if labels is None else list(labels)
    given_groups = [None] * len(ids) if groups is None else list(groups)
    if not len(ids) == len(given_labels) == len(given_groups):
        raise InvalidFeatures(
            f"{len(ids)} ids, {len(given_labels)} labels, {len(given_groups)} groups; expected as many of each"
        )
    seen: set[str] = set()
    for name in map(_checked_id, ids):
        if name in seen:
            raise InvalidFeatures(f"the id {name!r} is given twice; expected one row for each id")
        seen.add(name)
    return [
        (str(name), _checked_label(name, label, classes), _checked_group(name, group))
        for name, label, group in zip(ids, given_labels, given_groups, strict=True)
    ]


def _checked_id(name: Any) -> str:
    """A name such as a path below a folder: printable, not absolute, not leaving that folder."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidFeatures(f"id {name!r:.{SHOWN}}; expected text that can be printed, and not empty")
    if len(name.encode()) > MAX_ID_BYTES:
        raise InvalidFeatures(f"id {cut(name)}; expected at most {MAX_ID_BYTES} bytes")
    if name.startswith("/") or ".." in name.split("/"):
        raise InvalidFeatures(f"id {name!r:.{SHOWN}}; expected a name, or a path without .. that does not begin with /")
    return str(name)


def _checked_label(name: str, label: Any, classes: int) -> int:
    if label is None:
        return UNLABELLED
    try:
        number = UNLABELLED - 1 if isinstance(label, bool) else operator.index(label)
    except TypeError:
        number = UNLABELLED - 1
    if not UNLABELLED <= number < classes:
        raise InvalidFeatures(
            f"{name}: label {label!r}; expected 0 to {classes - 1} for the {classes} class names, or None"
        )
    return number


def _checked_group(name: str, group: Any) -> str:
    if group is None:
        return ""
    if not isinstance(group, str) or not all(char.isprintable() for char in group):
        raise InvalidFeatures(f"{name}: group {group!r:.{SHOWN}}; expected text that can be printed, or None")
    if len(group.encode()) > MAX_ID_BYTES:
        raise InvalidFeatures(f"{name}: group {cut(group)}; expected at most {MAX_ID_BYTES} bytes")
    return str(group)


def _checked_class_names(names: Sequence[str]) -> tuple[str, ...]:
    listed = list(names)
    sound = all(isinstance(name, str) and name and name.isprintable() for name in listed)
    if isinstance(names, str) or not sound or len(set(map(composed, listed))) < len(listed):
        raise InvalidFeatures(f"class names {names!r}; expected a list of different names")
    return tuple(composed(str(name)) for name in listed)


def _checked_extractor(extractor: Extractor) -> Any:
    """`extractor` as it is when read again from JSON."""
    try:
        read_again = json.loads(json.dumps(extractor, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidFeatures(f"extractor {extractor!r:.200} is no JSON ({error}); expected text or a dict") from error
    if not isinstance(read_again, str | dict) or not read_again:
        raise InvalidFeatures(f"extractor {extractor!r:.200}; expected text or a dict that says what made the features")
    return read_again
