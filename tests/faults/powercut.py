"""The power is cut in the middle of a command: whatever the disk has kept, the same command finishes."""

import hashlib
import json
import os
import random
import shutil
import tempfile
from contextlib import closing, suppress
from functools import partial
from itertools import accumulate
from pathlib import Path

from tests.faults import shim, world
from tests.faults.disk import Disk, State
from tests.faults.method import Method, Outcome, outcome
from tests.faults.server import Server, in_parallel
from tests.faults.world import HEAVY, LIGHT, Template

HEAVY_SCENARIOS = {"features-again": 0.03, "pretrain": 0.01}  # share of the states: these take longer
PATIENCE = 100  # states in a row that were met before, after which no other is looked for
LOG = "ledger/entries.jsonl"

templates: dict[str, Template] = {}
disks: dict[str, Disk] = {}
seeds: list[int] = []


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    if why := shim.why_not():
        return Outcome(0, 0, skipped=why)
    with tempfile.TemporaryDirectory(prefix="powercut-", dir=world.scratch()) as folder:
        library = shim.build(Path(folder))

        def work(share: tuple[tuple[str, ...], int]) -> list[tuple[str, str]]:
            names, count = share
            program = json.dumps({"names": names, "count": count, "seed": seed})
            with closing(Server(__name__, Path(folder) / names[0], program, library)) as server:
                return list(server.run([only] if only else server.plan))

        ended = [end for part in in_parallel(_shares(trials, only), work) for end in part]
    return outcome(METHOD.name, seed, ended)


def _shares(trials: int, only: str) -> list[tuple[tuple[str, ...], int]]:
    """For each server its scenarios, and how many states it is to try."""
    if only:
        return [((only.partition(":")[0],), 0)]
    light = tuple(each.name for each in world.SCENARIOS if each.part == LIGHT)
    whole = trials > METHOD.short
    heavy = [((name,), round(share * trials)) for name, share in HEAVY_SCENARIOS.items() if whole]
    rest = trials - sum(count for _, count in heavy)
    return [(light[::2], rest // 2), (light[1::2], rest - rest // 2), *heavy]


# -- in the server -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, program: str) -> list[str]:
    """Trace the scenarios named; the names of so many states, each of them another."""
    wanted = json.loads(program)
    seeds.append(wanted["seed"])
    chosen = world.scenarios(wanted["names"])
    world.load_everything(HEAVY if any(each.part == HEAVY for each in chosen) else LIGHT)
    place = folder / "world"
    for scenario in chosen:
        log = os.memfd_create("trace")
        template = Template(scenario, place, partial(shim.arm, place, log=log, trace=True))
        disk = Disk(place, template.kept)
        with os.fdopen(log, "rb") as file:
            file.seek(0)
            disk.replay(file.read())
        templates[scenario.name], disks[scenario.name] = template, disk
    weights = list(accumulate(each.weight for each in chosen))
    ends = [round(wanted["count"] * weight / weights[-1]) for weight in weights]
    return [
        name
        for each, begin, end in zip(chosen, [0, *ends], ends, strict=False)
        for name in _different(each.name, end - begin)
    ]


def _different(scenario: str, count: int) -> list[str]:
    """The names of `count` trials whose states differ, of fewer where there are no more."""
    names: list[str] = []
    seen: set[str] = set()
    number = last = 0
    while len(names) < count and number - last < PATIENCE:
        number += 1
        cut = random.Random(f"{seeds[0]} {scenario} {number}").randint(1, disks[scenario].time + 1)
        name = f"{scenario}:{cut}:{number}"
        digest = hashlib.sha256(repr(_state(name)).encode()).hexdigest()
        if digest not in seen:
            seen.add(digest)
            names.append(name)
            last = number
    return names


def _state(name: str) -> State:
    scenario, cut, _ = name.split(":")
    return disks[scenario].state(int(cut), random.Random(f"{seeds[0]} {name}"))


def trial(name: str) -> str:
    scenario, cut, _ = name.split(":")
    template = templates[scenario]
    shutil.rmtree(template.world)
    template.world.mkdir()
    _state(name).write(template.world)
    return _forgotten(template, disks[scenario], int(cut)) or template.lost() or template.wrong_result(template.run())


def _forgotten(template: Template, disk: Disk, cut: int) -> str:
    """Which sample is lost whose line in the ledger had been flushed before the cut; "" where none is."""
    from cache.errors import CacheError
    from cache.verify import verify

    for cache, found in template.samples().items():
        with suppress(CacheError):  # it may say that there is no cache yet, or that it is damaged
            verify(template.world / cache)
        flushed = [data for time, path, data in disk.flushed if time < cut and path == f"{cache}/{LOG}"]
        for name in _complete(flushed[-1]) if flushed else ():
            if name not in found and name in template.after[cache]:
                return f"{cache}: {name} was committed, and is lost"
    return ""


def _complete(log: bytes) -> set[str]:
    """The ids of the samples in the bytes of a ledger's log."""
    last = {}
    for line in log.splitlines():
        with suppress(ValueError):
            entry = json.loads(line[9:])
            last[entry["id"]] = entry["state"]
    return {name for name, state in last.items() if state == "complete"}


METHOD = Method(
    name="powercut",
    title="power cuts",
    short=200,
    full=11_000,  # some scenarios have fewer states than their share: 10,000 and more are left
    shows="the disk is left in a state that a power cut may leave at any moment of a command: flushed data is "
    "complete, any other write is complete, missing, torn or zeros, and any other rename took place or "
    "not, in any combination (all tried states differ). Committed samples are right, and the same command "
    "completes to the same bytes.",
    run=run,
)
