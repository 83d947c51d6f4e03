"""TensorBoard's files: the history of a run, for those who look at it there."""

from pathlib import Path

from trainer.backend import unheard
from trainer.checkpoint import Row
from trainer.errors import TrainerError
from trainer.fit import Listener


class Logged:
    """A listener that passes on what it hears, and writes each epoch's figures below `folder`."""

    def __init__(self, listener: Listener, folder: Path) -> None:
        self.listener, self.folder = listener, folder

    def note(self, text: str) -> None:
        self.listener.note(text)

    def at_step(self, epoch: int, done: int, total: int, loss: float) -> None:
        self.listener.at_step(epoch, done, total, loss)

    def after_epoch(self, row: Row, timing: Row, epochs: int) -> None:
        with unheard():
            from tensorboard.summary import Writer

        try:
            writer = Writer(str(self.folder))
            for name, value in (row | timing).items():
                if name != "epoch":
                    writer.add_scalar(name, value, step=int(row["epoch"]))
            writer.close()
        except Exception as error:  # TensorFlow's own, where it does the writing
            raise TrainerError(
                f"cannot write {self.folder}: {' '.join(str(error).split())}; the run is saved up to here, free some "
                "space or allow writing, and go on with it by --resume"
            ) from error
        self.listener.after_epoch(row, timing, epochs)
