"""Counts finished inputs and reports them to a callback."""

from cache.progress import Callback
from cache.schema import Entry


class Progress:
    """Progress of a run: `done` of `total` inputs, and how many of them were quarantined."""

    def __init__(self, callback: Callback | None, total: int) -> None:
        self.callback, self.total = callback or Callback(), total
        self.done = self.quarantined = 0

    def add(self, entry: Entry) -> None:
        """Count one input, whose entry is committed."""
        self.done += 1
        self.quarantined += entry.state == "quarantined"
        self.callback.on_progress(self.done, self.total, "samples", {"quarantined": self.quarantined})
