"""The networks of runs: with the weights that training starts from, or with the best ones."""

from pathlib import Path

import keras

from cache import Cache
from trainer.errors import TrainerError
from trainer.features.extractor import load_extractor
from trainer.model.viptt_net import build_head, build_model, has_frame_encoder, head_model, with_rescaling
from trainer.model.weights import copy_weights, load_backbone, load_model
from trainer.runs import manifest
from trainer.runs.run import Run, read_run


def untrained_model(run: Run) -> keras.Model:
    """The network of `run` with random initial weights: float volumes in [0, 1] → class probabilities.

    For a run on features alone it is the layers after the frame encoder: features → class probabilities.
    """
    build = build_head if run.kind == "features" else build_model
    return build(run.config, run.shape, len(run.class_names))  # type: ignore[arg-type]


def initial_model(run: Run) -> keras.Model:
    """The network of `run` with the weights that training starts from: those of --from, or of --weights."""
    model = untrained_model(run)
    if run.parent:
        copy_weights(model, trained_model(Path(run.parent), read_run(Path(run.parent))))
    elif run.kind != "features":
        load_backbone(model.get_layer("frames").backbone, run.config.backbone, run.config.weights)
    return model


def model_for_training(run: Run, features: Cache | None, has_checkpoint: bool) -> keras.Model:
    """The network of `run` for training; with a checkpoint that will replace all weights, none are loaded."""
    if features and not run.parent and run.config.weights == "none":
        model = untrained_model(run)
        load_extractor(model, features)
        return model
    return untrained_model(run) if has_checkpoint and not features else initial_model(run)


def model_for_inputs(full_model: keras.Model, cache: Cache) -> keras.Model:
    """The model that takes the stored samples of `cache`, sharing the layers of `full_model`.

    For volumes it is the full model, for features the layers after the frame encoder.
    """
    on_features = cache.kind == "features" and has_frame_encoder(full_model)
    return with_rescaling(head_model(full_model) if on_features else full_model, cache.attributes.dtype)


def trained_model(root: Path, run: Run) -> keras.Model:
    """The network of the run in `root` with its best weights. Raises TrainerError where it has none.

    The network is built from config.json; only arrays are read from model.keras.
    """
    path = root / "model.keras"
    if not path.is_file():
        raise TrainerError(f"{root} has no model.keras, since no epoch of it has ended; resume it with --resume")
    manifest.check(path)
    model = untrained_model(run)
    load_model(model, path)
    return model
