"""The one place that knows which backend Keras runs on: TensorFlow by default, JAX where `KERAS_BACKEND` says so.

What a user's own keras.json says of backend, layout or dtype is for their other programs: it decides nothing here.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

with_tensorflow = os.environ.setdefault("KERAS_BACKEND", "tensorflow") == "tensorflow"


def start() -> str:
    """Load Keras and its backend without their chatter; return what they compute on, such as "tensorflow 2.21 on CPU".

    On a GPU, TensorFlow is told to take memory as it needs it, not all at once.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with unheard():
        import keras

        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        keras.utils.set_random_seed(0)  # loads TensorFlow, where it is installed, whatever the backend
        if not with_tensorflow:
            return f"{keras.backend.backend()} {keras.__version__}"
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # its warnings, such as of retracing, tell users to change our code
        cards = tf.config.list_physical_devices("GPU")
        for card in cards:
            if not tf.config.list_logical_devices("GPU"):
                tf.config.experimental.set_memory_growth(card, True)
        tf.constant(0) + 1  # the first operation is when the rest of the chatter comes
        return f"TensorFlow {tf.__version__} on {len(cards)} GPU" if cards else f"TensorFlow {tf.__version__} on CPU"


def jit(wanted: bool) -> bool | str:
    """Keras' `jit_compile`: XLA where it is wanted; JAX has no other way to compile, and must not run uncompiled."""
    return wanted if with_tensorflow else "auto"


@contextmanager
def unheard() -> Iterator[None]:
    """Keep what native libraries write to stderr to ourselves, unless the block fails."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            file.seek(0)
            os.write(kept, file.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
