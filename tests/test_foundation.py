"""The set-up: one lock, the same for everyone, naming no host."""

import re
import runpy
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = runpy.run_path(str(ROOT / ".ci" / "environment.py"))


def locked():
    return ENVIRONMENT["locked"]((ROOT / "requirements.lock").read_text())


def test_conda_users_get_the_set_of_the_lock():
    written = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [part["pip"] for part in written["dependencies"] if isinstance(part, dict)]
    assert pip == locked()
    assert "python=3.12" in written["dependencies"]


def test_every_locked_package_has_a_hash_and_a_version():
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", text.partition("\n\n")[2] or text)
    assert len(locked()) > 50
    for block in blocks:
        if re.match(r"[a-z0-9]", block):
            assert "==" in block.splitlines()[0], block.splitlines()[0]
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_lock_covers_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    asked += [name for extra in project["project"]["optional-dependencies"].values() for name in extra]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in locked()}
    assert {re.match(r"[\w-]+", requirement)[0] for requirement in asked} - names == set()


def test_no_configuration_names_a_host():
    for name in (
        "requirements.lock",
        "environment.yml",
        "pyproject.toml",
        "Makefile",
        ".ci/run",
        ".pre-commit-config.yaml",
    ):
        text = re.sub(r"\[project\.urls\]\n(.+\n)+", "", (ROOT / name).read_text())  # pages for people, not packages
        assert "://" not in text, name
