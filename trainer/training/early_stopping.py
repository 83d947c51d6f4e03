"""Early stopping and learning-rate reduction, both driven by the validation loss (ViPTT-Net §3.2)."""

from typing import Any

import keras

from trainer.config import Config
from trainer.training.checkpoint import Counters, Row

# The attributes of each Keras callback that a resumed run needs.
COUNTERS = {
    "plateau": ("best", "wait", "cooldown_counter"),
    "stop": ("best", "wait", "best_epoch", "stopped_epoch"),
}


class Schedule:
    """Keras' `ReduceLROnPlateau` and `EarlyStopping` on the validation loss, which can be saved and resumed.

    `counters` are those that `counters()` gave after the last epoch; {} at the start of a run.
    """

    def __init__(self, model: keras.Model, config: Config, counters: Counters) -> None:
        self._stop = keras.callbacks.EarlyStopping("val_loss", patience=config.stop_patience)
        plateau = keras.callbacks.ReduceLROnPlateau(
            "val_loss", factor=config.plateau_factor, patience=config.plateau_patience
        )
        self._callbacks: dict[str, Any] = {"plateau": plateau, "stop": self._stop}
        for name, callback in self._callbacks.items():
            callback.set_model(model)
            callback.on_train_begin()
            vars(callback).update(counters.get(name, {}))
        model.stop_training = False

    def end_epoch(self, epoch: int, row: Row) -> bool:
        """Record the validation loss of `epoch`, from 0; True if it is the lowest so far. May lower the rate."""
        for callback in self._callbacks.values():
            callback.on_epoch_end(epoch, dict(row))
        return bool(self._stop.best_epoch == epoch)

    @property
    def stopped(self) -> str:
        """Why training ends: the validation loss has not fallen for `stop_patience` epochs; "" while it continues."""
        return "no lower validation loss" if self._stop.stopped_epoch else ""

    def counters(self) -> Counters:
        """Everything that a resumed run needs to make the same decisions."""
        return {
            key: {name: vars(self._callbacks[key])[name] for name in attributes} for key, attributes in COUNTERS.items()
        }
