"""Small changes of the code, one at a time: do the tests notice them?

A mutant has one comparison, calculation, number, truth value or branch changed. It runs in a copy of the project,
against the tests that reach the changed line: first those of the module's own file, then the fastest.
"""

import random
from dataclasses import dataclass
from pathlib import Path

from tests.faults.method import Method, Outcome, outcome
from tests.faults.mutants.coverage import record_path, tests_for
from tests.faults.mutants.mutations import Mutant, mutants_of
from tests.faults.mutants.plugins import LineRecorder, Selection
from tests.faults.mutants.project import CODE, copy_project, load_libraries, run_pytest
from tests.faults.server import ROOT, distribute, start_servers

APPEARANCE = ("anatomy.py", "canvas.py", "lesions.py", "phantoms.py", "phantom_clips.py")  # only change what demos show
NO_TESTS_OF_CODE = ("test_faults.py", "test_notebooks.py", "test_benchmarks.py", "test_end_to_end.py")
HARMLESS = Path(__file__).parents[1] / "harmless.tsv"  # columns: module, line, change, why no test can notice it
SERVERS = 2
RECORDING_SECONDS = 600.0  # for one file of tests; tests after that are not recorded
MAX_SLOWDOWN = 4  # of the tests; a mutant that takes longer is in an endless loop
START_SECONDS = 20  # of pytest
NO_TESTS = 5  # exit code of pytest


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    harmless = _harmless()
    all_mutants = [mutant for module in _modules() for mutant in mutants(module)]
    sample = random.Random(seed).sample(all_mutants, min(trials, len(all_mutants)))
    chosen = [only] if only else sorted(mutant.name for mutant in sample if _key(mutant) not in harmless)
    tests = ROOT / "tests"
    paths = (path for path in tests.rglob("test_*.py") if path.name not in NO_TESTS_OF_CODE)
    files = sorted(path.relative_to(tests).as_posix() for path in paths)
    with start_servers(__name__, "", SERVERS) as servers:
        if failed := [(file, reason) for file, reason in distribute(servers, files) if reason]:
            raise RuntimeError(f"tests/{failed[0][0]} fails without a mutant: {failed[0][1]}")
        return outcome(METHOD.name, seed, distribute(servers, chosen))


def _modules() -> list[str]:
    paths = [path for name in CODE for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))]
    return sorted(str(path.relative_to(ROOT)) for path in paths if path.name not in APPEARANCE)


def _harmless() -> set[tuple[str, ...]]:
    lines = HARMLESS.read_text(encoding="utf-8").splitlines()
    return {tuple(line.split("\t")[:3]) for line in lines}


def _key(mutant: Mutant) -> tuple[str, str, str]:
    text = (ROOT / mutant.module).read_text(encoding="utf-8").splitlines()[mutant.line - 1]
    return mutant.module, text.strip(), mutant.change


def mutants(module: str) -> list[Mutant]:
    """All mutants of the module with this path below the project folder, in the order of its lines."""
    return mutants_of(module, (ROOT / module).read_bytes())


# -- in the server -----------------------------------------------------------------------------------------------------


@dataclass
class Folders:
    """The folders of a server: its copy of the project, and the records of the tests, which all servers share."""

    project: Path
    records: Path


folders = Folders(Path(), Path())


def prepare(folder: Path, part: str) -> list[str]:
    folders.project, folders.records = folder, folder.parent / "records"
    folders.records.mkdir(exist_ok=True)
    copy_project(folder)
    load_libraries()
    return []


def trial(name: str) -> str:
    """Record the lines that a file of tests reaches, or run the tests for a mutant, depending on `name`."""
    return _try_mutant(name) if ":" in name else _record_lines(name)


def _record_lines(file: str) -> str:
    path = record_path(folders.records, file)
    recorder = LineRecorder(path, folders.project, CODE)
    code = run_pytest(folders.project, [f"tests/{file}"], RECORDING_SECONDS, recorder)
    return "" if path.exists() else f"pytest exits with code {code}"


def _try_mutant(name: str) -> str:
    mutant = next(each for each in mutants(name.partition(":")[0]) if each.name == name)
    tests, seconds = tests_for(mutant, folders.records)
    if not tests:
        return "no test reaches it"
    path = folders.project / mutant.module
    source = path.read_bytes()
    path.write_bytes(mutant.apply(source))
    try:
        files = [*dict.fromkeys(test.partition("::")[0] for test in tests)]
        code = run_pytest(folders.project, files, START_SECONDS + MAX_SLOWDOWN * seconds, Selection(tests))
    finally:
        path.write_bytes(source)
    if code == NO_TESTS:
        raise RuntimeError(f"pytest no longer finds the {len(tests)} tests")
    return "no test notices it" if code == 0 else ""


METHOD = Method(
    name="mutants",
    title="one comparison, calculation, number or branch of the code changed",
    short=0,
    full=1000,
    shows="a mutant *survived* in this table if the tests noticed it, and *failed* if they did not. Changes "
    "that no test can notice, such as in a message, are listed with the reason in "
    "`tests/faults/harmless.tsv` and are not tried.",
    run=run,
)
