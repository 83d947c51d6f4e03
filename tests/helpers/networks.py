"""Shared by the trainer's tests: tiny clips, a callback that can stop a run, and networks that are traced once.

Tracing a network takes seconds, a training step milliseconds. So most tests use `plain` or `small` from here, which
return the same objects each time, with every variable reset to its initial value.
"""

import json
import zipfile
from functools import cache

import h5py
import numpy as np

from cache import open_cache
from cache.progress import Callback
from tests.helpers.caches import make_cache, tiny_attributes
from trainer import backend

backend.start()

import keras  # noqa: E402 - after `start`, which hides its log output

from trainer.config import PRETRAIN  # noqa: E402
from trainer.data.stream import subset  # noqa: E402
from trainer.model.viptt_net import build_model, with_rescaling  # noqa: E402
from trainer.training.epoch import TrainingData  # noqa: E402
from trainer.training.fit import compile_for  # noqa: E402

CLIP = (4, 16, 16)  # the smallest slices that the small backbone accepts
CLIPS = 12  # `training_data` trains on the first nine: with batches of two, the last batch of an epoch has one
TRAINED = 9
SMALL = PRETRAIN.replace(backbone="small", freeze_backbone=False, weights="none", optimizer="adam")
OPTIONS = {"backbone": "small", "epochs": 4}  # for a Request whose configuration is SMALL


class Killed(BaseException):
    """Ends a run where it is raised, like SIGKILL: no code catches it."""


class Recorder(Callback):
    """Records every event; calls `step(epoch, done)`, epochs counted from 0, and `epoch(row)`, which may stop a run."""

    def __init__(self, step=lambda epoch, done: None, epoch=lambda row: None):
        self.step, self.epoch = step, epoch
        self.notes, self.steps, self.rows, self.timings = [], [], [], []

    def on_note(self, text):
        self.notes.append(text)

    def on_progress(self, done, total, unit="samples", figures=None):
        if unit == "steps" and "loss" in figures:  # not before the first step
            epoch = figures["epoch"] - 1
            self.steps.append((epoch, done, total, figures["loss"]))
            self.step(epoch, done)

    def on_epoch(self, row, timing, epochs):
        self.rows.append(row)
        self.timings.append(timing)
        self.epoch(row)


def make_clips(root, samples=CLIPS, shape=CLIP, **attributes):
    """A cache of tiny clips of alternating classes, each in its own group."""
    return make_cache(root, samples, tiny_attributes("uint8", shape, "video", **attributes))


def training_data(root, trained=TRAINED, **options):
    """The data for `fit`: training on the first samples of the cache in `root`, validation on the others."""
    clips = open_cache(root)
    return TrainingData(subset(clips, clips.ids[:trained]), subset(clips, clips.ids[trained:]), **options)


def variables(model):
    """A copy of every array that training changes, in the order of a checkpoint."""
    return [np.array(keras.ops.convert_to_numpy(v)) for v in (*model.weights, *model.optimizer.variables)]


def assign(model, values):
    for variable, value in zip((*model.weights, *model.optimizer.variables), values, strict=True):
        variable.assign(value)


def plain():
    """(model, full_model): logistic regression on the pixels of a clip, compiled with Adam."""
    return _reset(*_plain())


def small():
    """(model, full_model): ViPTT-Net with the configuration SMALL, compiled with Adam."""
    return _reset(*_small())


def arrays_of(path):
    """Name → array of the weights in a `.keras` file, read without Keras."""
    arrays = {}

    def collect(name, node):
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as stream, h5py.File(stream) as file:
        file.visititems(collect)
    return arrays


def outcome(folder):
    """Name → bytes of everything that must be identical for two runs of the same request."""
    with np.load(folder / "checkpoint.npz") as file:
        contents = {name: file[name].tobytes() for name in file.files if name != "state"}
        state = json.loads(file["state"].tobytes())
    del state["timings"]  # they depend on the clock
    contents["state"] = json.dumps(state).encode()
    contents |= {name: values.tobytes() for name, values in arrays_of(folder / "model.keras").items()}
    tables = [folder / "history.csv", folder / "metrics.json"]
    return contents | {path.name: path.read_bytes() for path in tables if path.exists()}


@cache
def _plain():
    volume = keras.Input(CLIP)
    keras.utils.set_random_seed(1)
    classes = keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(volume))
    return _compiled(keras.Model(volume, classes))


@cache
def _small():
    return _compiled(build_model(SMALL, CLIP, 2))


def _compiled(full_model):
    model = with_rescaling(full_model, "uint8")
    compile_for(model, SMALL)
    return model, full_model, variables(model)


def _reset(model, full_model, initial):
    assign(model, initial)
    return model, full_model
