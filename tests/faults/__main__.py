"""Run the fault campaign or some of its methods: print the table, and each failure with the command that repeats it.

python -m tests.faults                        every method, complete
python -m tests.faults syscalls --short       one method, as in `make test`
python -m tests.faults --write                every method; writes the rows to docs/reliability.md
"""

import argparse
import importlib
import pkgutil
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests import faults
from tests.faults.method import Method, Outcome

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- table of the campaign: written by `python -m tests.faults --write` -->", "<!-- end of the table -->"
COLUMNS = ("method", "tried", "survived", "failed", "skipped", "seconds", "seed", "commit of")
WIDTHS = (10, 8, 8, 8, 8, 8, 6)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    method: Method
    outcome: Outcome
    seconds: float
    seed: int

    def cells(self) -> tuple[str, ...]:
        counts = (self.outcome.tried, self.outcome.survived, self.outcome.failed)
        skipped = self.outcome.skipped or "–"
        return (self.method.name, *(f"{n:,}" for n in counts), skipped, f"{self.seconds:.0f}", str(self.seed))


def methods() -> dict[str, Method]:
    """Every method of the package by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(faults.__path__) if not module.name.startswith("_"))
    modules = [importlib.import_module(f"{faults.__name__}.{name}") for name in names]
    return {module.METHOD.name: module.METHOD for module in modules if hasattr(module, "METHOD")}


def run(method: Method, trials: int, seed: int, only: str = "") -> Row:
    """Run one method; an exception in it counts as one failure, and the campaign continues."""
    start = time.monotonic()
    try:
        outcome = method.run(trials, seed, only)
    except Exception:  # noqa: BLE001 - an error in one method must not stop the others
        command = f"python -m tests.faults {method.name} --seed {seed} --trials {trials}"
        outcome = Outcome(1, 0, ((command, f"the method raised an error:\n{traceback.format_exc()}"),))
    return Row(method, outcome, time.monotonic() - start, seed)


def main() -> int:
    arguments = _arguments()
    available = methods()
    if unknown := [name for name in arguments.names if name not in available]:
        print(f"unknown method {unknown[0]}; expected one of {', '.join(available)}", file=sys.stderr)
        return 2
    print(_line(COLUMNS[:7]), flush=True)
    rows = []
    for name in arguments.names or available:
        method = available[name]
        trials = arguments.trials or (method.short if arguments.short else method.full)
        rows.append(run(method, trials, arguments.seed, arguments.only))
        print(_line(rows[-1].cells()), flush=True)
        if arguments.write:
            write(rows[-1:], _commit())
    failures = [failure for row in rows for failure in row.outcome.failures]
    for command, reason in failures:
        print(f"\n{command}\n  {reason}")
    return int(any(row.outcome.failed for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="methods; default: all")
    parser.add_argument("--short", action="store_true", help="run the number of trials of `make test`")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (default 0)")
    parser.add_argument("--trials", type=int, default=0, help="number of trials")
    parser.add_argument("--only", metavar="TRIAL", default="", help="run only this trial of the one method named")
    parser.add_argument("--write", action="store_true", help="write the rows to docs/reliability.md")
    arguments = parser.parse_args()
    if arguments.only and len(arguments.names) != 1:
        parser.error("--only needs the NAME of its method, and no other")
    if arguments.only and arguments.write:
        parser.error("--write needs a complete run; leave out --only")
    return arguments


def _line(cells: tuple[str, ...]) -> str:
    first, *others = (cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return "  ".join([first.strip().ljust(WIDTHS[0]), *others])


# -- the page ----------------------------------------------------------------------------------------------------------


def write(rows: list[Row], commit: str, page: Path = PAGE) -> None:
    """Write `rows` to the table of `page`, and below it the property that each method tests.

    Rows of methods that are not in `rows` remain unchanged.
    """
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    table, after = rest.split(END)
    lines = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    for row in rows:
        name, *cells = row.cells()
        lines[name] = _markdown((f"`{name}`: {row.method.title}", *cells, commit))
    available = methods()
    ordered = [lines[name] for name in available if name in lines]
    head = [_markdown(COLUMNS), "| --- | ---: | ---: | ---: | --- | ---: | ---: | --- |"]
    properties = [f"- **{name}**: {method.shows}" for name, method in available.items()]
    page.write_text("\n".join([before + BEGIN, *head, *ordered, "", *properties, END + after]), encoding="utf-8")


def _markdown(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _commit() -> str:
    """The date and the short hash of the current commit."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%cs %h"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
