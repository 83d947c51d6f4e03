"""The recipes: what is done to a source file to make a sample of it.

A recipe is one frozen value. Its JSON is stored in the cache and decides, with the source's bytes, what is fresh;
`VERSION` counts up when the same parameters would give other arrays.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from cache import store
from cache.errors import CacheError
from cache.paths import cache_root
from cache.schema import DTYPES, MAX_SAMPLE_BYTES
from cache.text import cut, shown
from pipeline.errors import InvalidInput, PipelineError

VERSION = 1
SAMPLINGS = ("head", "uniform", "spline")
SHORTS = ("skip", "loop", "stretch")


@dataclass(frozen=True)
class Sample:
    """One sample: `values` (depth, height, width), float32 in [0, 1] or already as stored; the digest of the bytes
    it was made from; and its record, which goes into the ledger."""

    values: np.ndarray
    digest: str
    details: dict[str, Any]


class Recipe(Protocol):
    """What the pipeline needs of a recipe, whatever its kind."""

    kind: ClassVar[str]

    @property
    def dtype(self) -> str: ...

    def to_json(self) -> dict[str, Any]: ...

    def make(self, paths: tuple[Path, ...]) -> Sample:
        """The sample in `paths`. Raises InvalidInput where they hold none, OSError where they cannot be read."""
        ...


@dataclass(frozen=True)
class CtRecipe:
    """CT: windowed in HU, zoomed by splines of `order`, axes toward Superior, Posterior, Left (ViPTT-Net §2.2).

    `preset="original"` gives the arrays of the authors' code instead: file axes, 90° turn, order 1, blanked edges.
    """

    kind: ClassVar[str] = "ct"
    depth: int = 70
    height: int = 224
    width: int = 224
    order: int = 3
    window: tuple[float, float] = (-1000.0, 400.0)
    dtype: str = "uint16"
    preset: str = "paper"

    def __post_init__(self) -> None:
        _check_shape_and_dtype(self.depth, self.height, self.width, self.dtype)
        if self.order not in range(6):
            raise PipelineError(f"order {cut(self.order)}; expected a spline order from 0 to 5")
        if self.preset not in ("paper", "original"):
            raise PipelineError(f"preset {shown(self.preset)}; expected paper or original")
        if self.preset == "original" and self.order != 1:
            raise PipelineError(f"order {self.order} with preset original; that code used order 1, leave --order out")
        low, high = self.window
        if not (low < high and np.isfinite(high - low)):
            raise PipelineError(f"window {low:g} {high:g}; expected two numbers in HU, the lower first")

    def to_json(self) -> dict[str, Any]:
        orientation = "SPL" if self.preset == "paper" else "file"
        return {
            "kind": self.kind,
            "version": VERSION,
            "depth": self.depth,
            "height": self.height,
            "width": self.width,
            "order": self.order,
            "window": list(self.window),
            "orientation": orientation,
            "preset": self.preset,
            "dtype": self.dtype,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CtRecipe":
        low, high = data["window"]
        names = ("depth", "height", "width", "order", "dtype", "preset")
        return cls(window=(float(low), float(high)), **{name: data[name] for name in names})

    def make(self, paths: tuple[Path, ...]) -> Sample:
        from pipeline.transforms.ct import ct_volume

        _refuse_half_a_pair(paths)
        volume, digest, details = ct_volume(
            paths,
            depth=self.depth,
            height=self.height,
            width=self.width,
            order=self.order,
            window=self.window,
            preset=self.preset,
        )
        return Sample(volume, digest, details)


@dataclass(frozen=True)
class VideoRecipe:
    """Clips: gray frames, resized bilinearly, 8 bits without loss (ViPTT-Net §2.3).

    `sampling` "head" takes the first `depth` frames as the authors' code did, "uniform" spaces them evenly over the
    clip, "spline" is the CT zoom along time. `short` says what becomes of clips with fewer frames.
    """

    kind: ClassVar[str] = "video"
    depth: int = 70
    height: int = 224
    width: int = 224
    sampling: str = "head"
    short: str = "skip"
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        _check_shape_and_dtype(self.depth, self.height, self.width, self.dtype)
        for name, value, known in (("sampling", self.sampling, SAMPLINGS), ("short", self.short, SHORTS)):
            if value not in known:
                raise PipelineError(f"{name} {shown(value)}; expected one of {', '.join(known)}")

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "VideoRecipe":
        return cls(**{field.name: data[field.name] for field in fields(cls)})

    def make(self, paths: tuple[Path, ...]) -> Sample:
        from pipeline.checks.plausibility import clip_findings
        from pipeline.transforms.video import video_clip

        frames, digest, details = video_clip(
            paths[0],
            depth=self.depth,
            height=self.height,
            width=self.width,
            sampling=self.sampling,
            short=self.short,
        )
        values = frames if self.dtype == "uint8" else frames * np.float32(1 / 255)
        return Sample(values, digest, details | clip_findings(frames))


RECIPES: dict[str, type[CtRecipe] | type[VideoRecipe]] = {"ct": CtRecipe, "video": VideoRecipe}


def continued(kind: type[CtRecipe] | type[VideoRecipe], root: Path, given: Mapping[str, Any]) -> Recipe:
    """The recipe of the cache in `root` but for what is `given`; the default one where there is no such cache.

    Raises PipelineError for what no recipe can be.
    """
    try:
        known = recipe_from_json(store.read_attributes(cache_root(root)).recipe)
        if isinstance(known, kind):
            return replace(known, **given)
    except (CacheError, PipelineError):  # no cache, or `given` does not go with its recipe: `build.prepare` says so
        pass
    return kind(**given)


def recipe_from_json(data: Mapping[str, Any]) -> Recipe:
    """The recipe a cache was built by. Raises PipelineError where this version cannot follow it."""
    try:
        recipe = RECIPES[data["kind"]].from_json(data)
    except (KeyError, TypeError, ValueError) as error:
        raise PipelineError(
            f"the cache's recipe cannot be read ({cut(repr(error))}); it was made by another version"
        ) from error
    if recipe.to_json() != dict(data):
        raise PipelineError(f"the cache's recipe is of version {cut(data.get('version'))}, this program's of {VERSION}")
    return recipe


def _refuse_half_a_pair(paths: tuple[Path, ...]) -> None:
    """Raise InvalidInput for a `.hdr` or `.img`, compressed or not, that came alone."""
    name = paths[0].name
    zipped = ".gz" if name.lower().endswith(".gz") else ""
    half = Path(name.lower().removesuffix(".gz")).suffix
    if len(paths) == 1 and half in (".hdr", ".img"):
        stem, other = name[: -len(half + zipped)], {".hdr": ".img", ".img": ".hdr"}[half]
        raise InvalidInput(
            f"half of a .hdr/.img pair, without its {other}",
            f"{stem + other + zipped!r} beside it, its name in the same case",
            f"put the {other} there, or take this file out of SOURCE",
        )


def _check_shape_and_dtype(depth: int, height: int, width: int, dtype: str) -> None:
    for name, size in (("depth", depth), ("height", height), ("width", width)):
        if not 2 <= size <= 4096:
            raise PipelineError(f"{name} {cut(size)}; expected 2 to 4096")
    if dtype not in DTYPES:
        raise PipelineError(f"dtype {shown(dtype)}; expected one of {', '.join(DTYPES)}")
    nbytes = depth * height * width * DTYPES[dtype]
    if nbytes > MAX_SAMPLE_BYTES:
        raise PipelineError(
            f"a sample of {depth}×{height}×{width} {dtype} has {nbytes / 1e9:.1f} GB; expected at most 2.1 GB"
        )
