"""All that a run must know to go on as if it had never stopped, in one file replaced as a whole.

The file is NumPy's `.npz`, read without pickle: each variable of the model and of its optimizer, and the rest as JSON.
Training draws nothing from a stateful generator: the order of samples, and what augmentation does to each, follow from
the seed, the epoch and the sample.
"""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from trainer.data.arrays import read_arrays
from trainer.errors import TrainerError
from trainer.runs.files import raise_where_unreadable, replace

Row = dict[str, float]
VALUE_BYTES = 8  # of one value of a variable, at most
MOST_STATE_BYTES = 1 << 26  # of a history of 100,000 epochs, and more


@dataclass
class State:
    """Where a run is: `step` batches into `epoch`, both from 0, which had `seen` samples, the sums over them of
    `losses` and `hits`; `counters` are those of its callbacks.

    `history` has one row an epoch, without clocks; `timings` are the rows' seconds and share of them spent waiting.
    `stopped` is why no more epochs follow, "" while some do.
    """

    epoch: int = 0
    step: int = 0
    seen: int = 0
    losses: float = 0.0
    hits: float = 0.0
    counters: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    timings: list[Row] = field(default_factory=list)
    stopped: str = ""

    def add(self, count: int, loss: float, accuracy: float) -> None:
        """A step over `count` samples is through, with these means over them."""
        self.step += 1
        self.seen += count
        self.losses += count * loss
        self.hits += count * accuracy

    def begin_epoch(self, epoch: int) -> None:
        self.epoch, self.step, self.seen, self.losses, self.hits = epoch, 0, 0, 0.0, 0.0


def save(path: Path, state: State, model: keras.Model) -> None:
    """Write `state` and every variable of the compiled `model`; a crash leaves the file before, or this one."""
    arrays = {f"v{number}": np.asarray(keras.ops.convert_to_numpy(v)) for number, v in enumerate(_variables(model))}
    text = np.frombuffer(json.dumps(asdict(state)).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, state=text, **arrays)  # type: ignore[arg-type]
    replace(path, buffer.getbuffer())


def restore(path: Path, model: keras.Model) -> State:
    """Put every variable of `model` back as `save` found it, and return the state. Raises TrainerError."""
    variables = _variables(model)
    most = {f"v{number}": VALUE_BYTES * math.prod(variable.shape) for number, variable in enumerate(variables)}
    try:
        arrays = read_arrays(path, most | {"state": MOST_STATE_BYTES})
        state = _state(arrays.pop("state").tobytes())
        found = [arrays[f"v{n}"] for n in range(len(arrays))]
        if len(found) != len(variables) or not all(map(_fits, found, variables)):
            raise ValueError("its arrays are not those of this model")
    except Exception as error:  # whatever a broken file makes NumPy raise
        raise_where_unreadable(path, error)
        raise TrainerError(
            f"{path} is no checkpoint of this run ({' '.join(str(error).split())}); restore it, or start another run"
        ) from error
    for variable, array in zip(variables, found, strict=True):
        variable.assign(array)
    return state


def _state(text: bytes) -> State:
    """The state in `text`, JSON. Raises ValueError or TypeError where it is none."""
    state = State(**json.loads(text))
    for name, default in vars(State()).items():
        if type(getattr(state, name)) is not type(default):
            raise TypeError(f"{name} {getattr(state, name)!r}")
    return state


def _fits(array: np.ndarray, variable: Any) -> bool:
    return array.shape == tuple(variable.shape) and np.can_cast(array.dtype, variable.dtype, "same_kind")


def _variables(model: keras.Model) -> Sequence[Any]:
    return [*model.weights, *model.optimizer.variables]
