"""The documents of a cache: its attributes, and the ledger entry of each input.

They may come from an untrusted file, so `from_json` checks types and ranges and raises ValueError.
"""

import math
import re
import sys
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from cache.documents import Record, convert
from cache.text import SHOWN

FORMAT_VERSION = 1
DTYPES = {"uint8": 1, "uint16": 2, "float16": 2, "float32": 4}  # stored dtype → bytes of a value
STATES = ("complete", "quarantined", "excluded")
UNLABELLED = -1
MAX_ROWS = 10**7  # larger row numbers are damage, and nothing is allocated for them
MAX_SAMPLE_BYTES = 2**31 - 17  # the limit of a Blosc buffer, which is a chunk
MAX_CHUNK_BYTES = MAX_SAMPLE_BYTES + 16  # with Blosc's header
MAX_DEGREES = 360  # of a rotation, either way
MAX_ID_BYTES = 4096  # of an id or group in UTF-8; no path is longer
MAX_CLASSES, MAX_CLASS_NAMES = 10_000, 1 << 18  # classes, and characters of all their names
MAX_SOURCES = 10_000


@dataclass(frozen=True, slots=True)
class Layout:
    """How the samples of a kind are stored: the array, its axes, its dtypes, and the remedy for damage.

    Values of a `bounded` layout are in [0, 1], others are any finite numbers.
    """

    array: str
    axes: tuple[str, ...]
    dtypes: tuple[str, ...]
    bounded: bool
    remedy: str

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the array's dimensions."""
        return ("sample", *self.axes)

    def chunk(self, row: int) -> str:
        """The file of one sample, as a POSIX path below the cache."""
        return "/".join((self.array, "c", str(row), *("0" for _ in self.axes)))


VOLUME = Layout("volume", ("depth", "height", "width"), tuple(DTYPES), bounded=True, remedy="run `repair`")
FEATURES = Layout(
    "features",
    ("depth", "channel"),
    ("float16", "float32"),
    bounded=False,
    remedy="run `features`, or call `write_features`, once more",
)
AUGMENTED = replace(FEATURES, axes=("angle", *FEATURES.axes))  # one set of features for each rotation
SIZES = {"channel": "channels"}  # axis → its size in recipes, where the name differs
KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")


def layout_of(kind: str) -> Layout:
    """How samples of `kind` are stored: features, or the volumes that every source format gives. Raises ValueError."""
    if not KIND.fullmatch(kind):
        raise ValueError(
            f"kind {kind!r:.{SHOWN}}, expected a name in lower-case letters, such as ct, video or features"
        )
    return FEATURES if kind == "features" else VOLUME


def scale_factor(dtype: str) -> float | None:
    """The factor from stored integers to [0, 1]; None for floats."""
    return {"uint8": 1 / 255, "uint16": 1 / 65535}.get(dtype)


class Source(Record, frozen=True):
    """The file or files that one sample is made from, with their state at that time.

    `files` are POSIX paths below `root`; `size` (bytes) and `mtime_ns` are sums over them. Those two are only a
    shortcut: the `digest` over all bytes of all files in order decides ("" where they were never read to the end).
    """

    root: str
    files: tuple[str, ...]
    size: int = 0
    mtime_ns: int = 0
    digest: str = ""

    def __post_init__(self) -> None:
        for file in self.files:
            if file.startswith("/") or ".." in file.split("/") or "\0" in self.root + file:
                raise ValueError(f"source {file!r:.{SHOWN}} is not a path below its root {self.root!r:.{SHOWN}}")

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(Path(self.root, file) for file in self.files)


