"""Training VGG-16 on 70 slices of 64×64, batch 2, all layers: time folded into the batch against `TimeDistributed`.

python benchmarks/time_distributed.py [--quick]
"""

import sys
import time
from typing import Any

import numpy as np
from common import in_own_process, verdict

from trainer import backend
from trainer.config import FINETUNE, Config

GB = 1e9


def time_distributed(config: Config, shape: tuple[int, int, int], ours: Any) -> Any:
    """The network as Keras' own wrapper makes it, with the weights of `ours`."""
    import keras

    from trainer.model.frame_encoder import input_conv_layer
    from trainer.model.viptt_net import RNN_UNITS

    frames = ours.get_layer("frames")
    vgg = keras.applications.VGG16(
        include_top=False, weights=None, input_shape=frames.backbone.input_shape[1:], pooling="avg"
    )
    gray_to_bgr = input_conv_layer("vgg16", config.input_conv)
    volume = keras.Input((*shape, 1))
    features = keras.layers.TimeDistributed(vgg)(keras.layers.TimeDistributed(gray_to_bgr)(volume))
    last = keras.layers.LSTM(RNN_UNITS, name="rnn")(features)
    hidden = keras.layers.Dense(1024, activation="relu", name="dense")(last)
    model = keras.Model(volume, keras.layers.Dense(5, activation="softmax", name="classes")(hidden))
    vgg.set_weights(frames.backbone.get_weights())
    gray_to_bgr.set_weights(frames.input_map.get_weights())
    for name in ("rnn", "dense", "classes"):
        model.get_layer(name).set_weights(ours.get_layer(name).get_weights())
    return model


def steps(wrapped: bool, shape: tuple[int, int, int], later: int) -> dict:
    """Seconds of the first step and the median of `later` ones, and the outputs before them."""
    backend.start()
    from trainer.model.viptt_net import build_model
    from trainer.training.fit import compile_for

    config = FINETUNE.replace(weights="none")
    model = build_model(config, shape, 5)
    rng = np.random.default_rng(0)
    volumes, labels = rng.random((2, *shape), np.float32), np.array([0, 3], np.int32)
    if wrapped:
        model, volumes = time_distributed(config, shape, model), volumes[..., None]
    compile_for(model, config)
    outputs = model.predict_on_batch(volumes)
    times = []
    for _ in range(1 + later):
        start = time.perf_counter()
        model.train_on_batch(volumes, labels)
        times.append(time.perf_counter() - start)
    return {"first": times[0], "later": float(np.median(times[1:])), "outputs": outputs}


def main(quick: bool) -> None:
    shape, later = ((4, 32, 32), 1) if quick else ((70, 64, 64), 4)
    naive = in_own_process(steps, True, shape, later)
    ours = in_own_process(steps, False, shape, later)
    for name, found in (("TimeDistributed", naive), ("folded", ours)):
        print(f"{name:16} first {found['first']:.1f} s, later {found['later']:.2f} s, {found['peak'] / GB:.2f} GB")
    verdict("first step sooner", naive["first"] / ours["first"], 3)
    verdict("memory less", naive["peak"] / ours["peak"], 3)
    verdict("later steps", naive["later"] / ours["later"], 1)
    verdict("outputs apart, 1e-4", np.abs(naive["outputs"] - ours["outputs"]).max() / 1e-4, 1, at_most=True)


if __name__ == "__main__":
    main("--quick" in sys.argv)
