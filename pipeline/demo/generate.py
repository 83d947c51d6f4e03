"""Writes the demo's phantom scans and clips, in two processes, into a folder of its own."""

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from pipeline.demo import phantom_clips, phantoms
from pipeline.demo.story import Size
from pipeline.errors import PipelineError

MARK = "demo.json"  # the size of the data in the folder, and whether they are complete
MAX_MARK = 1 << 20  # bytes


def generate(folder: Path, size: Size, notify: Callable[[str], None]) -> None:
    """Write phantom scans, their labels CSV and clips into `folder`, unless they are complete already.

    Raises PipelineError where `folder` holds anything other than data of this size that an earlier call wrote.
    """
    mark = folder / MARK
    complete = _is_complete(mark, size)
    if complete:
        return
    if complete is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PipelineError(f"{folder} holds something other than this demo; delete it, or give the demo a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    _write_mark(mark, size, complete=False)
    notify(f"Generating scans and clips in {folder}, some of them damaged on purpose ...")
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        scans = pool.submit(phantoms.write_scans, folder / "scans", **size.scans)
        pool.submit(phantom_clips.write_clips, folder / "clips", **size.clips).result()
        scans.result()
    _write_mark(mark, size, complete=True)


def _write_mark(mark: Path, size: Size, complete: bool) -> None:
    mark.write_text(json.dumps({"generated": complete, **asdict(size)}, indent=2))


def _is_complete(mark: Path, size: Size) -> bool | None:
    """Whether the data of this size are complete; None where the mark is missing or belongs to other data."""
    if not mark.is_file() or mark.stat().st_size > MAX_MARK:
        return None
    try:
        saved = json.loads(mark.read_text())
        data = {name: saved[name] for name in ("scans", "clips")}
        complete = bool(saved["generated"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return complete if data == json.loads(json.dumps({"scans": size.scans, "clips": size.clips})) else None
