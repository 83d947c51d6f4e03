"""The only module that depends on the backend of Keras: TensorFlow by default, or JAX if `KERAS_BACKEND` is "jax".

The user's own keras.json (backend, layout, dtype) is meant for other programs and is ignored here.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from cache.signals import deferred
from trainer.errors import TrainerError

BACKENDS = ("tensorflow", "jax")
MAX_LINES = 200  # of the output of native libraries, shown where they fail

os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
with_tensorflow = os.environ["KERAS_BACKEND"] == "tensorflow"


def start() -> str:
    """Load Keras and its backend without their log output; return a description such as "TensorFlow 2.21 on CPU".

    TensorFlow allocates GPU memory as needed, not all at once. Raises TrainerError where the backend in `KERAS_BACKEND`
    is not supported by this project or not installed.
    """
    _check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow's C++ code may crash if an exception such as KeyboardInterrupt interrupts its import.
    with deferred(signal.SIGINT, signal.SIGTERM), quiet_stderr("Keras"), _import_blocked("matplotlib"):
        gpus = _gpus() if with_tensorflow else []
        import keras

        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        keras.utils.set_random_seed(0)  # loads TensorFlow, where it is installed, whatever the backend
        if not with_tensorflow:
            return f"{keras.backend.backend()} {keras.__version__}"
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # its warnings, such as about retracing, address developers
        tf.constant(0) + 1  # the first operation logs the remaining messages
        return f"TensorFlow {tf.__version__} on {len(gpus)} GPU" if gpus else f"TensorFlow {tf.__version__} on CPU"


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


def _gpus() -> list[Any]:
    """TensorFlow's GPUs, set to allocate memory as needed; must run before any other TensorFlow call."""
    import tensorflow as tf

    gpus: list[Any] = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        with suppress(RuntimeError, ValueError):  # a notebook may already have started TensorFlow or divided the GPU
            tf.config.experimental.set_memory_growth(gpu, True)
    return gpus


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
