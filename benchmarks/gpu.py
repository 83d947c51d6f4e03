"""The trainer on a GPU, beside plain JAX in the same process: steps, features, epochs, memory, first and second start.

KERAS_BACKEND=jax python benchmarks/gpu.py [--quick] [--json FILE]

Without a GPU, or with --quick, shapes are tiny and the ratios mean nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runs from a checkout that is not installed
os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import plain_jax

from cache import open_cache, store, write_features
from cache.catalog import read_entries
from cache.progress import Callback
from cache.schema import Attributes, Entry
from cache.writer import open_writer
from trainer import backend

CLASSES = ("a", "b", "c", "d", "e")


@dataclass(frozen=True)
class Size:
    """Shapes and counts of one run of the benchmark."""

    depth: int = 70
    side: int = 224
    steps: int = 20
    scans: int = 76  # of an epoch with rotation
    clips: int = 240  # whose features are extracted
    clips_in_epoch: int = 1092
    product: int = 8192
    precision: str = "mixed_bfloat16"


TINY = Size(depth=4, side=32, steps=2, scans=6, clips=6, clips_in_epoch=20, product=256, precision="float32")


def write_volumes(root: Path, size: Size, count: int, kind: str) -> Path:
    """A cache of random volumes of a few distinct patterns."""
    dtype = {"ct": "uint16", "video": "uint8"}[kind]
    shape = {"dtype": dtype, "depth": size.depth, "height": size.side, "width": size.side}
    attributes = Attributes(kind, {"kind": kind, "version": 1, **shape}, CLASSES)
    rng = np.random.default_rng(0)
    pattern = rng.random((size.depth, size.side, size.side), np.float32)
    with open_writer(root, attributes, read_entries(root)) as writer:
        for row in range(count):
            nbytes, digest = store.write_chunk(root, row, np.roll(pattern, row, axis=2), dtype)
            entry = Entry(f"s{row}", "complete", row=row, label=row % 5, group=f"g{row}", nbytes=nbytes, digest=digest)
            writer.commit([entry])
    return root


def our_step(volumes: Path, size: Size, **settings: Any) -> dict[str, float]:
    """A training step of the network: seconds of the first one and of each later one, and the peak of memory."""
    from trainer.model.networks import initial_model, model_for_inputs
    from trainer.runs.plan import configure, run_with
    from trainer.training.fit import compile_for

    cache = open_cache(volumes)
    stage = "pretrain" if cache.kind == "video" else "finetune"
    config = configure(stage, {"weights": "none", "freeze_backbone": stage == "pretrain", **settings})
    full_model = initial_model(run_with(cache, config))
    model = model_for_inputs(full_model, cache)
    compile_for(model, config)
    runner = backend.library().TrainingSteps(model)
    values = np.stack([cache.stored(0), cache.stored(1)])
    batch = (values, np.array([0, 1], np.int32), np.ones(2, np.float32))
    start = time.perf_counter()
    runner.read(runner(*batch))
    first, start = time.perf_counter() - start, time.perf_counter()
    for _ in range(size.steps):
        handle = runner(*batch)
    runner.read(handle)
    later = (time.perf_counter() - start) / size.steps
    runner.synchronize()
    return {"first": first, "step": later, "block": full_model.get_layer("frames").block}


def extraction_rate(volumes: Path, out: Path, size: Size) -> float:
    """Slices per second, reading and writing included."""
    from trainer.features.extract import Extraction, extract

    return extract(Extraction(volumes, out, {"weights": "none", "precision": size.precision}), Callback()).rate


def epoch_on_features(folder: Path, size: Size) -> float:
    """Seconds of an epoch on cached features, batches of 2, the second of two."""
    count = size.clips_in_epoch
    rng = np.random.default_rng(0)
    values = rng.random((count + 4, size.depth, 512), np.float32).astype(np.float16)
    names, labels = [f"c{number}" for number in range(count + 4)], [number % 5 for number in range(count + 4)]
    write_features(folder / "many.zarr", names, labels, None, values, list(CLASSES), "vgg16")
    split = {"train": names[:count], "validation": names[count:]}
    (folder / "split.json").write_text(json.dumps(split))
    return timing(folder / "many.zarr", folder / "on_features", "pretrain", {"epochs": 2}, folder / "split.json")[0]


def timing(
    cache: Path, run: Path, stage: str, settings: dict[str, Any], split: Path | None = None
) -> tuple[float, float]:
    """Seconds of the last epoch of a real run, and the share of it spent waiting for data."""
    from trainer.runs.plan import Request
    from trainer.training.train import train

    train(Request(stage, cache, run, settings, split=split), Callback())
    row = (run / "timings.csv").read_text().splitlines()[-1].split(",")
    return float(row[1]), float(row[2])


def second_start(folder: Path, scans: Path) -> float:
    """Seconds until the first step is finished in a new process, after another one has compiled the same step."""
    program = (
        "import sys, time; start = time.perf_counter(); sys.path[:0] = ['benchmarks', '.']; import gpu; "
        "from trainer import backend; backend.start(); from pathlib import Path; "
        f"gpu.our_step(Path({str(scans)!r}), gpu.Size(steps=1), precision='mixed_bfloat16'); "
        "print(time.perf_counter() - start)"
    )
    for _ in range(2):
        root = Path(__file__).resolve().parent.parent
        result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def pytorch_step(size: Size) -> float | None:
    """Seconds of a step of the usual PyTorch script (torchvision's VGG-16, AMP in bfloat16); None without PyTorch."""
    with suppress(ImportError):
        import torch
        import torchvision

        if not torch.cuda.is_available():
            return None
        convolutions = torchvision.models.vgg16(weights=None).features.cuda().to(memory_format=torch.channels_last)
        lstm, head = (
            torch.nn.LSTM(512, 256, batch_first=True).cuda(),
            torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 5)).cuda(),
        )
        parameters = [*convolutions.parameters(), *lstm.parameters(), *head.parameters()]
        optimizer = torch.optim.SGD(parameters, 1e-3)
        volumes = torch.rand(2, size.depth, size.side, size.side, device="cuda")
        labels = torch.tensor([0, 1], device="cuda")

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16):
                frames = volumes.reshape(-1, 1, size.side, size.side).expand(-1, 3, -1, -1)
                values = convolutions(frames.contiguous(memory_format=torch.channels_last)).mean((2, 3))
                outputs, _ = lstm(values.reshape(2, size.depth, -1))
                result = torch.nn.functional.cross_entropy(head(outputs[:, -1]), labels)
            result.backward()
            optimizer.step()

        for _ in range(3):
            step()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(size.steps):
            step()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / size.steps
    return None


