"""Rules that run commands on the cache: to the end, or killed at any of their system calls."""

from collections.abc import Callable
from contextlib import nullcontext

from hypothesis import strategies as st
from hypothesis.stateful import rule

from cache import catalog
from cache.errors import CacheError, LinkInside
from cache.removal import remove
from cache.verify import verify
from pipeline.errors import PipelineError
from pipeline.jobs import preprocess, relabel, repair
from pipeline.jobs.repair import RepairResult
from pipeline.jobs.summary import Summary
from pipeline.workers.executors.serial import serial
from tests.faults.calls import Calls, Killed, watched
from tests.faults.machine.model import CLASSES, RECIPE, UNLABELLED, UNREADABLE, Allowed, Source
from tests.faults.machine.sources import FOLDERS, NAMES, SourceRules


class CommandRules(SourceRules):
    """`preprocess`, `repair`, `label` and `remove`, and the samples that each may leave."""

    # -- preprocess

    def preprocess(self, folder: str) -> Summary:
        labelled = {path.stem for path in (self.folder / folder).iterdir()} & self.labels.keys()
        labels = self.write_labels() if folder == "s" and labelled else None
        job = preprocess.prepare(self.folder / folder, self.root, RECIPE, CLASSES, labels)
        return preprocess.run(job, nullcontext(serial))

    def sources(self, folder: str) -> dict[str, Source]:
        texts = self.source_texts(folder)
        with_labels = folder == "s" and bool(texts.keys() & self.labels.keys())
        return {
            name: Source(text, self.labels.get(name, UNLABELLED) if with_labels else None)
            for name, text in texts.items()
        }

    def other_labels(self, sources: dict[str, Source]) -> dict[str, int]:
        """The labels that a run of `sources` gives to samples without a source in its folder."""
        with_labels = any(source.label is not None for source in sources.values())
        others = self.allowed.keys() - sources.keys()
        return {name: label for name, label in self.labels.items() if with_labels and name in others}

    def preprocess_twice(self, folder: str) -> None:
        """An undisturbed run, and another one, which must have nothing to do."""
        sources = self.sources(folder)
        summary = self.preprocess(folder)
        self.allow_only(sources)
        assert summary.discovered == summary.complete + len(summary.quarantined) + len(summary.excluded)
        assert summary.discovered == len(catalog.read_entries(self.root))
        assert self.preprocess(folder).made == 0

    def allow_only(self, sources: dict[str, Source]) -> None:
        """After a complete run of `sources`."""
        for name, label in self.other_labels(sources).items():
            self.allowed[name].labels = {label}
        for name, source in sources.items():
            before = self.allowed.pop(name, None)
            labels = {source.label} if source.label is not None else (before.labels if before else {UNLABELLED})
            if source.valid:
                self.allowed[name] = Allowed({int(source.text)}, labels)

    def allow_also(self, sources: dict[str, Source]) -> None:
        """After an interrupted run of `sources`, which may have processed any of them."""
        for name, label in self.other_labels(sources).items():
            self.allowed[name].labels = self.allowed[name].labels | {label}
        for name, source in sources.items():
            sample = self.allowed.setdefault(name, Allowed(set(), {UNLABELLED}, present=False))
            sample.labels = sample.labels | ({source.label} if source.label is not None else set())
            if source.valid:
                sample.values = sample.values | {int(source.text)}
            else:
                sample.present = False

    @rule(folder=st.sampled_from(FOLDERS))
    def run_preprocess(self, folder: str) -> None:
        if not self.damaged:
            self.preprocess_twice(folder)

    @rule(folder=st.sampled_from(FOLDERS), number=st.integers(0, 80))
    def run_preprocess_killed(self, folder: str, number: int) -> None:
        sources = self.sources(folder)
        if self.killed(number, lambda: self.preprocess(folder)):
            self.allow_also(sources)
        else:
            self.allow_only(sources)
            if self.damaged:  # a run makes missing samples again; only `repair` makes damaged ones again
                report = verify(self.root)
                self.damaged = bool(report.damaged or report.missing or report.unreadable)

    def killed(self, number: int, command: Callable[[], object]) -> bool:
        """Whether `command` was killed at system call `number`, or has refused a damaged cache."""
        with watched(Calls(self.root, number)):
            try:
                command()
            except Killed:
                return True
            except (CacheError, PipelineError):
                if not self.damaged:
                    raise
                return True
        return False

    # -- repair

    @rule()
    def repair(self) -> None:
        """Afterwards the cache is intact, except for samples that the repair names."""
        try:
            result = self.run_repair()
        except LinkInside as error:
            self.delete_links(error)
            result = self.run_repair()
        self.allow_current_sources()
        report = verify(self.root)
        faults = report.damaged | report.missing | report.stale | report.unreadable
        assert faults.keys() <= result.failed.keys(), (faults, result)
        self.damaged = bool(faults.keys() - self.allowed.keys())
        for name in faults.keys() & self.allowed.keys():  # unreadable until its source is valid again
            self.allowed[name].values = self.allowed[name].values | {UNREADABLE}

    def run_repair(self) -> RepairResult:
        return repair.run(repair.prepare(self.root), nullcontext(serial))

    def delete_links(self, error: LinkInside) -> None:
        """Follow the advice in the error."""
        for path in [path for path in self.root.rglob("*") if path.is_symlink()]:
            assert str(path) in str(error)
            path.unlink()

    def allow_current_sources(self) -> None:
        """After a repair, which makes damaged samples again from their current sources."""
        for folder in FOLDERS:
            for name, source in self.sources(folder).items():
                if name in self.allowed and source.valid:
                    self.allowed[name].values = self.allowed[name].values | {int(source.text)}

    @rule(number=st.integers(0, 60))
    def repair_killed(self, number: int) -> None:
        self.killed(number, self.run_repair)
        self.allow_current_sources()

    # -- label and remove

    @rule()
    def label(self) -> None:
        if self.damaged or not self.labels:
            return
        entries = catalog.read_entries(self.root)
        if any(name in entries and entries[name].state != "excluded" for name in self.labels):
            relabel.run(relabel.prepare(self.root, self.write_labels()))
            for name, sample in self.allowed.items():
                if name in entries:
                    sample.labels = {self.labels.get(name, UNLABELLED)}

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        """No file of the cache contains the name of a removed input."""
        if not self.damaged and name in catalog.read_entries(self.root):
            remove(self.root, [name])
            self.allowed.pop(name, None)
            assert name not in catalog.read_entries(self.root)
            files = [path for path in self.root.rglob("*") if path.is_file()]
            assert not [path for path in files if f'"{name}"'.encode() in path.read_bytes()]
