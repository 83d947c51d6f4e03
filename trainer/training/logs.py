"""TensorBoard's files: the history of a run, for those who look at it there."""

import math
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from cache.confined import check_inside
from trainer.training.checkpoint import Row
from trainer.training.fit import Listener


class Logged:
    """A listener that passes on what it hears, and writes each epoch's figures into `folder`, one file a process.

    The files only repeat history.csv: where one cannot be written, that is said once and training continues without.
    They are written here and now, not by TensorBoard's own writer, whose thread prints a traceback when it fails.
    """

    def __init__(self, listener: Listener, folder: Path) -> None:
        self.listener, self.folder = listener, folder
        self._file: IO[bytes] | None = None
        self._failed = False

    def __enter__(self) -> "Logged":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def note(self, text: str) -> None:
        self.listener.note(text)

    def at_step(self, epoch: int, done: int, total: int, loss: float) -> None:
        self.listener.at_step(epoch, done, total, loss)

    def after_epoch(self, row: Row, timing: Row, epochs: int) -> None:
        if not self._failed:
            self._log(row | timing)
        self.listener.after_epoch(row, timing, epochs)

    def _log(self, row: Row) -> None:
        try:
            self._file = self._file or _events(self.folder)
            _write(self._file, row)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end a training
            self._failed = True
            self._close()
            reason = getattr(error, "strerror", None) or " ".join(f"{type(error).__name__}: {error}".split())
            self.listener.note(
                f"cannot write TensorBoard's files into {self.folder} ({reason}); training continues without them, "
                "history.csv has the same figures"
            )

    def _close(self) -> None:
        """Close the file, where all that matters was flushed."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._file = None


def _events(folder: Path) -> IO[bytes]:
    """A file that TensorBoard finds in `folder`."""
    check_inside(folder.parent, folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
    return (folder / name).open("xb")


def _write(file: IO[bytes], row: Mapping[str, float]) -> None:
    """Write the figures of one epoch, and flush them."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    records, now = RecordWriter(file), time.time()
    if not file.tell():
        records.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for name, value in row.items():
        if name != "epoch" and not math.isnan(value):  # such as an undefined kappa
            event = Event(wall_time=now, step=int(row["epoch"]), summary=scalar_pb(name, value))
            records.write(event.SerializeToString())
    file.flush()
