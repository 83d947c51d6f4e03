"""Several callbacks as one: each event of a training goes to all of them, in order."""

from collections.abc import Mapping, Sequence

from cache.progress import Callback


class CallbackList(Callback):
    """Passes every event on to each of `callbacks`."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = tuple(callbacks)

    def on_part(self, name: str) -> None:
        for callback in self.callbacks:
            callback.on_part(name)

    def on_device(self, description: str) -> None:
        for callback in self.callbacks:
            callback.on_device(description)

    def on_note(self, text: str) -> None:
        for callback in self.callbacks:
            callback.on_note(text)

    def on_progress(
        self, done: int, total: int, unit: str = "samples", figures: Mapping[str, float] | None = None
    ) -> None:
        for callback in self.callbacks:
            callback.on_progress(done, total, unit, figures)

    def on_epoch(self, row: Mapping[str, float], timing: Mapping[str, float], epochs: int) -> None:
        for callback in self.callbacks:
            callback.on_epoch(row, timing, epochs)
