"""A process that has imported everything and forks for each command, so that a command takes milliseconds.

Importing Dask or TensorFlow takes seconds, a command on a tiny cache some hundredths of a second. The forked process
has its own signals, exit code, stdout and stderr, like a command started from a shell.

The server runs the module of a method: it calls `prepare(folder, part)` once, which returns the plan of the trials, and
`trial(name)` for each trial, which returns the reason for the failure, or "". Several servers, each with its own
folder, share the trials.
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
ORPHAN_SECONDS = 2.0  # for child processes to exit after their command was killed
PR_SET_CHILD_SUBREAPER = 36
S = TypeVar("S")
T = TypeVar("T")

# A single compute thread, because a fork copies only the thread that forks, and so that results are reproducible.
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
    """A server that runs `module` in `folder`; `plan` is the value that its `prepare` returned."""

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
        self.plan: Any = self._receive()

    def run(self, trials: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Each trial and the reason for its failure, "" if it survived."""
        for trial in trials:
            self._send(trial)
            yield trial, self._receive()

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self.process.communicate("", timeout=COMMAND_SECONDS)
        self.errors.close()

    def _send(self, trial: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(trial) + "\n")
        self.process.stdin.flush()

    def _receive(self) -> Any:
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return json.loads(line)
        self.errors.seek(0)
        raise RuntimeError(f"the server exited with code {self.process.wait()}: {self.errors.read()[-3000:]}")


def run_trials(module: str, part: str, trials: Sequence[str], count: int) -> list[tuple[str, str]]:
    """Run the trials of `module` on at most `count` servers; each trial and the reason for its failure, or ""."""
    with start_servers(module, part, min(count, len(trials))) as servers:
        return distribute(servers, trials)


@contextmanager
def start_servers(module: str, part: str, count: int) -> Iterator[list[Server]]:
    """`count` servers that run `module`, each in its own subfolder of a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, ExitStack() as stack:
        servers = in_parallel(range(count), lambda number: Server(module, Path(folder) / str(number), part))
        yield [stack.enter_context(closing(server)) for server in servers]


def distribute(servers: Sequence[Server], trials: Sequence[str]) -> list[tuple[str, str]]:
    """Run `trials` on all `servers` at once; each trial and the reason for its failure, or ""."""
    shares = [(server, trials[number :: len(servers)]) for number, server in enumerate(servers)]
    results = in_parallel(shares, lambda share: list(share[0].run(share[1])))
    return [result for server_results in results for result in server_results]


def in_parallel(items: Sequence[S], work: Callable[[S], T]) -> list[T]:
    """`work` on each item, in one thread per item; the threads only wait for servers."""
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(work, items))


# -- in the server -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CommandResult:
    """The result of a command: exit code (negative: the signal), stdout, stderr, number of processes still running."""

    code: int
    out: str
    err: str
    leftover_processes: int = 0


def command(words: Sequence[object], setup: Callable[[], None] = lambda: None) -> CommandResult:
    """Run `cli.py` with `words` in a forked process, which calls `setup` before."""
    outputs = [os.memfd_create(name) for name in ("out", "err")]
    child = os.fork()
    if child == 0:
        _run_and_exit([str(word) for word in words], outputs, setup)
    code = wait_for_exit(child)
    leftover_processes = reap_leftover_processes()
    return CommandResult(code, *map(_read_text, outputs), leftover_processes)


def _run_and_exit(words: list[str], outputs: list[int], setup: Callable[[], None]) -> None:
    """Do what the interpreter does for `python cli.py WORDS`, and exit."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, descriptor in enumerate(outputs, start=1):
        os.dup2(descriptor, number)
    import cli

    sys.argv = ["cli.py", *words]
    code = 1
    try:
        setup()
        cli.main(words)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def wait_for_exit(child: int, seconds: float = COMMAND_SECONDS) -> int:
    """The exit code of `child`, which is killed after `seconds`."""
    handle = os.pidfd_open(child)
    try:
        if not select.select([handle], [], [], seconds)[0]:
            os.kill(child, signal.SIGABRT)
    finally:
        os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def reap_leftover_processes() -> int:
    """Wait for the processes that a command has started, and kill those that do not exit; the number of the latter.

    This process is the nearest subreaper, and so becomes their parent when the command exits.
    """
    deadline, killed = time.monotonic() + ORPHAN_SECONDS, 0
    with suppress(ChildProcessError):
        while True:
            child, _ = os.waitpid(-1, os.WNOHANG)
            if child == 0 and time.monotonic() > deadline:
                killed += _kill_children()
            elif child == 0:
                time.sleep(0.01)
    return killed


def _kill_children() -> int:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
        os.waitpid(int(child), 0)
    return len(children)


def _read_text(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        return file.read().decode(errors="replace")


def main(module_name: str, folder: str, part: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the campaign reads stdout, so everything else goes to stderr
    module = importlib.import_module(module_name)
    print(json.dumps(module.prepare(Path(folder), part)), file=answers, flush=True)
    for line in sys.stdin:
        try:
            reason = module.trial(json.loads(line))
        except Exception:  # noqa: BLE001 - this trial failed; the server continues with the next one
            reason = traceback.format_exc()
        print(json.dumps(reason), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
