"""The reference for `gpu.py`: the same network, VGG-16, LSTM and two dense layers, in plain JAX."""

import sys
import time
from typing import Any

import numpy as np

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and convolutions before each pool of VGG-16
UNITS, DENSE, CLASSES = 256, 1024, 5


def weights(seed: int = 0) -> dict[str, Any]:
    """Random weights: of 13 convolutions, the convolution before them, the LSTM and the dense layers."""
    import jax.numpy as jnp

    rng, before, convolutions = np.random.default_rng(seed), 3, []
    for channels, count in BLOCKS:
        for _ in range(count):
            kernel = rng.normal(0, (2 / (9 * before)) ** 0.5, (3, 3, before, channels))
            convolutions.append((jnp.asarray(kernel, jnp.float32), jnp.zeros(channels)))
            before = channels
    sizes = {"first": (1, 3), "input": (512, 4 * UNITS), "recurrent": (UNITS, 4 * UNITS)}
    sizes |= {"dense": (UNITS, DENSE), "classes": (DENSE, CLASSES)}
    layers = {name: jnp.asarray(rng.normal(0, size[0] ** -0.5, size), jnp.float32) for name, size in sizes.items()}
    return {"convolutions": convolutions, **layers}


def features(weights: dict[str, Any], slices: Any, dtype: Any) -> Any:
    """Slices (n, height, width) in [0, 1] → features (n, 512), computed in `dtype`."""
    import jax
    from jax import lax

    x = slices.astype(dtype)[..., None] * weights["first"][0].astype(dtype)
    convolutions = iter(weights["convolutions"])
    for _, count in BLOCKS:
        for _ in range(count):
            kernel, bias = next(convolutions)
            dimensions = ("NHWC", "HWIO", "NHWC")
            x = lax.conv_general_dilated(x, kernel.astype(dtype), (1, 1), "SAME", dimension_numbers=dimensions)
            x = jax.nn.relu(x + bias.astype(dtype))
        n, height, width, channels = x.shape
        x = x[:, : height // 2 * 2, : width // 2 * 2].reshape(n, height // 2, 2, width // 2, 2, channels).max((2, 4))
    return x.mean((1, 2))


def loss(weights: dict[str, Any], volumes: Any, labels: Any, dtype: Any) -> Any:
    """The mean cross-entropy of volumes (n, depth, height, width)."""
    import jax
    import jax.numpy as jnp

    n, depth, height, width = volumes.shape
    frames = features(weights, volumes.reshape(-1, height, width), dtype).reshape(n, depth, -1).astype(jnp.float32)
    inputs = jnp.swapaxes(frames @ weights["input"], 0, 1)

    def step(state: Any, projected: Any) -> Any:
        hidden, carry = state
        i, f, c, o = jnp.split(projected + hidden @ weights["recurrent"], 4, 1)
        carry = jax.nn.sigmoid(f) * carry + jax.nn.sigmoid(i) * jnp.tanh(c)
        return (jax.nn.sigmoid(o) * jnp.tanh(carry), carry), None

    (hidden, _), _ = jax.lax.scan(step, (jnp.zeros((n, UNITS)), jnp.zeros((n, UNITS))), inputs)
    scores = jax.nn.log_softmax(jax.nn.relu(hidden @ weights["dense"]) @ weights["classes"])
    return -scores[jnp.arange(n), labels].mean()


def training_step(dtype: Any, rate: float = 1e-3) -> Any:
    """A compiled step of plain SGD: (weights, volumes, labels) → (new weights, loss)."""
    import jax

    def step(values: Any, volumes: Any, labels: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(values, volumes, labels, dtype)
        return jax.tree.map(lambda w, g: w - rate * g, values, gradients), value

    return jax.jit(step, donate_argnums=0)


def step_seconds(shape: tuple[int, ...], dtype: Any, count: int) -> tuple[float, float]:
    """Seconds of the first step, and of each of the `count` steps after it, on volumes of `shape`."""
    import jax

    values, step = weights(), training_step(dtype)
    volumes = jax.numpy.asarray(np.random.default_rng(1).random(shape, np.float32))
    labels = jax.numpy.arange(shape[0]) % CLASSES
    start = time.perf_counter()
    values, value = step(values, volumes, labels)
    value.block_until_ready()
    first, start = time.perf_counter() - start, time.perf_counter()
    for _ in range(count):
        values, value = step(values, volumes, labels)
    value.block_until_ready()
    return first, (time.perf_counter() - start) / count


def forward_rate(block: int, side: int, dtype: Any, count: int) -> float:
    """Slices per second through the convolutions alone, `block` at a time."""
    import jax

    values = weights()
    slices = jax.numpy.asarray(np.random.default_rng(1).random((block, side, side), np.float32))
    forward = jax.jit(lambda w, x: features(w, x, dtype))
    forward(values, slices).block_until_ready()
    start = time.perf_counter()
    for _ in range(count):
        result = forward(values, slices)
    result.block_until_ready()
    return count * block / (time.perf_counter() - start)


def product_rate(side: int, dtype: Any, count: int) -> float:
    """FLOP/s of the product of two square matrices: the practical limit of the device."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((side, side), dtype)
    multiply = jax.jit(lambda x, y: x @ y)
    multiply(a, a).block_until_ready()
    start = time.perf_counter()
    for _ in range(count):
        result = multiply(a, a)
    result.block_until_ready()
    return 2 * side**3 * count / (time.perf_counter() - start)


if __name__ == "__main__":
    import jax.numpy as jnp

    size = (1, 2, 32, 32) if "--quick" in sys.argv else (2, 70, 224, 224)
    first, later = step_seconds(size, jnp.bfloat16, 3)
    print(f"first step {first:.2f} s, later steps {later * 1e3:.1f} ms")
