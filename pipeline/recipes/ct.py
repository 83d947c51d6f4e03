"""The recipe of CT scans."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from pipeline.errors import InvalidInput, PipelineError
from pipeline.recipes.base import VERSION, Dtype, Recipe, Sample

DEPTH_METHODS = "pipeline.transforms.depth"
DEFAULT_DEPTH_METHOD = "siz"


class CtRecipe(Recipe, frozen=True):
    """CT: windowed in HU, zoomed by splines of `order`, axes toward Superior, Posterior, Left (ViPTT-Net §2.2).

    `preset` "original" gives the arrays of the authors' code instead: file axes, 90° rotation, order 1, blank edges.
    """

    kind: ClassVar[str] = "ct"
    order: Annotated[int, Meta(ge=0, le=5, description="Order of the spline.")] = 3
    window: Annotated[
        tuple[float, float], Meta(description="HU values that become 0 and 1.", extra={"metavar": "LOW HIGH"})
    ] = (-1000.0, 400.0)
    dtype: Annotated[Dtype, Meta(description="Data type of stored values.")] = "uint16"
    preset: Annotated[
        Literal["paper", "original"],
        Meta(
            description="`original`: the arrays of the authors' code, with its faults, to reproduce published results."
        ),
    ] = "paper"
    depth_method: Annotated[
        str,
        Meta(
            description="Resampling along the body; siz: spline-interpolated zoom.",
            extra={"registry": DEPTH_METHODS},
        ),
    ] = DEFAULT_DEPTH_METHOD

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset == "original" and self.order != 1:
            raise PipelineError(f"order {self.order} with preset original; that code used order 1, leave --order out")
        if self.preset == "original" and self.depth_method != DEFAULT_DEPTH_METHOD:
            raise PipelineError(
                f"depth_method {self.depth_method} with preset original; that code used {DEFAULT_DEPTH_METHOD}, "
                "leave --depth-method out"
            )
        low, high = self.window
        if not (low < high and math.isfinite(high - low)):
            raise PipelineError(f"window {low:g} {high:g}; expected two numbers in HU, the lower first")

    @classmethod
    def completed(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        return ({"order": 1} if options.get("preset") == "original" else {}) | dict(options)

    def to_json(self) -> dict[str, Any]:
        data = {
            "kind": self.kind,
            "version": VERSION,
            "depth": self.depth,
            "height": self.height,
            "width": self.width,
            "order": self.order,
            "window": list(self.window),
            "orientation": "SPL" if self.preset == "paper" else "file",
            "preset": self.preset,
            "dtype": self.dtype,
        }
        if self.depth_method != DEFAULT_DEPTH_METHOD:  # caches from before there was a choice keep their digests
            data["depth_method"] = self.depth_method
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CtRecipe":
        low, high = data["window"]
        names = ("depth", "height", "width", "order", "dtype", "preset")
        depth_method = data.get("depth_method", DEFAULT_DEPTH_METHOD)
        return cls(window=(float(low), float(high)), depth_method=depth_method, **{name: data[name] for name in names})

    def make(self, paths: tuple[Path, ...]) -> Sample:
        from pipeline.transforms.ct import ct_volume

        _check_pair(paths)
        volume, digest, details = ct_volume(
            paths,
            depth=self.depth,
            height=self.height,
            width=self.width,
            order=self.order,
            window=self.window,
            preset=self.preset,
            depth_method=self.depth_method,
        )
        return Sample(volume, digest, details)


def _check_pair(paths: tuple[Path, ...]) -> None:
    """Raise InvalidInput for a `.hdr` or `.img`, compressed or not, without the other file of its pair."""
    name = paths[0].name
    zipped = ".gz" if name.lower().endswith(".gz") else ""
    half = Path(name.lower().removesuffix(".gz")).suffix
    if len(paths) == 1 and half in (".hdr", ".img"):
        stem, other = name[: -len(half + zipped)], {".hdr": ".img", ".img": ".hdr"}[half]
        raise InvalidInput(
            f"half of a .hdr/.img pair, without its {other}",
            f"{stem + other + zipped!r} next to it, with its name in the same case",
            f"put the {other} there, or move this file out of SOURCE",
        )
