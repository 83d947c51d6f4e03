"""The paper's Table 1 as one command: four strategies on one split, as many seeds as wanted, and what they tell apart.

DIR/
  experiment.json           what was asked for; the same command goes on with it
  clips.json  scans.json    the splits, the same for every strategy and seed
  features/                 for the frozen variant: caches of the features of both
  seed0/pretrained/         a run; seed0/no_pt/, pt/, pt_cw/, pt_cw_aug/ are the strategies'
  report.md  table.csv  kappa.png  confusion_*.png
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cache import Cache, open_cache
from trainer import files, splits
from trainer.errors import TrainerError
from trainer.features import Extraction, extract
from trainer.fit import Listener
from trainer.run import read_split
from trainer.stream import READERS
from trainer.table import read_result, write_report
from trainer.train import Request, train


@dataclass(frozen=True)
class Strategy:
    """One row of Table 1 (ViPTT-Net §3.4)."""

    name: str
    folder: str
    pretrained: bool
    given: Mapping[str, Any]


EXTRACTOR = ("backbone", "weights", "input_map", "seed", "precision")  # of what is given: what decides the features
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

    With `frozen` both stages train behind a frozen backbone, on features that are made once.
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

    def to_json(self) -> dict[str, Any]:
        paths = {"clips": str(self.clips.resolve()), "scans": str(self.scans.resolve())}
        return paths | {"given": dict(self.given), "pretraining": dict(self.pretraining), "frozen": self.frozen}


class Observer(Listener, Protocol):
    """Whoever is told how an experiment goes."""

    def part(self, name: str) -> None:
        """A part of it begins."""

    def at_sample(self, done: int, total: int) -> None:
        """`done` of `total` samples have their features."""


def run_experiment(experiment: Experiment, observer: Observer) -> list[str]:
    """Do what is not done yet, and write the report; return its lines. Raises TrainerError, CacheError."""
    _begin(experiment)
    features = _features(experiment, observer) if experiment.frozen else {}
    results = []
    for number in range(experiment.seeds):
        pretrained = _trained(experiment, number, PRETRAINED, None, features, observer)
        for strategy in STRATEGIES:
            parent = pretrained if strategy.pretrained else None
            run = _trained(experiment, number, strategy, parent, features, observer)
            results.append(read_result(strategy.name, number, run))
    return write_report(experiment.folder, results, [strategy.name for strategy in STRATEGIES])


def _begin(experiment: Experiment) -> None:
    """Write down what is asked for, and the splits; or check that DIR was begun with the same."""
    root, asked = experiment.folder, experiment.to_json()
    path = root / "experiment.json"
    if path.is_file():
        begun = files.read_json(path, "the experiment.json of an experiment")
        changed = sorted(key for key in asked if begun.get(key) != json.loads(json.dumps(asked[key])))
        if changed:
            raise TrainerError(
                f"{root} holds an experiment with {changed[0]} {begun.get(changed[0])}, now {asked[changed[0]]} is "
                "asked for; give the same, or choose another DIR"
            )
        return
    if root.is_file() or (root.is_dir() and any(root.iterdir())):
        raise TrainerError(f"{root} holds something else than an experiment; expected a folder that is new or empty")
    root.mkdir(parents=True, exist_ok=True)
    seed = int(experiment.given.get("seed", 0))
    for name, cache, given in (("clips", experiment.clips, None), ("scans", experiment.scans, experiment.split)):
        split = _split(open_cache(cache), seed, given)
        files.write_json(root / f"{name}.json", split.to_json())
    files.write_json(path, asked)


def _split(cache: Cache, seed: int, given: Path | None) -> splits.Split:
    digests = [entry.digest for entry in cache.samples]
    known = (cache.ids, cache.labels, cache.groups, digests)
    if given is None:
        return splits.stratified(*known, cache.class_names, seed)
    split = read_split(given)
    splits.check(split, *known)
    return split


def _features(experiment: Experiment, observer: Observer) -> dict[str, Path]:
    """The caches of the features of clips and scans, made as far as they are not yet; scans for all angles."""
    made = {}
    extractor = {key: value for key, value in experiment.given.items() if key in EXTRACTOR}
    for name, cache in (("clips", experiment.clips), ("scans", experiment.scans)):
        made[name] = experiment.folder / "features" / f"{name}.zarr"
        observer.part(f"features of {cache}")
        request = Extraction(cache, made[name], extractor, augment=name == "scans", readers=experiment.readers)
        extract(request, observer.at_sample)
    return made


def _trained(
    experiment: Experiment,
    number: int,
    strategy: Strategy,
    parent: Path | None,
    features: Mapping[str, Path],
    observer: Observer,
) -> Path:
    """The finished run of one strategy and seed."""
    run = experiment.folder / f"seed{number}" / strategy.folder
    if (run / "metrics.json").is_file():
        return run
    observer.part(f"seed {number}: {strategy.name}")
    seed = int(experiment.given.get("seed", 0)) + number
    given = {**experiment.given, "seed": seed, **strategy.given}
    stage, name, cache = "finetune", "scans", experiment.scans
    if strategy is PRETRAINED:
        stage, name, cache = "pretrain", "clips", experiment.clips
        given |= dict(experiment.pretraining)
    elif experiment.frozen:
        given |= {"freeze_backbone": True}
    if experiment.frozen:
        given.pop("precision", None)  # it was for the backbone: what is trained behind it is small
    if parent:
        given = {key: value for key, value in given.items() if key not in ("weights", "input_map")}
    split = experiment.folder / f"{name}.json"
    request = Request(stage, cache, run, given, parent, split, True, features.get(name), experiment.readers)
    train(request, observer)
    return run
