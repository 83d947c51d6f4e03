"""The paper's Table 1 as one command: four strategies on one split, for any number of seeds, with a report.

DIR/
  experiment.json           caches and settings (`document.py`); once a run exists, only the same ones can be given
  clips.json  scans.json    the splits, the same for every strategy and seed
  features/                 with a frozen backbone: caches of the features of both
  seed0/pretrained/         a run; seed0/no_pt/, pt/, pt_cw/, pt_cw_aug/ are those of the strategies
  report.md  table.csv  kappa.png  confusion_*.png
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import Cache, open_cache
from cache.paths import make_absolute
from cache.progress import Callback
from cache.resume import describe_difference
from trainer.data.inputs import check_side
from trainer.data.splits import choose
from trainer.data.splits.split import Split, read_split
from trainer.data.stream import READERS
from trainer.errors import TrainerError
from trainer.experiments import document
from trainer.experiments.document import ExperimentDocument
from trainer.experiments.report import write_report
from trainer.experiments.table import Result, read_result
from trainer.features.extract import Extraction, extract
from trainer.runs import files, manifest
from trainer.runs.folder import check_files, enclosing_cache, is_finished
from trainer.runs.plan import Request, configure
from trainer.runs.run import check_cache, read_run
from trainer.runs.samples import check_samples
from trainer.training.train import train


@dataclass(frozen=True)
class Strategy:
    """One row of Table 1 (ViPTT-Net §3.4); `settings` are fields of Config."""

    name: str
    folder: str
    pretrained: bool
    settings: Mapping[str, Any]


STARTUP_FILES = (manifest.NAME, "clips.json", "scans.json", document.NAME)  # written before the first run
EXTRACTOR = ("backbone", "weights", "input_conv", "seed", "precision")  # settings that decide the features
PRETRAINED = Strategy("pretraining", "pretrained", False, {})
STRATEGIES = (
    Strategy("No PT", "no_pt", False, {}),
    Strategy("PT", "pt", True, {}),
    Strategy("PT+CW", "pt_cw", True, {"class_weights": True}),
    Strategy("PT+CW+AUG", "pt_cw_aug", True, {"class_weights": True, "augmentation": ("rotation",)}),
)


@dataclass(frozen=True)
class Experiment:
    """The user's request. `settings` are fields of Config for both stages, `pretraining` those for the first one only.

    With `frozen` both stages keep the backbone frozen, on features that are computed once. `split` is a file for the
    scans; `drop_shared` leaves out of training the samples whose array is in another subset of it too.
    """

    clips: Path
    scans: Path
    folder: Path
    settings: Mapping[str, Any]
    pretraining: Mapping[str, Any]
    seeds: int = 1
    frozen: bool = False
    split: Path | None = None
    readers: int = READERS
    drop_shared: bool = False

    def __post_init__(self) -> None:
        make_absolute(self, "clips", "scans", "folder", "split")

    def document(self) -> ExperimentDocument:
        """The contents of experiment.json."""
        clips, scans = str(self.clips.resolve()), str(self.scans.resolve())
        return ExperimentDocument(clips, scans, dict(self.settings), dict(self.pretraining), self.frozen)


def run_experiment(experiment: Experiment, callback: Callback) -> list[str]:
    """Train the runs that are missing, and write the report; return its lines. Raises TrainerError, CacheError.

    Errors in the request are reported before DIR is touched, not after days of training.
    """
    _prepare(experiment, callback)
    features = _features(experiment, callback) if experiment.frozen else {}
    results: list[Result] = []
    pretraining: list[Result] = []
    for number in range(experiment.seeds):
        pretrained = _run_of(experiment, number, PRETRAINED, None, features, callback)
        pretraining.append(read_result(PRETRAINED.name, number, pretrained))
        for strategy in STRATEGIES:
            parent = pretrained if strategy.pretrained else None
            run = _run_of(experiment, number, strategy, parent, features, callback)
            results.append(read_result(strategy.name, number, run))
    return write_report(experiment.folder, results, pretraining, experiment.frozen, callback.on_note)


def _prepare(experiment: Experiment, callback: Callback) -> None:
    """Write the splits and experiment.json; or check that DIR, where it has runs, belongs to the same request."""
    root = experiment.folder
    if _has_runs(root):
        _check_same(experiment, callback)
        return
    configs = [configure(*_stage(experiment, 0, strategy)) for strategy in (PRETRAINED, *STRATEGIES)]
    clips, scans = open_cache(experiment.clips), open_cache(experiment.scans)
    _check_caches(clips, scans)
    check_side(clips, configs[0].backbone)
    seed = int(experiment.settings.get("seed", 0))
    user_split = _user_split(experiment, scans, callback)
    given = {"clips": (clips, None), "scans": (scans, user_split)}
    splits = {name: choose.checked_split(cache, split, seed, path=cache.path) for name, (cache, split) in given.items()}
    _check_batch(experiment, splits)
    root.mkdir(parents=True, exist_ok=True)
    for name in STARTUP_FILES:
        files.remove(root / f"{files.PARTIAL}{name}")
    contents = {f"{name}.json": split.to_json() for name, split in splits.items()}
    contents |= {document.NAME: experiment.document().to_json()}
    manifest.write_files(root, {name: files.dump_json(data) for name, data in contents.items()})


def _has_runs(root: Path) -> bool:
    """True where DIR has more than the files that `_prepare` writes. Raises TrainerError where it has other files."""
    if (root.exists() or root.is_symlink()) and not root.is_dir():
        raise TrainerError(f"{root} is a file; expected a folder that is new or empty, or an experiment to resume")
    if cache := enclosing_cache(root):
        raise TrainerError(f"{root} is inside the cache {cache}, which holds samples only; choose another DIR")
    names = {path.name for path in root.iterdir()} if root.is_dir() else set()
    others = sorted(names - {*STARTUP_FILES, *(f"{files.PARTIAL}{name}" for name in STARTUP_FILES)})
    if others and document.NAME not in names:
        raise TrainerError(f"{root} holds {others[0]!r} and no experiment; expected a folder that is new or empty")
    return bool(others)


def _check_same(experiment: Experiment, callback: Callback) -> None:
    """Raises TrainerError where the caches, settings or split in DIR differ from those of `experiment`."""
    root = experiment.folder
    recorded = document.read_document(root)
    if difference := describe_difference(recorded.to_json(), experiment.document().to_json()):
        raise TrainerError(
            f"{root} holds an experiment with other settings ({difference}); give the same, or choose another DIR"
        )
    split = _user_split(experiment, open_cache(experiment.scans), callback)
    manifest.check(root / "scans.json")
    if split and split != read_split(root / "scans.json"):
        raise TrainerError(
            f"--split {experiment.split} differs from the split in {root}; leave it out, or choose another DIR"
        )


def _check_caches(clips: Cache, scans: Cache) -> None:
    for cache, kind in ((clips, "video"), (scans, "ct")):
        if cache.kind != kind:
            raise TrainerError(
                f"{cache.path} holds {cache.kind} samples, where {kind} was expected; build a cache with "
                f"`preprocess {kind}`, and give VIDEO_CACHE before CT_CACHE"
            )
    if clips.shape != scans.shape:
        raise TrainerError(
            f"{clips.path} has shape {clips.shape}, {scans.path} has {scans.shape}; "
            "preprocess both to the same --depth --height --width"
        )


def _check_batch(experiment: Experiment, splits: Mapping[str, Split]) -> None:
    size = experiment.settings.get("batch_size", 1)
    for name, split in splits.items():
        if size > len(split.train):
            raise TrainerError(f"batch_size {size}, but there are {len(split.train)} {name} to train on; lower it")


def _user_split(experiment: Experiment, scans: Cache, callback: Callback) -> Split | None:
    if experiment.split is None:
        return None
    split, notes = choose.user_split(experiment.split, experiment.drop_shared, scans)
    for note in notes:
        callback.on_note(note)
    return split


def _features(experiment: Experiment, callback: Callback) -> dict[str, Path]:
    """Extract the missing features of clips, and of scans for all angles; return their caches by name."""
    caches = {}
    extractor = {key: value for key, value in experiment.settings.items() if key in EXTRACTOR}
    for name, cache in (("clips", experiment.clips), ("scans", experiment.scans)):
        caches[name] = experiment.folder / "features" / f"{name}.zarr"
        callback.on_part(f"features of {cache}")
        request = Extraction(cache, caches[name], extractor, augment=name == "scans", readers=experiment.readers)
        extract(request, callback)
    return caches


def _run_of(
    experiment: Experiment,
    number: int,
    strategy: Strategy,
    parent: Path | None,
    features: Mapping[str, Path],
    callback: Callback,
) -> Path:
    """The finished run of one strategy and seed, trained if it is missing."""
    run = experiment.folder / f"seed{number}" / strategy.folder
    name, cache = ("clips", experiment.clips) if strategy is PRETRAINED else ("scans", experiment.scans)
    if is_finished(run):
        current = open_cache(cache)
        check_cache(read_run(run), current, str(run))
        check_samples(run, current)
        check_files(run)
        return run
    callback.on_part(f"seed {number}: {strategy.name}")
    stage, settings = _stage(experiment, number, strategy)
    split = experiment.folder / f"{name}.json"
    manifest.check(split)
    train(Request(stage, cache, run, settings, parent, split, True, features.get(name), experiment.readers), callback)
    return run


def _stage(experiment: Experiment, number: int, strategy: Strategy) -> tuple[str, dict[str, Any]]:
    """The stage of a strategy, and the fields of Config for it and this seed."""
    seed = int(experiment.settings.get("seed", 0)) + number
    settings = {**experiment.settings, "seed": seed, **strategy.settings}
    if strategy is PRETRAINED:
        settings |= experiment.pretraining
    elif experiment.frozen:
        settings["freeze_backbone"] = True
    inherited = {"weights", "input_conv"} if strategy.pretrained else set()  # from the parent
    if experiment.frozen:  # weights belong to the features, and precision matters for the backbone only
        inherited |= {"weights", "precision"}
    stage = "pretrain" if strategy is PRETRAINED else "finetune"
    return stage, {key: value for key, value in settings.items() if key not in inherited}
