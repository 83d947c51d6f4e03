"""The configuration, split and checkpoint of a run."""

import json
from pathlib import Path
from typing import Any

from tests.faults import formats
from tests.faults.fuzz.byte_changes import change_bytes
from tests.faults.fuzz.target import Target
from tests.faults.fuzz.value_changes import change_json


def config(folder: Path) -> Target:
    from trainer.runs.run import read_run

    def read(path: Path) -> Any:
        root = path.with_suffix("")
        root.mkdir(exist_ok=True)
        path.replace(root / "config.json")
        return json.dumps(read_run(root).to_json())

    return Target(_archived_files(folder, "config.json"), ".json", change_json, read)


def split(folder: Path) -> Target:
    import numpy as np

    from trainer.data.splits.check import check
    from trainer.data.splits.groups import without_shared
    from trainer.data.splits.split import Samples, read_split

    corpus = _archived_files(folder, "split.json")
    ids = [name for subset in json.loads(corpus[0]).values() for name in subset]

    def read(path: Path) -> Any:
        changed, count = read_split(path), len(ids)
        groups, digests = ([f"{letter}{n}" for n in range(count)] for letter in "gd")
        samples = Samples(ids, np.arange(count) % 2, groups, digests, ("one", "two"))
        check(changed, samples)
        return without_shared(changed, samples)

    return Target(corpus, ".json", change_json, read)


def _archived_files(folder: Path, name: str) -> list[bytes]:
    """The content of all files `name` in the archived runs of the last earlier version."""
    folder.mkdir()
    formats.unpack(formats.archives()[-1], folder / "archive")
    return [path.read_bytes() for path in sorted((folder / "archive").rglob("*.json")) if path.name == name]


def checkpoint(folder: Path) -> Target:
    import keras

    from trainer.config import PRETRAIN
    from trainer.training.checkpoint import State, restore, save
    from trainer.training.fit import compile_for

    folder.mkdir()
    volume = keras.Input((2, 3, 4))
    model = keras.Model(volume, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(volume)))
    compile_for(model, PRETRAIN)
    history = [{"epoch": float(number), "loss": 0.5, "val_loss": 0.25} for number in range(3)]
    save(folder / "checkpoint.npz", State(1, 2, 4, 0.5, 3.0, {"stop": {"wait": 1}}, history, history), model)

    def read(path: Path) -> Any:
        return restore(path, model)

    return Target([(folder / "checkpoint.npz").read_bytes()], ".npz", change_bytes, read)
