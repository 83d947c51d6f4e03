"""A cache over a life of changes and faults, against a model of what it must hold: a Hypothesis state machine.

Sources come, change, turn bad and go, in two folders; labels change; runs and repairs are killed at any call to the
system; files of the cache are flipped, cut, deleted or replaced by links; features follow. The model knows of each
sample the value and the label that it must have, or between which a kill has left the choice.
"""

import os
import shutil
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from cache import catalog, open_cache
from cache.errors import CacheError, LinkInside, NotACache
from cache.feature_writer import source_of, writing_features
from cache.features import feature_attributes, pending
from cache.fingerprint import digest_files
from cache.removal import remove
from cache.verify import verify
from pipeline.errors import InvalidInput, PipelineError
from pipeline.jobs import preprocess, relabel, repair
from pipeline.jobs.repair import RepairResult
from pipeline.jobs.summary import Summary
from pipeline.recipes.base import Sample
from pipeline.recipes.ct import CtRecipe
from pipeline.workers.executors.serial import serial
from tests.faults.calls import Calls, Killed, watched
from tests.faults.method import Method, Outcome

STEPS = 50
NAMES = [f"S{number}" for number in range(5)]
CLASSES = ("one", "two")
BAD = "bad"


class Texts(CtRecipe):
    """Scans of one gray, from text files: whatever makes a sample, the cache is the same."""

    def make(self, paths: tuple[Path, ...]) -> Sample:
        text = paths[0].read_text()
        if text == BAD:
            raise InvalidInput("it is bad", "a good one", "mend it")
        values = np.full((self.depth, self.height, self.width), int(text), np.uint16)
        return Sample(values, digest_files(paths), {"notes": []})


RECIPE = Texts(depth=2, height=2, width=2)


@dataclass
class Known:
    """What a sample may be: its values and labels; `present` is False where a kill leaves open whether it is there."""

    values: set[int]
    labels: set[int]
    present: bool = True


