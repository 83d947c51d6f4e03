"""The documentation is correct: commands, options, links, files."""

import re
import tomllib
from pathlib import Path

import click
import pytest

import cache
import cli
from console.groups import all_commands

ROOT = Path(__file__).resolve().parent.parent
OTHERS_OPTIONS = {"--nthreads", "--nworkers", "--port", "--scheduler-file", "--memory-limit"}  # Dask's
OTHERS_OPTIONS |= {"--ntasks", "--cpus-per-task", "--mem-per-cpu", "--time", "--gres", "--mem", "--requeue"}  # SLURM's
OTHERS_OPTIONS |= {"--only", "--trials", "--write"}  # the fault campaign's
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def commands():
    """Words → command, without groups."""
    return dict(all_commands(cli.main))


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_every_command_is_in_the_reference_and_shows_an_example(words):
    assert f"python cli.py {' '.join(words)}" in (ROOT / "docs/cli.md").read_text()
    assert f"python cli.py {' '.join(words)}" in commands()[words].help


def test_every_option_in_the_docs_exists():
    options = [parameter for command in commands().values() for parameter in command.params]
    existing = {
        name
        for option in options
        for name in (*option.opts, *option.secondary_opts, *getattr(option, "old_options", ()))
    }
    existing |= {"--help", "--version", "--long", "--quick", *OTHERS_OPTIONS}
    for page in PAGES:
        mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text()))
        assert mentioned - existing == set(), page.name


def test_every_option_has_a_help_text():
    without_help = [
        (words, parameter.name)
        for words, command in commands().items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert without_help == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_resolve(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_in_the_docs_exists(page):
    for name in re.findall(
        r"`((?:benchmarks|cache|console|docs|notebooks|pipeline|tests|trainer)/[\w./-]*)", page.read_text()
    ):
        assert (ROOT / name).exists(), f"{page.name} mentions {name}"
    for name in re.findall(r"python (benchmarks/\w+\.py)", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name} mentions {name}"


def test_every_benchmark_is_on_the_performance_page():
    page = (ROOT / "docs" / "performance.md").read_text()
    for path in (ROOT / "benchmarks").glob("*.py"):
        assert path.name == "common.py" or f"benchmarks/{path.name}" in page, path.name


def test_the_project_and_the_package_have_the_same_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == cache.__version__


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_in_the_docs_exists(page):
    for name in re.findall(r"`((?:cache|console|pipeline|trainer)(?:\.[a-z_]+)+)", page.read_text()):
        package, *rest = name.split(".")
        path = ROOT / package
        while rest and (path / rest[0]).is_dir():
            path /= rest.pop(0)
        file = path / f"{rest[0]}.py" if rest else path
        if rest and not file.exists():  # a name in the package's __init__.py
            file, rest = path / "__init__.py", ["", *rest]
        assert file.exists(), f"{page.name} mentions {name}"
        assert not rest[1:] or re.search(rf"\b{rest[1]}\b", file.read_text()), f"{page.name} mentions {name}"
