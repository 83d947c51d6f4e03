"""The recipe of video clips."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from pipeline.recipes.base import VERSION, Dtype, Recipe, Sample

SAMPLINGS = "pipeline.transforms.sampling"


class VideoRecipe(Recipe, frozen=True):
    """Clips: gray frames, resized bilinearly, 8 bits without loss (ViPTT-Net §2.3)."""

    kind: ClassVar[str] = "video"
    sampling: Annotated[
        str,
        Meta(
            description="Frames of a sample: the first ones, evenly spaced ones, or a spline zoom along time.",
            extra={"registry": SAMPLINGS},
        ),
    ] = "head"
    short: Annotated[
        Literal["skip", "loop", "stretch"],
        Meta(
            description="Clips with fewer frames than --depth: leave out, repeat, or slow down.",
            extra={"option": "--short-clips", "old_options": ["--short"]},
        ),
    ] = "skip"
    dtype: Annotated[Dtype, Meta(description="Data type of stored values.")] = "uint8"

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "version": VERSION,
            "depth": self.depth,
            "height": self.height,
            "width": self.width,
            "sampling": self.sampling,
            "short": self.short,
            "dtype": self.dtype,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "VideoRecipe":
        return cls(**{name: data[name] for name in cls.__struct_fields__})

    def make(self, paths: tuple[Path, ...]) -> Sample:
        import numpy as np

        from pipeline.checks.video import clip_findings
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
