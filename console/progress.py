"""Progress of long work on the terminal: a bar with rate and time left, or a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from cache.progress import Callback
from console.output import note

LINE_SECONDS = 5.0  # between progress lines where stderr is not a terminal


class Progress(Callback):
    """Shows progress on stderr and a line per finished epoch on stdout; nothing with `quiet`.

    `total` is the number of units, 0 if it is not known yet; `verb` is the past participle that lines show ("checked").
    Work in several rounds, such as epochs, has a bar for each round.
    """

    def __init__(self, quiet: bool, total: int = 0, verb: str = "done") -> None:
        self.quiet, self.total, self.verb = quiet, total, verb
        self.done = self.done_at_start = 0
        self.title = self.device = ""
        self.started = self.printed = time.monotonic()
        self.bar: Any = None
        self.noted: set[str] = set()

    def __enter__(self) -> "Progress":
        if self.total:
            self._open_bar("samples")
        return self

    def __exit__(self, *_: object) -> None:
        self._close_bar()

    def on_part(self, name: str) -> None:
        self.noted.clear()
        self.on_note(f"-- {name}")

    def on_device(self, description: str) -> None:
        """Print `description` on stderr, once for a command."""
        if description != self.device:
            self.device = description
            self.on_note(description)

    def on_note(self, text: str) -> None:
        """Print `text` on stderr, once for each part."""
        if not self.quiet and text not in self.noted:
            self.noted.add(text)
            note(text)

    def on_progress(
        self, done: int, total: int, unit: str = "samples", figures: Mapping[str, float] | None = None
    ) -> None:
        figures = dict(figures or {})
        title = f"epoch {figures.pop('epoch'):.0f}" if "epoch" in figures else ""
        if title != self.title or done < self.done:
            self._start_round(title, done)
        step, self.done, self.total = done - self.done, done, total
        if self._open_bar(unit):
            self.bar.total = total
            texts = {name: value if isinstance(value, int) else f"{value:.4f}" for name, value in figures.items()}
            self.bar.set_postfix(texts, refresh=False)
            self.bar.update(step)
            if done == total and title:
                self._close_bar()
        elif done and not self.quiet and time.monotonic() - self.printed > LINE_SECONDS:
            self.printed = time.monotonic()
            click.echo(self._line(unit, figures), err=True)

    def on_epoch(self, row: Mapping[str, float], timing: Mapping[str, float], epochs: int) -> None:
        from trainer.evaluation.report import epoch_line, stall_advice

        self._close_bar()
        if not self.quiet:
            click.echo(epoch_line(row, timing, epochs))
            if advice := stall_advice(timing):
                self.on_note(advice)

    def _start_round(self, title: str, done: int) -> None:
        """Start a round whose first step, or first resumed step, has just ended; the rate is measured from here."""
        self._close_bar()
        self.title, self.done, self.done_at_start, self.started = title, 0, done, time.monotonic()

    def _open_bar(self, unit: str) -> bool:
        """Open the bar if stderr is a terminal; returns whether there is a bar."""
        if self.bar is None and not self.quiet and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            total, leave = self.total or None, not self.title
            self.bar = tqdm(desc=self.title or None, total=total, unit=f" {unit}", dynamic_ncols=True, leave=leave)
        return self.bar is not None

    def _close_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar = None

    def _line(self, unit: str, figures: Mapping[str, float]) -> str:
        rate = (self.done - self.done_at_start) / max(self.printed - self.started, 1e-9)
        count = f"{self.done} of {self.total} {unit if self.title else self.verb}"
        parts = [self.title, count]
        if rate > 0:
            parts += [f"{rate:.1f}/s", f"{(self.total - self.done) / rate:.0f} s left"]
        parts += [
            f"{value} {name}" if isinstance(value, int) else f"{name} {value:.4f}" for name, value in figures.items()
        ]
        return ", ".join(filter(None, parts))
