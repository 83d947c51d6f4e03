"""The story of a run: cache → split → network → epochs → how good the best weights are."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cache import Cache, open_cache
from cache.schema import scale_factor
from trainer import files, splits
from trainer.augment import augment
from trainer.batches import draw
from trainer.checkpoint import State
from trainer.config import FINETUNE, PRETRAIN, Config
from trainer.errors import TrainerError
from trainer.fit import SAVE_SECONDS, Data, Listener, compile_for, fit, predict
from trainer.logs import Logged
from trainer.metrics import score
from trainer.model import LEAST_SIDE, build_model
from trainer.report import confusion_picture, curves_picture, write_picture
from trainer.run import Run, begin, check_cache, check_folder, read_run, read_samples, read_split, writing
from trainer.stream import READERS, part_of
from trainer.weights import load_backbone, load_model, take_over

STAGES = {"pretrain": PRETRAIN, "finetune": FINETUNE}
# `small` starts untrained: it is trained in both stages, at once, and by an optimizer that needs no patience.
SMALL = {"freeze_backbone": False, "weights": "none", "optimizer": "adam"}


@dataclass(frozen=True)
class Request:
    """What a user asks for. `given` are the fields of Config set by hand; `parent` is the run of --from."""

    stage: str
    cache: Path
    run: Path
    given: Mapping[str, Any]
    parent: Path | None = None
    split: Path | None = None
    resume: bool = False
    readers: int = READERS
    save_seconds: float = SAVE_SECONDS


def train(request: Request, listener: Listener) -> dict[str, Any]:
    """Train as asked and return the metrics of the best weights on the validation ids, as metrics.json has them.

    Everything that can be wrong is found before RUN is touched. Raises TrainerError, CacheError.
    """
    begun = check_folder(request.run, request.resume)
    cache = open_cache(request.cache)
    run = _resumed(request, cache) if begun else _new(request, cache)
    split = read_split(request.run / "split.json") if begun else _split(request, cache, run.config, listener)
    _check_batch(run.config, split, "batch_size" in request.given)
    whole = first_model(run)
    with writing(request.run, request.resume) as going_on:
        digests = {name: cache.entry(name).digest for name in (*split.train, *split.validation)}
        if going_on:
            _check_samples(request, digests)
        begin(request.run, run, split, digests)
        return _train_and_score(request, run, whole, cache, split, listener)


def _train_and_score(
    request: Request, run: Run, whole: keras.Model, cache: Cache, split: splits.Split, listener: Listener
) -> dict[str, Any]:
    model = for_stored(whole, cache.attributes.dtype)
    compile_for(model, run.config)
    data = _data(run.config, cache, split, request.readers)
    logged = Logged(listener, request.run / "logs")
    state = fit(model, whole, run.config, data, request.run, logged, request.save_seconds)
    load_model(whole, request.run / "model.keras")
    probabilities = predict(model, data.validation, run.config.batch_size, readers=request.readers)
    metrics = score(data.validation.labels, probabilities, run.class_names)
    _write_results(request.run, state, metrics)
    return metrics


def _write_results(root: Path, state: State, metrics: dict[str, Any]) -> None:
    write_picture(root / "curves.png", curves_picture(state.history))
    write_picture(root / "confusion.png", confusion_picture(metrics))
    files.write_json(root / "metrics.json", metrics)


def configure(stage: str, given: Mapping[str, Any], parent: Config | None = None) -> Config:
    """The configuration of `stage` with what the user gave, and of its parent what must be the same."""
    inherited: dict[str, Any] = {}
    if parent is not None:
        inherited = {name: getattr(parent, name) for name in ("backbone", "rnn", "input_map")} | {"weights": "none"}
        for name in ("backbone", "rnn"):
            if given.get(name, inherited[name]) != inherited[name]:
                raise TrainerError(
                    f"{name} {given[name]} with a run of --from that has {inherited[name]}; expected the same in both"
                )
    chosen = inherited | dict(given)
    defaults: dict[str, Any] = SMALL if chosen.get("backbone") == "small" else {}
    return replace(STAGES[stage], **(defaults | chosen))


def first_model(run: Run) -> keras.Model:
    """The network of `run` with the weights that training starts from."""
    model = build_model(run.config, run.shape, len(run.class_names))  # type: ignore[arg-type]
    if run.parent:
        take_over(model, trained_model(Path(run.parent), read_run(Path(run.parent))))
    else:
        load_backbone(model.get_layer("frames").backbone, run.config.backbone, run.config.weights)
    return model


def trained_model(root: Path, run: Run) -> keras.Model:
    """The network of the run in `root` with its best weights, float volumes in [0, 1] → class probabilities.

    The network is made from config.json by this code; of model.keras only arrays are read.
    """
    model = build_model(run.config, run.shape, len(run.class_names))  # type: ignore[arg-type]
    load_model(model, root / "model.keras")
    return model


def for_stored(model: keras.Model, dtype: str) -> keras.Model:
    """`model` behind the step from values as stored to [0, 1], so that integers travel to the device."""
    scale = scale_factor(dtype)
    stored = keras.Input(model.input_shape[1:], dtype=dtype, name="stored")
    values = keras.layers.Rescaling(1.0 if scale is None else scale, dtype="float32")(stored)
    return keras.Model(stored, model(values))


def _new(request: Request, cache: Cache) -> Run:
    parent = read_run(request.parent) if request.parent else None
    config = configure(request.stage, request.given, parent.config if parent else None)
    _check_kind(cache, config)
    if parent and parent.kind == cache.kind:
        check_cache(parent, cache, "the run of --from")
    elif parent and parent.shape != cache.shape:
        raise TrainerError(
            f"{cache.path} has shape {cache.shape}, the run of --from was trained on {parent.shape}; "
            "preprocess both to the same --depth --height --width"
        )
    where = str(request.parent.resolve()) if request.parent else ""
    return Run(config, cache.kind, cache.shape, tuple(cache.class_names), cache.recipe, where)


def _check_kind(cache: Cache, config: Config) -> None:
    if cache.kind != config.kind:
        raise TrainerError(
            f"{cache.path} holds {cache.kind} samples, `train {config.stage}` takes {config.kind}; "
            f"build a cache by `preprocess {config.kind}`"
        )
    least = LEAST_SIDE[config.backbone]
    if min(cache.shape[1:]) < least:
        raise TrainerError(
            f"{cache.path} has slices of {cache.shape[1]}×{cache.shape[2]} px, backbone {config.backbone} takes "
            f"{least}×{least} or more; preprocess to a larger --height --width"
        )


def _resumed(request: Request, cache: Cache) -> Run:
    """The run in RUN, after checking that what the user gave this time does not contradict it."""
    run = read_run(request.run)
    if run.config.stage != request.stage:
        raise TrainerError(f"{request.run} is a run of `train {run.config.stage}`; resume it by that command")
    more = {"epochs": request.given.get("epochs", run.config.epochs)}
    for name, value in request.given.items():
        if name not in more and getattr(run.config, name) != value:
            raise TrainerError(
                f"{name} {value} with --resume, but {request.run} has {getattr(run.config, name)}; leave it out, "
                "or train into another RUN"
            )
    if request.parent and str(request.parent.resolve()) != run.parent:
        raise TrainerError(
            f"--from {request.parent} with --resume, but {request.run} began from {run.parent or 'none'}"
        )
    check_cache(run, cache)
    if list(run.class_names) != cache.class_names:
        raise TrainerError(
            f"{cache.path} has classes {cache.class_names}, {request.run} {list(run.class_names)}; give its own cache"
        )
    return replace(run, config=replace(run.config, **more))


def _split(request: Request, cache: Cache, config: Config, listener: Listener) -> splits.Split:
    """The split the user gives, after a check for leaks, or a stratified one by whole groups."""
    digests = [entry.digest for entry in cache.samples]
    known = (cache.ids, cache.labels, cache.groups, digests)
    if request.split is None:
        split = splits.stratified(*known, cache.class_names, config.seed, config.validation_fraction)
    else:
        split = read_split(request.split)
        splits.check(split, *known)
    unused = len(cache) - len(split.train) - len(split.validation) - len(split.test)
    unlabelled = int((cache.labels < 0).sum())
    listener.note(
        f"{len(split.train)} samples to train on, {len(split.validation)} to validate on"
        + (f", {len(split.test)} for testing" if split.test else "")
        + (f", {unused} in no part" if unused else "")
        + (f" ({unlabelled} without a label)" if unlabelled else "")
    )
    return split


def _check_batch(config: Config, split: splits.Split, by_hand: bool) -> None:
    if config.batch_size > len(split.train) and by_hand:
        raise TrainerError(
            f"batch_size {config.batch_size}, but there are {len(split.train)} samples to train on; lower it"
        )


def _check_samples(request: Request, digests: Mapping[str, str]) -> None:
    """Raises TrainerError where a sample is no longer the one the run began with."""
    for name, digest in read_samples(request.run).items():
        if digests.get(name) != digest:
            raise TrainerError(
                f"sample {name!r} of {request.cache} is not the one {request.run} began with; give that cache, "
                "or train into another RUN"
            )


def _data(config: Config, cache: Cache, split: splits.Split, readers: int) -> Data:
    training, validation = part_of(cache, split.train), part_of(cache, split.validation)
    weights = splits.class_weights(training.labels, len(cache.class_names)) if config.class_weights else None
    transform = partial(_augmented, config) if config.augmentation else None
    return Data(training, validation, weights, transform, readers=readers)


def _augmented(config: Config, epoch: int, stored: np.ndarray, name: str) -> np.ndarray:
    return augment(stored, config.augmentation, draw(config.seed, epoch, name))


CONFIGURABLE = frozenset(field.name for field in fields(Config)) - {"stage"}
