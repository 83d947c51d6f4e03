"""What methods share: tiny scans and clips, the commands tried on them, and the facts of what a command left."""

import csv
import hashlib
import importlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.server import Ended, command

LIGHT, HEAVY = "light", "heavy"  # parts of the scenarios: those of the heavy need TensorFlow
DONE, FAILED, QUARANTINED = 0, 1, 3
SIZE = ("--depth", 4, "--height", 16, "--width", 16, "--workers", 0, "--quiet")
TRAINING = ("--backbone", "small", "--weights", "none", "--readers", 1, "--quiet")
MODULES = (
    "av", "cv2", "isal.igzip", "nibabel", "psutil", "scipy.ndimage", "threadpoolctl", "zarr", "cli", "cache.removal",
    "cache.verify", "pipeline.jobs.sample", "pipeline.jobs.label_report", "pipeline.demo.phantom_clips",
    "pipeline.demo.phantoms", "pipeline.jobs.relabel", "pipeline.jobs.report", "pipeline.transforms.video",
)  # fmt: skip
HEAVY_MODULES = (
    "encodings.cp437", "h5py", "keras", "matplotlib.backends.backend_agg", "matplotlib.figure", "tensorboard.compat",
    "tensorboard.plugins.scalar.metadata", "tensorboard.summary.writer.event_file_writer", "tensorflow",
    "trainer.evaluation.evaluate", "trainer.experiments.experiment", "trainer.features.extract",
    "trainer.evaluation.submission", "trainer.training.train",
)  # fmt: skip
SCANS, CLIPS, LABELS, CT, VIDEO, FEATURES = "scans", "clips", "labels.csv", "ct.zarr", "video.zarr", "features.zarr"


def load_everything(part: str) -> None:
    """Import whatever commands import, so that forked ones need not."""
    for name in MODULES if part == LIGHT else (*MODULES, *HEAVY_MODULES):
        importlib.import_module(name)


