"""A worker or the coordinator of a run is killed, or stopped for a while; then the same command runs again."""

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
from tests.faults.server import run_trials
from tests.faults.world import LIGHT, Scenario, Template
from tests.faults.world.commands import preprocess_ct

WORKERS = 2
SCAN_COUNT = 12
VICTIMS = ("coordinator", "worker")  # the scheduler is a thread of the coordinator
WAYS = ("kill", "stop", "stop-kill")
STOPPED_SECONDS = 0.5
NOT_STARTED = "workers cannot start"  # in the error if a worker was killed while starting
SERVERS = 2

templates: dict[str, Template] = {}
durations = {"command": 0.0}


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    if not sys.platform.startswith("linux"):
        return Outcome(0, 0, skipped="it finds processes in /proc; run it on Linux")
    chosen = [only] if only else [_trial(seed, number) for number in range(trials)]
    servers = SERVERS if trials > METHOD.short else 1
    return outcome(METHOD.name, seed, run_trials(__name__, LIGHT, chosen, servers))


def _trial(seed: int, number: int) -> str:
    """`victim:way:moment`; the moment is a share of the command's duration without a fault."""
    rng = random.Random(f"{seed} {number}")
    return f"{rng.choice(VICTIMS)}:{rng.choice(WAYS)}:{rng.random():.4f}"


# -- in the server -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, part: str) -> list[str]:
    world.load_everything(part)
    import distributed  # noqa: F401

    def words(folder: Path) -> tuple[object, ...]:
        return (*preprocess_ct(folder)[:-3], "--workers", WORKERS, "--quiet")

    scenario = Scenario("signals", LIGHT, partial(_sources, SCAN_COUNT), words, (world.CT,))
    start = time.monotonic()
    templates["signals"] = Template(scenario, folder / "world")
    durations["command"] = time.monotonic() - start
    return [scenario.name]


def _sources(count: int, folder: Path) -> None:
    world.write_scans(folder / world.SCANS, count)


def trial(name: str) -> str:
    victim, way, share = name.split(":")
    template = templates["signals"]
    template.restore()
    delay = float(share) * durations["command"]
    result = template.run(partial(_start_attacker, victim, way, delay))
    killed = victim == "coordinator" and way != "stop"
    if reason := template.check_faulty_run(result, killed) or template.check_samples():
        return reason
    if not killed and result.code != template.result.code and NOT_STARTED not in result.err:
        return f"exit code {result.code}: {result.err[-500:]}"
    return template.check_repeated_run(template.run())


def _start_attacker(victim: str, way: str, delay: float) -> None:
    """Fork the process that will send the signals; called in the coordinator before its command."""
    coordinator = os.getpid()
    if os.fork():
        return
    try:
        _attack(coordinator, victim, way, delay)
    finally:
        os._exit(0)


def _attack(coordinator: int, victim: str, way: str, delay: float) -> None:
    if _exits_within(coordinator, delay):
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


def _exits_within(process: int, seconds: float) -> bool:
    """Whether `process` exits within `seconds`."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _workers(coordinator: int) -> list[int]:
    """The worker processes that run at the moment."""
    import psutil

    workers = []
    with suppress(psutil.Error):
        for child in psutil.Process(coordinator).children():
            with suppress(psutil.Error):
                words = " ".join(child.cmdline())
                if "spawn_main" in words:
                    workers.append(child.pid)
    return workers


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
