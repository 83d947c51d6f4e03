"""TensorBoard's files: the history of a run, for those who look at it there."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.backend import unheard
from trainer.checkpoint import Row
from trainer.errors import TrainerError
from trainer.fit import Listener


class Logged:
    """A listener that passes on what it hears, and writes each epoch's figures into `folder`, one file a process."""

    def __init__(self, listener: Listener, folder: Path) -> None:
        self.listener, self.folder = listener, folder
        self._writer: Any = None

    def __enter__(self) -> "Logged":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            with _writing(self.folder):
                self._writer.close()

    def note(self, text: str) -> None:
        self.listener.note(text)

    def at_step(self, epoch: int, done: int, total: int, loss: float) -> None:
        self.listener.at_step(epoch, done, total, loss)

    def after_epoch(self, row: Row, timing: Row, epochs: int) -> None:
        with unheard():
            from tensorboard.summary import Writer
        with _writing(self.folder):
            self._writer = self._writer or Writer(str(self.folder))
            for name, value in (row | timing).items():
                if name != "epoch" and not math.isnan(value):  # such as an undefined kappa
                    self._writer.add_scalar(name, value, step=int(row["epoch"]))
            self._writer.flush()
        self.listener.after_epoch(row, timing, epochs)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # TensorFlow's own, where it does the writing
        raise TrainerError(
            f"cannot write {folder}: {' '.join(str(error).split())}; the run is saved up to here, free some space or "
            "allow writing, and go on with it by --resume"
        ) from error
