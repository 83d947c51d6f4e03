"""The help of every command has an example and imports no heavy library."""

import subprocess
import sys

import pytest

from cli import main
from console.groups import all_commands
from tests.helpers.commands import ROOT, cli


def commands():
    return [words for words, _ in all_commands(main)]


def test_every_command_has_help_with_an_example():
    for name in commands():
        result = cli(*name, "--help")
        assert result.exit_code == 0
        assert f"Example:\n    python cli.py {' '.join(name)} " in result.stdout


@pytest.mark.parametrize("name", [(), ("preprocess",), *commands()], ids=" ".join)
def test_help_imports_nothing_heavy(name):
    """Imports determine how fast help is; `benchmarks/startup.py` measures it."""
    code = (
        "import sys, cli\ntry: cli.main()\nfinally:"
        " sys.exit(sorted({'numpy', 'dask', 'zarr', 'nibabel', 'pipeline.jobs'} & {*sys.modules}) or 0)"
    )
    command = [sys.executable, "-c", code, *name, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert (result.returncode, result.stderr) == (0, "")
