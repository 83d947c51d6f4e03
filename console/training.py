"""Run one stage of training and print the metrics of its best weights."""

from pathlib import Path
from typing import Annotated, Any

import click
import msgspec
from msgspec import Meta

from console.options import struct_options
from console.progress import Progress
from console.shared_options import Features, Output, Reading, flag
from trainer.config import Augmentation, Config

MODEL = ("backbone", "weights", "input_conv", "rnn", "freeze_backbone", "slices_per_step")
OPTIMISATION = ("epochs", "batch_size", "optimizer", "learning_rate", "class_weights", "seed")
SPEED = ("precision", "jit_compile")
config_options = struct_options("config", Config, (*MODEL, *OPTIMISATION, *SPEED), only_set=True)


class SplitOptions(msgspec.Struct, frozen=True):
    """The samples for training and for validation."""

    split: Annotated[
        Path | None,
        Meta(
            description="Ids for training and validation: the split.json of another run, or a file of your own.",
            extra={"metavar": "FILE"},
        ),
    ] = None
    drop_shared: Annotated[
        bool,
        flag(
            "--drop-shared",
            "With --split: leave samples out of training whose array is also in validation or test.",
        ),
    ] = False

    def __post_init__(self) -> None:
        if self.drop_shared and self.split is None:
            raise click.UsageError("--drop-shared works on the samples of --split; add --split FILE")


class AugmentationOptions(msgspec.Struct, frozen=True):
    """Random augmentation of training samples."""

    augment: Annotated[
        bool | None,
        Meta(
            description="Augment scans at random in each epoch; for fine-tuning only.",
            extra={"default": "no-augment"},
        ),
    ] = None
    augment_by: Annotated[
        tuple[Augmentation, ...],
        Meta(
            description="Kinds of augmentation: any of rotation, shift and blur.",
            extra={"metavar": "A,B,…", "default": "rotation"},
        ),
    ] = ()

    def __post_init__(self) -> None:
        if self.augment_by and not self.augment:
            raise click.UsageError("--augment-by chooses the kinds of --augment; add --augment")

    def settings(self) -> dict[str, Any]:
        """The field of Config that these options set; empty where the user set none."""
        if self.augment is None:
            return {}
        return {"augmentation": (self.augment_by or ("rotation",)) if self.augment else ()}


class SessionOptions(msgspec.Struct, frozen=True):
    """How a run is carried out; nothing here changes its result."""

    resume: Annotated[bool, flag("--resume", "Resume the run in RUN where it stopped.")] = False
    deterministic: Annotated[
        bool,
        flag("--deterministic", "Same bits from the same run on a GPU too, more slowly; on a CPU it is always so."),
    ] = False
    save_every: Annotated[float, Meta(ge=0, description="Seconds between checkpoints within an epoch.")] = 60.0


def run_stage(
    stage: str,
    cache: Path,
    run: Path,
    parent: Path | None = None,
    *,
    config: dict[str, Any],
    features: Features,
    split: SplitOptions,
    augmentation: AugmentationOptions,
    session: SessionOptions,
    reading: Reading,
    output: Output,
) -> None:
    """Train RUN on `cache`, and print the metrics of its best weights. `config` has the fields that the user set."""
    from trainer import backend

    backend.start(session.deterministic)
    from trainer.evaluation.report import metrics_lines
    from trainer.runs.plan import Request
    from trainer.training.train import train

    request = Request(
        stage,
        cache,
        run,
        config | augmentation.settings(),
        parent,
        split.split,
        session.resume,
        features.features,
        reading.readers,
        session.save_every,
        split.drop_shared,
    )
    with Progress(output.quiet or output.as_json) as progress:
        metrics = train(request, progress)
    title = f"{run}: the best epoch on {metrics['n']} validation samples"
    output.show(lambda: metrics, lambda: ["", title, *metrics_lines(metrics)])
