"""Cached features: extraction against the bare backbone, an epoch against streaming, logits, size. Full size.

python benchmarks/features.py [--quick] [--weights FILE]

FILE holds VGG-16's convolutions as Keras saves them; without it they are random, which changes the size and the
logits only.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from batches import write_both
from common import verdict

from cache import open_cache, write_features
from cache.progress import Callback
from pipeline.recipes.video import VideoRecipe
from trainer import backend

EPOCH = 1092  # clips: the paper's training split


def bare_rate(model, volumes, count: int) -> float:
    """Frames a second of the backbone alone, on the same blocks of frames over and over."""
    from trainer.features.encode import FrameFeatures

    bare = FrameFeatures(model, volumes)
    stored = volumes.stored(0)
    block = np.resize(stored, (1, bare.block, *stored.shape[1:]))
    np.asarray(bare.forward(block))
    start = time.perf_counter()
    for _ in range(count):
        np.asarray(bare.forward(block))
    return count * bare.block / (time.perf_counter() - start)


def step_seconds(model, config, volumes) -> float:
    """Seconds of one pretraining step on two clips, the second of two."""
    from trainer.model.networks import model_for_inputs
    from trainer.training.fit import compile_for

    network = model_for_inputs(model, volumes)
    compile_for(network, config)
    clips = np.stack([volumes.stored(0), volumes.stored(1)])
    for _ in range(2):
        start = time.perf_counter()
        network.train_on_batch(clips, np.array([0, 1], np.int32))
        taken = time.perf_counter() - start
    return taken


def epoch_seconds(folder: Path, features, count: int) -> float:
    """Seconds of an epoch of `count` clips at batch 2 on features like `features`, the second of two."""
    from trainer.runs.plan import Request
    from trainer.training.train import train

    many = [features.stored(number % len(features)) for number in range(count + 4)]
    noise = np.random.default_rng(0).normal(1, 0.1, (count + 4, features.shape[0], 1)).astype(np.float16)
    names, labels = [f"c{number}" for number in range(count + 4)], [number % 10 for number in range(count + 4)]
    classes = [f"class {number}" for number in range(10)]
    write_features(folder / "many.zarr", names, labels, None, np.stack(many) * noise, classes, "vgg16")
    split = folder / "split.json"
    split.write_text(f'{{"train": {names[:count]}, "validation": {names[count:]}}}'.replace("'", '"'))
    train(Request("pretrain", folder / "many.zarr", folder / "many", {"epochs": 2}, split=split), Callback())
    return float((folder / "many" / "timings.csv").read_text().splitlines()[2].split(",")[1])


def logits(head, features: np.ndarray) -> np.ndarray:
    """The inputs of the softmax."""
    kernel, bias = head.get_layer("classes").get_weights()
    return np.asarray(head.get_layer("dense")(head.get_layer("rnn")(features))) @ kernel + bias


def largest_difference(model, volumes, features) -> float:
    """Between logits from cached features and from volumes, over all samples; infinite where the classes differ."""
    from trainer.model.viptt_net import head_model

    head = head_model(model)
    exact = [np.asarray(model.get_layer("frames")(volumes[name][None])) for name in volumes.ids]
    one = logits(head, np.concatenate(exact))
    other = logits(head, np.stack([features[name] for name in volumes.ids]))
    same = (one.argmax(axis=1) == other.argmax(axis=1)).all()
    return float(np.abs(one - other).max()) if same else float("inf")


def main(quick: bool, weights: str) -> None:
    backend.start()
    from trainer.config import PRETRAIN
    from trainer.features.extract import Extraction, extract
    from trainer.model.networks import initial_model
    from trainer.runs.plan import run_with

    recipe = VideoRecipe(depth=4, height=32, width=32) if quick else VideoRecipe()
    clips, count = (3, 8) if quick else (6, EPOCH)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        volumes = open_cache(write_both(folder, recipe, clips)[0])
        config = PRETRAIN.replace(weights=weights)
        model = initial_model(run_with(volumes, config, ""))
        before = bare_rate(model, volumes, 2 if quick else 12)
        done = extract(Extraction(volumes.path, folder / "f.zarr", {"weights": weights}), Callback())
        bare = (before + bare_rate(model, volumes, 2 if quick else 12)) / 2
        features = open_cache(folder / "f.zarr")
        size = np.mean([features.entry(name).nbytes for name in features.ids])
        apart = largest_difference(model, volumes, features)
        epoch = epoch_seconds(folder, features, count)
        step = step_seconds(model, config, volumes)
    print(f"{bare:.2f} frames/s bare, {done.rate:.2f} extracting; epoch of {count} clips on features {epoch:.1f} s;")
    print(f"a streamed step {step:.1f} s, so an epoch {count / 2 * step:.0f} s; {size / 1e3:.1f} kB of features a clip")
    verdict("extraction", done.rate / bare, 0.9)
    verdict("epoch on features", count / 2 * step / epoch, 300)
    verdict("logits apart, 1e-2", apart / 1e-2, 1, at_most=True)
    verdict("30 × size of features", 30 * size / np.prod(volumes.shape), 1, at_most=True)


if __name__ == "__main__":
    given = sys.argv[sys.argv.index("--weights") + 1] if "--weights" in sys.argv else "none"
    main("--quick" in sys.argv, given)