class Entry(Record, frozen=True):
    """The ledger line of one input: its outcome and, for a complete one, all that is needed to check it.

    `row` is its place along the sample axis (-1 for none); `recipe` and `digest` are those of the recipe and of
    the encoded chunk of `nbytes` bytes; `label` counts from 0; inputs of one `group` (patient, scene)
    must not be split; `retry` marks a quarantine that may be temporary (a file that could not be opened); `details` is
    the record of the sample: properties of its file, notes and flags.
    """

    id: str
    state: str
    row: int = -1
    label: int = UNLABELLED
    group: str = ""
    reason: str = ""
    retry: bool = False
    source: Source = Source("", ())
    recipe: str = ""
    nbytes: int = 0
    digest: str = ""
    details: dict[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state {self.state!r:.{SHOWN}}, expected one of {', '.join(STATES)}")
        if not 0 <= self.nbytes <= MAX_CHUNK_BYTES:
            raise ValueError(f"a chunk of {self.nbytes} bytes, expected at most {MAX_CHUNK_BYTES}")
        if not (-1 <= self.row < MAX_ROWS and -1 <= self.label < MAX_ROWS):
            raise ValueError(f"row {self.row}, label {self.label}; expected -1 to {MAX_ROWS - 1}")
        if self.state == "complete" and (self.row < 0 or not self.id):
            raise ValueError(f"{self.id!r:.{SHOWN}} is complete without a row or without an id")
        if self.state == "complete":  # encode() raises ValueError for text that UTF-8, and so Zarr, cannot hold
            for text in (self.id, self.group):
                if len(text.encode()) > MAX_ID_BYTES:
                    raise ValueError(f"id or group {text!r:.{SHOWN}} is longer than {MAX_ID_BYTES} bytes")

    @property
    def file(self) -> str:
        """The first of its source files, "" if there is none."""
        return str(self.source.paths[0]) if self.source.files else ""

    def to_json(self) -> dict[str, Any]:
        """All fields that differ from their default."""
        data = _differing(self)
        if "source" in data:
            data["source"] = _differing(self.source)
        return data

    @classmethod
    def from_json(cls, data: Any) -> "Entry":
        """Raises ValueError for anything that `to_json` would not give."""
        entry = convert(cls, data)
        # Most entries have the same recipe and folder: each text is kept once.
        structs.force_setattr(entry, "recipe", sys.intern(entry.recipe))
        structs.force_setattr(entry.source, "root", sys.intern(entry.source.root))
        return entry


def composed(text: str) -> str:
    """`text` in Unicode's NFC, one code point for an accented letter: macOS takes them apart, others do not."""
    return unicodedata.normalize("NFC", text)


class Attributes(Record, frozen=True, forbid_unknown_fields=False):
    """The group attributes of a cache. `sources` are the folders, or the volume cache, its samples came from.

    `class_names` are in Unicode's NFC, whatever was given. `patient_column` is the header of the labels CSV's column
    that the groups came from, "" where there was none.
    """

    kind: str
    recipe: dict[str, Any]
    class_names: tuple[str, ...]
    sources: tuple[str, ...] = ()
    format_version: int = FORMAT_VERSION
    patient_column: str = ""

    def __post_init__(self) -> None:
        structs.force_setattr(self, "class_names", tuple(map(composed, self.class_names)))
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"format_version {self.format_version!r:.{SHOWN}}, expected {FORMAT_VERSION}")
        if self.recipe.get("dtype") not in self.layout.dtypes:
            dtype = self.recipe.get("dtype")
            raise ValueError(f"dtype {dtype!r:.{SHOWN}}, expected one of {', '.join(self.layout.dtypes)}")
        self._check_numbers()
        if self.layout is AUGMENTED:
            _check_angles(self.recipe["angles"])
        shape = self.shape
        if not all(type(size) is int and size > 0 for size in shape):
            raise ValueError(f"shape {shape!r:.{SHOWN}}, expected {len(shape)} positive integers")
        if self.sample_bytes > MAX_SAMPLE_BYTES:
            raise ValueError(
                f"shape {shape!r:.{SHOWN}} takes {self.sample_bytes!r:.{SHOWN}} bytes a sample, at most "
                f"{MAX_SAMPLE_BYTES} fit"
            )

    def _check_numbers(self) -> None:
        names, characters = len(self.class_names), sum(map(len, self.class_names))
        if names > MAX_CLASSES or characters > MAX_CLASS_NAMES:
            raise ValueError(
                f"{names} class names of {characters} characters in all; expected at most {MAX_CLASSES} of "
                f"{MAX_CLASS_NAMES}"
            )
        if len(self.sources) > MAX_SOURCES:
            raise ValueError(f"{len(self.sources)} sources, expected at most {MAX_SOURCES}")

    @property
    def layout(self) -> Layout:
        """How samples are stored; that of features says if there is one set for each of several angles."""
        return AUGMENTED if self.kind == "features" and "angles" in self.recipe else layout_of(self.kind)

    @property
    def shape(self) -> tuple[int, ...]:
        """(depth, height, width) of every sample; of features (depth, channels) or (angles, depth, channels)."""
        sizes = dict(self.recipe) | {"angle": len(self.angles)}
        return tuple(sizes.get(SIZES.get(axis, axis), 0) for axis in self.layout.axes)

    @property
    def angles(self) -> tuple[float, ...]:
        """The rotation of each set of features in degrees; empty where samples have no such axis."""
        return tuple(self.recipe["angles"]) if self.layout is AUGMENTED else ()

    @property
    def dtype(self) -> str:
        """The stored dtype's name."""
        return str(self.recipe["dtype"])

    @property
    def sample_bytes(self) -> int:
        """The bytes of one sample before encoding."""
        return math.prod(self.shape) * DTYPES[self.dtype]

    def class_name(self, label: int) -> str:
        """The name of class `label`: "unlabelled" for -1, the number itself where the class has no name (any more)."""
        if label == UNLABELLED:
            return "unlabelled"
        return self.class_names[label] if label < len(self.class_names) else f"class {label}"

    def to_json(self) -> dict[str, Any]:
        """All fields, `patient_column` only where there is one, so that other caches keep their bytes."""
        data = structs.asdict(self) | {"class_names": list(self.class_names), "sources": list(self.sources)}
        return {name: value for name, value in data.items() if name != "patient_column" or value}

    @classmethod
    def from_json(cls, data: Any) -> "Attributes":
        """The attributes in `data`, which may hold others too. Raises ValueError."""
        return convert(cls, data)


def _check_angles(angles: Any) -> None:
    numbers = type(angles) is list and all(
        type(angle) in (int, float) and -MAX_DEGREES <= angle <= MAX_DEGREES for angle in angles
    )
    if not numbers or not angles or len(set(angles)) < len(angles):
        raise ValueError(f"angles {angles!r:.{SHOWN}}, expected a list of different numbers of degrees")


def _differing(value: Source | Entry) -> dict[str, Any]:
    """The fields of `value` that are not at their default."""
    items = ((name, getattr(value, name), default) for name, default in DEFAULTS[type(value)].items())
    return {name: item for name, item, default in items if item != default and item != {}}


DEFAULTS = {kind: {field.name: field.default for field in structs.fields(kind)} for kind in (Source, Entry)}
