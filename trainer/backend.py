"""The one place that knows which backend Keras runs on: TensorFlow by default, JAX where `KERAS_BACKEND` says so.

What a user's own keras.json says of backend, layout or dtype is for their other programs: it decides nothing here.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from cache.signals import held
from trainer.errors import TrainerError

BACKENDS = ("tensorflow", "jax")
KEPT_LINES = 200  # of what native libraries write, in case they fail

os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
with_tensorflow = os.environ["KERAS_BACKEND"] == "tensorflow"


def start() -> str:
    """Load Keras and its backend without their chatter; return what they compute on, such as "tensorflow 2.21 on CPU".

    On a GPU, TensorFlow is told to take memory as it needs it, not all at once. Raises TrainerError where
    `KERAS_BACKEND` names a backend that this project does not run on, or one that is not installed.
    """
    _check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow's C++ may crash where an exception, such as that of Ctrl-C, ends its import.
    with held(signal.SIGINT, signal.SIGTERM), quiet_stderr("Keras"), _without("matplotlib"):
        cards = _cards() if with_tensorflow else []
        import keras

        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        keras.utils.set_random_seed(0)  # loads TensorFlow, where it is installed, whatever the backend
        if not with_tensorflow:
            return f"{keras.backend.backend()} {keras.__version__}"
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # its warnings, such as of retracing, tell users to change our code
        tf.constant(0) + 1  # the first operation is when the rest of the chatter comes
        return f"TensorFlow {tf.__version__} on {len(cards)} GPU" if cards else f"TensorFlow {tf.__version__} on CPU"


def _check_backend() -> None:
    """Raises TrainerError where Keras cannot run on what `KERAS_BACKEND` names."""
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


def _cards() -> list[Any]:
    """TensorFlow's GPUs, each told to take memory as needed. Nothing else of TensorFlow may run before."""
    import tensorflow as tf

    cards: list[Any] = tf.config.list_physical_devices("GPU")
    for card in cards:
        with suppress(RuntimeError, ValueError):  # a notebook may have started TensorFlow, or divided the GPU, before
            tf.config.experimental.set_memory_growth(card, True)
    return cards


@contextmanager
def _without(package: str) -> Iterator[None]:
    """As if `package` were not installed, unless it is loaded already.

    Keras loads Matplotlib where it can, for pictures that are not ours: slowly, and not at all with some matplotlibrc.
    """
    hidden = package not in sys.modules
    if hidden:
        sys.modules[package] = None  # type: ignore[assignment]  # what `import` takes for "not there"
    try:
        yield
    finally:
        if hidden:
            del sys.modules[package]


def jit(wanted: bool) -> bool | str:
    """Keras' `jit_compile`: XLA where it is wanted; JAX has no other way to compile, and must not run uncompiled."""
    return wanted if with_tensorflow else "auto"


@contextmanager
def quiet_stderr(library: str) -> Iterator[None]:
    """Keep what native libraries write to stderr from the user, unless the block fails or the process dies in it.

    Until the block ends, stderr is a pipe to `tail`, which prints when its input ends: after an exception, or when the
    process is gone, be it by exit(), abort() or a signal. After success, and after Ctrl-C, it is killed before that.
    """
    try:
        stderr, tail = _hold_stderr()
    except OSError:  # stderr is closed, or there is no `tail`: better chatter than a message lost
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


def _hold_stderr() -> tuple[int, "subprocess.Popen[bytes]"]:
    """Make stderr a pipe to a `tail` that Ctrl-C does not reach; return the stderr of before, which it prints to."""
    stderr = os.dup(2)
    command = ["tail", "-n", str(KEPT_LINES)]
    try:
        tail = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stderr, stderr=stderr, start_new_session=True)
    except OSError:
        os.close(stderr)
        raise
    assert tail.stdin is not None
    os.dup2(tail.stdin.fileno(), 2)
    tail.stdin.close()
    return stderr, tail