def scratch() -> str:
    """Where files are made: in memory where that is possible, for nothing here waits for a disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()


# -- sources -----------------------------------------------------------------------------------------------------------


def write_scans(folder: Path, count: int = 3, first: int = 1) -> None:
    """Tiny chests of `count` types, numbered from `first`, with the labels CSV of all there beside `folder`."""
    import nibabel as nib

    from pipeline.demo import phantoms

    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        hu = phantoms.scan(1 + number % 5, number, (5, 16, 16), (50.0, 20.0, 20.0))
        nib.save(nib.Nifti1Image(hu.transpose(), [[-20, 0, 0, 0], [0, -20, 0, 0], [0, 0, 50, 0], [0, 0, 0, 1]]),
                 folder / f"S{number:02d}.nii.gz")  # fmt: skip
    write_labels(folder.parent / LABELS, [path.name for path in sorted(folder.iterdir())])


def write_labels(path: Path, names: list[str], shift: int = 0) -> None:
    """A labels CSV with classes 1 and 2 in turn, each scan of a patient of its own."""
    rows = [f"{name},{1 + (number + shift) % 2},P{number}" for number, name in enumerate(names)]
    path.write_text("\n".join(["FileName,TypeOfTB,Patient", *rows, ""]))


def write_clips(folder: Path, groups: int = 2) -> None:
    """Tiny clips of two classes, one of each in each group."""
    from pipeline.demo import phantom_clips

    for kind in (0, 1):
        name = phantom_clips.CLASSES[kind]
        for group in range(1, groups + 1):
            frames = phantom_clips.clip(kind, group, 1, 0, 6, (24, 32))
            phantom_clips._write(folder / name / f"v_{name}_g{group:02d}_c01.avi", frames)


# -- the facts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """What is committed of one sample; `values` is the digest of its stored array, or why it cannot be read."""

    values: str
    label: int
    group: str
    readable: bool = True


def samples(root: Path) -> dict[str, Sample]:
    """The samples of the cache in `root`, as any reader gets them; none where there is no cache."""
    from cache import open_cache
    from cache.errors import CacheError, NotACache

    try:
        opened = open_cache(root)
    except NotACache:
        return {}
    found = {}
    for entry in opened.samples:
        try:
            values, readable = hashlib.sha256(opened.stored(entry.id).tobytes()).hexdigest(), True
        except CacheError as error:
            values, readable = str(error), False
        found[entry.id] = Sample(values, entry.label, entry.group, readable)
    return found


def cache_facts(root: Path) -> dict[str, Any]:
    """All that a command should leave the same: samples, ledger (but for rows), attributes, soundness, no rubbish."""
    from cache import catalog, store
    from cache.verify import verify

    if not (root / "zarr.json").exists():
        return {}
    entries = catalog.read_entries(root)
    attributes = catalog.read_attributes(root)
    report = verify(root)
    rows = {entry.row for entry in entries.values() if entry.state == "complete"}
    chunks = [row for row in catalog.row_folders(root, attributes.layout) if row not in rows]
    return {
        "samples": samples(root),
        "ledger": {entry.id: entry.to_json() | {"row": entry.row >= 0} for entry in entries.values()},
        "attributes": repr(attributes),
        "faults": report.damaged | report.missing | report.unreadable | report.stale,
        "chunks without a sample": [row for row in chunks if store.chunk_path(root, row, attributes.layout).exists()],
        "unpublished": catalog.unpublished(root),
        "unfinished files": [path.name for path in root.glob("*/partial/*")],
    }


def run_facts(root: Path) -> dict[str, Any]:
    """What counts in the folder of a run or of a table: everything but pictures, pages, logs and times."""
    facts: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.name.startswith("partial-"):
            facts[name] = "an unfinished file"
        elif path.suffix == ".json" and path.name != "manifest.json":  # digests of files that have dates and names
            facts[name] = path.read_text()
        elif path.suffix == ".csv" and path.name != "timings.csv":
            facts[name] = [{key: row[key] for key in row if key != "minutes"} for row in csv.DictReader(path.open())]
        elif path.suffix == ".keras":
            facts[name] = _weights(path)
    return facts


def _weights(path: Path) -> list[str]:
    """Digests of the arrays of a model; their names depend on how many models the process has built before."""
    import h5py

    digests: list[str] = []
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file, h5py.File(file) as weights:
        weights.visititems(
            lambda _, item: (
                digests.append(hashlib.sha256(item[()].tobytes()).hexdigest())
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return sorted(digests)


def facts_of(path: Path) -> Any:
    """The facts of a cache, of the folder of a run or table, or of a single file."""
    if path.suffix == ".zarr":
        return cache_facts(path)
    return run_facts(path) if path.is_dir() else path.read_text() if path.exists() else None


def differences(found: Any, expected: Any, where: str = "") -> list[str]:
    """Where two facts differ, in words."""
    if found == expected:
        return []
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = sorted({*found, *expected}, key=str)
        return [
            text for key in keys for text in differences(found.get(key), expected.get(key), f"{where} {key}".strip())
        ]
    return [f"{where}: {found!r:.300} instead of {expected!r:.300}"]


# -- scenarios ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """A command on a state of the disk, which `prepare` makes in a folder.

    `left` are the caches, runs and files that count. `weight` says how often it is tried, compared with others. Where
    `done` is not empty, the command fails and says it when it runs again though all was done.
    """

    name: str
    part: str
    prepare: Callable[[Path], None]
    words: Callable[[Path], tuple[object, ...]]
    left: tuple[str, ...]
    weight: int = 1
    done: str = ""


class Template:
    """The state that a scenario starts from, and the facts of what its command leaves there without any fault.

    All happens in one folder, `world`, as caches hold absolute paths.
    """

    def __init__(self, scenario: Scenario, world: Path, first: Callable[[], None] = lambda: None) -> None:
        self.scenario, self.world = scenario, world
        self.kept = world.with_name(f"template-{scenario.name}")
        shutil.rmtree(world, ignore_errors=True)
        world.mkdir(parents=True)
        scenario.prepare(world)
        shutil.copytree(world, self.kept, symlinks=True)
        self.before = self.samples()
        self.ended = self.run(first)
        if self.ended.code not in (DONE, QUARANTINED):
            raise RuntimeError(f"{scenario.name} ends with {self.ended.code} without any fault: {self.ended}")
        self.after = self.samples()
        self.facts = self.found()

    def restore(self) -> None:
        shutil.rmtree(self.world)
        shutil.copytree(self.kept, self.world, symlinks=True)

    def run(self, first: Callable[[], None] = lambda: None) -> Ended:
        return command(self.scenario.words(self.world), first)

    def found(self) -> dict[str, Any]:
        return {name: facts_of(self.world / name) for name in self.scenario.left}

    def samples(self) -> dict[str, dict[str, Sample]]:
        """The samples of each cache."""
        names = [name for name in self.scenario.left if name.endswith(".zarr")]
        return {name: samples(self.world / name) for name in names}

    def wrong_end(self, ended: Ended, killed: bool) -> str:
        """What is wrong with how a command ended that met a fault."""
        lines = [line for line in ended.err.splitlines() if line.strip()]
        if "Traceback" in ended.err or "please report" in ended.err:
            return f"an error that nobody expected: {ended.err[-2000:]}"
        if ended.left:
            return f"it left {ended.left} processes"
        if killed and ended.code == -9:
            return ""
        if ended.code not in (DONE, FAILED, QUARANTINED):
            return f"it ended with {ended.code}: {ended.err[-500:]}"
        if len(lines) > 1:
            return f"it said {len(lines)} lines: {ended.err[-1000:]}"
        if ended.code == FAILED and not lines and not ended.out:
            return "it failed without a word"
        return ""

    def lost(self) -> str:
        """Which sample that was committed before is not what it was, nor what the command makes of it."""
        for cache, found in self.samples().items():
            before, after = self.before[cache], self.after[cache]
            for name in sorted({*before, *found}):
                states = [known[name] for known in (before, after) if name in known]
                if name not in found:
                    if name in after:
                        return f"{cache}: {name} is gone"
                elif why := _not_one_of(found[name], states):
                    return f"{cache}: {name} {why}"
        return ""

    def wrong_result(self, ended: Ended) -> str:
        """What is wrong with how the command ended that ran again without a fault."""
        was_done = self.scenario.done and ended.code == FAILED and self.scenario.done in ended.err
        if ended.code != self.ended.code and not was_done:
            return f"run again, it ended with {ended.code}, not {self.ended.code}: {ended.err[-500:]}{ended.out[-500:]}"
        return "\n".join(differences(self.found(), self.facts)[:5])


def _not_one_of(sample: Sample, states: list[Sample]) -> str:
    """Why `sample` is none of `states`; one that was readable in any of them must be readable."""
    if not any(state.readable for state in states):
        return ""  # lost before, and not made again by the command either
    if not sample.readable:
        return "" if not states[0].readable else f"cannot be read any more: {sample.values}"
    if sample.values not in {state.values for state in states}:
        return "has values that it never had"
    labels = {(state.label, state.group) for state in states}
    return "" if (sample.label, sample.group) in labels else f"has label {sample.label} of {sample.group}, not {labels}"


def _preprocess_ct(world: Path) -> tuple[object, ...]:
    return ("preprocess", "ct", world / SCANS, world / CT, "--labels", world / LABELS, *SIZE)


def _preprocess_video(world: Path) -> tuple[object, ...]:
    return ("preprocess", "video", world / CLIPS, world / VIDEO, *SIZE)


def _second_source(world: Path) -> tuple[object, ...]:
    return ("preprocess", "ct", world / "more", world / CT, *SIZE)


def _repair(world: Path) -> tuple[object, ...]:
    return ("repair", world / CT, "--workers", 0, "--quiet")


def _label(world: Path) -> tuple[object, ...]:
    return ("label", world / CT, world / LABELS, "--quiet")


def _remove(world: Path) -> tuple[object, ...]:
    return ("remove", world / CT, "S02", "--yes", "--quiet")


def _features(world: Path) -> tuple[object, ...]:
    return ("features", world / VIDEO, world / FEATURES, *TRAINING)


def _pretrain(world: Path) -> tuple[object, ...]:
    return ("train", "pretrain", world / VIDEO, world / "run", *TRAINING, "--epochs", 1, "--resume")


def _head(world: Path) -> tuple[object, ...]:
    frozen = ("--features", world / FEATURES, "--freeze-backbone")
    return ("train", "pretrain", world / VIDEO, world / "run", *TRAINING, *frozen, "--epochs", 2, "--resume")


def _finetune(world: Path) -> tuple[object, ...]:
    parent = ("--from", world / "pretrained")
    return ("train", "finetune", world / CT, world / "run", *TRAINING, *parent, "--epochs", 1, "--resume")


def _experiment(world: Path) -> tuple[object, ...]:
    return ("experiment", world / VIDEO, world / CT, world / "table", *TRAINING, "--epochs", 1)


def _predict(world: Path) -> tuple[object, ...]:
    return ("predict", world / "run", world / VIDEO, world / "out.csv", "--quiet")


def _make(words: Callable[[Path], tuple[object, ...]], world: Path) -> None:
    ended = command(words(world))
    if ended.code not in (DONE, QUARANTINED):
        raise RuntimeError(f"{words(world)} ended with {ended}")


def sources_ct(world: Path) -> None:
    write_scans(world / SCANS)


def made_ct(world: Path) -> None:
    sources_ct(world)
    _make(_preprocess_ct, world)


def changed_ct(world: Path) -> None:
    """One scan is another now, one is new, one is gone, and the labels have changed."""
    made_ct(world)
    write_scans(world / SCANS, count=2, first=4)
    (world / SCANS / "S04.nii.gz").replace(world / SCANS / "S01.nii.gz")
    (world / SCANS / "S02.nii.gz").unlink()
    write_labels(world / LABELS, ["S01.nii.gz", "S02.nii.gz", "S03.nii.gz", "S05.nii.gz"], shift=1)


def broken_ct(world: Path) -> None:
    """One scan cannot be read any more."""
    made_ct(world)
    (world / SCANS / "S02.nii.gz").write_bytes(b"no scan")


def second_source(world: Path) -> None:
    made_ct(world)
    write_scans(world / "more", count=2, first=6)


def lost_ledger(world: Path) -> None:
    made_ct(world)
    for name in ("entries.jsonl", "snapshot.jsonl"):
        (world / CT / "ledger" / name).unlink()


def lost_log(world: Path) -> None:
    made_ct(world)
    (world / CT / "ledger" / "entries.jsonl").unlink()


def damaged_line(world: Path) -> None:
    """A line of the log and its copy are damaged, and a source is gone."""
    made_ct(world)
    for name, number in (("entries.jsonl", 1), ("snapshot.jsonl", 2)):
        path = world / CT / "ledger" / name
        lines = path.read_bytes().splitlines(keepends=True)
        lines[number] = lines[number].replace(b"S02", b"S92")
        path.write_bytes(b"".join(lines))


def damaged_chunks(world: Path) -> None:
    """One chunk is not what was written, one is gone."""
    made_ct(world)
    chunk = world / CT / "volume/c/0/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\\0")
    (world / CT / "volume/c/1/0/0/0").unlink()


def relabelled(world: Path) -> None:
    made_ct(world)
    write_labels(world / LABELS, ["S01.nii.gz", "S02.nii.gz", "S03.nii.gz"], shift=1)


def sources_video(world: Path) -> None:
    write_clips(world / CLIPS)


def made_video(world: Path) -> None:
    sources_video(world)
    _make(_preprocess_video, world)


def changed_video(world: Path) -> None:
    """One clip is another now, and there is a new group."""
    made_video(world)
    write_clips(world / CLIPS, groups=3)
    first, second = sorted((world / CLIPS).rglob("*.avi"))[:2]
    shutil.copyfile(second, first)


def made_features(world: Path) -> None:
    made_video(world)
    _make(_features, world)


def more_for_features(world: Path) -> None:
    made_features(world)
    changed = world / CLIPS
    write_clips(changed, groups=3)
    _make(_preprocess_video, world)


def pretrained(world: Path) -> None:
    made_video(world)
    _make(_pretrain, world)


def ready_for_experiment(world: Path) -> None:
    made_video(world)
    write_scans(world / SCANS, count=4)
    _make(_preprocess_ct, world)


def ready_to_finetune(world: Path) -> None:
    ready_for_experiment(world)
    _make(_pretrain, world)
    (world / "run").rename(world / "pretrained")


SCENARIOS = (
    Scenario("ct", LIGHT, sources_ct, _preprocess_ct, (CT,), weight=6),
    Scenario("ct-again", LIGHT, made_ct, _preprocess_ct, (CT,), weight=2),
    Scenario("ct-changed", LIGHT, changed_ct, _preprocess_ct, (CT,), weight=6),
    Scenario("ct-broken", LIGHT, broken_ct, _preprocess_ct, (CT,), weight=2),
    Scenario("ct-second-source", LIGHT, second_source, _second_source, (CT,), weight=2),
    Scenario("video", LIGHT, sources_video, _preprocess_video, (VIDEO,), weight=4),
    Scenario("video-changed", LIGHT, changed_video, _preprocess_video, (VIDEO,), weight=3),
    Scenario("repair-ledger", LIGHT, lost_ledger, _repair, (CT,), weight=5),
    Scenario("repair-log", LIGHT, lost_log, _repair, (CT,), weight=2),
    Scenario("repair-line", LIGHT, damaged_line, _repair, (CT,), weight=3),
    Scenario("repair-chunks", LIGHT, damaged_chunks, _repair, (CT,), weight=3),
    Scenario("label", LIGHT, relabelled, _label, (CT,), weight=2),
    Scenario("remove", LIGHT, made_ct, _remove, (CT,), weight=2, done="no input S02"),
    Scenario("features", HEAVY, made_video, _features, (FEATURES, VIDEO), weight=4),
    Scenario("features-again", HEAVY, more_for_features, _features, (FEATURES, VIDEO), weight=4),
    Scenario("pretrain", HEAVY, made_video, _pretrain, ("run", VIDEO), weight=3),
    Scenario("pretrain-features", HEAVY, made_features, _head, ("run", FEATURES), weight=3),
    Scenario("finetune", HEAVY, ready_to_finetune, _finetune, ("run", "pretrained", CT), weight=2),
    Scenario("experiment", HEAVY, ready_for_experiment, _experiment, ("table",)),
    Scenario("predict", HEAVY, pretrained, _predict, ("out.csv", "run"), weight=4),
)


def scenarios(names: list[str]) -> list[Scenario]:
    """The scenarios in `names` whose command exists."""
    import click

    import cli

    nowhere, commands = Path(), cli.main.list_commands(click.Context(cli.main))
    return [each for each in SCENARIOS if each.name in names and each.words(nowhere)[0] in commands]
