"""TensorBoard event files of a run: the figures of each epoch."""

import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from cache.confined import check_inside
from cache.progress import Callback


class TensorBoard(Callback):
    """Writes the figures of each epoch into `folder`, one event file for each process.

    The files only repeat history.csv: where one cannot be written, `note` gets one line and training continues without
    them. This class writes them itself, since the thread of TensorBoard's own writer prints a traceback when it fails.
    """

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self.folder, self.note = folder, note
        self._file: IO[bytes] | None = None
        self._failed = False

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def on_epoch(self, row: Mapping[str, float], timing: Mapping[str, float], epochs: int) -> None:
        if self._failed:
            return
        try:
            self._file = self._file or _open_events(self.folder)
            _write_scalars(self._file, {**row, **timing})
        except Exception as error:  # noqa: BLE001 - no error here may end a training
            self._failed = True
            self._close()
            reason = getattr(error, "strerror", None) or " ".join(f"{type(error).__name__}: {error}".split())
            self.note(
                f"cannot write TensorBoard files into {self.folder} ({reason}); training continues without them, "
                "history.csv has the same figures"
            )

    def _close(self) -> None:
        """Close the file; the figures of each epoch have been flushed."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._file = None


def _open_events(folder: Path) -> IO[bytes]:
    """A new file in `folder`, with a name that TensorBoard recognises."""
    check_inside(folder.parent, folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
    return (folder / name).open("xb")


def _write_scalars(file: IO[bytes], row: Mapping[str, float]) -> None:
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
