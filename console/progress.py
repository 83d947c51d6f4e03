"""Progress of long work on the terminal."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from console.output import printable

LINE_SECONDS = 5.0  # between progress lines where there is no terminal


class Progress:
    """A bar on stderr with rate, time left and quarantined so far; plain lines where that is no terminal."""

    def __init__(self, total: int, quiet: bool, verb: str = "done") -> None:
        self.total, self.quiet, self.verb = total, quiet, verb
        self.done = self.quarantined = 0
        self.started = self.printed = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> "Progress":
        if not self.quiet and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=self.total or None, unit=" samples", dynamic_ncols=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_progress(
        self, done: int, total: int, unit: str = "samples", figures: Mapping[str, float] | None = None
    ) -> None:
        self.quarantined = int((figures or {}).get("quarantined", 0))
        self.at(done, total)

    def at(self, done: int, total: int) -> None:
        """`done` of `total` samples are through."""
        step, self.done, self.total = done - self.done, done, total
        if self.bar is not None:
            self.bar.total = total
            if self.verb == "done":
                self.bar.set_postfix(quarantined=self.quarantined, refresh=False)
            self.bar.update(step)
        elif done and not self.quiet and time.monotonic() - self.printed > LINE_SECONDS:
            self.printed = time.monotonic()
            rate = done / (self.printed - self.started)
            left = f"{(total - done) / rate:.0f} s left"
            quarantined = f", {self.quarantined} quarantined" if self.verb == "done" else ""
            click.echo(f"{done} of {total} {self.verb}, {rate:.1f}/s, {left}{quarantined}", err=True)


class Training:
    """How training goes: a bar for each epoch on stderr, a line after it; plain lines where that is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.printed = time.monotonic()
        self.bar: Any = None
        self.noted: set[str] = set()

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar = None

    def note(self, text: str) -> None:
        """Say something, once."""
        if not self.quiet and text not in self.noted:
            self.noted.add(text)
            click.echo(printable(text), err=True)

    def part(self, name: str) -> None:
        """A part of several begins."""
        self.noted.clear()
        self.note(f"-- {name}")

    def at_sample(self, done: int, total: int) -> None:
        """So many samples are through the backbone."""
        self._bar("features", done, total, " samples")

    def at_step(self, epoch: int, done: int, total: int, loss: float) -> None:
        self._bar(f"epoch {epoch + 1}", done, total, " steps", f"loss {loss:.4f}")

    def _bar(self, title: str, done: int, total: int, unit: str, more: str = "") -> None:
        if self.quiet:
            return
        if sys.stderr is not None and sys.stderr.isatty():
            if self.bar is None:
                from tqdm import tqdm

                self.bar = tqdm(desc=title, total=total, unit=unit, dynamic_ncols=True, leave=False)
            self.bar.set_postfix_str(more, refresh=False)
            self.bar.update(done - self.bar.n)
            if done == total:
                self._close()
        elif time.monotonic() - self.printed > LINE_SECONDS:
            self.printed = time.monotonic()
            click.echo(f"{title}, {done} of {total}{unit}{', ' * bool(more)}{more}", err=True)

    def after_epoch(self, row: Mapping[str, float], timing: Mapping[str, float], epochs: int) -> None:
        from trainer.evaluation.report import epoch_line, stall_advice

        self._close()
        if not self.quiet:
            click.echo(epoch_line(row, timing, epochs))
            if advice := stall_advice(timing):
                self.note(advice)
