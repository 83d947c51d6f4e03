"""The paper's Table 1 as one command: four strategies on one split, as many seeds as wanted, and what they tell apart.

DIR/
  experiment.json           what was asked for; the same command goes on with it, no other once a part was begun
  clips.json  scans.json    the splits, the same for every strategy and seed
  features/                 for the frozen variant: caches of the features of both
  seed0/pretrained/         a run; seed0/no_pt/, pt/, pt_cw/, pt_cw_aug/ are the strategies'
  report.md  table.csv  kappa.png  confusion_*.png
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import Cache, open_cache
from cache.paths import make_absolute
from cache.progress import Callback
from cache.resume import describe_difference
from trainer.data.inputs import check_side
from trainer.data.splits.choose import checked_split, user_split
from trainer.data.splits.split import Split, read_split
from trainer.data.stream import READERS
from trainer.errors import TrainerError
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
    """One row of Table 1 (ViPTT-Net §3.4)."""

    name: str
    folder: str
    pretrained: bool
    given: Mapping[str, Any]


BEGUN = (manifest.NAME, "clips.json", "scans.json", "experiment.json")  # what there is before the first part
EXTRACTOR = ("backbone", "weights", "input_conv", "seed", "precision")  # of what is given: what decides the features
PRETRAINED = Strategy("pretraining", "pretrained", False, {})
STRATEGIES = (
    Strategy("No PT", "no_pt", False, {}),
    Strategy("PT", "pt", True, {}),
    Strategy("PT+CW", "pt_cw", True, {"class_weights": True}),
    Strategy("PT+CW+AUG", "pt_cw_aug", True, {"class_weights": True, "augmentation": ("rotation",)}),
)


@dataclass(frozen=True)
class Experiment:
    """What a user asks for. `given` are fields of Config for both stages, `pretraining` those for the first alone.

    With `frozen` both stages train behind a frozen backbone, on features that are made once. `split` is of the scans,
    `drop_shared` leaves its training samples out whose array is in another part too.
    """

    clips: Path
    scans: Path
    folder: Path
    given: Mapping[str, Any]
    pretraining: Mapping[str, Any]
    seeds: int = 1
    frozen: bool = False
    split: Path | None = None
    readers: int = READERS
    drop_shared: bool = False

    def __post_init__(self) -> None:
        make_absolute(self, "clips", "scans", "folder", "split")

    def to_json(self) -> dict[str, Any]:
        """All that finished parts depend on but the splits, which are files of their own."""
        paths = {"clips": str(self.clips.resolve()), "scans": str(self.scans.resolve())}
        return paths | {"given": dict(self.given), "pretraining": dict(self.pretraining), "frozen": self.frozen}


def run_experiment(experiment: Experiment, callback: Callback) -> list[str]:
    """Do what is not done yet, and write the report; return its lines. Raises TrainerError, CacheError.

    What can be known to be wrong is found before DIR is touched, and not after the first stage of days.
    """
    _begin(experiment, callback)
    features = _features(experiment, callback) if experiment.frozen else {}
    results: list[Result] = []
    pretraining: list[Result] = []
    for number in range(experiment.seeds):
        pretrained = _trained(experiment, number, PRETRAINED, None, features, callback)
        pretraining.append(read_result(PRETRAINED.name, number, pretrained))
        for strategy in STRATEGIES:
            parent = pretrained if strategy.pretrained else None
            run = _trained(experiment, number, strategy, parent, features, callback)
            results.append(read_result(strategy.name, number, run))
    return write_report(experiment.folder, results, pretraining, experiment.frozen, callback.on_note)


def _begin(experiment: Experiment, callback: Callback) -> None:
    """Write down what is asked for, and the splits; or check that the parts in DIR were begun with the same."""
    root = experiment.folder
    if _has_parts(root):
        _check_same(experiment, callback)
        return
    configs = [configure(*_stage(experiment, 0, strategy)) for strategy in (PRETRAINED, *STRATEGIES)]
    clips, scans = open_cache(experiment.clips), open_cache(experiment.scans)
    _check_caches(clips, scans)
    check_side(clips, configs[0].backbone)
    seed = int(experiment.given.get("seed", 0))
    given = _given_split(experiment, scans, callback)
    parts = {"clips": _split(clips, seed, None), "scans": _split(scans, seed, given)}
    _check_batch(experiment, parts)
    root.mkdir(parents=True, exist_ok=True)
    for name in BEGUN:
        files.remove(root / f"{files.PARTIAL}{name}")
    contents = {f"{name}.json": split.to_json() for name, split in parts.items()}
    contents |= {"experiment.json": experiment.to_json()}
    manifest.write_files(root, {name: files.dump_json(data) for name, data in contents.items()})


def _has_parts(root: Path) -> bool:
    """True where DIR has more than what `_begin` writes. Raises TrainerError where it is not for an experiment."""
    if (root.exists() or root.is_symlink()) and not root.is_dir():
        raise TrainerError(f"{root} is a file; expected a folder that is new or empty, or an experiment to go on with")
    if cache := enclosing_cache(root):
        raise TrainerError(f"{root} is inside the cache {cache}, which holds samples only; choose another DIR")
    names = {path.name for path in root.iterdir()} if root.is_dir() else set()
    others = sorted(names - {*BEGUN, *(f"{files.PARTIAL}{name}" for name in BEGUN)})
    if others and BEGUN[-1] not in names:
        raise TrainerError(f"{root} holds {others[0]!r} and no experiment; expected a folder that is new or empty")
    return bool(others)


def _check_same(experiment: Experiment, callback: Callback) -> None:
    """Raises TrainerError where DIR was begun with something else than what is asked for now."""
    root = experiment.folder
    begun = manifest.read_json(root / "experiment.json", "the experiment.json of an experiment")
    if difference := describe_difference(begun, json.loads(json.dumps(experiment.to_json()))):
        raise TrainerError(
            f"{root} holds an experiment that was begun otherwise ({difference}); give the same, or choose another DIR"
        )
    given = _given_split(experiment, open_cache(experiment.scans), callback)
    manifest.check(root / "scans.json")
    if given and given != read_split(root / "scans.json"):
        raise TrainerError(
            f"--split {experiment.split}, but {root} was begun with another split; leave it out, or choose another DIR"
        )


def _check_caches(clips: Cache, scans: Cache) -> None:
    for cache, kind in ((clips, "video"), (scans, "ct")):
        if cache.kind != kind:
            raise TrainerError(
                f"{cache.path} holds {cache.kind} samples, where {kind} was expected; build a cache by "
                f"`preprocess {kind}`, and give VIDEO_CACHE before CT_CACHE"
            )
    if clips.shape != scans.shape:
        raise TrainerError(
            f"{clips.path} has shape {clips.shape}, {scans.path} has {scans.shape}; "
            "preprocess both to the same --depth --height --width"
        )


def _check_batch(experiment: Experiment, parts: Mapping[str, Split]) -> None:
    size = experiment.given.get("batch_size", 1)
    for name, split in parts.items():
        if size > len(split.train):
            raise TrainerError(f"batch_size {size}, but there are {len(split.train)} {name} to train on; lower it")


def _given_split(experiment: Experiment, scans: Cache, callback: Callback) -> Split | None:
    if experiment.split is None:
        return None
    split, notes = user_split(experiment.split, experiment.drop_shared, scans)
    for note in notes:
        callback.on_note(note)
    return split


def _split(cache: Cache, seed: int, given: Split | None) -> Split:
    try:
        return checked_split(cache, given, seed)
    except TrainerError as error:
        raise TrainerError(f"{cache.path}: {error}") from error


def _features(experiment: Experiment, callback: Callback) -> dict[str, Path]:
    """The caches of the features of clips and scans, made as far as they are not yet; scans for all angles."""
    made = {}
    extractor = {key: value for key, value in experiment.given.items() if key in EXTRACTOR}
    for name, cache in (("clips", experiment.clips), ("scans", experiment.scans)):
        made[name] = experiment.folder / "features" / f"{name}.zarr"
        callback.on_part(f"features of {cache}")
        request = Extraction(cache, made[name], extractor, augment=name == "scans", readers=experiment.readers)
        extract(request, callback)
    return made


def _trained(
    experiment: Experiment,
    number: int,
    strategy: Strategy,
    parent: Path | None,
    features: Mapping[str, Path],
    callback: Callback,
) -> Path:
    """The finished run of one strategy and seed."""
    run = experiment.folder / f"seed{number}" / strategy.folder
    name, cache = ("clips", experiment.clips) if strategy is PRETRAINED else ("scans", experiment.scans)
    if is_finished(run):
        now = open_cache(cache)
        check_cache(read_run(run), now, str(run))
        check_samples(run, now)
        check_files(run)
        return run
    callback.on_part(f"seed {number}: {strategy.name}")
    stage, given = _stage(experiment, number, strategy)
    split = experiment.folder / f"{name}.json"
    manifest.check(split)
    train(Request(stage, cache, run, given, parent, split, True, features.get(name), experiment.readers), callback)
    return run


def _stage(experiment: Experiment, number: int, strategy: Strategy) -> tuple[str, dict[str, Any]]:
    """The stage of a strategy, and the fields of Config that are given for it with this seed."""
    seed = int(experiment.given.get("seed", 0)) + number
    given = {**experiment.given, "seed": seed, **strategy.given}
    if strategy is PRETRAINED:
        given |= experiment.pretraining
    elif experiment.frozen:
        given["freeze_backbone"] = True
    left_out = {"weights", "input_conv"} if strategy.pretrained else set()  # the parent has them
    if experiment.frozen:  # the features have weights, and precision was for the backbone: what is behind it is small
        left_out |= {"weights", "precision"}
    stage = "pretrain" if strategy is PRETRAINED else "finetune"
    return stage, {key: value for key, value in given.items() if key not in left_out}
