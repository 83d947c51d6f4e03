"""The callback protocol of all long work: progress bars, plain lines and TensorBoard implement it."""

from collections.abc import Mapping


class Callback:
    """Called while work is done. Every method does nothing here; override the ones you need.

    The same object serves preprocessing, feature extraction, training and experiments.
    """

    def on_part(self, name: str) -> None:
        """A named part of several begins, such as one run of an experiment."""

    def on_device(self, description: str) -> None:
        """A computation starts on this device, such as "TensorFlow 2.21.0 on CPU"."""

    def on_note(self, text: str) -> None:
        """Something that the user should know, in one line."""

    def on_progress(
        self, done: int, total: int, unit: str = "samples", figures: Mapping[str, float] | None = None
    ) -> None:
        """`done` of `total` units are finished; `figures` are current values by name, such as the loss of a step."""

    def on_epoch(self, row: Mapping[str, float], timing: Mapping[str, float], epochs: int) -> None:
        """An epoch has ended: its line of history.csv, its line of timings.csv, and how many epochs there are."""
