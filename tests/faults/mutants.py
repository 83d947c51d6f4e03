"""Small changes of the code, one at a time: do the tests notice?

A mutant has one comparison, calculation, number, truth value or branch changed. It runs in a copy of the project,
against the tests that reach the changed line: first those of the module's own file, then the quickest.
"""

import ast
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.faults.method import Method, Outcome, outcome
from tests.faults.server import ROOT, left_behind, spread, started, wait

CODE = ("cache", "console", "pipeline", "trainer", "cli.py")
COPIED = (*CODE, "tests", "docs", "notebooks", "benchmarks", ".ci", "Makefile")
APPEARANCE = ("anatomy.py", "canvas.py", "lesions.py", "phantoms.py", "phantom_clips.py")  # may look different
NO_TESTS_OF_CODE = ("test_faults.py", "test_notebooks.py", "test_benchmarks.py", "test_end_to_end.py")
HARMLESS = Path(__file__).with_name("harmless.tsv")  # module, line, change, why nothing can notice it
SERVERS = 2
SECONDS = 40.0  # of tests for one mutant, as long as they took when they were traced
TRACING_SECONDS = 600.0  # of one file of tests; those that it does not come to notice nothing
PATIENCE = 4  # times as long as the tests took before: then the mutant runs for ever
MEMORY_BYTES = 8 << 30
NO_TESTS = 5  # exit code of pytest
LIBRARIES = (
    "hypothesis.extra.numpy", "numpy", "scipy.ndimage", "zarr", "xarray", "dask", "distributed", "nibabel",
    "cv2", "av", "isal", "matplotlib", "click.testing", "tensorflow", "keras",
)  # fmt: skip

SWAPPED: dict[type[ast.AST], tuple[ast.AST, str]] = {
    ast.Lt: (ast.LtE(), "< to <="), ast.LtE: (ast.Lt(), "<= to <"), ast.Gt: (ast.GtE(), "> to >="),
    ast.GtE: (ast.Gt(), ">= to >"), ast.Eq: (ast.NotEq(), "== to !="), ast.NotEq: (ast.Eq(), "!= to =="),
    ast.In: (ast.NotIn(), "in to not in"), ast.NotIn: (ast.In(), "not in to in"),
    ast.Is: (ast.IsNot(), "is to is not"), ast.IsNot: (ast.Is(), "is not to is"),
    ast.Add: (ast.Sub(), "+ to -"), ast.Sub: (ast.Add(), "- to +"), ast.Mult: (ast.FloorDiv(), "* to //"),
    ast.Div: (ast.Mult(), "/ to *"), ast.FloorDiv: (ast.Mult(), "// to *"), ast.Mod: (ast.Mult(), "% to *"),
    ast.Pow: (ast.Mult(), "** to *"), ast.BitAnd: (ast.BitOr(), "& to |"), ast.BitOr: (ast.BitAnd(), "| to &"),
    ast.LShift: (ast.RShift(), "<< to >>"), ast.RShift: (ast.LShift(), ">> to <<"),
    ast.And: (ast.Or(), "and to or"), ast.Or: (ast.And(), "or to and"),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A change of `module`: its bytes from `start` to `end` become `text`."""

    module: str  # below the project's folder
    line: int
    column: int
    change: str
    start: int
    end: int
    text: str

    @property
    def name(self) -> str:
        return f"{self.module}:{self.line}:{self.column}+{self.end - self.start} {self.change}"


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    known = _harmless()
    found = [each for path in _modules() for each in mutants(path)]
    some = random.Random(seed).sample(found, min(trials, len(found)))
    chosen = [only] if only else sorted(each.name for each in some if _key(each) not in known)
    tests = ROOT / "tests"
    paths = (path for path in tests.rglob("test_*.py") if path.name not in NO_TESTS_OF_CODE)
    files = sorted(path.relative_to(tests).as_posix() for path in paths)
    with started(__name__, "", SERVERS) as servers:
        if broken := [(name, why) for name, why in spread(servers, files) if why]:
            raise RuntimeError(f"tests/{broken[0][0]} itself: {broken[0][1]}")
        return outcome(METHOD.name, seed, spread(servers, chosen))


def _modules() -> list[str]:
    paths = [path for name in CODE for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))]
    return sorted(str(path.relative_to(ROOT)) for path in paths if path.name not in APPEARANCE)


def _harmless() -> set[tuple[str, ...]]:
    lines = HARMLESS.read_text(encoding="utf-8").splitlines()
    return {tuple(line.split("\t")[:3]) for line in lines}


def _key(mutant: Mutant) -> tuple[str, str, str]:
    text = (ROOT / mutant.module).read_text(encoding="utf-8").splitlines()[mutant.line - 1]
    return mutant.module, text.strip(), mutant.change


# -- what can be changed -----------------------------------------------------------------------------------------------


def mutants(module: str) -> list[Mutant]:
    """Every mutant of `module`, in the order of its lines."""
    source = (ROOT / module).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found, tree = [], ast.parse(source)
    changes = [(node, change, text) for node in _changeable(tree) for change, text in _changes(node)]
    for node, change, text in [*changes, *_negated(tree)]:
        if node.end_lineno and node.end_col_offset:
            first, last = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
            found.append(Mutant(module, node.lineno, node.col_offset, change, first, last, text))
    return sorted(found, key=lambda each: (each.line, each.column, each.change))


def _changeable(node: ast.AST) -> Iterator[Any]:
    """The expressions below `node` but for types, decorators, texts and what only a type checker reads."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr | ast.Assert):
                continue
            if isinstance(child, ast.expr):
                yield child
            yield from _changeable(child)


def _changes(node: ast.expr) -> Iterator[tuple[str, str]]:
    """What `node` may become: the change as it is named, and the new text."""
    match node:
        case ast.Compare():
            for number, operator in enumerate(node.ops):
                other, name = SWAPPED[type(operator)]
                ops = [*node.ops[:number], other, *node.ops[number + 1 :]]
                yield (
                    name + f", place {number + 1}" * (number > 0),
                    f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})",
                )
        case ast.BinOp(left, operator, right) if type(operator) in SWAPPED and not {_kind(left), _kind(right)} & {str}:
            other, name = SWAPPED[type(operator)]
            yield name, f"({ast.unparse(ast.BinOp(left, other, right))})"  # type: ignore[arg-type]
        case ast.BoolOp(operator, values):
            other, name = SWAPPED[type(operator)]
            yield name, f"({ast.unparse(ast.BoolOp(other, values))})"  # type: ignore[arg-type]
        case ast.UnaryOp(ast.Not(), operand):
            yield "without not", f"({ast.unparse(operand)})"
        case ast.Constant(bool(value) | int(value) | float(value)):
            other = _other_value(value)
            yield f"{value} to {other}", str(other)
        case ast.IfExp(test, body, orelse):
            yield "branches exchanged", f"({ast.unparse(ast.IfExp(test, orelse, body))})"


