"""The networks of runs: with the weights that training starts from, or with the best ones it found."""

from pathlib import Path

import keras

from cache import Cache
from trainer.errors import TrainerError
from trainer.features.extractor import use_extractor
from trainer.model.viptt_net import build_head, build_model, for_stored, head_of
from trainer.model.weights import load_backbone, load_model, take_over
from trainer.runs import manifest
from trainer.runs.folder import Run, read_run


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


def starting_model(run: Run, features: Cache | None, has_checkpoint: bool) -> keras.Model:
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
    manifest.check(path)
    model = network(run)
    load_model(model, path)
    return model
