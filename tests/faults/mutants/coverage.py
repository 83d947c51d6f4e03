"""The tests that reach each line, as recorded before, and the choice of the tests for a mutant."""

import ast
import json
from functools import lru_cache
from pathlib import Path

from tests.faults.mutants.mutations import Mutant
from tests.faults.server import ROOT

MAX_SECONDS = 40.0  # of the tests for one mutant, by their recorded durations


def record_path(folder: Path, file: str) -> Path:
    """The file in `folder` with the records of a file of tests, such as `cache/test_x.py`."""
    return folder / f"{file.replace('/', '-')}.json"


def tests_for(mutant: Mutant, folder: Path) -> tuple[list[str], float]:
    """The tests that reach the line of `mutant`, or its module if none does, and their total seconds.

    The tests in the module's own file come first, then the fastest; `folder` has the records.
    """
    own_file = f"test_{Path(mutant.module).stem}.py"
    at_import = mutant.line not in _lines_of_functions(mutant.module)  # such a line runs in any test of the module
    files = []
    for file, reached in _records(mutant.module, folder).items():
        tests = {test: (seconds, at_import or mutant.line in lines) for test, (seconds, lines) in reached.items()}
        files.append((file.rpartition("-")[2] != own_file, sum(seconds for seconds, _ in tests.values()), tests))
    files.sort(key=lambda each: each[:2])
    ordered = {test: each for *_, tests in files for test, each in sorted(tests.items(), key=lambda item: item[1])}
    if any(reaches_line for _, reaches_line in ordered.values()):
        ordered = {test: each for test, each in ordered.items() if each[1]}
    chosen, total = [], 0.0
    for test, (seconds, _) in ordered.items():
        if total + seconds <= MAX_SECONDS:
            chosen.append(test)
            total += seconds
    return chosen, total


@lru_cache(maxsize=1)
def _lines_of_functions(module: str) -> frozenset[int]:
    tree = ast.parse((ROOT / module).read_bytes())
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(line for body in bodies for line in range(body[0].lineno, (body[-1].end_lineno or 0) + 1))


@lru_cache(maxsize=1)
def _records(module: str, folder: Path) -> dict[str, dict[str, tuple[float, frozenset[int]]]]:
    """File of tests → test → its seconds and the lines of `module` that it reaches, if any."""
    return {
        path.stem: {
            test: (seconds, frozenset(lines[module]))
            for test, (seconds, lines) in json.loads(path.read_text(encoding="utf-8")).items()
            if module in lines
        }
        for path in sorted(folder.glob("*.json"))
    }