def measure(size: Size, folder: Path, on_gpu: bool) -> dict[str, Any]:
    """All figures, in seconds, FLOP/s and slices per second."""
    import jax.numpy as jnp

    figures: dict[str, Any] = {}
    dtype = jnp.bfloat16 if size.precision == "mixed_bfloat16" else jnp.float32

    def record(name: str, action: Callable[[], Any]) -> None:
        start = time.perf_counter()
        figures[name] = action()
        print(f"{name}: {figures[name]}  [{time.perf_counter() - start:.0f} s]", flush=True)

    scans = write_volumes(folder / "ct.zarr", size, size.scans + 4, "ct")
    clips = write_volumes(folder / "clips.zarr", size, size.clips, "video")
    shape = (2, size.depth, size.side, size.side)
    block = 256 if on_gpu else 4
    bfloat16 = {"precision": size.precision}
    record("product", lambda: plain_jax.product_rate(size.product, dtype, size.steps))
    record("plain step", lambda: plain_jax.step_seconds(shape, dtype, size.steps))
    record("fine-tuning, bfloat16", lambda: our_step(scans, size, **bfloat16))
    record("pretraining, bfloat16", lambda: our_step(clips, size, **bfloat16))
    record("fine-tuning, float32", lambda: our_step(scans, size))
    record("fine-tuning, blocks of 5", lambda: our_step(scans, size, slices_per_step=5, **bfloat16))
    record("PyTorch step", lambda: pytorch_step(size))
    record("plain forward pass", lambda: plain_jax.forward_rate(block, size.side, dtype, size.steps))
    record("extraction", lambda: extraction_rate(clips, folder / "features.zarr", size))
    record("epoch on features", lambda: epoch_on_features(folder, size))
    rotation = {"weights": "none", "epochs": 2, "augmentation": ("rotation",), **bfloat16}
    record("epoch with rotation", lambda: timing(scans, folder / "rotation", "finetune", rotation))
    if on_gpu:
        record("second start", lambda: second_start(folder, scans))
        import jax

        figures["peak bytes"] = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return figures


def report(figures: dict[str, Any]) -> None:
    """Print each ratio beside its target."""

    def line(title: str, value: float | None, target: float, at_most: bool = False) -> None:
        if value is not None:
            met = value <= target if at_most else value >= target
            print(
                f"{title}: {value:.3g} ({'at most' if at_most else 'at least'} {target:g}) {'met' if met else 'MISSED'}"
            )

    ours, pretraining = figures["fine-tuning, bfloat16"], figures["pretraining, bfloat16"]
    pytorch = figures["PyTorch step"]
    line("fine-tuning step, speed against plain JAX", figures["plain step"][1] / ours["step"], 1.0)
    line("fine-tuning step, speed against PyTorch", pytorch and pytorch / ours["step"], 1.1)
    line("pretraining step, speed against PyTorch's fine-tuning", pytorch and pytorch / pretraining["step"], 1.25)
    line("extraction, speed against the plain forward pass", figures["extraction"] / figures["plain forward pass"], 0.9)
    line("epoch on features, s", figures["epoch on features"], 0.5, at_most=True)
    line("share of time waiting for data", figures["epoch with rotation"][1], 0.01, at_most=True)
    line("first step, s", ours["first"], 25, at_most=True)
    line("second start, s", figures.get("second start"), 10, at_most=True)
    if peak := figures.get("peak bytes"):
        print(f"peak memory of everything above: {peak / 1e9:.1f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny shapes")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    print(backend.start())
    on_gpu = backend.uses_gpu() and not options.quick
    if not on_gpu:
        print("No GPU, or --quick: tiny shapes, whose ratios mean nothing.")
        from trainer.features import encode

        encode.BLOCK_PIXELS = 8 * TINY.side**2
    with tempfile.TemporaryDirectory() as name:
        figures = measure(Size() if on_gpu else TINY, Path(name), on_gpu)
    if on_gpu:
        report(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
