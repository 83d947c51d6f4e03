"""A scenario's state, restored before each trial, and the comparison with its command's result without a fault."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.server import CommandResult, command
from tests.faults.world.facts import Sample, differences, facts_of, samples
from tests.faults.world.scenarios import Scenario

DONE, FAILED, QUARANTINED = 0, 1, 3  # exit codes


class Template:
    """The state that a scenario starts from, and the facts after its command has run there without a fault.

    All commands run in the same `folder`, because caches contain absolute paths; `original` is a copy of its state.
    """

    def __init__(self, scenario: Scenario, folder: Path, setup: Callable[[], None] = lambda: None) -> None:
        self.scenario, self.folder = scenario, folder
        self.original = folder.with_name(f"template-{scenario.name}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        scenario.prepare(folder)
        shutil.copytree(folder, self.original, symlinks=True)
        self.samples_before = self.samples()
        self.result = self.run(setup)
        if self.result.code not in (DONE, QUARANTINED):
            raise RuntimeError(f"{scenario.name} fails without any fault: {self.result}")
        self.samples_after = self.samples()
        self.expected = self.facts()

    def restore(self) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self.original, self.folder, symlinks=True)

    def run(self, setup: Callable[[], None] = lambda: None) -> CommandResult:
        return command(self.scenario.words(self.folder), setup)

    def facts(self) -> dict[str, Any]:
        return {name: facts_of(self.folder / name) for name in self.scenario.results}

    def samples(self) -> dict[str, dict[str, Sample]]:
        """The samples of each cache."""
        names = [name for name in self.scenario.results if name.endswith(".zarr")]
        return {name: samples(self.folder / name) for name in names}

    def check_faulty_run(self, result: CommandResult, killed: bool) -> str:
        """The reason why a command may not end like this after a fault, "" if it may."""
        lines = [line for line in result.err.splitlines() if line.strip()]
        if "Traceback" in result.err or "please report" in result.err:
            return f"unexpected error: {result.err[-2000:]}"
        if result.leftover_processes:
            return f"{result.leftover_processes} processes are still running"
        if killed and result.code == -9:
            return ""
        if result.code not in (DONE, FAILED, QUARANTINED):
            return f"exit code {result.code}: {result.err[-500:]}"
        if len(lines) > 1:
            return f"{len(lines)} lines of errors: {result.err[-1000:]}"
        if result.code == FAILED and not lines and not result.out:
            return "it failed without an error message"
        return ""

    def check_samples(self) -> str:
        """The first sample that is lost, or has neither the values and labels before the command nor those after."""
        for cache, current in self.samples().items():
            before, after = self.samples_before[cache], self.samples_after[cache]
            for name in sorted({*before, *current}):
                allowed = [state[name] for state in (before, after) if name in state]
                if name not in current:
                    if name in after:
                        return f"{cache}: {name} is lost"
                elif reason := _check_sample(current[name], allowed):
                    return f"{cache}: {name} {reason}"
        return ""

    def check_repeated_run(self, result: CommandResult) -> str:
        """The reason why a repeated command without a fault has a wrong result, "" if the result is right."""
        was_done = self.scenario.done and result.code == FAILED and self.scenario.done in result.err
        if result.code != self.result.code and not was_done:
            return (
                f"run again, its exit code is {result.code}, not {self.result.code}: "
                f"{result.err[-500:]}{result.out[-500:]}"
            )
        return "\n".join(differences(self.facts(), self.expected)[:5])


def _check_sample(sample: Sample, allowed: list[Sample]) -> str:
    """The reason why `sample` is none of `allowed`; it must be readable if it was readable before."""
    if not any(state.readable for state in allowed):
        return ""  # it was lost before, and the command does not make it again
    if not sample.readable:
        return "" if not allowed[0].readable else f"can no longer be read: {sample.values}"
    if sample.values not in {state.values for state in allowed}:
        return "has values that it never had"
    labels = {(state.label, state.group) for state in allowed}
    return "" if (sample.label, sample.group) in labels else f"has label {sample.label} of {sample.group}, not {labels}"
