"""Several processes use one cache at once: writers, readers, and training while new samples come in."""

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
from tests.faults.server import command, shared
from tests.faults.world import CT, FAILED, LIGHT, Template

KINDS = ("writers", "reader", "opened", "streaming")
HELD = "another run "  # is writing, or has written meanwhile
WAIT_SECONDS = 0.4  # at most, before the second process starts
SERVERS = 2

templates: dict[str, Template] = {}


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    chosen = [only] if only else [_trial(seed, number) for number in range(trials)]
    servers = SERVERS if trials > METHOD.short else 1
    return outcome(METHOD.name, seed, shared(__name__, LIGHT, chosen, servers))


def _trial(seed: int, number: int) -> str:
    chance = random.Random(f"{seed} {number}")
    return f"{KINDS[number % len(KINDS)]}:{chance.random() * WAIT_SECONDS:.4f}"


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
    others = {"writers": _write, "reader": _read_again, "opened": _hold, "streaming": _stream}
    with _beside(partial(others[kind], template, float(wait))) as failure:
        time.sleep(0 if kind == "writers" else 0.02)
        ended = template.run()
    contended = kind == "writers" and ended.code == FAILED and HELD in ended.err
    if why := failure() or ("" if contended else template.wrong_end(ended, killed=False)):
        return why
    if not contended and ended.code != template.ended.code:
        return f"it ended with {ended.code}: {ended.err[-500:]}"
    return template.lost() or template.wrong_result(template.run())


class _beside:
    """Run `work` in a forked process while the block runs; `failure()` is why it failed, once it has ended."""

    def __init__(self, work: Callable[[], str]) -> None:
        self._said = os.memfd_create("said")
        self._child = os.fork()
        if self._child == 0:
            try:
                why = work()
            except BaseException:  # noqa: BLE001 - it is the answer
                why = traceback.format_exc()
            os.write(self._said, why.encode())
            os._exit(0)

    def __enter__(self) -> Callable[[], str]:
        return self._failure

    def __exit__(self, *_: object) -> None:
        with suppress(ChildProcessError):  # the command's own waiting has seen it end
            os.waitpid(self._child, 0)

    def _failure(self) -> str:
        return os.pread(self._said, 1 << 20, 0).decode()


def _write(template: Template, wait: float) -> str:
    """A second writer: it does the work, or is told that another one does."""
    time.sleep(wait)
    ended = command(template.scenario.words(template.world))
    if ended.code == FAILED and HELD in ended.err and len(ended.err.splitlines()) == 1:
        return ""
    return template.wrong_end(ended, killed=False) or (
        "" if ended.code == template.ended.code else f"the second writer ended with {ended.code}: {ended.err[-500:]}"
    )


def _read_again(template: Template, wait: float) -> str:
    """Open the cache again and again: every sample there is has the values, label and group of before or of after."""
    for _ in _for_a_while(wait):
        if why := template.lost():
            return why
    return ""


def _hold(template: Template, wait: float) -> str:
    """Open the cache once: it stays as it was."""
    from cache import open_cache

    opened = open_cache(template.world / CT)
    ids, labels = opened.ids, opened.labels.tolist()
    before = [opened.stored(name).tobytes() for name in ids]
    for _ in _for_a_while(wait):
        if (opened.ids, opened.labels.tolist()) != (ids, labels):
            return "what was opened has changed"
        if [opened.stored(name).tobytes() for name in ids] != before:
            return "values of what was opened have changed"
    return ""


def _stream(template: Template, wait: float) -> str:
    """Epochs of batches from a cache that was opened once, as training reads it: each the same as the first."""
    import numpy as np

    from cache import open_cache
    from trainer.data.stream import batches, subset

    opened = open_cache(template.world / CT)
    part = subset(opened, opened.ids)
    first: list[bytes] = []
    for _ in _for_a_while(wait):
        epoch = [batch.values.tobytes() for batch in batches(part, np.arange(len(part)), 2)]
        first = first or epoch
        if epoch != first:
            return "an epoch differs from the first"
    return ""


def _for_a_while(wait: float) -> Iterator[None]:
    """At least twice, and until `wait` and half a second more have passed."""
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