def _other_value(value: float) -> float:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else 2 * value or 1.0


def _negated(tree: ast.AST) -> Iterator[tuple[ast.expr, str, str]]:
    """Branches that are taken where they were not; a test that is a comparison or a `not` is changed as such."""
    for node in ast.walk(tree):
        tests = [node.test] if isinstance(node, ast.If | ast.While) else getattr(node, "ifs", [])
        for test in tests:
            if isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr | ast.Subscript):
                yield test, "negated", f"(not ({ast.unparse(test)}))"


def _kind(node: ast.expr) -> type:
    if isinstance(node, ast.JoinedStr):
        return str
    return type(node.value) if isinstance(node, ast.Constant) else object


# -- in the server -----------------------------------------------------------------------------------------------------


@dataclass
class Copy:
    """The copy of the project that a server changes."""

    folder: Path
    reached: Path  # what the tests reach, one file for each file of tests; all servers write and read it


copy = Copy(Path(), Path())


def prepare(folder: Path, part: str) -> list[str]:
    copy.folder, copy.reached = folder, folder.parent / "reached"
    copy.reached.mkdir(exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__")
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, folder / name)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.yml"), *ROOT.glob("*.lock")):
        shutil.copy2(path, folder)
    for library in LIBRARIES:
        importlib.import_module(library)
    return []


def trial(name: str) -> str:
    """With a file's name, note what its tests reach. With a mutant's, see whether the tests notice it."""
    if ":" not in name:
        reached = copy.reached / f"{name.replace('/', '-')}.json"
        code = _pytest([f"tests/{name}"], TRACING_SECONDS, Reached(reached))
        return "" if reached.exists() else f"its tests end with {code}"
    mutant = next(each for each in mutants(name.partition(":")[0]) if each.name == name)
    chosen, expected = _tests(mutant)
    if not chosen:
        return "no test reaches it"
    path = copy.folder / mutant.module
    source = path.read_bytes()
    path.write_bytes(source[: mutant.start] + mutant.text.encode() + source[mutant.end :])
    try:
        files = dict.fromkeys(test.partition("::")[0] for test in chosen)
        code = _pytest([*files], 20 + PATIENCE * expected, Chosen(chosen))
    finally:
        path.write_bytes(source)
    if code == NO_TESTS:
        raise RuntimeError(f"{len(chosen)} tests are not found any more")
    return "no test notices it" if code == 0 else ""


