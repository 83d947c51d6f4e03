"""The notebooks run from top to bottom on small caches, and say something in every cell that should."""

import os
import warnings
from pathlib import Path

import pytest

from cache import open_cache
from pipeline.demo import phantom_clips, phantoms
from pipeline.jobs import preprocess
from pipeline.recipes.ct import CtRecipe
from pipeline.recipes.video import VideoRecipe
from pipeline.workers.executors.serial import serial

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """A CT and a video cache of phantoms, each with something quarantined."""
    from contextlib import nullcontext

    folder = tmp_path_factory.mktemp("notebooks")
    labels = phantoms.write_scans(folder / "scans", per_class=1, size=32, slices=(10, 12))
    phantom_clips.write_clips(folder / "clips", groups=1, clips=1)
    small = {"depth": 12, "height": 32, "width": 32}
    for source, name, recipe, csv in (
        ("scans", "ct.zarr", CtRecipe(**small), labels),
        ("clips", "clips.zarr", VideoRecipe(**small | {"depth": 70}), None),
    ):
        job = preprocess.prepare(folder / source, folder / name, recipe, labels=csv)
        preprocess.run(job, nullcontext(serial))
    return folder


def test_inspect_cache_runs_and_shows_what_it_promises(caches, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("CT_CACHE", str(caches / "ct.zarr"))
    monkeypatch.setenv("VIDEO_CACHE", str(caches / "clips.zarr"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "notebooks" / "inspect_cache.ipynb", as_version=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the notebook machinery itself
        NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(caches)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in code[1:])
    texts = "".join(str(output) for cell in code for output in cell.outputs)
    assert "stderr" not in texts
    pictures = [cell.source for cell in code if any("image/png" in output.get("data", {}) for output in cell.outputs)]
    assert sum("montage" in source for source in pictures) == 2
    assert len(pictures) == 4
    for expected in (
        "application/vnd.jupyter.widget-view+json",
        "quarantined",
        "xarray.Dataset",
        "orientation",
        "codec",
    ):
        assert expected in texts, expected
    assert open_cache(caches / "ct.zarr").ids[0] in texts


def test_notebooks_are_committed_without_output():
    import nbformat

    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path.name
            assert cell.get("execution_count") is None, path.name
