"""Planning a run: its configuration and split are decided and checked here, before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import Cache
from cache.paths import make_absolute
from cache.registry import names
from trainer.config import FINETUNE, KIND_OF, PRETRAIN, Config
from trainer.data.inputs import check_side
from trainer.data.splits.choose import checked_split, split_notes, user_split
from trainer.data.splits.split import Split, split_of_run
from trainer.data.stream import READERS
from trainer.errors import TrainerError
from trainer.features.extractor import extractor_of
from trainer.model.backbone import PACKAGE, get_backbone
from trainer.runs.run import Run, check_cache, read_run, sample_shape, volume_recipe
from trainer.training.fit import SAVE_SECONDS

STAGES = {"pretrain": PRETRAIN, "finetune": FINETUNE}


@dataclass(frozen=True)
class Request:
    """A user's request to train.

    `settings` are fields of Config that the user set, `parent` is the run of --from, `features` a cache of the features
    of `cache` for training the layers after the backbone only, and `drop_shared` is for `split` (see `user_split`).
    """

    stage: str
    cache: Path
    run: Path
    settings: Mapping[str, Any]
    parent: Path | None = None
    split: Path | None = None
    resume: bool = False
    features: Path | None = None
    readers: int = READERS
    save_seconds: float = SAVE_SECONDS
    drop_shared: bool = False

    def __post_init__(self) -> None:
        make_absolute(self, "cache", "run", "parent", "split", "features")


def configure(
    stage: str, settings: Mapping[str, Any], parent: Config | None = None, features: Cache | None = None
) -> Config:
    """The configuration of `stage` with the user's settings and those that its parent or its features determine.

    Raises TrainerError where these contradict each other.
    """
    inherited: dict[str, Any] = {}
    if parent is not None:
        inherited = {name: getattr(parent, name) for name in ("backbone", "rnn", "input_conv")} | {"weights": "none"}
        for name in ("backbone", "rnn", "input_conv"):
            if settings.get(name, inherited[name]) != inherited[name]:
                raise TrainerError(
                    f"{name} {settings[name]}, but the run of --from has {inherited[name]}; expected the same in both"
                )
        if settings.get("weights", "none") != "none":
            raise TrainerError(
                f"weights {settings['weights']} with --from, whose run has its own; leave one of them out"
            )
    cached = _features_settings(stage, settings, features) if features else {}
    chosen = cached | inherited | dict(settings)
    name = chosen.get("backbone", STAGES[stage].backbone)
    defaults = get_backbone(name).defaults if name in names(PACKAGE) else {}  # Config rejects any other name
    return STAGES[stage].replace(**(dict(defaults) | chosen))


def _features_settings(stage: str, settings: Mapping[str, Any], features: Cache) -> dict[str, Any]:
    """The settings that training on `features` determines. Raises TrainerError where the user's contradict them."""
    frozen = settings.get("freeze_backbone")
    if frozen is False or (stage == "finetune" and extractor_of(features) and not frozen):
        raise TrainerError(
            f"{features.path} holds features of a backbone that cannot be trained on them; add --freeze-backbone, or "
            "leave the features out to train all layers on volumes"
        )
    backbone = extractor_of(features).get("name", settings.get("backbone", STAGES[stage].backbone))
    if settings.get("backbone", backbone) != backbone:
        raise TrainerError(
            f"backbone {settings['backbone']}, but {features.path} has features of {backbone}; leave it out"
        )
    return {"backbone": backbone, "weights": "none", "freeze_backbone": True, "cached_features": True}


def new_run(request: Request, cache: Cache, features: Cache | None) -> Run:
    """The requested run. Raises TrainerError where its cache, parent and features do not fit together."""
    if features and (cache.kind == "features" or features.kind != "features"):
        raise TrainerError(
            f"--features {features.path} for {cache.path}; expected a cache of features for a cache of volumes"
        )
    parent = read_run(request.parent) if request.parent else None
    stored = features or (cache if cache.kind == "features" else None)
    config = configure(request.stage, request.settings, parent.config if parent else None, stored)
    _check_kind(cache, config)
    if parent:
        check_parent(parent, cache)
    return run_with(cache, config, str(request.parent.resolve()) if request.parent else "")


