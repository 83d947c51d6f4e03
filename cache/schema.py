"""What a cache says about itself and about each input: frozen, self-checking, JSON both ways.

Everything here may come from an untrusted file, so `from_json` checks types and ranges and raises ValueError.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

FORMAT_VERSION = 1
KINDS = ("ct", "video")
DTYPES = ("uint8", "uint16", "float16", "float32")
STATES = ("complete", "quarantined", "excluded")
UNLABELLED = -1


def scale_factor(dtype: str) -> float | None:
    """What stored integers are multiplied by to give [0, 1]; None for floats, which are stored as they are."""
    return {"uint8": 1 / 255, "uint16": 1 / 65535}.get(dtype)


@dataclass(frozen=True, slots=True)
class Source:
    """The file or files one sample is made of, as they were when it was made.

    `files` are POSIX paths below `root`; `size` (bytes) and `mtime_ns` are the sum and the newest over them, and
    only a shortcut: what decides is `digest`, over all their bytes in order ("" where they were never read whole).
    """

    root: str
    files: tuple[str, ...]
    size: int = 0
    mtime_ns: int = 0
    digest: str = ""

    def __post_init__(self) -> None:
        for file in self.files:
            path = PurePosixPath(file)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"source {file!r} leaves its root")

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(Path(self.root, file) for file in self.files)


@dataclass(frozen=True, slots=True)
class Entry:
    """One input's line in the ledger: how it ended, and for a complete one all that is needed to check it.

    `row` is its place along the sample axis (-1 for none); `recipe` and `digest` are those of the recipe and of
    the encoded chunk of `nbytes` bytes; `label` counts from 0; `group` names what must not be split (patient,
    scene); `retry` marks a quarantine that may pass by itself (a file that could not be opened); `details` is the
    sample's record: where it came from, and what was odd about it.
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
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state {self.state!r}, expected one of {', '.join(STATES)}")
        if self.state == "complete" and self.row < 0:
            raise ValueError(f"{self.id!r} is complete without a row")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Entry":
        source = data["source"]
        files = tuple(_typed(file, str) for file in source["files"])
        return cls(
            id=_typed(data["id"], str),
            state=_typed(data["state"], str),
            row=_typed(data["row"], int),
            label=_typed(data["label"], int),
            group=_typed(data["group"], str),
            reason=_typed(data["reason"], str),
            retry=_typed(data["retry"], bool),
            source=Source(
                _typed(source["root"], str),
                files,
                _typed(source["size"], int),
                _typed(source["mtime_ns"], int),
                _typed(source["digest"], str),
            ),
            recipe=_typed(data["recipe"], str),
            nbytes=_typed(data["nbytes"], int),
            digest=_typed(data["digest"], str),
            details=_typed(data["details"], dict),
        )


@dataclass(frozen=True)
class Attributes:
    """The group attributes of a cache. `sources` are the folders its samples came from."""

    kind: str
    recipe: Mapping[str, Any]
    class_names: tuple[str, ...]
    sources: tuple[str, ...] = ()
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"format_version {self.format_version!r}, expected {FORMAT_VERSION}")
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r}, expected one of {', '.join(KINDS)}")
        if self.recipe.get("dtype") not in DTYPES:
            raise ValueError(f"dtype {self.recipe.get('dtype')!r}, expected one of {', '.join(DTYPES)}")
        if any(type(size) is not int or size < 1 for size in self.shape):
            raise ValueError(f"shape {self.shape}, expected three positive integers")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(depth, height, width) of every sample."""
        return (self.recipe["depth"], self.recipe["height"], self.recipe["width"])

    @property
    def dtype(self) -> str:
        """The stored dtype's name."""
        return str(self.recipe["dtype"])

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"class_names": list(self.class_names), "sources": list(self.sources)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Attributes":
        return cls(
            kind=_typed(data["kind"], str),
            recipe=_typed(data["recipe"], dict),
            class_names=tuple(_typed(name, str) for name in data["class_names"]),
            sources=tuple(_typed(root, str) for root in data.get("sources", ())),
            format_version=_typed(data["format_version"], int),
        )


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r} where {kind.__name__} was expected")
    return value