def _tests(mutant: Mutant) -> tuple[list[str], float]:
    """The tests that reach the line of `mutant`, or its module if none does, and the seconds that they take."""
    own = f"test_{Path(mutant.module).stem}.py"
    anywhere = mutant.line not in _lines_of_functions(mutant.module)  # runs at import, whatever uses it
    files = []
    for file, reached in _reached(mutant.module).items():
        found = {test: (seconds, anywhere or mutant.line in lines) for test, (seconds, lines) in reached.items()}
        files.append((file.rpartition("-")[2] != own, sum(seconds for seconds, _ in found.values()), found))
    files.sort(key=lambda each: each[:2])
    found = {test: each for *_, tests in files for test, each in sorted(tests.items(), key=lambda item: item[1])}
    if any(at_line for _, at_line in found.values()):
        found = {test: each for test, each in found.items() if each[1]}
    chosen, total = [], 0.0
    for test, (seconds, _) in found.items():
        if total + seconds <= SECONDS:
            chosen.append(test)
            total += seconds
    return chosen, total


@lru_cache(maxsize=1)
def _lines_of_functions(module: str) -> frozenset[int]:
    tree = ast.parse((ROOT / module).read_bytes())
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(line for body in bodies for line in range(body[0].lineno, (body[-1].end_lineno or 0) + 1))


@lru_cache(maxsize=1)
def _reached(module: str) -> dict[str, dict[str, tuple[float, frozenset[int]]]]:
    """File of tests → test → its seconds and the lines of `module` that it reaches, if any."""
    return {
        path.stem: {
            test: (seconds, frozenset(lines[module]))
            for test, (seconds, lines) in json.loads(path.read_text(encoding="utf-8")).items()
            if module in lines
        }
        for path in sorted(copy.reached.glob("*.json"))
    }


def _pytest(files: Sequence[str], seconds: float, plugin: object) -> int:
    """The exit code of pytest in a forked process, that of a signal if it takes more than `seconds`."""
    child = os.fork()
    if child == 0:
        _be_pytest(files, plugin)
    code = wait(child, seconds)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    left_behind()
    return code


def _be_pytest(files: Sequence[str], plugin: object) -> None:
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        os.chdir(copy.folder)
        os.environ["PYTHONPATH"] = str(copy.folder)
        sys.path[:] = [str(copy.folder), *(each for each in sys.path if Path(each).resolve() != ROOT)]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "cli", *CODE)]:
            del sys.modules[name]
        words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain", "--hypothesis-seed=0", *files]
        code = int(pytest.main(words, plugins=[plugin]))
    except BaseException:  # noqa: BLE001 - the server shows it
        traceback.print_exc()
    finally:
        os._exit(code)


class Chosen:
    """A pytest plugin: only these tests run, in this order, up to the first that fails."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.place = {test: number for number, test in enumerate(tests)}

    def pytest_configure(self, config: Any) -> None:
        config.option.maxfail = 1

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.place), key=lambda each: self.place[each.nodeid]
        )


class Reached:
    """A pytest plugin: for each test that passes, its seconds and the lines of ours that it reaches, by module."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, set[int]] = {}
        self.found: dict[str, tuple[float, dict[str, list[int]]]] = {}
        self.failed: set[str] = set()
        self.names: dict[str, str] = {}

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> None:
        self.lines = {}
        threading.settrace(self._enter)
        sys.settrace(self._enter)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if not report.passed:
            self.failed.add(report.nodeid)
        before = self.found.get(report.nodeid, (0.0, {}))[0]
        lines = {module: sorted(lines) for module, lines in self.lines.items()}
        self.found[report.nodeid] = (before + report.duration, lines)
        if report.when == "teardown":
            self._write()

    def pytest_sessionfinish(self) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        self._write()

    def _write(self) -> None:
        passed = {name: each for name, each in self.found.items() if name not in self.failed}
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(passed), encoding="utf-8")
        partial.replace(self.path)

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        """Trace only functions of ours."""
        module = self._module(frame.f_code.co_filename)
        if not module:
            return None
        lines = self.lines.setdefault(module, set())
        lines.add(frame.f_lineno)

        def at_line(frame: FrameType, event: str, argument: object) -> Any:
            lines.add(frame.f_lineno)
            return at_line

        return at_line

    def _module(self, path: str) -> str:
        if path not in self.names:
            below = path.removeprefix(f"{copy.folder}/")
            ours = below != path and below.partition("/")[0] in CODE
            self.names[path] = below if ours else ""
        return self.names[path]


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
