"""Starts Keras on its backend: TensorFlow by default, or JAX if `KERAS_BACKEND` is "jax".

The user's own keras.json (backend, layout, dtype) is meant for other programs and is ignored here.
"""

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cache.signals import deferred
from trainer.errors import TrainerError

BACKENDS = ("tensorflow", "jax")
GPU_PATHS = (Path("/dev/nvidia0"), Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))  # of the driver; of WSL
MAX_LINES = 200  # of the output of native libraries, shown where they fail

os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
_started_deterministic = False
with_tensorflow = os.environ["KERAS_BACKEND"] == "tensorflow"


def start(deterministic: bool = False) -> str:
    """Load Keras and its backend without their log output; return a description such as "TensorFlow 2.21 on CPU".

    With `deterministic` the same steps give the same bits on a GPU too, more slowly. Raises TrainerError where the
    backend in `KERAS_BACKEND` is not supported by this project or not installed.
    """
    global _started_deterministic
    _check_backend()
    _started_deterministic = deterministic
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow's C++ code may crash if an exception such as KeyboardInterrupt interrupts its import.
    with deferred(signal.SIGINT, signal.SIGTERM), quiet_stderr("Keras"), _import_blocked("matplotlib"):
        library().prepare(deterministic)
        import keras

        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        keras.utils.set_random_seed(0)  # loads TensorFlow, where it is installed, whatever the backend
        library().finish_start()
    return description()


def description() -> str:
    """The backend and its devices, such as "TensorFlow 2.21.0 on CPU"."""
    return f"{library().title()} on {device()}"


def repeats_bits() -> bool:
    """Whether the same steps give the same bits: always on a CPU, on a GPU where `start` was told so."""
    return not uses_gpu() or _started_deterministic


def library() -> Any:
    """The module of `trainer.backends` for the backend in use."""
    return importlib.import_module(f"trainer.backends.{os.environ['KERAS_BACKEND']}")


def device() -> str:
    """The devices in use: "CPU", "NVIDIA H100" or "2 × NVIDIA H100"."""
    gpus = library().gpus()
    if not gpus:
        return "CPU"
    return gpus[0] if len(gpus) == 1 else f"{len(gpus)} × {gpus[0]}"


def uses_gpu() -> bool:
    """Whether the backend computes on a GPU."""
    return bool(library().gpus())


def unused_gpu() -> str:
    """Why a GPU of this machine is not used, and the way out; "" if there is none, or if one is used."""
    if uses_gpu() or not any(path.exists() for path in GPU_PATHS):
        return ""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return "this machine has an NVIDIA GPU, but CUDA_VISIBLE_DEVICES hides it; unset it to train on the GPU"
    return (
        f"this machine has an NVIDIA GPU, but {library().title()} cannot use it: its CUDA libraries are missing or do "
        "not fit the driver; install them with `make gpu` (see docs/training.md), or training runs on the CPU"
    )


def _check_backend() -> None:
    """Raises TrainerError where Keras cannot run on the backend in `KERAS_BACKEND`."""
    name = os.environ["KERAS_BACKEND"]
    if name not in BACKENDS:
        raise TrainerError(
            f"KERAS_BACKEND is {name!r}; expected tensorflow or jax; set it to one of the two, or unset it"
        )
    for package in ("keras", name):
        if find_spec(package) is None:
            raise TrainerError(
                f"{package} is not installed, and training needs it (KERAS_BACKEND is {name!r}); install it with "
                f"`pip install {package}`, or set KERAS_BACKEND to the backend that you have, tensorflow or jax"
            )


@contextmanager
def _import_blocked(package: str) -> Iterator[None]:
    """Make `import package` fail within the block, unless it is loaded already.

    Keras imports Matplotlib if it can, for plots that this project does not use: slowly, and some matplotlibrc files
    make that import fail.
    """
    hidden = package not in sys.modules
    if hidden:
        sys.modules[package] = None  # type: ignore[assignment]  # `import` then raises ModuleNotFoundError
    try:
        yield
    finally:
        if hidden:
            del sys.modules[package]


def jit(use_xla: bool) -> bool | str:
    """The value of Keras' `jit_compile`: XLA is optional with TensorFlow, and the only compiler of JAX."""
    return use_xla if with_tensorflow else "auto"


@contextmanager
def quiet_stderr(library: str) -> Iterator[None]:
    """Hide the output of native libraries on stderr, unless the block fails or the process dies in it.

    In the block stderr is a pipe to `tail`, which prints the last lines when the pipe is closed: after an exception,
    or when the process dies by exit(), abort() or a signal. After success and after Ctrl-C it is killed instead.
    """
    try:
        stderr, tail = _redirect_stderr()
    except OSError:  # stderr is closed, or `tail` is missing: better to show too much than to lose a message
        yield
        return
    os.write(2, f"{library} failed to load. Its own messages:\n".encode())
    failed = False
    try:
        yield
    except BaseException as error:
        failed = not isinstance(error, KeyboardInterrupt)
        raise
    finally:
        if not failed:
            tail.kill()
        os.dup2(stderr, 2)  # closes the last writing end of the pipe
        os.close(stderr)
        with suppress(subprocess.TimeoutExpired):  # a process started in the block may still have stderr open
            tail.wait(timeout=5)


def _redirect_stderr() -> tuple[int, "subprocess.Popen[bytes]"]:
    """Replace stderr by a pipe to a `tail` process that Ctrl-C does not reach; return stderr and the process."""
    stderr = os.dup(2)
    command = ["tail", "-n", str(MAX_LINES)]
    try:
        tail = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stderr, stderr=stderr, start_new_session=True)
    except OSError:
        os.close(stderr)
        raise
    assert tail.stdin is not None
    os.dup2(tail.stdin.fileno(), 2)
    tail.stdin.close()
    return stderr, tail
