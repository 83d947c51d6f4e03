"""The copy of the project that a server changes, and pytest in it."""

import importlib
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.server import ROOT, reap_leftover_processes, wait_for_exit

CODE = ("cache", "console", "pipeline", "trainer", "cli.py")
COPIED = (*CODE, "tests", "docs", "notebooks", "benchmarks", ".ci", "Makefile")
MEMORY_BYTES = 8 << 30
LIBRARIES = (
    "hypothesis.extra.numpy", "numpy", "scipy.ndimage", "zarr", "xarray", "dask", "distributed", "nibabel",
    "cv2", "av", "isal", "matplotlib", "click.testing", "tensorflow", "keras",
)  # fmt: skip


def copy_project(folder: Path) -> None:
    """Copy the project to a new `folder`."""
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.yml"), *ROOT.glob("*.lock")):
        shutil.copy2(path, folder)


def load_libraries() -> None:
    """Import the libraries of the tests, so that forked processes need not."""
    for library in LIBRARIES:
        importlib.import_module(library)


def run_pytest(folder: Path, files: Sequence[str], seconds: float, plugin: object) -> int:
    """The exit code of pytest in a forked process, or the negative signal if it takes more than `seconds`."""
    child = os.fork()
    if child == 0:
        _run_and_exit(folder, files, plugin)
    code = wait_for_exit(child, seconds)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    reap_leftover_processes()
    return code


def _run_and_exit(folder: Path, files: Sequence[str], plugin: object) -> None:
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        os.chdir(folder)
        os.environ["PYTHONPATH"] = str(folder)
        sys.path[:] = [str(folder), *(each for each in sys.path if Path(each).resolve() != ROOT)]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "cli", *CODE)]:
            del sys.modules[name]
        words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain", "--hypothesis-seed=0", *files]
        code = int(pytest.main(words, plugins=[plugin]))
    except BaseException:  # noqa: BLE001 - the server's stderr shows it
        traceback.print_exc()
    finally:
        os._exit(code)
