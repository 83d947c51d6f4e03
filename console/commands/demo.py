"""`demo`: every step on phantom data."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from console.exit_codes import DONE, QUARANTINED
from console.parameters import PATH

DEMO: dict[str, Any] = {
    "scans": {"per_class": (80, 56, 40, 36, 28), "size": 80, "slices": (34, 44)},
    "clips": {"groups": 12, "clips": 4},
    "recipe": "--depth 24 --height 64 --width 64",
    "training": "--backbone small --batch-size 8",
    "epochs": "--pretrain-epochs 12 --epochs 14",
    "behind": "--batch-size 8 --optimizer adam --epochs 12",
}


QUICK_DEMO: dict[str, Any] = {
    "scans": {"per_class": 3, "size": 32, "slices": (10, 12)},
    "clips": {"groups": 2, "clips": 1},
    "recipe": "--depth 8 --height 16 --width 16",
    "training": "--backbone small",
    "epochs": "--epochs 1",
    "behind": "--epochs 1",
}


@click.command()
@click.argument("folder", metavar="[DIR]", type=PATH, default=Path("demo"))
@click.option("--quick", is_flag=True, help="Every step on a few tiny samples, from which nothing can be learned.")
def demo(folder: Path, quick: bool) -> None:
    """Generate phantom scans and clips in DIR (default: demo), run every step on them, and write DIR/report.md.

    \b
    Example:
      python cli.py demo /tmp/demo
    """
    started, size = time.monotonic(), QUICK_DEMO if quick else DEMO
    labels = _phantoms(folder, size)
    clips, scans, table = folder / "clips.zarr", folder / "ct.zarr", folder / "table1"
    features, frame = folder / "clips_features.zarr", folder / "one_frame.zarr"
    sequence, single, behind = folder / "sequence", folder / "one_frame", f"{size['behind']} --resume"
    split, best = ("--split", table / "clips.json"), table / "seed0" / "pt_cw_aug"
    pretrained = table / "seed0" / "pretrained"
    _demo_step("preprocess ct", folder / "scans", scans, "--labels", labels, options=size["recipe"])
    _demo_step("preprocess video", folder / "clips", clips, options=size["recipe"])
    _demo_step("verify", scans)
    _demo_step("info", clips)
    _demo_step("experiment", clips, scans, table, options=f"{size['training']} {size['epochs']}")
    _demo_step("evaluate", pretrained, clips)
    _demo_step("features", clips, features, "--from", pretrained)
    _demo_step("train pretrain", clips, sequence, "--features", features, *split, options=behind)
    click.echo(f"\nThe middle frame of each clip alone, {frame}: does a single picture tell the classes apart?")
    _middle_frames(features, frame)
    _demo_step("train pretrain", frame, single, *split, options=behind)
    _demo_step("evaluate", best, scans, "--picture", folder / "confusion.png")
    _demo_step("predict", best, scans, folder / "submission.csv", options="--probabilities")
    _demo_report(folder, clips, scans)
    click.echo(f"\n{folder / 'report.md'} shows all of it, after {time.monotonic() - started:.0f} s")


def _phantoms(folder: Path, size: Mapping[str, Any]) -> Path:
    """Write scans and clips side by side, where that is not done yet; return the labels CSV.

    Only a folder that is new or empty, or that a demo of the same size began, is written into.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from pipeline.demo import phantom_clips, phantoms
    from pipeline.errors import PipelineError

    labels, mark = folder / "labels.csv", folder / "demo.json"
    begun, done = (json.dumps({"generated": generated, **size}, indent=2) for generated in (False, True))
    found = mark.read_text() if mark.is_file() else None
    if found == done:
        return labels
    if found != begun and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PipelineError(f"{folder} holds something else than this demo; delete it, or give the demo a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(begun)
    click.echo(f"Generating scans and clips in {folder}, some of them damaged on purpose ...")
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        scans = pool.submit(phantoms.write_scans, folder / "scans", **size["scans"])
        pool.submit(phantom_clips.write_clips, folder / "clips", **size["clips"]).result()
        scans.result()
    mark.write_text(done)
    return labels


def _demo_step(command: str, *paths: object, options: str = "") -> None:
    """Show and run one command."""
    from console.app import main

    words = [*command.split(), *map(str, paths), *options.split()]
    click.echo(f"\n$ python cli.py {' '.join(words)}")
    code = main.main(words, standalone_mode=False)
    if code not in (None, DONE, QUARANTINED):  # some inputs are damaged on purpose
        click.get_current_context().exit(code)


def _middle_frames(features: Path, out: Path) -> None:
    """A cache of features of just the middle frame of each clip."""
    from cache import open_cache, write_features

    clips = open_cache(features)
    middle = clips.shape[0] // 2
    import numpy as np

    frames = np.stack([clips.stored(number)[middle : middle + 1] for number in range(len(clips))])
    write_features(
        out, clips.ids, clips.labels, clips.groups, frames, clips.class_names, f"frame {middle} of {features}"
    )


def _demo_report(folder: Path, clips: Path, scans: Path) -> None:
    """Write report.md: what went in, what came out, with pictures."""
    from cache import open_cache
    from trainer.evaluation.report import kappa_text

    def metrics(run: str) -> str:
        return kappa_text(json.loads((folder / run / "metrics.json").read_text()))

    lines = ["# Demo", "", "Kappa on validation samples, in brackets its 95 % interval.", "", "## Clips", ""]
    for root, slices in ((clips, 12), (scans, 12)):
        cache = open_cache(root)
        pictures = _demo_pictures(cache, folder, slices)
        if root == scans:
            lines += ["## Scans", ""]
        lines += [f"{len(cache)} samples of {'×'.join(map(str, cache.shape))}, one of each class:", ""]
        lines += [*(f"![{name}]({picture})" for name, picture in pictures.items()), ""]
        if root == clips:
            lines += [
                "The classes differ in order and tempo alone, so a single frame tells nothing:",
                "",
                "| trained on | kappa |",
                "| --- | --- |",
                f"| clips, the whole network | {metrics('table1/seed0/pretrained')} |",
                f"| cached features of all frames | {metrics('sequence')} |",
                f"| cached features of the middle frame | {metrics('one_frame')} |",
                "",
                "![curves](table1/seed0/pretrained/curves.png)",
                "",
            ]
    table = (folder / "table1" / "report.md").read_text().replace("](", "](table1/").splitlines()
    lines += [line.replace("# ", "## ", 1) if line.startswith("#") else line for line in table]
    (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _demo_pictures(cache: Any, folder: Path, slices: int) -> dict[str, str]:
    """Write a montage of one sample of each class; class → file name."""
    labels, pictures = cache.labels.tolist(), {}
    for number, name in enumerate(cache.class_names):
        pictures[name] = f"{cache.path.stem}_{number + 1}_{name}.png"
        cache.montage(labels.index(number), slices).savefig(folder / pictures[name], dpi=70)
    return pictures


COMMAND = demo