def run_with(cache: Cache, config: Config, parent: str = "") -> Run:
    """A run with `config` on `cache`."""
    return Run(config, cache.kind, sample_shape(cache), tuple(cache.class_names), dict(cache.recipe), parent)


def _check_kind(cache: Cache, config: Config) -> None:
    if cache.kind == "features":
        kind = volume_recipe(cache.recipe).get("kind")
        if kind in KIND_OF.values() and kind != config.kind:
            raise TrainerError(
                f"{cache.path} holds features of {kind} samples, `train {config.stage}` takes those of {config.kind}"
            )
        return
    if cache.kind != config.kind:
        raise TrainerError(
            f"{cache.path} holds {cache.kind} samples, `train {config.stage}` takes {config.kind}; "
            f"build a cache with `preprocess {config.kind}`"
        )
    check_side(cache, config.backbone)


def check_parent(parent: Run, cache: Cache) -> None:
    """Raises TrainerError where a run on `cache` cannot start from the weights of `parent`."""
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


def resumed_run(request: Request, cache: Cache) -> Run:
    """The run in RUN. Raises TrainerError where the request contradicts it; only `epochs` may be increased."""
    run = read_run(request.run)
    if run.config.stage != request.stage:
        raise TrainerError(f"{request.run} is a run of `train {run.config.stage}`; resume it with that command")
    epochs = request.settings.get("epochs", run.config.epochs)
    if epochs < run.config.epochs:
        raise TrainerError(
            f"cannot lower epochs from {run.config.epochs} to {epochs} when resuming {request.run}; give "
            f"{run.config.epochs} or more"
        )
    for name, value in request.settings.items():
        if name != "epochs" and getattr(run.config, name) != value:
            raise TrainerError(
                f"{name} {value} with --resume, but {request.run} has {getattr(run.config, name)}; leave it out, "
                "or train into another RUN"
            )
    if request.parent and str(request.parent.resolve()) != run.parent:
        raise TrainerError(
            f"--from {request.parent} with --resume, but {request.run} started from {run.parent or 'none'}"
        )
    _check_same_features(request, run)
    check_cache(run, cache)
    if list(run.class_names) != cache.class_names:
        raise TrainerError(
            f"{cache.path} has classes {cache.class_names}, {request.run} {list(run.class_names)}; give its own cache"
        )
    return run.replace(config=run.config.replace(epochs=epochs))


def _check_same_features(request: Request, run: Run) -> None:
    """Raises TrainerError unless --features is given exactly where the run was started with it."""
    if request.features and (run.kind == "features" or not run.config.cached_features):
        raise TrainerError(
            f"--features {request.features} with --resume, but {request.run} was started without; leave it out"
        )
    if not request.features and run.kind != "features" and run.config.cached_features:
        raise TrainerError(f"{request.run} was started with --features; add it to --resume")


def choose_split(request: Request, cache: Cache, config: Config, exists: bool) -> tuple[Split, list[str]]:
    """The split of the run in RUN if it `exists`, else the user's or a stratified one; and notes for the user.

    Raises TrainerError where a split leaks, does not fit `cache`, or is not that of the run to resume.
    """
    from_user, notes = user_split(request.split, request.drop_shared, cache) if request.split else (None, [])
    split = split_of_run(request.run) if exists else from_user
    if from_user and from_user != split:
        raise TrainerError(f"--split {request.split} with --resume, but {request.run} has another split; leave it out")
    split = checked_split(cache, split, config.seed, config.validation_fraction, request.split)
    return split, [*notes, *split_notes(split, cache)]


def check_batch(config: Config, split: Split, set_by_user: bool) -> None:
    """Raises TrainerError where the user set a batch size above the number of training samples."""
    if config.batch_size > len(split.train) and set_by_user:
        raise TrainerError(
            f"batch_size {config.batch_size}, but there are {len(split.train)} samples to train on; lower it"
        )
