"""Tiny caches written by `cache.store` alone."""

import re

import numpy as np

from cache import catalog, store
from cache.fingerprint import digest_files, digest_recipe
from cache.schema import Attributes, Entry, Source
from cache.writer import open_writer

SHAPE = (3, 4, 5)


def without_progress(text):
    """The output of a process without its progress lines."""
    return "".join(line for line in text.splitlines(keepends=True) if not re.match(r"\d+ of \d+ \w+, ", line))


def volume(number, shape=SHAPE):
    """The sample with this number: float32 in [0, 1], different for each number."""
    return np.random.default_rng(number).random(shape, dtype=np.float32)


def tiny_attributes(dtype="uint16", shape=SHAPE, kind="ct", class_names=("one", "two"), **recipe):
    size = dict(zip(("depth", "height", "width"), shape, strict=True))
    return Attributes(kind, {"kind": kind, **size, "dtype": dtype, **recipe}, tuple(class_names))


def write_sample(root, attributes, row, values, name=None, **fields):
    """Write the chunk of `row`, as a worker would, and return its entry; its source is a file next to the cache."""
    source = root.parent / "source" / f"{row}.nii"
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(b"source %d" % row)
    stat = source.stat()
    recorded = Source(str(source.parent), (source.name,), stat.st_size, stat.st_mtime_ns, digest_files([source]))
    nbytes, digest = store.write_chunk(root, row, values, attributes.dtype)
    name = f"s{row}" if name is None else name
    fields = {"label": row % 2, "group": f"patient {row}", "source": recorded} | fields
    recipe = digest_recipe(attributes.recipe)
    return Entry(name, "complete", row=row, recipe=recipe, nbytes=nbytes, digest=digest, **fields)


def make_cache(root, samples=3, attributes=None, names=None, labels=None, **fields):
    """Write `samples`, a number of them or their values, to the cache in `root`; an existing cache is extended."""
    attributes = attributes or tiny_attributes()
    values = [volume(row, attributes.shape) for row in range(samples)] if isinstance(samples, int) else samples
    with open_writer(root, attributes, catalog.read_entries(root)) as writer:
        for row, value in enumerate(values, start=len(writer.entries)):
            options = fields | ({"label": labels[row]} if labels else {})
            writer.commit([write_sample(root, attributes, row, value, names and names[row], **options)])
    return root


def files_of(root):
    """Every file below `root`: path → bytes."""
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
