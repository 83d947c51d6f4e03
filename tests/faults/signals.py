"""Workers and the coordinator of a run are killed, or stopped for a while; then the same command runs again."""

import os
import random
import select
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.faults import world
from tests.faults.method import Method, Outcome, outcome
from tests.faults.server import shared
from tests.faults.world import LIGHT, Scenario, Template

WORKERS = 2
SCANS = 12
VICTIMS = ("coordinator", "worker")  # the scheduler is a thread of the coordinator
WAYS = ("kill", "stop", "stop-kill")
STOPPED_SECONDS = 0.5
NOT_STARTED = "workers cannot start"  # a worker was hit before there was anything to do
SERVERS = 2

templates: dict[str, Template] = {}
moments = {"seconds": 0.0}


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    if not sys.platform.startswith("linux"):
        return Outcome(0, 0, skipped="processes are found through /proc; run it on Linux")
    chosen = [only] if only else [_trial(seed, number) for number in range(trials)]
    servers = SERVERS if trials > METHOD.short else 1
    return outcome(METHOD.name, seed, shared(__name__, LIGHT, chosen, servers))


def _trial(seed: int, number: int) -> str:
    """`victim:way:moment`, the moment as a share of what the command takes without any fault."""
    chance = random.Random(f"{seed} {number}")
    return f"{chance.choice(VICTIMS)}:{chance.choice(WAYS)}:{chance.random():.4f}"


# -- in the server -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, part: str) -> list[str]:
    world.load_everything(part)
    import distributed  # noqa: F401

    def words(place: Path) -> tuple[object, ...]:
        return (*world._preprocess_ct(place)[:-3], "--workers", WORKERS, "--quiet")

    scenario = Scenario("signals", LIGHT, partial(_sources, SCANS), words, (world.CT,))
    start = time.monotonic()
    templates["signals"] = Template(scenario, folder / "world")
    moments["seconds"] = time.monotonic() - start
    return [scenario.name]


def _sources(count: int, folder: Path) -> None:
    world.write_scans(folder / world.SCANS, count)


def trial(name: str) -> str:
    victim, way, share = name.split(":")
    template = templates["signals"]
    template.restore()
    delay = float(share) * moments["seconds"]
    ended = template.run(partial(_begin_attack, victim, way, delay))
    killed = victim == "coordinator" and way != "stop"
    if why := template.wrong_end(ended, killed) or template.lost():
        return why
    if not killed and ended.code != template.ended.code and NOT_STARTED not in ended.err:
        return f"it ended with {ended.code}: {ended.err[-500:]}"
    return template.wrong_result(template.run())


def _begin_attack(victim: str, way: str, delay: float) -> None:
    """Called in the coordinator before it does anything: fork the process that will attack it."""
    coordinator = os.getpid()
    if os.fork():
        return
    try:
        _attack(coordinator, victim, way, delay)
    finally:
        os._exit(0)


def _attack(coordinator: int, victim: str, way: str, delay: float) -> None:
    if _ended(coordinator, delay):
        return
    targets = [coordinator] if victim == "coordinator" else _workers(coordinator)
    if not targets or os.getppid() != coordinator:
        return
    target = random.Random(delay).choice(targets)
    with suppress(ProcessLookupError):
        os.kill(target, signal.SIGKILL if way == "kill" else signal.SIGSTOP)
        if way != "kill":
            time.sleep(STOPPED_SECONDS)
            os.kill(target, signal.SIGKILL if way == "stop-kill" else signal.SIGCONT)


def _ended(process: int, seconds: float) -> bool:
    """Whether `process` ends within so many seconds."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _workers(coordinator: int) -> list[int]:
    """The worker processes that there are by now."""
    import psutil

    found = []
    with suppress(psutil.Error):
        for child in psutil.Process(coordinator).children():
            with suppress(psutil.Error):
                words = " ".join(child.cmdline())
                if "spawn_main" in words:
                    found.append(child.pid)
    return found


METHOD = Method(
    name="signals",
    title="SIGKILL and SIGSTOP of workers and the coordinator",
    short=10,
    full=500,
    shows="one process of `preprocess` with two Dask workers is killed, stopped for half a second, or stopped "
    "and then killed, at a random moment. If it is a worker, the command still succeeds; the same command "
    "then gives the same bytes, and no process is left.",
    run=run,
)
