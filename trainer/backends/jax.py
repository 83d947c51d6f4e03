"""JAX: its devices, and training steps and predictions that return before the device has finished them."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

DETERMINISTIC_FLAG = "--xla_gpu_deterministic_ops=true"
MEMORY_FRACTION = "0.92"  # of a GPU's memory, which JAX reserves at its start


def prepare(deterministic: bool) -> None:
    """Set up JAX before it is imported: compiled programs are kept in the user's cache folder for later processes."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", MEMORY_FRACTION)
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        if DETERMINISTIC_FLAG not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC_FLAG}".strip()
    import jax

    jax.config.update("jax_compilation_cache_dir", str(compilation_cache()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    with suppress(AttributeError):  # of later versions
        jax.config.update("jax_persistent_cache_enable_xla_caches", "all")  # results of autotuning too


def compilation_cache() -> Path:
    """The folder of compiled programs: `JAX_COMPILATION_CACHE_DIR`, or in the user's cache folder."""
    if chosen := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(chosen)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "viptt-net" / "jax"


def finish_start() -> None:
    """Start JAX' devices, so that their log messages come now."""
    import jax

    jax.local_devices()


def title() -> str:
    """Name and version, such as "JAX 0.10.2"."""
    import jax

    return f"JAX {jax.__version__}"


def gpus() -> list[str]:
    """The names of the GPUs that JAX uses."""
    import jax

    return [device.device_kind for device in jax.local_devices() if device.platform in ("gpu", "cuda", "rocm")]


def free_bytes() -> int | None:
    """Free memory of the first device; None where JAX does not know, as on a CPU."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    limit = stats.get("bytes_limit")
    return None if limit is None else int(limit) - int(stats.get("bytes_in_use", 0))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device has no memory left."""
    return "RESOURCE_EXHAUSTED" in str(error)


class TrainingSteps:
    """Training steps of a compiled model, each started at once and read later.

    The variables stay on the device between steps, and each step overwrites those of the step before.
    """

    def __init__(self, model: Any) -> None:
        import jax

        self.model = model
        self._step = jax.jit(_step_of(model), donate_argnums=(0,))
        self._state: tuple[list[Any], list[Any], list[Any]] | None = None

    def __call__(self, values: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Any:
        """Start a step on `values` (n, *shape), with a label and a weight in the loss for each; see `read`."""
        if self._state is None:
            groups = self._variables()
            self._state = tuple([variable.value for variable in group] for group in groups)  # type: ignore[assignment]
        state, self._state = self._state, None  # which a step that fails leaves unusable
        self._state, handle = self._step(state, values, labels, weights)
        return handle

    def read(self, handle: Any) -> tuple[float, float]:
        """Loss and accuracy of a step; waits until it is finished."""
        return float(handle[0]), float(handle[1])

    def synchronize(self) -> None:
        """Make the variables of the model those after the last step; later steps start from the variables."""
        if self._state is not None:
            for group, values in zip(self._variables(), self._state, strict=True):
                for variable, value in zip(group, values, strict=True):
                    variable.assign(value)
        self._state = None

    def _variables(self) -> tuple[list[Any], list[Any], list[Any]]:
        model = self.model
        return model.trainable_variables, model.non_trainable_variables, model.optimizer.variables


def _step_of(model: Any) -> Callable[..., Any]:
    """(state, values, labels, weights) → (new state, (loss, accuracy)): what Keras' own training step computes."""
    import jax
    import keras
    from keras import ops

    def loss_of(trainable: Any, others: Any, values: Any, labels: Any, weights: Any) -> Any:
        probabilities, others = model.stateless_call(trainable, others, values, training=True)
        losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        correct = ops.equal(ops.cast(ops.argmax(probabilities, axis=-1), "int32"), labels)
        return ops.mean(weights * losses), (others, ops.mean(ops.cast(correct, "float32")))

    def step(state: Any, values: Any, labels: Any, weights: Any) -> Any:
        trainable, others, optimizer = state
        (loss, (others, accuracy)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            trainable, others, values, labels, weights
        )
        trainable, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trainable)
        return (trainable, others, optimizer), (loss, accuracy)

    return step


def forward(model: Any) -> Callable[[np.ndarray], Any]:
    """The outputs of `model` in inference mode, as an array of the backend that may still be computed."""
    compiled = _compiled_forward(model)

    def predict(values: np.ndarray) -> Any:
        groups = (model.trainable_variables, model.non_trainable_variables)
        return compiled(*([variable.value for variable in group] for group in groups), values)

    return predict


def forget_compiled() -> None:
    """Compile predictions again, since a model computes in another way than before."""
    _compiled_forward.cache_clear()


@lru_cache(maxsize=2)  # compiled once for a model, although training predicts after each epoch
def _compiled_forward(model: Any) -> Callable[..., Any]:
    import jax

    return jax.jit(lambda trainable, others, values: model.stateless_call(trainable, others, values, training=False)[0])
