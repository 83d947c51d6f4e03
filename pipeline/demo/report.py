"""The demo's report.md: samples of each class, the scores of the runs, and the table of strategies."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cache import Cache, open_cache

FRAMES = 12  # per montage
FIRST_RUN = "table1/seed0/pretrained"


def write_report(folder: Path, kappa_text: Callable[[Mapping[str, Any]], str]) -> Path:
    """Write report.md with its pictures into the demo's `folder`, and return its path.

    `kappa_text` describes the kappa in a run's metrics.json.
    """

    def kappa(run: str) -> str:
        return kappa_text(json.loads((folder / run / "metrics.json").read_text()))

    lines = ["# Demo", "", "Kappa on validation samples, in brackets its 95 % interval.", "", "## Clips", ""]
    lines += _samples(open_cache(folder / "clips.zarr"), folder)
    lines += [
        "The classes differ in order and tempo alone, so a single frame does not identify a class:",
        "",
        "| trained on | kappa |",
        "| --- | --- |",
        f"| clips, the full network | {kappa(FIRST_RUN)} |",
        f"| cached features of all frames | {kappa('sequence')} |",
        f"| cached features of the middle frame | {kappa('one_frame')} |",
        "",
        f"![curves]({FIRST_RUN}/curves.png)",
        "",
        "## Scans",
        "",
    ]
    lines += _samples(open_cache(folder / "ct.zarr"), folder)
    table = (folder / "table1/report.md").read_text().replace("](", "](table1/").splitlines()
    lines += [line.replace("# ", "## ", 1) if line.startswith("#") else line for line in table]
    report = folder / "report.md"
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return report


def _samples(cache: Cache, folder: Path) -> list[str]:
    """Write a montage of one sample of each class into `folder`; lines that show them."""
    labels, pictures = cache.labels.tolist(), {}
    for label, name in enumerate(cache.class_names):
        pictures[name] = f"{cache.path.stem}_{label + 1}_{name}.png"
        cache.montage(labels.index(label), FRAMES).savefig(folder / pictures[name], dpi=70)
    lines = [f"{len(cache)} samples of {'×'.join(map(str, cache.shape))}, one of each class:", ""]
    return [*lines, *(f"![{name}]({picture})" for name, picture in pictures.items()), ""]
