"""Predictions of a run for the samples of a cache, and their metrics."""

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

ProgressFunction = Callable[[int, int], None]


@dataclass(frozen=True)
class Predictions:
    """`probabilities` float32 (n, classes) of the samples `ids` of `cache`, in the order of `class_names`.

    `requested` are the names by which a user requested them, in the same order; empty for all samples.
    """

    cache: Cache
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    probabilities: np.ndarray
    requested: tuple[str, ...] = ()


def evaluate(
    root: Path,
    cache_path: Path,
    part: str | None = None,
    readers: int = READERS,
    progress: ProgressFunction | None = None,
    features: Path | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The metrics of the run in `root` on a labelled cache, as in metrics.json, and two more keys.

    On the cache that the run was trained on, the samples of one subset of its split are scored: validation, or `part`.
    On any other cache, all labelled samples are. The key `part` names the subset, or is "all". Samples are scored
    against the cache's current labels; `labels_changed` counts the training and validation samples whose label has
    changed since training, and `note` is called if there are any. With a cache of `features` the volumes are not read.
    Raises TrainerError, CacheError.
    """
    run, cache = read_run(root), open_cache(cache_path)
    check_cache(run, cache)
    name, ids = _scored_subset(root, cache, part)
    samples = subset(cache, ids)
    labels = _labels_in_run(run, cache, samples)
    changed, compared = changed_labels(root, run, cache)
    if changed and note:
        note(
            f"{changed} of {compared} labels differ from those the run was trained with; scored against the cache's "
            "labels now"
        )
    probabilities = _predict(root, run, samples, features, readers, progress)
    return score(labels, probabilities, run.class_names) | {"part": name, "labels_changed": changed}


def predictions(
    root: Path,
    cache_path: Path,
    ids: Sequence[str] | None = None,
    readers: int = READERS,
    progress: ProgressFunction | None = None,
    features: Path | None = None,
) -> Predictions:
    """Predictions of the run in `root` for the samples of a cache with these names, or for all.

    With a cache of `features` the volumes are not read. Raises TrainerError as `samples_named` does.
    """
    run, cache = read_run(root), open_cache(cache_path)
    check_cache(run, cache)
    samples = subset(cache, cache.ids if ids is None else samples_named(cache, ids))
    if not len(samples):
        raise TrainerError(f"{cache_path} holds no sample; expected at least one")
    probabilities = _predict(root, run, samples, features, readers, progress)
    return Predictions(cache, samples.ids, run.class_names, probabilities, tuple(ids or ()))


def _predict(
    root: Path, run: Run, samples: Subset, features: Path | None, readers: int, progress: ProgressFunction | None
) -> np.ndarray:
    model = trained_model(root, run)
    if features:
        inputs = open_cache(features)
        check_features(inputs, samples.cache, model, samples.ids)
        samples = replace(samples, cache=inputs)
    batch, transform = prediction_batch(run.config, samples.cache), eval_transform(samples.cache)
    return predict(model_for_inputs(model, samples.cache), samples, batch, transform, readers, progress)


def _scored_subset(root: Path, cache: Cache, part: str | None) -> tuple[str, list[str]]:
    """The name and the ids of the subset that is scored. Raises TrainerError where it is empty."""
    labelled = {name for name, label in zip(cache.ids, cache.labels, strict=True) if label >= 0}
    if is_trained_on(root, cache):
        name = part or "validation"
        ids = [one for one in split_of_run(root).subsets[name] if one in labelled]
        expected = f"labelled samples of the split's part {name!r}"
    elif part:
        raise TrainerError(
            f"--part {part} with {cache.path}, which {root} was not trained on; leave it out to score all of that cache"
        )
    else:
        name, ids, expected = "all", [one for one in cache.ids if one in labelled], "labelled samples"
    if not ids:
        raise TrainerError(f"{cache.path} has no sample to score; expected {expected}")
    if name != "train" and (leaked := training_samples_among(root, cache, ids)):
        raise TrainerError(
            f"{cache.path} has {len(leaked)} samples to score that {root} was trained on under another name, the "
            f"first is {leaked[0]!r}; give a cache without them"
        )
    return name, ids


def _labels_in_run(run: Run, cache: Cache, samples: Subset) -> np.ndarray:
    """The labels of `samples` as numbers of the run's classes, int64 (n,); the cache may order them differently."""
    label_of = {name: label for label, name in enumerate(run.class_names)}
    names = [cache.attributes.class_name(label) for label in samples.labels.tolist()]
    for name in names:
        if name not in label_of:
            raise TrainerError(
                f"{cache.path} has samples of class {name!r}, the run has {', '.join(run.class_names)}; "
                "give a cache of the same classes"
            )
    return np.array([label_of[name] for name in names], np.int64)
