"""What a trained run says of a cache: how often it is right, and what it predicts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cache import Cache, open_cache
from trainer.data.inputs import eval_transform, prediction_batch
from trainer.data.splits.split import split_of_run
from trainer.data.stream import READERS, Subset, subset
from trainer.errors import TrainerError
from trainer.evaluation.metrics import score
from trainer.features.extractor import check_features
from trainer.model.networks import model_for_inputs, trained_model
from trainer.model.predict import predict
from trainer.runs.names import samples_named
from trainer.runs.run import Run, check_cache, read_run
from trainer.runs.samples import changed_labels, is_trained_on, training_samples_among

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Predictions:
    """`probabilities` float32 (n, classes) of the samples `ids` of `cache`, in the order of `class_names`.

    `asked` are the names by which a user asked for them, in the same order; empty where all samples were wanted.
    """

    cache: Cache
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    probabilities: np.ndarray
    asked: tuple[str, ...] = ()


def evaluate(
    root: Path,
    cache_path: Path,
    part: str | None = None,
    readers: int = READERS,
    progress: Progress | None = None,
    features: Path | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The metrics of the run in `root` on a labelled cache, as metrics.json has them.

    On the cache it was trained on, only the ids of one part of its split count, those for validation unless `part`
    says otherwise; on any other, all that have a label. The metrics' `part` says which ("all" for a whole cache).
    It is scored against the labels that the cache has now; `labels_changed` counts the samples of the run's training
    and validation that had others when it began, which `note` is told. With a cache of its `features` the volumes are
    not read.
    """
    run, cache = read_run(root), open_cache(cache_path)
    check_cache(run, cache)
    chosen, ids = _scored(root, cache, part)
    some = subset(cache, ids)
    labels = _labels_of_run(run, cache, some)
    changed, compared = changed_labels(root, run, cache)
    if changed and note:
        note(
            f"{changed} of {compared} labels differ from those the run was trained with; scored against the cache's "
            "labels now"
        )
    found = _predict(root, run, some, features, readers, progress)
    return score(labels, found, run.class_names) | {"part": chosen, "labels_changed": changed}


def predictions(
    root: Path,
    cache_path: Path,
    ids: Sequence[str] | None = None,
    readers: int = READERS,
    progress: Progress | None = None,
    features: Path | None = None,
) -> Predictions:
    """What the run in `root` predicts for the samples of a cache with these names, or for all.

    From its `features` where given. Raises TrainerError as `samples_named` does.
    """
    run, cache = read_run(root), open_cache(cache_path)
    check_cache(run, cache)
    some = subset(cache, cache.ids if ids is None else samples_named(cache, ids))
    if not len(some):
        raise TrainerError(f"{cache_path} holds no sample; expected some to predict")
    found = _predict(root, run, some, features, readers, progress)
    return Predictions(cache, some.ids, run.class_names, found, tuple(ids or ()))


def _predict(
    root: Path, run: Run, part: Subset, features: Path | None, readers: int, progress: Progress | None
) -> np.ndarray:
    model = trained_model(root, run)
    stored = part.cache
    if features:
        stored = open_cache(features)
        check_features(stored, part.cache, model, part.ids)
        part = replace(part, cache=stored)
    batch, transform = prediction_batch(run.config, stored), eval_transform(stored)
    return predict(model_for_inputs(model, stored), part, batch, transform, readers, progress)


def _scored(root: Path, cache: Cache, part: str | None) -> tuple[str, list[str]]:
    """Which part is scored, and its ids."""
    labelled = {name for name, label in zip(cache.ids, cache.labels, strict=True) if label >= 0}
    if is_trained_on(root, cache):
        chosen = part or "validation"
        ids = [name for name in split_of_run(root).subsets[chosen] if name in labelled]
        expected = f"labelled samples of the split's part {chosen!r}"
    elif part:
        raise TrainerError(
            f"--part {part} with {cache.path}, which {root} was not trained on; leave it out to score that cache whole"
        )
    else:
        chosen, ids, expected = "all", [name for name in cache.ids if name in labelled], "labelled samples"
    if not ids:
        raise TrainerError(f"{cache.path} has no sample to score; expected {expected}")
    if chosen != "train" and (learned := training_samples_among(root, cache, ids)):
        raise TrainerError(
            f"{cache.path} has {len(learned)} samples to score that {root} was trained on under another name, the "
            f"first is {learned[0]!r}; give a cache without them"
        )
    return chosen, ids


def _labels_of_run(run: Run, cache: Cache, part: Subset) -> np.ndarray:
    """The labels of `part` counted in the run's classes, which the cache may have in another order."""
    number = {name: count for count, name in enumerate(run.class_names)}
    names = [cache.attributes.class_name(label) for label in part.labels.tolist()]
    for name in names:
        if name not in number:
            raise TrainerError(
                f"{cache.path} has samples of class {name!r}, the run knows {', '.join(run.class_names)}; "
                "give a cache of the same classes"
            )
    return np.array([number[name] for name in names], np.int64)
