"""A process that has imported everything and forks another for each command, so that a command takes milliseconds.

Importing Dask or TensorFlow costs seconds, a command on a tiny cache some hundredths of one. The forked process is a
real one: it has its own signals and exit code, and its stdout and stderr are its own.

A method's module is the server's program: `prepare(folder, part)` is called once, and says what can be tried;
`trial(name)` makes one trial, and returns why it failed, or "". Several servers, each with a folder of its own, share
the trials.
"""

import atexit
import ctypes
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
COMMAND_SECONDS = 120.0
ORPHAN_SECONDS = 2.0  # for what a killed command started to notice it
PR_SET_CHILD_SUBREAPER = 36
S = TypeVar("S")
T = TypeVar("T")

# One thread computes, so that a fork has all of its parent, and the same command gives the same bits.
SETTINGS = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
    ),
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}


# -- in the campaign ---------------------------------------------------------------------------------------------------


class Server:
    """A server that runs `module` in `folder`; `plan` is what its `prepare` returned."""

    def __init__(self, module: str, folder: Path, part: str, preload: Path | None = None) -> None:
        settings = dict(os.environ) | SETTINGS | ({"LD_PRELOAD": str(preload)} if preload else {})
        command = [sys.executable, "-m", "tests.faults.server", module, str(folder), part]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the server
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.plan: Any = self._answer()

    def run(self, trials: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Each trial and why it failed, "" where it did not."""
        for trial in trials:
            self._ask(trial)
            yield trial, self._answer()

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self.process.communicate("", timeout=COMMAND_SECONDS)
        self.errors.close()

    def _ask(self, trial: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(trial) + "\n")
        self.process.stdin.flush()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return json.loads(line)
        self.errors.seek(0)
        raise RuntimeError(f"the server ended with {self.process.wait()}: {self.errors.read()[-3000:]}")


def shared(module: str, part: str, trials: Sequence[str], count: int) -> list[tuple[str, str]]:
    """Each of `trials` of `module` and why it failed, "" if it did not, made by `count` servers at most."""
    with started(module, part, min(count, len(trials))) as servers:
        return spread(servers, trials)


@contextmanager
def started(module: str, part: str, count: int) -> Iterator[list[Server]]:
    """So many servers that run `module`, each in a folder of its own in one that they share."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, ExitStack() as stack:
        servers = in_parallel(range(count), lambda number: Server(module, Path(folder) / str(number), part))
        yield [stack.enter_context(closing(server)) for server in servers]


def spread(servers: Sequence[Server], trials: Sequence[str]) -> list[tuple[str, str]]:
    """Each of `trials` and why it failed, "" if it did not; each of `servers` makes its share at the same time."""
    parts = [(server, trials[number :: len(servers)]) for number, server in enumerate(servers)]
    return [end for ended in in_parallel(parts, lambda part: list(part[0].run(part[1]))) for end in ended]


def in_parallel(parts: Sequence[S], work: Callable[[S], T]) -> list[T]:
    """`work` on each part at once: it waits for servers."""
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(work, parts))


# -- in the server -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative: the signal), what it said, and how many processes it has left."""

    code: int
    out: str
    err: str
    left: int = 0


def command(words: Sequence[object], first: Callable[[], None] = lambda: None) -> Ended:
    """Run `cli.py` with `words` in a forked process, after `first`."""
    said = [os.memfd_create(name) for name in ("out", "err")]
    child = os.fork()
    if child == 0:
        _be_command([str(word) for word in words], said, first)
    code = wait(child)
    left = left_behind()
    return Ended(code, *map(_text, said), left)


def _be_command(words: list[str], said: list[int], first: Callable[[], None]) -> None:
    """What the interpreter does with `python cli.py WORDS`, from its main module to its end."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, descriptor in enumerate(said, start=1):
        os.dup2(descriptor, number)
    import cli

    sys.argv = ["cli.py", *words]
    code = 1
    try:
        first()
        cli.main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter would
        traceback.print_exc()
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def wait(child: int, seconds: float = COMMAND_SECONDS) -> int:
    """The exit code of `child`, which is killed if it takes more than `seconds`."""
    ended = os.pidfd_open(child)
    try:
        if not select.select([ended], [], [], seconds)[0]:
            os.kill(child, signal.SIGABRT)
    finally:
        os.close(ended)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left_behind() -> int:
    """How many processes the command has left; as the nearest subreaper, this process has become their parent."""
    end, left = time.monotonic() + ORPHAN_SECONDS, 0
    with suppress(ChildProcessError):
        while True:
            child, _ = os.waitpid(-1, os.WNOHANG)
            if child == 0 and time.monotonic() > end:
                left += _kill_children()
            elif child == 0:
                time.sleep(0.01)
    return left


def _kill_children() -> int:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
        os.waitpid(int(child), 0)
    return len(children)


def _text(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read().decode(errors="replace")


def main(module_name: str, folder: str, part: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # only answers go to the campaign
    module = importlib.import_module(module_name)
    print(json.dumps(module.prepare(Path(folder), part)), file=answers, flush=True)
    for line in sys.stdin:
        try:
            why = module.trial(json.loads(line))
        except Exception:  # noqa: BLE001 - the trial failed, and the others go on
            why = traceback.format_exc()
        print(json.dumps(why), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
