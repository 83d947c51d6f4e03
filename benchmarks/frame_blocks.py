"""One training step of all layers on 2×70×224×224: slices in blocks that are recomputed, against all at once.

python benchmarks/frame_blocks.py [--quick]
"""

import sys
import time

import numpy as np
from common import in_own_process, verdict

from trainer import backend
from trainer.config import FINETUNE

GB = 1e9
SLICE_FLOPS = 30.7e9  # of VGG-16's convolutions on one picture of 224×224, forward


def step(shape: tuple[int, int, int], block: int) -> dict:
    """Seconds of the second step, and its loss."""
    backend.start()
    from trainer.model.viptt_net import build_model
    from trainer.training.fit import compile_for

    config = FINETUNE.replace(weights="none", slices_per_step=block)
    model = build_model(config, shape, 5)
    compile_for(model, config)
    rng = np.random.default_rng(0)
    volumes, labels = rng.random((2, *shape), np.float32), np.array([0, 3], np.int32)
    for _ in range(2):
        start = time.perf_counter()
        loss = float(model.train_on_batch(volumes, labels)[0])
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "loss": loss}


def main(quick: bool) -> None:
    shape, block = ((4, 32, 32), 2) if quick else ((70, 224, 224), 0)
    blocks = in_own_process(step, shape, block)
    whole = in_own_process(step, shape, shape[0])
    flops = 2 * shape[0] * SLICE_FLOPS * shape[1] * shape[2] / 224**2
    for name, found, passes in (("blocks", blocks, 4), ("all at once", whole, 3)):
        rate = passes * flops / found["seconds"] / 1e9
        print(f"{name:12} {found['seconds']:.1f} s, {found['peak'] / GB:.2f} GB, {rate:.0f} GFLOP/s")
    verdict("GB with blocks", blocks["peak"] / GB, 5.5, at_most=True)
    verdict("time with blocks", blocks["seconds"] / whole["seconds"], 1.5, at_most=True)


if __name__ == "__main__":
    main("--quick" in sys.argv)