class Life(RuleBasedStateMachine):
    """One cache, its sources and its features, in a folder of their own.

    A rule that does not apply does nothing, instead of having a precondition: what Hypothesis draws must not depend on
    the bytes of the cache, which differ from life to life by the folder's name.
    """

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.root, self.features = self.folder / "ct.zarr", self.folder / "features.zarr"
        self.victim = self.folder / "victim"
        for folder in ("s", "t", "victim"):
            (self.folder / folder).mkdir()
        (self.victim / "file").write_text("mine")
        self.labels: dict[str, int] = {}
        self.known: dict[str, Known] = {}
        self.damaged = False  # a file of the cache, since it was last made whole
        self.clock = 10**9
        self.write("s", "S0", "1")
        self.run_all("s")

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    # -- sources

    def path(self, folder: str, name: str) -> Path:
        """Names of the second folder are others, as two sources must not share an id nor a line of the labels CSV."""
        return self.folder / folder / f"{name if folder == 's' else name.replace('S', 'T')}.nii"

    def write(self, folder: str, name: str, text: str) -> None:
        path = self.path(folder, name)
        path.write_text(text)
        self.clock += 1
        os.utime(path, (self.clock, self.clock))

    @rule(folder=st.sampled_from("st"), name=st.sampled_from(NAMES), gray=st.integers(1, 60_000))
    def add_or_alter(self, folder: str, name: str, gray: int) -> None:
        self.write(folder, name, str(gray))

    @rule(folder=st.sampled_from("st"), name=st.sampled_from(NAMES))
    def spoil(self, folder: str, name: str) -> None:
        self.write(folder, name, BAD)

    @rule(folder=st.sampled_from("st"), name=st.sampled_from(NAMES))
    def touch(self, folder: str, name: str) -> None:
        if self.path(folder, name).exists():
            self.write(folder, name, self.path(folder, name).read_text())

    @rule(folder=st.sampled_from("st"), name=st.sampled_from(NAMES))
    def delete(self, folder: str, name: str) -> None:
        self.path(folder, name).unlink(missing_ok=True)

    @rule(name=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def rename(self, name: str, new: str) -> None:
        if self.path("s", name).exists():
            text = self.path("s", name).read_text()
            self.path("s", name).unlink()
            self.write("s", new, text)

    @rule(name=st.sampled_from(NAMES), label=st.sampled_from([0, 1]))
    def relabel(self, name: str, label: int) -> None:
        self.labels[name] = label

    # -- commands

    def sheet(self) -> Path:
        path = self.folder / "labels.csv"
        rows = [f"{name},{label + 1}" for name, label in sorted(self.labels.items())]
        path.write_text("\n".join(["FileName,TypeOfTB", *rows, ""]))
        return path

    def preprocess(self, folder: str) -> Summary:
        named = {path.stem for path in (self.folder / folder).iterdir()} & self.labels.keys()
        labels = self.sheet() if folder == "s" and named else None
        job = preprocess.prepare(self.folder / folder, self.root, RECIPE, CLASSES, labels)
        return preprocess.run(job, nullcontext(serial))

    def expected(self, folder: str) -> dict[str, tuple[str, int | None]]:
        """id → (text, label that the run gives, None for the one there is)."""
        found = {path.stem: path.read_text() for path in (self.folder / folder).iterdir()}
        told = folder == "s" and bool(found.keys() & self.labels.keys())
        return {name: (text, self.labels.get(name, -1) if told else None) for name, text in found.items()}

    def relabelled(self, expected: dict[str, tuple[str, int | None]]) -> dict[str, int]:
        """id → label of samples without a source there that the labels CSV of the run names."""
        told = any(label is not None for _, label in expected.values())
        return {
            name: label for name, label in self.labels.items() if told and name in self.known.keys() - expected.keys()
        }

    def run_all(self, folder: str) -> None:
        """A run that nobody disturbs, and the same once more, which has nothing to do."""
        expected = self.expected(folder)
        summary = self.preprocess(folder)
        self.settle(expected)
        assert summary.discovered == summary.complete + len(summary.quarantined) + len(summary.excluded)
        assert summary.discovered == len(catalog.read_entries(self.root))
        assert self.preprocess(folder).made == 0

    def settle(self, expected: dict[str, tuple[str, int | None]]) -> None:
        for name, label in self.relabelled(expected).items():
            self.known[name].labels = {label}
        for name, (text, label) in expected.items():
            before = self.known.pop(name, None)
            labels = {label} if label is not None else (before.labels if before else {-1})
            if text != BAD:
                self.known[name] = Known({int(text)}, labels)

    @rule(folder=st.sampled_from("st"))
    def run(self, folder: str) -> None:
        if self.damaged:
            return
        self.run_all(folder)

    @rule(folder=st.sampled_from("st"), number=st.integers(0, 80))
    def run_killed(self, folder: str, number: int) -> None:
        """Each input is as it was, or as the run makes it."""
        expected = self.expected(folder)
        if self.killed(number, lambda: self.preprocess(folder)):
            for name, label in self.relabelled(expected).items():
                self.known[name].labels = self.known[name].labels | {label}
            for name, (text, label) in expected.items():
                before = self.known.setdefault(name, Known(set(), {-1}, present=False))
                before.labels = before.labels | ({label} if label is not None else set())
                if text == BAD:
                    before.present = False
                else:
                    before.values = before.values | {int(text)}
        else:
            self.settle(expected)
            if self.damaged:  # a run makes lost samples again, `repair` damaged ones too
                left = verify(self.root)
                self.damaged = bool(left.damaged or left.missing or left.unreadable)

    def killed(self, number: int, work) -> bool:  # type: ignore[no-untyped-def]
        """Whether `work` was killed at its call with this number; a cache that is damaged may refuse to work."""
        with watched(Calls(self.root, number)):
            try:
                work()
            except Killed:
                return True
            except (CacheError, PipelineError):
                if not self.damaged:
                    raise
                return True
        return False

    @rule()
    def repair(self) -> None:
        """What is not healed is named, and the rest is sound."""
        try:
            result = self.heal()
        except LinkInside as error:
            self.unlink(error)
            result = self.heal()
        self.after_repair()
        left = verify(self.root)
        faults = left.damaged | left.missing | left.stale | left.unreadable
        assert faults.keys() <= result.failed.keys(), (faults, result)
        self.damaged = bool(faults.keys() - self.known.keys())
        for name in faults.keys() & self.known.keys():
            self.known[name].values = self.known[name].values | {-1}  # unreadable until its source is good again

    def heal(self) -> RepairResult:
        return repair.run(repair.prepare(self.root), nullcontext(serial))

    def unlink(self, told: LinkInside) -> None:
        """Do what the error says: delete the link."""
        for path in [path for path in self.root.rglob("*") if path.is_symlink()]:
            assert str(path) in str(told)
            path.unlink()

    def after_repair(self) -> None:
        """Samples that were damaged are made of what their sources are now."""
        for folder in "st":
            for name, (text, _) in self.expected(folder).items():
                if name in self.known and text != BAD:
                    self.known[name].values = self.known[name].values | {int(text)}

    @rule(number=st.integers(0, 60))
    def repair_killed(self, number: int) -> None:
        self.killed(number, self.heal)
        self.after_repair()

    @rule()
    def label(self) -> None:
        if self.damaged or not self.labels:
            return
        entries = catalog.read_entries(self.root)
        named = {name for name in self.labels if name in entries and entries[name].state != "excluded"}
        if named:
            relabel.run(relabel.prepare(self.root, self.sheet()))
            for name, known in self.known.items():
                if name in entries:
                    known.labels = {self.labels.get(name, -1)}

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        if self.damaged:
            return
        if name in catalog.read_entries(self.root):
            remove(self.root, [name])
            self.known.pop(name, None)
            assert name not in catalog.read_entries(self.root)
            assert not [path for path in self.files() if f'"{name}"'.encode() in path.read_bytes()]

    # -- faults

    def files(self) -> list[Path]:
        return [path for path in sorted(self.root.rglob("*")) if path.is_file() and path.stat().st_size]

    @rule(number=st.integers(0, 10**6), way=st.sampled_from(["flip", "cut", "delete", "link"]))
    def damage(self, number: int, way: str) -> None:
        if self.damaged:
            return
        self.damaged = True
        path = self.files()[number % len(self.files())]
        data = bytearray(path.read_bytes())
        if way == "flip":
            data[number % len(data)] ^= 1 << number % 8
            path.write_bytes(data)
        elif way == "cut":
            path.write_bytes(data[: number % len(data)])
        else:
            path.unlink()
            if way == "link":
                path.symlink_to(self.victim / "file")

    # -- features

    @rule()
    def follow(self) -> None:
        """Features of what can be read are those of the samples as they are."""
        if self.damaged:
            return
        volumes = open_cache(self.root)
        readable = [name for name in volumes.ids if self.value(volumes, name) is not None]
        if len(readable) < len(volumes) or not readable:
            return
        attributes = feature_attributes(2, 1, volumes.class_names, "mean", dtype="float32", volumes=volumes)
        with writing_features(self.features, attributes, volumes.ids) as features:
            features.follow(volumes)
            for name in pending(volumes, self.features, attributes).to_make:
                entry, source = volumes.entry(name), source_of(volumes, name)
                features.put(name, volumes.stored(name).mean((1, 2))[:, None], entry.label, entry.group, source)
        made = open_cache(self.features)
        for name in readable:
            assert made[name].ravel().tolist() == [self.value(volumes, name)] * 2
            assert made.entry(name).label == volumes.entry(name).label
        report = verify(self.features)
        assert report.sound, report

    # -- what always holds

    def value(self, opened, name: str) -> int | None:  # type: ignore[no-untyped-def]
        """The gray of a sample; None where reading it raises."""
        try:
            return int(opened.stored(name).ravel()[0])
        except CacheError:
            return None

    @invariant()
    def what_is_read_is_right(self) -> None:
        if not hasattr(self, "root"):
            return
        try:
            opened = open_cache(self.root)
        except NotACache:
            assert self.damaged
            return
        for name in opened.ids:
            known, value = self.known.get(name), self.value(opened, name)
            assert known, f"{name} was never made"
            assert value is None or value in known.values, f"{name} is {value}, not one of {known.values}"
            assert value is not None or self.damaged or -1 in known.values, f"{name} cannot be read"
            label = opened.entry(name).label
            assert label in known.labels, f"{name} has label {label}, not one of {known.labels}"
        lost = [name for name, known in self.known.items() if known.present and name not in opened]
        assert not lost, f"{lost} are gone"

    @invariant()
    def nothing_outside_is_touched(self) -> None:
        if hasattr(self, "victim"):
            assert {path.name: path.read_text() for path in self.victim.iterdir()} == {"file": "mine"}


def run(trials: int, chosen: int, only: str) -> Outcome:
    few = trials <= METHOD.short
    how = settings(
        max_examples=trials, stateful_step_count=20 if few else STEPS, deadline=None, database=None, derandomize=False,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck), verbosity=Verbosity.quiet,
        print_blob=False,
    )  # fmt: skip
    machine = seed(chosen)(Life)
    with patch.object(os, "fsync", lambda descriptor: None), patch.object(repair, "recipe_from_json", lambda _: RECIPE):
        try:
            run_state_machine_as_test(machine, settings=how)
        except Exception as error:  # noqa: BLE001 - whatever fails is what was looked for
            command = f"python -m tests.faults {METHOD.name} --seed {chosen} --trials {trials}"
            steps = "\n  ".join(getattr(error, "__notes__", []))
            return Outcome(trials, trials - 1, ((command, f"{type(error).__name__}: {error}\n  {steps}"),))
    return Outcome(trials, trials)


METHOD = Method(
    name="machine",
    title=f"{STEPS} random changes, commands and faults in a row, compared with a model",
    short=50,
    full=2000,
    shows="sources in two folders are added, changed, damaged, renamed and deleted; samples are relabelled and "
    "removed; runs and repairs are killed at any call; files of the cache are flipped, cut, deleted and "
    "replaced by links; features are computed. Every input is complete, quarantined or excluded; a read "
    "gives the right value and label, or raises; after a repair the cache is intact except for the "
    "samples that the repair names; the same run again makes nothing.",
    run=run,
)
