"""Several processes use a cache at the same time: writers, readers, and training while samples are added."""

import os
import random
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.faults import world
from tests.faults.method import Method, Outcome, outcome
from tests.faults.server import command, run_trials
from tests.faults.world import CT, FAILED, LIGHT, Template

KINDS = ("writers", "reader", "opened", "streaming")
LOCKED = "another run "  # in the errors about a cache that another run is writing to, or has just written to
MAX_WAIT_SECONDS = 0.4  # before the second process starts
SERVERS = 2

templates: dict[str, Template] = {}


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    chosen = [only] if only else [_trial(seed, number) for number in range(trials)]
    servers = SERVERS if trials > METHOD.short else 1
    return outcome(METHOD.name, seed, run_trials(__name__, LIGHT, chosen, servers))


def _trial(seed: int, number: int) -> str:
    rng = random.Random(f"{seed} {number}")
    return f"{KINDS[number % len(KINDS)]}:{rng.random() * MAX_WAIT_SECONDS:.4f}"


# -- in the server -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, part: str) -> list[str]:
    world.load_everything(part)
    import trainer.data.stream  # noqa: F401

    changed = next(each for each in world.SCENARIOS if each.name == "ct-changed")
    templates["changed"] = Template(changed, folder / "world")
    return list(KINDS)


def trial(name: str) -> str:
    kind, wait = name.split(":")
    template = templates["changed"]
    template.restore()
    second = {"writers": _write, "reader": _read_repeatedly, "opened": _keep_open, "streaming": _stream}[kind]
    with _InBackground(partial(second, template, float(wait))) as failure:
        time.sleep(0 if kind == "writers" else 0.02)
        result = template.run()
    locked = kind == "writers" and result.code == FAILED and LOCKED in result.err
    if reason := failure() or ("" if locked else template.check_faulty_run(result, killed=False)):
        return reason
    if not locked and result.code != template.result.code:
        return f"exit code {result.code}: {result.err[-500:]}"
    return template.check_samples() or template.check_repeated_run(template.run())


class _InBackground:
    """Run `work` in a forked process during the block.

    The block's value is a function, to be called after the block: the reason why `work` failed, or "".
    """

    def __init__(self, work: Callable[[], str]) -> None:
        self._output = os.memfd_create("output")
        self._child = os.fork()
        if self._child == 0:
            try:
                reason = work()
            except BaseException:  # noqa: BLE001 - any error is the reason for the failure
                reason = traceback.format_exc()
            os.write(self._output, reason.encode())
            os._exit(0)

    def __enter__(self) -> Callable[[], str]:
        return self._failure

    def __exit__(self, *_: object) -> None:
        with suppress(ChildProcessError):  # the process was already reaped after the command
            os.waitpid(self._child, 0)

    def _failure(self) -> str:
        return os.pread(self._output, 1 << 20, 0).decode()


def _write(template: Template, wait: float) -> str:
    """A second writer: it does the work, or fails because another writer does."""
    time.sleep(wait)
    result = command(template.scenario.words(template.folder))
    if result.code == FAILED and LOCKED in result.err and len(result.err.splitlines()) == 1:
        return ""
    if reason := template.check_faulty_run(result, killed=False):
        return reason
    if result.code != template.result.code:
        return f"exit code of the second writer: {result.code}: {result.err[-500:]}"
    return ""


def _read_repeatedly(template: Template, wait: float) -> str:
    """Open the cache repeatedly: every sample has its old or its new values, label and group."""
    for _ in _repeat(wait):
        if reason := template.check_samples():
            return reason
    return ""


def _keep_open(template: Template, wait: float) -> str:
    """Open the cache once: its samples stay the same."""
    from cache import open_cache

    cache = open_cache(template.folder / CT)
    ids, labels = cache.ids, cache.labels.tolist()
    before = [cache.stored(name).tobytes() for name in ids]
    for _ in _repeat(wait):
        if (cache.ids, cache.labels.tolist()) != (ids, labels):
            return "ids or labels of the opened cache have changed"
        if [cache.stored(name).tobytes() for name in ids] != before:
            return "values of the opened cache have changed"
    return ""


def _stream(template: Template, wait: float) -> str:
    """Read epochs of batches as training does, from a cache opened once: all epochs are equal."""
    import numpy as np

    from cache import open_cache
    from trainer.data.stream import batches, subset

    cache = open_cache(template.folder / CT)
    samples = subset(cache, cache.ids)
    first: list[bytes] = []
    for _ in _repeat(wait):
        epoch = [batch.values.tobytes() for batch in batches(samples, np.arange(len(samples)), 2)]
        first = first or epoch
        if epoch != first:
            return "an epoch differs from the first"
    return ""


def _repeat(wait: float) -> Iterator[None]:
    """Iterate at least twice, and for `wait` seconds and another half a second."""
    end = time.monotonic() + wait + 0.5
    yield
    yield
    while time.monotonic() < end:
        yield


METHOD = Method(
    name="races",
    title="two writers, reading while writing, training while preprocessing",
    short=10,
    full=200,
    shows="a second process uses the cache while `preprocess` handles changed, new and deleted scans. Of two "
    "writers, one does the work and the other ends with a message; a reader gets either the old or the "
    "new samples; a cache that was opened before stays unchanged, sample by sample and epoch by epoch.",
    run=run,
)
