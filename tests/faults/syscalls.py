"""One file-system call of a command fails, transfers less, or is the last one; then the same command runs again."""

import errno
import json
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import shim, world
from tests.faults.method import Method, Outcome, outcome
from tests.faults.server import CommandResult, Server, in_parallel
from tests.faults.world import HEAVY, LIGHT, Scenario, Template

HEAVY_SHARE = 0.08  # of the trials: training takes seconds, the other commands tenths of a second
SHORT_HEAVY = ("features", "pretrain")  # the heavy scenarios of the short form
SERVERS = 2  # per part, in the campaign

templates: dict[str, Template] = {}


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    if reason := shim.why_not():
        return Outcome(0, 0, skipped=reason)
    with tempfile.TemporaryDirectory(prefix="syscalls-", dir=world.scratch()) as folder:
        library = shim.build(Path(folder))
        servers = 1 if only or trials <= METHOD.short else SERVERS
        parts = [_part_of(only)] if only else [LIGHT, HEAVY]
        shares = [(part, number) for part in parts for number in range(servers)]

        def work(share: tuple[str, int]) -> list[tuple[str, str]]:
            part, number = share
            names = [each.name for each in world.SCENARIOS if each.part == part and _selected(each, trials, only)]
            with closing(
                Server(__name__, Path(folder) / f"{part}{number}", ",".join([part, *names]), library)
            ) as server:
                heavy = round(trials * HEAVY_SHARE)
                chosen = choose(server.plan, heavy if part == HEAVY else trials - heavy, seed)
                return list(server.run([only] if only else chosen[number::servers]))

        results = [result for share in in_parallel(shares, work) for result in share]
    return outcome(METHOD.name, seed, results)


def _part_of(trial: str) -> str:
    return next(each.part for each in world.SCENARIOS if each.name == trial.partition(":")[0])


def _selected(scenario: Scenario, trials: int, only: str) -> bool:
    if only:
        return scenario.name == only.partition(":")[0]
    return scenario.part == LIGHT or trials > METHOD.short or scenario.name in SHORT_HEAVY


def choose(plan: dict[str, dict[str, Any]], count: int, seed: int) -> list[str]:
    """`count` different trials, each a call and a possible fault of it; scenarios take turns, by weight."""
    remaining: dict[str, Iterator[str]] = {}
    for name, scenario in plan.items():
        possible = [
            f"{name}:{number}:{fault.name}"
            for number, traits in enumerate(scenario["calls"], start=1)
            for fault in shim.FAULTS
            if fault.possible(traits)
        ]
        random.Random(f"{seed} {name}").shuffle(possible)
        remaining[name] = iter(possible)
    turns = [name for name, scenario in plan.items() for _ in range(scenario["weight"])]
    random.Random(f"{seed} turns").shuffle(turns)
    chosen: list[str] = []
    while len(chosen) < count and turns:
        for name in list(turns):
            if (trial := next(remaining[name], None)) is None:
                turns = [turn for turn in turns if turn != name]
            elif len(chosen) < count:
                chosen.append(trial)
    return chosen


# -- in the server -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, part: str) -> dict[str, Any]:
    """Run the scenarios once without a fault; return scenario → the traits of its calls, and its weight."""
    kind, *names = part.split(",")
    world.load_everything(kind)
    world_folder = folder / "world"
    plan = {}
    for scenario in world.scenarios(names):
        log = os.memfd_create("calls")
        templates[scenario.name] = Template(scenario, world_folder, partial(shim.arm, world_folder, log=log))
        with os.fdopen(log, "rb") as file:
            file.seek(0)
            calls = [int(line.split()[1]) for line in file]
        plan[scenario.name] = {"calls": calls, "weight": scenario.weight}
    return plan


def trial(name: str) -> str:
    scenario, number, fault_name = name.split(":")
    template, fault = templates[scenario], shim.Fault(fault_name)
    template.restore()
    result = template.run(lambda: shim.arm(template.folder, int(number), fault))
    if reason := template.check_faulty_run(result, fault.kills) or template.check_samples():
        return reason
    if reason := _check_message(template, fault, result):
        return reason
    if result.code == world.DONE and (wrong := world.differences(template.facts(), template.expected)):
        return "it reported success, but " + json.dumps(wrong[:5])
    return template.check_repeated_run(template.run())


def _check_message(template: Template, fault: shim.Fault, result: CommandResult) -> str:
    """The reason why a failed command's message is wrong: it must contain the text of the error.

    Not where a library of a heavy command may hide an error that is not persistent.
    """
    heavy = template.scenario.part == HEAVY
    if not fault.error or result.code != world.FAILED or (heavy and not fault.persistent):
        return ""
    expected, output = os.strerror(fault.error), result.err + result.out
    if fault.error == errno.EACCES and "another run is writing" in output:  # some systems report a lock like this
        return ""
    return "" if expected in output else f"its message does not contain {expected!r}: {output[-500:]}"


METHOD = Method(
    name="syscalls",
    title="failing and killing system calls",
    short=60,
    full=3000,
    shows="one call on a file or folder of caches, runs or sources fails (EIO, ENOSPC, EMFILE, EACCES or EINTR, "
    "once or from then on), transfers less than requested, or is the last before a SIGKILL. The command "
    "ends with one line, keeps all that was committed, and when it is run again gives the same bytes.",
    run=run,
)
