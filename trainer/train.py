"""The story of a run: cache → split → network → epochs → how good the best weights are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from cache import Cache, open_cache
from trainer import files, splits
from trainer.checkpoint import State
from trainer.config import FINETUNE, KIND_OF, PRETRAIN, Config
from trainer.errors import TrainerError
from trainer.extractor import check_features, extractor_of, use_extractor
from trainer.fit import SAVE_SECONDS, Data, Listener, compile_for, fit, predict
from trainer.inputs import as_they_are, by_chance, check_side, prediction_batch
from trainer.logs import Logged
from trainer.metrics import score
from trainer.model import build_head, build_model, for_stored, head_of
from trainer.report import confusion_picture, curves_picture, write_picture
from trainer.run import (
    Known,
    Predicted,
    Run,
    begin,
    behind,
    check_cache,
    check_folder,
    known,
    read_run,
    read_samples,
    read_split,
    sample_shape,
    write_predictions,
    writing,
)
from trainer.stream import READERS, part_of
from trainer.weights import load_backbone, load_model, take_over

STAGES = {"pretrain": PRETRAIN, "finetune": FINETUNE}
# `small` starts untrained: it is trained in both stages, at once, and by an optimizer that needs no patience.
SMALL = {"freeze_backbone": False, "weights": "none", "optimizer": "adam"}


@dataclass(frozen=True)
class Request:
    """What a user asks for. `given` are the fields of Config set by hand; `parent` is the run of --from; `features` a
    cache of the features of `cache`, to train behind the backbone."""

    stage: str
    cache: Path
    run: Path
    given: Mapping[str, Any]
    parent: Path | None = None
    split: Path | None = None
    resume: bool = False
    features: Path | None = None
    readers: int = READERS
    save_seconds: float = SAVE_SECONDS


def train(request: Request, listener: Listener) -> dict[str, Any]:
    """Train as asked and return the metrics of the best weights on the validation ids, as metrics.json has them.

    Everything that can be wrong is found before RUN is touched. Raises TrainerError, CacheError.
    """
    begun = check_folder(request.run, request.resume)
    cache = open_cache(request.cache)
    features = open_cache(request.features) if request.features else None
    run = _resumed(request, cache) if begun else _new(request, cache, features)
    split = _split(request, cache, run.config, begun, listener)
    _check_batch(run.config, split, "batch_size" in request.given)
    whole = _start(run, features, begun and (request.run / "checkpoint.npz").is_file())
    if features:
        check_features(features, cache, whole, (*split.train, *split.validation))
    data = _data(run.config, cache, features or cache, split, request.readers)
    with writing(request.run, request.resume) as going_on:
        if going_on != begun:
            raise TrainerError(f"another process has trained into {request.run} meanwhile; run the same command again")
        samples = known(cache, (*split.train, *split.validation))
        if going_on:
            _check_samples(request, samples)
        begin(request.run, run, split, samples)
        return _train_and_score(request, run, whole, data, listener)


def _train_and_score(request: Request, run: Run, whole: keras.Model, data: Data, listener: Listener) -> dict[str, Any]:
    model = trained_on(whole, data.training.cache)
    compile_for(model, run.config)
    with Logged(listener, request.run / "logs") as logged:
        state = fit(model, whole, run.config, data, request.run, logged, request.save_seconds)
    load_model(whole, request.run / "model.keras")
    found = predict(model, data.validation, data.validation_batch, data.validation_transform, request.readers)
    metrics = score(data.validation.labels, found, run.class_names)
    write_predictions(request.run, Predicted(data.validation.ids, data.validation.labels, found, run.class_names))
    _write_results(request.run, state, metrics)
    return metrics


def _write_results(root: Path, state: State, metrics: dict[str, Any]) -> None:
    write_picture(root / "curves.png", curves_picture(state.history))
    write_picture(root / "confusion.png", confusion_picture(metrics))
    files.write_json(root / "metrics.json", metrics)


def configure(
    stage: str, given: Mapping[str, Any], parent: Config | None = None, features: Cache | None = None
) -> Config:
    """The configuration of `stage` with what the user gave, and what must be as in its parent and its features."""
    inherited: dict[str, Any] = {}
    if parent is not None:
        inherited = {name: getattr(parent, name) for name in ("backbone", "rnn", "input_map")} | {"weights": "none"}
        for name in ("backbone", "rnn", "input_map"):
            if given.get(name, inherited[name]) != inherited[name]:
                raise TrainerError(
                    f"{name} {given[name]} with a run of --from that has {inherited[name]}; expected the same in both"
                )
        if given.get("weights", "none") != "none":
            raise TrainerError(f"weights {given['weights']} with --from, whose run has its own; leave one of them out")
    cached = _behind_the_backbone(stage, given, features) if features else {}
    chosen = cached | inherited | dict(given)
    defaults: dict[str, Any] = SMALL if chosen.get("backbone") == "small" else {}
    return replace(STAGES[stage], **(defaults | chosen))


def _behind_the_backbone(stage: str, given: Mapping[str, Any], features: Cache) -> dict[str, Any]:
    """What training on `features` decides. Raises TrainerError where the user gave something else."""
    frozen = given.get("freeze_backbone")
    if frozen is False or (stage == "finetune" and extractor_of(features) and not frozen):
        raise TrainerError(
            f"{features.path} holds features of a backbone that cannot be trained on them; add --freeze-backbone, or "
            "leave the features out to train all layers on volumes"
        )
    backbone = extractor_of(features).get("name", given.get("backbone", STAGES[stage].backbone))
    if given.get("backbone", backbone) != backbone:
        raise TrainerError(
            f"backbone {given['backbone']}, but {features.path} has features of {backbone}; leave it out"
        )
    return {"backbone": backbone, "weights": "none", "freeze_backbone": True, "cached_features": True}


def network(run: Run) -> keras.Model:
    """The network of `run`, float volumes in [0, 1] → class probabilities, with initial weights only.

    Of a run on features alone it is what comes behind the frames.
    """
    build = build_head if run.kind == "features" else build_model
    return build(run.config, run.shape, len(run.class_names))  # type: ignore[arg-type]


def first_model(run: Run) -> keras.Model:
    """The network of `run` with the weights that training starts from."""
    model = network(run)
    if run.parent:
        take_over(model, trained_model(Path(run.parent), read_run(Path(run.parent))))
    elif run.kind != "features":
        load_backbone(model.get_layer("frames").backbone, run.config.backbone, run.config.weights)
    return model


def _start(run: Run, features: Cache | None, has_checkpoint: bool) -> keras.Model:
    """The network with the weights that training starts from, or only with those that no checkpoint will bring."""
    if features and not run.parent and run.config.weights == "none":
        model = network(run)
        use_extractor(model, features)
        return model
    return network(run) if has_checkpoint and not features else first_model(run)


def trained_on(whole: keras.Model, cache: Cache) -> keras.Model:
    """What of `whole` takes the stored samples of `cache`: all of it volumes, the layers behind the frames features."""
    behind = cache.kind == "features" and any(layer.name == "frames" for layer in whole.layers)
    return for_stored(head_of(whole) if behind else whole, cache.attributes.dtype)


def trained_model(root: Path, run: Run) -> keras.Model:
    """The network of the run in `root` with its best weights.

    The network is made from config.json by this code; of model.keras only arrays are read.
    """
    path = root / "model.keras"
    if not path.is_file():
        raise TrainerError(f"{root} has no model.keras: no epoch of it has ended; go on with it by --resume")
    model = network(run)
    load_model(model, path)
    return model


def _new(request: Request, cache: Cache, features: Cache | None) -> Run:
    if features and (cache.kind == "features" or features.kind != "features"):
        raise TrainerError(
            f"--features {features.path} for {cache.path}; expected a cache of features for a cache of volumes"
        )
    parent = read_run(request.parent) if request.parent else None
    stored = features or (cache if cache.kind == "features" else None)
    config = configure(request.stage, request.given, parent.config if parent else None, stored)
    _check_kind(cache, config)
    if parent:
        _check_parent(parent, cache)
    return new_run(cache, config, str(request.parent.resolve()) if request.parent else "")


def _check_parent(parent: Run, cache: Cache) -> None:
    """Raises TrainerError where a run on `cache` cannot begin from `parent`."""
    if parent.kind == cache.kind:
        check_cache(parent, cache, "the run of --from")
    elif "features" in (parent.kind, cache.kind):
        raise TrainerError(
            f"{cache.path} has kind {cache.kind}, the run of --from was trained on kind {parent.kind}; after a run on "
            "volumes give volumes, and their features by --features; after one on features alone give features"
        )
    elif parent.shape != cache.shape:
        raise TrainerError(
            f"{cache.path} has shape {cache.shape}, the run of --from was trained on {parent.shape}; "
            "preprocess both to the same --depth --height --width"
        )


def new_run(cache: Cache, config: Config, parent: str = "") -> Run:
    """A run by `config` on `cache`."""
    return Run(config, cache.kind, sample_shape(cache), tuple(cache.class_names), cache.recipe, parent)


def _check_kind(cache: Cache, config: Config) -> None:
    if cache.kind == "features":
        made_of = behind(cache.recipe).get("kind")
        if made_of in KIND_OF.values() and made_of != config.kind:
            raise TrainerError(
                f"{cache.path} holds features of {made_of} samples, `train {config.stage}` takes those of {config.kind}"
            )
        return
    if cache.kind != config.kind:
        raise TrainerError(
            f"{cache.path} holds {cache.kind} samples, `train {config.stage}` takes {config.kind}; "
            f"build a cache by `preprocess {config.kind}`"
        )
    check_side(cache, config.backbone)


def _resumed(request: Request, cache: Cache) -> Run:
    """The run in RUN, after checking that what the user gave this time does not contradict it."""
    run = read_run(request.run)
    if run.config.stage != request.stage:
        raise TrainerError(f"{request.run} is a run of `train {run.config.stage}`; resume it by that command")
    more = {"epochs": request.given.get("epochs", run.config.epochs)}
    if more["epochs"] < run.config.epochs:
        raise TrainerError(
            f"epochs {more['epochs']} with --resume, but {request.run} has {run.config.epochs}; only more can be given"
        )
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
    _check_features_again(request, run)
    check_cache(run, cache)
    if list(run.class_names) != cache.class_names:
        raise TrainerError(
            f"{cache.path} has classes {cache.class_names}, {request.run} {list(run.class_names)}; give its own cache"
        )
    return replace(run, config=replace(run.config, **more))


def _check_features_again(request: Request, run: Run) -> None:
    """Raises TrainerError unless --features is there again where the run began with it, and only there."""
    if request.features and (run.kind == "features" or not run.config.cached_features):
        raise TrainerError(
            f"--features {request.features} with --resume, but {request.run} began without; leave it out"
        )
    if not request.features and run.kind != "features" and run.config.cached_features:
        raise TrainerError(f"{request.run} was begun with --features; give them again beside --resume")


def _split(request: Request, cache: Cache, config: Config, begun: bool, listener: Listener) -> splits.Split:
    """The split of the run in RUN or that the user gives, checked for leaks; or a stratified one by whole groups."""
    digests = [entry.digest for entry in cache.samples]
    about = (cache.ids, cache.labels, cache.groups, digests)
    given = read_split(request.split) if request.split else None
    split = read_split(request.run / "split.json") if begun else given
    if given and given != split:
        raise TrainerError(f"--split {request.split} with --resume, but {request.run} has another split; leave it out")
    if split:
        splits.check(split, *about)
    else:
        split = splits.stratified(*about, cache.class_names, config.seed, config.validation_fraction)
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


def _check_samples(request: Request, samples: Mapping[str, Known]) -> None:
    """Raises TrainerError where a sample, or its label, is no longer the one the run began with."""
    for name, begun in read_samples(request.run).items():
        if name not in samples or samples[name][0] != begun[0]:
            raise TrainerError(
                f"sample {name!r} of {request.cache} is not the one {request.run} began with; give that cache, "
                "or train into another RUN"
            )
        if samples[name][2] != begun[2]:
            raise TrainerError(
                f"sample {name!r} of {request.cache} has label {samples[name][2]}, {request.run} began with label "
                f"{begun[2]}; train into another RUN"
            )


def _data(config: Config, cache: Cache, stored: Cache, split: splits.Split, readers: int) -> Data:
    """The two sides of the split, with labels from `cache` and samples from `stored`, which may be its features."""
    training, validation = (replace(part_of(cache, ids), cache=stored) for ids in (split.train, split.validation))
    return Data(
        training,
        validation,
        splits.class_weights(training.labels, len(cache.class_names)) if config.class_weights else None,
        by_chance(config, stored),
        as_they_are(stored),
        prediction_batch(config, stored),
        readers,
    )
