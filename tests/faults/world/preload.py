"""The modules that a server imports before it forks, and the folder where methods write files."""

import importlib
import os
import tempfile

LIGHT, HEAVY = "light", "heavy"  # parts of the scenarios; the heavy ones need TensorFlow
MODULES = (
    "av", "cv2", "isal.igzip", "nibabel", "psutil", "scipy.ndimage", "threadpoolctl", "zarr", "cli", "cache.removal",
    "cache.verify", "pipeline.jobs.sample", "pipeline.jobs.label_report", "pipeline.demo.phantom_clips",
    "pipeline.demo.phantoms", "pipeline.jobs.relabel", "pipeline.jobs.report", "pipeline.transforms.video",
)  # fmt: skip
HEAVY_MODULES = (
    "encodings.cp437", "h5py", "keras", "matplotlib.backends.backend_agg", "matplotlib.figure", "tensorboard.compat",
    "tensorboard.plugins.scalar.metadata", "tensorboard.summary.writer.event_file_writer", "tensorflow",
    "trainer.evaluation.evaluate", "trainer.experiments.experiment", "trainer.features.extract",
    "trainer.evaluation.submission", "trainer.training.train",
)  # fmt: skip


def load_everything(part: str) -> None:
    """Import all modules that the commands of `part` import, so that forked processes need not."""
    for name in MODULES if part == LIGHT else (*MODULES, *HEAVY_MODULES):
        importlib.import_module(name)


def scratch() -> str:
    """The folder for temporary files: in memory if possible, as no method needs them on a disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
