"""Each file-system call of a command fails, falls short, or is the last one: then the same command runs again."""

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
from tests.faults.server import Ended, Server, in_parallel
from tests.faults.world import HEAVY, LIGHT, Scenario, Template

HEAVY_SHARE = 0.08  # of the trials: training takes seconds where the others take tenths of one
SHORT_HEAVY = ("features", "pretrain")  # all that there is time for in the short form
SERVERS = 2  # of each part, in the campaign

templates: dict[str, Template] = {}


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    if why := shim.why_not():
        return Outcome(0, 0, skipped=why)
    with tempfile.TemporaryDirectory(prefix="syscalls-", dir=world.scratch()) as folder:
        library = shim.build(Path(folder))
        servers = 1 if only or trials <= METHOD.short else SERVERS
        parts = [_part_of(only)] if only else [LIGHT, HEAVY]
        shares = [(part, number) for part in parts for number in range(servers)]

        def work(share: tuple[str, int]) -> list[tuple[str, str]]:
            part, number = share
            names = [each.name for each in world.SCENARIOS if each.part == part and _wanted(each, trials, only)]
            with closing(
                Server(__name__, Path(folder) / f"{part}{number}", ",".join([part, *names]), library)
            ) as server:
                heavy = round(trials * HEAVY_SHARE)
                chosen = choose(server.plan, heavy if part == HEAVY else trials - heavy, seed)
                return list(server.run([only] if only else chosen[number::servers]))

        ended = [end for part in in_parallel(shares, work) for end in part]
    return outcome(METHOD.name, seed, ended)


def _part_of(trial: str) -> str:
    return next(each.part for each in world.SCENARIOS if each.name == trial.partition(":")[0])


def _wanted(scenario: Scenario, trials: int, only: str) -> bool:
    if only:
        return scenario.name == only.partition(":")[0]
    return scenario.part == LIGHT or trials > METHOD.short or scenario.name in SHORT_HEAVY


def choose(plan: dict[str, dict[str, Any]], count: int, seed: int) -> list[str]:
    """`count` different trials, of each scenario by its weight: a call and a fault that this call can meet."""
    order: dict[str, Iterator[str]] = {}
    for name, scenario in plan.items():
        every = [
            f"{name}:{number}:{fault.name}"
            for number, traits in enumerate(scenario["calls"], start=1)
            for fault in shim.FAULTS
            if fault.possible(traits)
        ]
        random.Random(f"{seed} {name}").shuffle(every)
        order[name] = iter(every)
    turns = [name for name, scenario in plan.items() for _ in range(scenario["weight"])]
    random.Random(f"{seed} turns").shuffle(turns)
    chosen: list[str] = []
    while len(chosen) < count and turns:
        for name in list(turns):
            if (trial := next(order[name], None)) is None:
                turns = [turn for turn in turns if turn != name]
            elif len(chosen) < count:
                chosen.append(trial)
    return chosen


# -- in the server -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, part: str) -> dict[str, Any]:
    """Run the scenarios named, once without faults; name → the traits of its calls, and its weight."""
    kind, *names = part.split(",")
    world.load_everything(kind)
    place = folder / "world"
    plan = {}
    for scenario in world.scenarios(names):
        log = os.memfd_create("calls")
        templates[scenario.name] = Template(scenario, place, partial(shim.arm, place, log=log))
        with os.fdopen(log, "rb") as file:
            file.seek(0)
            calls = [int(line.split()[1]) for line in file]
        plan[scenario.name] = {"calls": calls, "weight": scenario.weight}
    return plan


def trial(name: str) -> str:
    scenario, number, fault_name = name.split(":")
    template, fault = templates[scenario], shim.Fault(fault_name)
    template.restore()
    ended = template.run(lambda: shim.arm(template.world, int(number), fault))
    if why := template.wrong_end(ended, fault.kills) or template.lost():
        return why
    if why := _unsaid(template, fault, ended):
        return why
    if ended.code == world.DONE and (left := world.differences(template.found(), template.facts)):
        return "it reported success, but " + json.dumps(left[:5])
    return template.wrong_result(template.run())


def _unsaid(template: Template, fault: shim.Fault, ended: Ended) -> str:
    """What a command that failed does not say. Libraries of the heavy ones may hide an error that does not last."""
    if not fault.error or ended.code != world.FAILED or (template.scenario.part == HEAVY and not fault.lasts):
        return ""
    said, told = os.strerror(fault.error), ended.err + ended.out
    held = (
        fault.error == errno.EACCES and "another run is writing" in told
    )  # as some systems say of a lock that is held
    return "" if said in told or held else f"it does not say that the system said {said!r}: {told[-500:]}"


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
