"""An existing Dask cluster, its scheduler and workers started in another folder from the installed wheel."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pipeline.demo import phantoms
from pipeline.errors import PipelineError
from pipeline.workers.executor import Settings
from pipeline.workers.executors.dask_cluster import EXECUTOR

ROOT = Path(__file__).resolve().parents[2]
NO_ANSWER = r"^the Dask cluster does not answer \(.*\); its scheduler or a worker may have died"
SMALL = ["--depth", "6", "--height", "16", "--width", "16"]


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory):
    """A folder with the project's wheel installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache", "build", "demo", "*.egg-info", ".hyp*")
    )
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(folder / "site"), str(wheel)], check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans") / "scans"
    return folder, phantoms.write_scans(folder, per_class=1, size=24, slices=(6, 9))


@contextmanager
def dask_cluster(folder, python_path, workers=2):
    """The address of a scheduler with workers that run in `folder` and import from `python_path` first."""
    environment = os.environ | {"PYTHONPATH": str(python_path)}
    scheduler_file = folder / "scheduler.json"
    popen_options = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    module = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    processes = [
        subprocess.Popen([*module, "--no-dashboard", "--scheduler-file", str(scheduler_file)], **popen_options)
    ]
    try:
        deadline = time.monotonic() + 240
        while not scheduler_file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        address = json.loads(scheduler_file.read_text())["address"]
        module = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
        if workers:
            processes.append(subprocess.Popen([*module, "--nworkers", str(workers)], **popen_options))
            wait = f"from distributed import Client; Client({address!r}).wait_for_workers({workers}, timeout=250)"
            subprocess.run([sys.executable, "-c", wait], check=True, capture_output=True)
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)


def preprocess(scans, cache, *options):
    folder, labels = scans
    command = [sys.executable, "cli.py", "preprocess", "ct", folder, cache, "--labels", labels, *SMALL, *options]
    return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=250)


def chunks(cache):
    return {
        path.relative_to(cache): path.read_bytes() for path in (cache / "volume" / "c").rglob("*") if path.is_file()
    }


def test_a_dask_cluster_writes_the_same_bytes_as_this_process(wheel_folder, scans, tmp_path):
    with dask_cluster(tmp_path, wheel_folder) as address:
        print_path = (
            f"from distributed import Client; print(Client({address!r}).run(lambda: __import__('cache').__file__))"
        )
        imported = subprocess.run([sys.executable, "-c", print_path], check=True, capture_output=True, text=True).stdout
        assert imported.count(str(wheel_folder)) == 2
        distributed = preprocess(scans, tmp_path / "cluster.zarr", "--scheduler", address)
    local = preprocess(scans, tmp_path / "local.zarr", "--workers", "0")
    assert (distributed.returncode, local.returncode) == (3, 3), distributed.stderr + local.stderr
    assert "5 made, 0 already present" in distributed.stdout
    assert chunks(tmp_path / "cluster.zarr") == chunks(tmp_path / "local.zarr")


def fake_project(folder, version):
    """Packages that workers import instead of the project's: of another `version`, or broken if it is None."""
    (folder / "cache").mkdir(parents=True)
    (folder / "pipeline").mkdir()
    text = f"__version__ = {version!r}\n" if version else "raise ImportError('not installed')\n"
    (folder / "cache" / "__init__.py").write_text(text)
    (folder / "pipeline" / "__init__.py").write_text("")
    (folder / "pipeline" / "jobs").mkdir()
    (folder / "pipeline" / "jobs" / "sample.py").write_text("")
    return folder


@pytest.mark.parametrize(("version", "reported"), [("0.0.9", "0.0.9"), (None, "missing (not installed)")])
def test_workers_with_another_version_give_a_one_line_error(version, reported, scans, tmp_path):
    import cache

    with dask_cluster(tmp_path, fake_project(tmp_path / "fake", version), workers=1) as address:
        result = preprocess(scans, tmp_path / "ct.zarr", "--scheduler", address)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: worker tcp://127.0.0.1:")
    assert result.stderr.endswith(
        f" has viptt-net {reported}; expected {cache.__version__}; "
        "install the same wheel on every worker and start them again\n"
    )


def test_preprocess_waits_for_the_first_worker_with_a_note(wheel_folder, scans, tmp_path):
    folder, labels = scans
    command = ["cli.py", "preprocess", "ct", folder, tmp_path / "ct.zarr", "--labels", labels, *SMALL]
    with dask_cluster(tmp_path, wheel_folder, workers=0) as address:
        process = subprocess.Popen(
            [sys.executable, *map(str, command), "--scheduler", address], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr.readline() == f"waiting up to 60 s for the first worker of {address}\n"
        module = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
        environment = os.environ | {"PYTHONPATH": str(wheel_folder)}
        worker = subprocess.Popen(module, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
        try:
            process.communicate(timeout=250)
        finally:
            worker.terminate()
            worker.wait(30)
    assert process.returncode == 3


@pytest.mark.parametrize("moment", ["before the first task", "during work"])
def test_a_dead_scheduler_gives_a_one_line_error(tmp_path, moment):
    def kill_the_scheduler():
        for process in psutil.Process().children():
            if "distributed.cli.dask_scheduler" in process.cmdline():
                process.kill()

    def run_without_scheduler(run):
        batches = run(time.sleep, [0.01] * 1000)
        if moment == "during work":
            next(batches)
        kill_the_scheduler()
        list(batches)

    with (
        dask_cluster(tmp_path, ROOT, workers=1) as address,
        EXECUTOR(Settings(address=address, folders=(tmp_path,))) as run,
        pytest.raises(PipelineError, match=NO_ANSWER),
    ):
        run_without_scheduler(run)


def executable(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.skipif(shutil.which("bash") is None, reason="the example is a script for bash")
def test_the_slurm_example_runs_despite_the_scheduler_file_of_an_earlier_attempt(wheel_folder, scans, tmp_path):
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)
    (example,) = (block for block in blocks if "srun dask worker" in block)
    folder, _ = scans
    script = example.replace("/data/TrainSet", str(folder)).replace("/data/ct.zarr", f"ct.zarr {' '.join(SMALL)}")
    programs = tmp_path / "bin"
    programs.mkdir()
    executable(programs / "python", f'exec {sys.executable} "$@"')
    executable(programs / "dask", f'part=$1; shift; exec {sys.executable} -m distributed.cli.dask_$part "$@"')
    executable(programs / "srun", 'exec "$@"')
    stale = tmp_path / "dask-77.json"
    stale.write_text('{"address": "tcp://127.0.0.1:9"}')
    paths = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(wheel_folder)}
    result = subprocess.run(
        ["bash", "-c", script.replace("cli.py", str(ROOT / "cli.py"))],
        cwd=tmp_path,
        env=os.environ | paths | {"SLURM_JOB_ID": "77"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=250,
    )
    assert "5 made, 0 already present" in result.stdout
    assert not stale.exists()
