"""What the trainer's tests share: tiny clips, a listener that can stop a run, and networks that are traced once.

To trace a network takes seconds, a step of it milliseconds. So most tests take `plain` or `small` from here, which are
the same objects each time, with every variable put back to its first value.
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

import keras  # noqa: E402 - after `start`, which keeps its chatter away

from trainer.config import PRETRAIN  # noqa: E402
from trainer.data.stream import subset  # noqa: E402
from trainer.model.viptt_net import build_model, with_rescaling  # noqa: E402
from trainer.training.fit import Data, compile_for  # noqa: E402

CLIP = (4, 16, 16)  # the least that the small backbone takes
CLIPS = 12  # the first nine train in `data_of`: with batches of two, an epoch's last is of one
TRAINED = 9
SMALL = PRETRAIN.replace(backbone="small", freeze_backbone=False, weights="none", optimizer="adam")
GIVEN = {"backbone": "small", "epochs": 4}  # of a Request that trains what SMALL says


class Killed(BaseException):
    """Nothing may catch it: a run ends where it is raised, as by SIGKILL."""


class Recorder(Callback):
    """Records every event; calls `step(epoch, done)`, epochs counted from 0, and `epoch(row)`, which may stop a run."""

    def __init__(self, step=lambda epoch, done: None, epoch=lambda row: None):
        self.step, self.epoch = step, epoch
        self.notes, self.steps, self.rows, self.timings = [], [], [], []

    def on_note(self, text):
        self.notes.append(text)

    def on_progress(self, done, total, unit="samples", figures=None):
        if unit == "steps":
            epoch = figures["epoch"] - 1
            self.steps.append((epoch, done, total, figures["loss"]))
            self.step(epoch, done)

    def on_epoch(self, row, timing, epochs):
        self.rows.append(row)
        self.timings.append(timing)
        self.epoch(row)


def make_clips(root, samples=CLIPS, shape=CLIP, **attributes):
    """A cache of tiny clips of two classes in turn, each of a group of its own."""
    return make_cache(root, samples, tiny_attributes("uint8", shape, "video", **attributes))


def data_of(root, trained=TRAINED, **options):
    """What `fit` takes: the first samples of the cache in `root` to train on, the others to validate on."""
    clips = open_cache(root)
    return Data(subset(clips, clips.ids[:trained]), subset(clips, clips.ids[trained:]), **options)


def variables(model):
    """Every array that training changes, in the order of the checkpoint."""
    return [np.array(keras.ops.convert_to_numpy(v)) for v in (*model.weights, *model.optimizer.variables)]


def assign(model, values):
    for variable, value in zip((*model.weights, *model.optimizer.variables), values, strict=True):
        variable.assign(value)


def plain():
    """(model, whole): logistic regression on the pixels of a clip, the least that can be trained; Adam."""
    return _as_new(*_plain())


def small():
    """(model, whole): ViPTT-Net with the small backbone, as SMALL says, compiled; Adam."""
    return _as_new(*_small())


def arrays_of(path):
    """Name → array of the weights in a `.keras` file, read without Keras."""
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as stream, h5py.File(stream) as file:
        file.visititems(keep)
    return found


def outcome(folder):
    """All that must be the same to the bit for two runs of the same request, as bytes by name."""
    with np.load(folder / "checkpoint.npz") as file:
        found = {name: file[name].tobytes() for name in file.files if name != "state"}
        state = json.loads(file["state"].tobytes())
    del state["timings"]  # what depends on the clock
    found["state"] = json.dumps(state).encode()
    found |= {name: values.tobytes() for name, values in arrays_of(folder / "model.keras").items()}
    tables = [folder / "history.csv", folder / "metrics.json"]
    return found | {path.name: path.read_bytes() for path in tables if path.exists()}


@cache
def _plain():
    volume = keras.Input(CLIP)
    keras.utils.set_random_seed(1)
    classes = keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(volume))
    return _compiled(keras.Model(volume, classes))


@cache
def _small():
    return _compiled(build_model(SMALL, CLIP, 2))


def _compiled(whole):
    model = with_rescaling(whole, "uint8")
    compile_for(model, SMALL)
    return model, whole, variables(model)


def _as_new(model, whole, first):
    assign(model, first)
    return model, whole
