"""If the device runs out of memory, training continues from the checkpoint with smaller blocks of slices."""

import numpy as np
import pytest

from tests.helpers.networks import Recorder, make_clips, training_data, variables
from trainer import backend
from trainer.config import FINETUNE
from trainer.model.networks import model_for_inputs
from trainer.model.viptt_net import build_model
from trainer.training.fit import compile_for, fit

CONFIG = FINETUNE.replace(weights="none", epochs=1, slices_per_step=4, learning_rate=0.01)
SHAPE = (4, 32, 32)


class OutOfMemoryError(Exception):
    pass


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("memory") / "clips.zarr", 8, SHAPE)


def networks(data):
    full_model = build_model(CONFIG, SHAPE, 2)
    model = model_for_inputs(full_model, data.training.cache)
    compile_for(model, CONFIG)
    return model, full_model


@pytest.fixture
def device(monkeypatch):
    """A GPU with memory for `device["slices"]` slices at once; `device["blocks"]` records the attempted blocks.

    `device["recompiled"]` counts how often compiled predictions were dropped.
    """
    state = {"slices": 0, "blocks": [], "recompiled": 0}
    library = backend.library()
    original = library.TrainingSteps

    class Limited(original):
        def __call__(self, values, labels, weights):
            block = self.model.layers[-1].get_layer("frames").block
            state["blocks"].append(block)
            if block > state["slices"]:
                raise OutOfMemoryError
            return super().__call__(values, labels, weights)

    monkeypatch.setattr(library, "TrainingSteps", Limited)
    monkeypatch.setattr(library, "is_out_of_memory", lambda error: isinstance(error, OutOfMemoryError))
    monkeypatch.setattr(library, "forget_compiled", lambda: state.update(recompiled=state["recompiled"] + 1))
    monkeypatch.setattr(backend, "uses_gpu", lambda: True)
    return state


def test_blocks_are_halved_until_a_step_fits_and_the_result_is_the_same(clips, tmp_path, device):
    data = training_data(clips, 6)
    results = []
    for name, slices in (("enough", 4), ("little", 1)):
        device["slices"] = slices
        (tmp_path / name).mkdir()
        model, full_model = networks(data)
        recorder = Recorder()
        fit(model, full_model, CONFIG, data, tmp_path / name, recorder)
        results.append(variables(model))
        assert full_model.get_layer("frames").block == slices
    assert device["blocks"] == [4, 4, 4, 4, 2, 1, 1, 1]
    assert device["recompiled"] == 2
    assert recorder.notes == [
        f"the GPU has too little memory: training continues with {block} slices at a time" for block in (2, 1)
    ]
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_allclose(expected, actual, rtol=1e-2, atol=5e-5)


def test_out_of_memory_is_raised_if_blocks_cannot_be_smaller(clips, tmp_path, device):
    data = training_data(clips, 6)
    model, full_model = networks(data)
    with pytest.raises(OutOfMemoryError):
        fit(model, full_model, CONFIG, data, tmp_path, Recorder())
    assert device["blocks"] == [4, 2, 1]
