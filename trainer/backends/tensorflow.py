"""TensorFlow: its devices, and training steps and predictions that return before the device has finished them."""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

PROBE_SECONDS = 10  # for nvidia-smi


def prepare(deterministic: bool) -> None:
    """Set up the devices; must run before any other TensorFlow call. GPU memory is allocated as needed."""
    import tensorflow as tf

    for gpu in _gpus():
        with suppress(RuntimeError, ValueError):  # a notebook may already have started TensorFlow or divided the GPU
            tf.config.experimental.set_memory_growth(gpu, True)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def finish_start() -> None:
    """Let TensorFlow log its remaining messages, which come with the first operation, and silence its warnings."""
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # its warnings, such as about retracing, address developers
    tf.constant(0) + 1


def title() -> str:
    """Name and version, such as "TensorFlow 2.21.0"."""
    import tensorflow as tf

    return f"TensorFlow {tf.__version__}"


def gpus() -> list[str]:
    """The names of the GPUs that TensorFlow uses."""
    return [_name(gpu) for gpu in _gpus()]


def _name(gpu: Any) -> str:
    import tensorflow as tf

    with suppress(AttributeError, KeyError, ValueError, RuntimeError):
        return str(tf.config.experimental.get_device_details(gpu)["device_name"])
    return "GPU"


def _gpus() -> list[Any]:
    import tensorflow as tf

    found: list[Any] = tf.config.list_physical_devices("GPU")
    return found


def free_bytes() -> int | None:
    """Free memory of the first GPU; None where it is unknown. TensorFlow itself tells only what it has allocated."""
    command = shutil.which("nvidia-smi")
    if not command or not _gpus():
        return None
    query = [command, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(query, capture_output=True, text=True, timeout=PROBE_SECONDS, check=True)
        return min(int(line) for line in result.stdout.split("\n") if line.strip()) << 20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device has no memory left."""
    import tensorflow as tf

    return isinstance(error, tf.errors.ResourceExhaustedError)


class TrainingSteps:
    """Training steps of a compiled model, each started at once and read later."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, values: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Any:
        """Start a step on `values` (n, *shape), with a label and a weight in the loss for each; see `read`."""
        self.model.reset_metrics()
        if self.model.train_function is None:  # the first step since the model was compiled
            return self.model.train_on_batch(values, labels, weights, return_dict=True)
        return self.model.train_function(iter([(values, labels, weights)]))

    def read(self, handle: Any) -> tuple[float, float]:
        """Loss and accuracy of a step; waits until it is finished."""
        return float(handle["loss"]), float(handle["accuracy"])

    def synchronize(self) -> None:
        """Make the variables of the model those after the last step; here they always are."""


def forget_compiled() -> None:
    """Compile predictions again, since a model computes in another way than before; `model.compile` does so here."""


def forward(model: Any) -> Callable[[np.ndarray], Any]:
    """The outputs of `model` in inference mode, as an array of the backend that may still be computed."""
    model.make_predict_function()

    def predict(values: np.ndarray) -> Any:
        return model.predict_function([(values,)])

    return predict
