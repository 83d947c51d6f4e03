"""Each file-system call of a command fails, falls short, or is the last one: then the same command runs again."""

import json
import os
import random
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import shim, world
from tests.faults.method import Method, Outcome, repeat
from tests.faults.server import Server, in_parallel
from tests.faults.world import HEAVY, LIGHT, Template

HEAVY_SHARE = 0.1  # of the trials: training takes seconds where the others take tenths of one
SERVERS = 2  # of each part, in the campaign

templates: dict[str, Template] = {}


# -- the side of the campaign ------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    if why := shim.why_not():
        return Outcome(0, 0, skipped=why)
    with tempfile.TemporaryDirectory(prefix="syscalls-", dir=world.scratch()) as folder:
        library = shim.build(Path(folder))
        if only:
            heavy = only.split(":")[0] in {each.name for each in world.SCENARIOS if each.part == HEAVY}
            parts = [HEAVY if heavy else LIGHT]
        else:
            parts = [LIGHT, HEAVY] * (SERVERS if trials > METHOD.short else 1)
        work = partial(_part, Path(folder), library, trials, seed, only)
        ended = [
            end for part in in_parallel([f"{part} {n // 2}" for n, part in enumerate(parts)], work) for end in part
        ]
    failures = tuple((repeat(METHOD.name, seed, trial), why) for trial, why in ended if why)
    return Outcome(len(ended), len(ended) - len(failures), failures)


def _part(folder: Path, library: Path, trials: int, seed: int, only: str, part: str) -> list[tuple[str, str]]:
    """What became of the trials that one server makes."""
    kind, number = part.split()
    server = Server(__name__, folder / part.replace(" ", "-"), f"{kind} {only.split(':')[0]}", library)
    try:
        if only:
            return list(server.run([only]))
        servers = SERVERS if trials > METHOD.short else 1
        heavy = round(trials * HEAVY_SHARE)
        chosen = choose(server.plan, heavy if kind == HEAVY else trials - heavy, seed)
        return list(server.run(chosen[int(number) :: servers]))
    finally:
        server.close()


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


# -- the side of the server --------------------------------------------------------------------------------------------


def prepare(folder: Path, part: str) -> dict[str, Any]:
    """Run every scenario once without faults; name → the traits of its calls, and its weight."""
    kind, only = part.split(" ")
    world.load_everything(kind)
    plan = {}
    for scenario in world.scenarios(kind):
        if only and only != scenario.name:
            continue
        log = os.memfd_create("calls")
        place = folder / "world"
        template = Template(scenario, place, lambda log=log, place=place: shim.arm(place, log=log))
        with os.fdopen(log, "rb") as file:
            file.seek(0)
            calls = [int(line.split()[1]) for line in file]
        templates[scenario.name] = template
        plan[scenario.name] = {"calls": calls, "weight": scenario.weight}
    return plan


def trial(name: str) -> str:
    scenario, number, fault_name = name.split(":")
    template, fault = templates[scenario], shim.Fault(fault_name)
    template.restore()
    ended = template.run(lambda: shim.arm(template.world, int(number), fault))
    if why := template.wrong_end(ended, fault.kills) or template.lost():
        return why
    if ended.code == world.DONE and (left := world.differences(template.found(), template.facts)):
        return "it said that all is done, but " + json.dumps(left[:5])
    return template.wrong_result(template.run())


METHOD = Method(
    name="syscalls",
    title="every system call fails or kills",
    short=60,
    full=3000,
    shows="one call on a file or folder of the caches, runs and sources fails (EIO, ENOSPC, EMFILE, EACCES, EINTR; that "
    "call, or all from there on), transfers less than asked, or is the last before a SIGKILL. The command ends with one "
    "line, keeps what was committed, and run again gives the same bytes.",
    run=run,
)
