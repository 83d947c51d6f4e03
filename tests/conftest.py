"""What several test files share: a tiny cache made by `cache.store` alone, and the real samples where they are."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from cache import store
from cache.fingerprint import digest_files, digest_recipe
from cache.schema import Attributes, Entry, Source

SHAPE = (3, 4, 5)

if "PYTEST_XDIST_WORKER" in os.environ:  # a process on each core is enough
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# No test judges how fast a machine is. Examples of one test share its fixtures: each writes its own files.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background; what tests start must get Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """No test cuts the power: what is flushed, and when, is tested by recording the calls."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def no_lines_for_the_patient(monkeypatch):
    """A slow machine says how far it is every few seconds; tests that compare what is said would depend on it."""
    monkeypatch.setattr("cli.LINE_SECONDS", float("inf"))


def without_progress(text):
    """What a process that a test started said, but for how far it was."""
    return "".join(line for line in text.splitlines(keepends=True) if not re.match(r"\d+ of \d+ \w+, ", line))


@pytest.fixture(scope="session")
def real_data():
    """The folder of real scans and clips."""
    folder = Path(__file__).resolve().parents[2] / "shared/data"
    if not folder.is_dir():
        pytest.skip(f"the real samples are not here ({folder})")
    return folder


def volume(number, shape=SHAPE):
    """The sample of this number: float32 in [0, 1], unlike any other."""
    return np.random.default_rng(number).random(shape, dtype=np.float32)


def tiny_attributes(dtype="uint16", shape=SHAPE, kind="ct", class_names=("one", "two"), **recipe):
    size = dict(zip(("depth", "height", "width"), shape, strict=True))
    return Attributes(kind, {"kind": kind, **size, "dtype": dtype, **recipe}, tuple(class_names))


def write_sample(root, attributes, row, values, name=None, **fields):
    """Write the chunk of `row`, as a worker would, and return its entry; its source is a file beside the cache."""
    source = root.parent / "source" / f"{row}.nii"
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(b"source %d" % row)
    stat = source.stat()
    seen = Source(str(source.parent), (source.name,), stat.st_size, stat.st_mtime_ns, digest_files([source]))
    nbytes, digest = store.write_chunk(root, row, values, attributes.dtype)
    name = f"s{row}" if name is None else name
    fields = {"label": row % 2, "group": f"patient {row}", "source": seen} | fields
    recipe = digest_recipe(attributes.recipe)
    return Entry(name, "complete", row=row, recipe=recipe, nbytes=nbytes, digest=digest, **fields)


def make_cache(root, samples=3, attributes=None, names=None, labels=None, **fields):
    """A cache in `root` of `samples`, a number of them or their values; what is there already is gone on with."""
    attributes = attributes or tiny_attributes()
    values = [volume(row, attributes.shape) for row in range(samples)] if isinstance(samples, int) else samples
    with store.writing(root, attributes, store.read_entries(root)) as writer:
        for row, value in enumerate(values, start=len(writer.entries)):
            given = fields | ({"label": labels[row]} if labels else {})
            writer.commit([write_sample(root, attributes, row, value, names and names[row], **given)])
    return root


@pytest.fixture
def tiny(tmp_path):
    """A cache of three samples, s0 to s2, on uint16."""
    return make_cache(tmp_path / "tiny.zarr")


@pytest.fixture(scope="module")
def shared_tiny(tmp_path_factory):
    """As `tiny`, for tests that leave it as it was."""
    return make_cache(tmp_path_factory.mktemp("shared") / "tiny.zarr")
