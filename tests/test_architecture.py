"""Allowed imports: between the project's packages, and of each heavy library."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("cache", "console", "pipeline", "trainer")

# The packages of the project that each package may import.
ALLOWED = {
    "cli": {"console"},
    "console": {"cache", "console", "pipeline", "trainer"},
    "cache": {"cache"},
    "pipeline": {"cache", "pipeline"},
    "trainer": {"cache", "trainer"},
}

# The only modules or packages that may import a heavy library, lazily or not.
DOORS = {
    "av": {"pipeline.readers.clip.container", "pipeline.readers.clip.decode"},
    "click": {"console"},
    "cv2": {
        "pipeline.demo.phantom_clips",
        "pipeline.transforms.frames",
        "pipeline.transforms.video",
        "trainer.data.augment",
    },
    "dask": {"cache.view", "pipeline.workers.executors.local"},  # in view: the arrays behind to_xarray
    "distributed": {"pipeline.workers.dask_client", "pipeline.workers.dispatch", "pipeline.workers.executors.local"},
    "isal": {"pipeline.readers.nifti.stream"},
    "keras": {
        "trainer.backend",
        "trainer.backends.jax",
        "trainer.training.batch_norm",
        "trainer.training.cost",
        "trainer.training.checkpoint",
        "trainer.features.extractor",
        "trainer.features.encode",
        "trainer.features.extract",
        "trainer.training.fit",
        "trainer.training.early_stopping",
        "trainer.model",
        "trainer.training.train",
    },
    "matplotlib": {
        "cache.pictures",
        "cache.reader",
        "cache.view",
        "trainer.evaluation.pictures",
        "trainer.experiments.report",
    },
    "nibabel": {
        "pipeline.readers.nifti.geometry",
        "pipeline.readers.nifti.header",
        "pipeline.readers.nifti.scan",
        "pipeline.readers.nifti.voxels",
        "pipeline.demo.phantoms",
    },
    "scipy": {"pipeline.transforms.spline"},
    "xarray": {"cache.reader", "cache.view"},
    "zarr": {"cache.index"},
    "jax": {"trainer.backends.jax"},
    "tensorflow": {"trainer.backends.tensorflow"},
    "tensorboard": {"trainer.training.tensorboard"},
    "pickle": set(),
}


def modules():
    """Dotted name → path of every module of the project."""
    paths = {"cli": ROOT / "cli.py"}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            paths[".".join(path.relative_to(ROOT).with_suffix("").parts)] = path
    return paths


def imports(path):
    """Every module that `path` imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", sorted(modules()))
def test_packages_import_only_allowed_packages(name):
    allowed = ALLOWED[name.partition(".")[0]]
    project_imports = {module for module in imports(modules()[name]) if module.partition(".")[0] in ALLOWED}
    assert {module for module in project_imports if module.partition(".")[0] not in allowed} == set()


@pytest.mark.parametrize("library", sorted(DOORS))
def test_a_heavy_library_is_imported_only_by_its_doors(library):
    used = {name for name, path in modules().items() if library in {used.partition(".")[0] for used in imports(path)}}
    unexpected = {name for name in used if not any(f"{name}.".startswith(f"{door}.") for door in DOORS[library])}
    assert unexpected == set(), f"{library} is imported by {sorted(unexpected)}"


def test_no_module_imports_itself_through_others():
    project = modules()
    graph = {
        name: {used for used in run_time(path) if used in project and used != name} for name, path in project.items()
    }
    done = set()
    while ready := {name for name in graph if name not in done and graph[name] <= done}:
        done |= ready
    assert set(graph) - done == set()


def run_time(path):
    """Imports that may run, inside functions too; those for type checks do not."""
    nodes = [ast.parse(path.read_text())]
    for node in nodes:  # the list grows during the loop
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports_of(node)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            nodes += ast.iter_child_nodes(node)


def imports_of(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]


def test_importing_the_command_line_loads_no_heavy_library():
    heavy = [name for name in (*DOORS, "numpy") if name not in ("click", "pickle")]
    code = f"import sys, cli; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.stem)
def test_no_test_file_imports_another(path):
    assert [name for name in imports(path) if re.search(r"(^|\.)test_", name)] == []


def test_names_of_test_files_are_unique():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert [name for name in names if names.count(name) > 1] == []
