"""Tasks for executors: a function that workers can import, whose task names say how it behaves."""

import ctypes
import os
import time
from pathlib import Path

HOUR = 3600.0  # seconds; a limit that no test reaches
PATIENCE = 120.0  # seconds; as long as a busy machine may take


def work(task: str) -> str:
    """Return the name of `task` in upper case; `name@folder` can also die, hang, sleep or raise."""
    name, _, folder = task.partition("@")
    if name == "poison":
        os._exit(9)
    if name == "hang":  # holding the interpreter, so that nothing in the process can answer
        Path(folder, "hung").write_text(str(os.getpid()))
        ctypes.PyDLL(None).sleep(600)
    if name == "sleep":
        time.sleep(600)
    if name == "raise":
        raise OSError("the cache is full")
    if name == "die-once" and not Path(folder, "died").exists():
        Path(folder, "died").touch()
        os._exit(9)
    time.sleep(0.3 if name.startswith("slow") else 0.005)
    return name.upper()


def results(batches):
    """task → result of all batches."""
    return dict(pair for batch in batches for pair in batch)
