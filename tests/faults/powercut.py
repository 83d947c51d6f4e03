"""Power cuts in the middle of a command: from any possible state of the disk, the same command completes."""

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

HEAVY_SCENARIOS = {"features-again": 0.03, "pretrain": 0.01}  # shares of the trials; these take longer
MAX_REPEATED_STATES = 100  # in a row; after that, the scenario is taken to have no other states
LOG = "ledger/entries.jsonl"

templates: dict[str, Template] = {}
disks: dict[str, Disk] = {}
seeds: list[int] = []


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    if reason := shim.why_not():
        return Outcome(0, 0, skipped=reason)
    with tempfile.TemporaryDirectory(prefix="powercut-", dir=world.scratch()) as folder:
        library = shim.build(Path(folder))

        def work(share: tuple[tuple[str, ...], int]) -> list[tuple[str, str]]:
            names, count = share
            job = json.dumps({"names": names, "count": count, "seed": seed})
            with closing(Server(__name__, Path(folder) / names[0], job, library)) as server:
                return list(server.run([only] if only else server.plan))

        results = [result for share in in_parallel(_shares(trials, only), work) for result in share]
    return outcome(METHOD.name, seed, results)


def _shares(trials: int, only: str) -> list[tuple[tuple[str, ...], int]]:
    """The scenarios and the number of trials of each server."""
    if only:
        return [((only.partition(":")[0],), 0)]
    light = tuple(each.name for each in world.SCENARIOS if each.part == LIGHT)
    complete = trials > METHOD.short
    heavy = [((name,), round(share * trials)) for name, share in HEAVY_SCENARIOS.items() if complete]
    rest = trials - sum(count for _, count in heavy)
    return [(light[::2], rest // 2), (light[1::2], rest - rest // 2), *heavy]


# -- in the server -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, job: str) -> list[str]:
    """Trace the scenarios of a job, and return the names of its trials, each with a different state."""
    options = json.loads(job)
    seeds.append(options["seed"])
    chosen = world.scenarios(options["names"])
    world.load_everything(HEAVY if any(each.part == HEAVY for each in chosen) else LIGHT)
    world_folder = folder / "world"
    for scenario in chosen:
        log = os.memfd_create("trace")
        template = Template(scenario, world_folder, partial(shim.arm, world_folder, log=log, trace=True))
        disk = Disk(world_folder, template.original)
        with os.fdopen(log, "rb") as file:
            file.seek(0)
            disk.replay(file.read())
        templates[scenario.name], disks[scenario.name] = template, disk
    weights = list(accumulate(each.weight for each in chosen))
    ends = [round(options["count"] * weight / weights[-1]) for weight in weights]
    return [
        name
        for scenario, start, end in zip(chosen, [0, *ends], ends, strict=False)
        for name in _different_states(scenario.name, end - start)
    ]


def _different_states(scenario: str, count: int) -> list[str]:
    """The names of `count` trials with different states, or of fewer if there are not so many states."""
    names: list[str] = []
    seen: set[str] = set()
    number = last = 0
    while len(names) < count and number - last < MAX_REPEATED_STATES:
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
    shutil.rmtree(template.folder)
    template.folder.mkdir()
    _state(name).write(template.folder)
    return (
        _check_flushed(template, disks[scenario], int(cut))
        or template.check_samples()
        or template.check_repeated_run(template.run())
    )


def _check_flushed(template: Template, disk: Disk, cut: int) -> str:
    """The first lost sample whose line in the ledger had been flushed before the cut; "" if there is none."""
    from cache.errors import CacheError
    from cache.verify import verify

    for cache, current in template.samples().items():
        with suppress(CacheError):  # the cache may not exist yet, or be damaged
            verify(template.folder / cache)
        flushed = [data for time, path, data in disk.flushed if time < cut and path == f"{cache}/{LOG}"]
        for name in _complete_ids(flushed[-1]) if flushed else ():
            if name not in current and name in template.samples_after[cache]:
                return f"{cache}: {name} was committed and is lost"
    return ""


def _complete_ids(log: bytes) -> set[str]:
    """The ids of the complete samples in the content of a ledger's log."""
    states = {}
    for line in log.splitlines():
        with suppress(ValueError):
            entry = json.loads(line[9:])
            states[entry["id"]] = entry["state"]
    return {name for name, state in states.items() if state == "complete"}


METHOD = Method(
    name="powercut",
    title="power cuts",
    short=200,
    full=11_000,  # some scenarios have fewer states than their share; more than 10,000 trials remain
    shows="the disk is left in a state that a power cut may leave at any moment of a command: flushed data is "
    "complete, any other write is complete, missing, torn or zeros, and any other rename took place or "
    "not, in any combination (all tried states differ). Committed samples are right, and the same command "
    "completes to the same bytes.",
    run=run,
)
