"""The checkpoint of a run: everything `--resume` needs to continue as if the run had never stopped, in one file.

The file is NumPy's `.npz`, read without pickle: each variable of the model and of its optimizer, and the rest as JSON.
Training uses no stateful random generator: the order of samples and the augmentation of each follow from the seed, the
epoch and the sample.
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
Counters = dict[str, dict[str, Any]]  # of each Keras callback, by name
MAX_VALUE_BYTES = 8  # of one value of a variable
MAX_STATE_BYTES = 1 << 26  # a history of 100,000 epochs fits


@dataclass
class State:
    """Progress of a run: `step` batches of `epoch`, both from 0.

    In that epoch it has trained on `seen` samples, with these sums over them of `losses` and of `correct` predictions.
    `counters` are those of `early_stopping.Schedule`. `history` has one row for each epoch, as in history.csv;
    `timings` have the figures that depend on the machine. `stopped` is why training has ended, "" before that.
    """

    epoch: int = 0
    step: int = 0
    seen: int = 0
    losses: float = 0.0
    correct: float = 0.0
    counters: Counters = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    timings: list[Row] = field(default_factory=list)
    stopped: str = ""

    def add(self, count: int, loss: float, accuracy: float) -> None:
        """Count one more step, on `count` samples with this mean loss and accuracy."""
        self.step += 1
        self.seen += count
        self.losses += count * loss
        self.correct += count * accuracy

    def end_epoch(self, row: Row, timing: Row, counters: Counters) -> None:
        """Record the figures of the current epoch, and begin the next one."""
        self.history.append(row)
        self.timings.append({"epoch": row["epoch"]} | timing)
        self.counters = counters
        self.epoch, self.step, self.seen, self.losses, self.correct = self.epoch + 1, 0, 0, 0.0, 0.0


def save(path: Path, state: State, model: keras.Model) -> None:
    """Write `state` and every variable of the compiled `model` to `path`; a crash leaves the previous file intact."""
    arrays = {f"v{number}": np.asarray(keras.ops.convert_to_numpy(v)) for number, v in enumerate(_variables(model))}
    text = np.frombuffer(json.dumps(asdict(state)).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, state=text, **arrays)  # type: ignore[arg-type]
    replace(path, buffer.getbuffer())


def restore(path: Path, model: keras.Model) -> State:
    """Assign the saved values to every variable of the compiled `model`, and return the saved state.

    Raises TrainerError, with `model` unchanged, where the file is not a checkpoint of this model.
    """
    variables = _variables(model)
    max_bytes = {f"v{number}": MAX_VALUE_BYTES * math.prod(v.shape) for number, v in enumerate(variables)}
    try:
        arrays = read_arrays(path, max_bytes | {"state": MAX_STATE_BYTES})
        state = _state(arrays.pop("state").tobytes())
        values = [arrays[f"v{number}"] for number in range(len(arrays))]
        if len(values) != len(variables) or not all(map(_fits, values, variables)):
            raise ValueError("its arrays are not those of this model")
    except Exception as error:  # whatever a broken file makes NumPy raise
        raise_where_unreadable(path, error)
        raise TrainerError(
            f"{path} is not a checkpoint of this run ({' '.join(str(error).split())}); restore it, or start another run"
        ) from error
    for variable, array in zip(variables, values, strict=True):
        variable.assign(array)
    return state


def _state(text: bytes) -> State:
    """The state in `text`, JSON, also from an earlier version. Raises ValueError or TypeError."""
    data = json.loads(text)
    if isinstance(data, dict) and "hits" in data:
        data["correct"] = data.pop("hits")
    state = State(**data)
    for name, default in vars(State()).items():
        if type(getattr(state, name)) is not type(default):
            raise TypeError(f"{name} {getattr(state, name)!r}")
    state.timings = [
        {"data_wait" if name == "stalled" else name: value for name, value in row.items()} for row in state.timings
    ]
    return state


def _fits(array: np.ndarray, variable: Any) -> bool:
    return array.shape == tuple(variable.shape) and np.can_cast(array.dtype, variable.dtype, "same_kind")


def _variables(model: keras.Model) -> Sequence[Any]:
    return [*model.weights, *model.optimizer.variables]
