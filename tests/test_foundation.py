"""The installation: one lock file for everyone, without the address of any host."""

import re
import runpy
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = runpy.run_path(str(ROOT / ".ci" / "environment.py"))


def locked():
    return ENVIRONMENT["locked"]((ROOT / "requirements.lock").read_text())


def test_the_conda_environment_has_the_packages_of_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)]
    assert pip == locked()
    assert "python=3.12" in environment["dependencies"]


def test_every_locked_package_has_a_hash_and_a_version():
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", text.partition("\n\n")[2] or text)
    assert len(locked()) > 50
    for block in blocks:
        if re.match(r"[a-z0-9]", block):
            assert "==" in block.splitlines()[0], block.splitlines()[0]
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_lock_has_every_package_that_the_project_requires():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    required += [name for extra in project["project"]["optional-dependencies"].values() for name in extra]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in locked()}
    assert {re.match(r"[\w-]+", requirement)[0] for requirement in required} - names == set()


def test_no_configuration_file_contains_a_url():
    for name in (
        "requirements.lock",
        "requirements-gpu.lock",
        "environment.yml",
        "pyproject.toml",
        "Makefile",
        ".ci/run",
        ".pre-commit-config.yaml",
    ):
        text = re.sub(r"\[project\.urls\]\n(.+\n)+", "", (ROOT / name).read_text())  # pages for people, not packages
        assert "://" not in text, name


def test_the_gpu_lock_adds_hashed_packages_to_the_lock_and_repeats_none():
    entries = runpy.run_path(str(ROOT / ".ci" / "gpu_lock.py"))["entries"]
    added = dict(entries((ROOT / "requirements-gpu.lock").read_text()))
    assert set(added) & {requirement for requirement, _ in entries((ROOT / "requirements.lock").read_text())} == set()
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in added}
    assert {"jax-cuda12-plugin", "nvidia-cudnn-cu12", "nvidia-cublas-cu12"} <= names
    for requirement, lines in added.items():
        assert "==" in requirement
        assert "--hash=sha256:" in lines
