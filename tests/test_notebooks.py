"""The notebooks run from top to bottom on small caches, and every cell shows something."""

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
    """A CT and a video cache of phantoms, each with a quarantined input."""
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


def executed(folder, monkeypatch, **paths):
    """The code cells of the notebook after running it on the caches in `paths`."""
    import nbformat
    from nbclient import NotebookClient

    for name in ("CT_CACHE", "VIDEO_CACHE"):
        monkeypatch.setenv(name, str(paths.get(name, folder / "missing")))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "notebooks" / "inspect_cache.ipynb", as_version=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from the notebook machinery itself
        NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(cells):
    return [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]


def test_the_notebook_shows_scans_and_clips(caches, monkeypatch):
    cells = executed(caches, monkeypatch, CT_CACHE=caches / "ct.zarr", VIDEO_CACHE=caches / "clips.zarr")
    assert all(cell.outputs for cell in cells[1:])
    texts = "".join(str(output) for cell in cells for output in cell.outputs)
    assert "stderr" not in texts
    assert len(pictures(cells)) == 4  # two montages, a histogram, the means of the classes
    for expected in ("vnd.jupyter.widget-view+json", "quarantined", "xarray.Dataset", "orientation", "codec"):
        assert expected in texts, expected
    assert open_cache(caches / "ct.zarr").ids[0] in texts


@pytest.mark.parametrize(("variable", "name"), [("CT_CACHE", "ct.zarr"), ("VIDEO_CACHE", "clips.zarr")])
def test_the_notebook_runs_with_one_cache_of_either_kind(caches, monkeypatch, variable, name):
    cells = executed(caches, monkeypatch, **{variable: caches / name})
    assert all(cell.outputs for cell in cells[1:])
    assert len(pictures(cells)) == 3


def test_notebooks_are_committed_without_output():
    import nbformat

    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path.name
            assert cell.get("execution_count") is None, path.name
