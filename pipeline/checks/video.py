"""Plausibility of a clip: is there a picture, and does it move?"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.checks.limits import MAX_FLAT, MAX_STILL
from pipeline.checks.measure import measure_clip


def clip_findings(frames: np.ndarray) -> dict[str, Any]:
    """`measured` (gray levels of 255) and `flags` for the record of a clip, uint8 (depth, height, width)."""
    measured = measure_clip(frames)
    return {"measured": measured, "flags": list(_clip_flags(measured))}


def _clip_flags(measured: Mapping[str, float]) -> Iterator[str]:
    darkest, brightest, change = (measured[name] for name in ("darkest", "brightest", "change"))
    if brightest - darkest <= MAX_FLAT:
        yield (
            f"constant: every pixel of every frame has a gray level from {darkest:.0f} to {brightest:.0f} of 255; "
            "check that the clip shows a picture"
        )
    elif change <= MAX_STILL:
        yield (
            f"still: no pixel changes by more than {change:.0f} of 255 over the sampled frames, an action clip moves; "
            "check that this is not a still picture"
        )
