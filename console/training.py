"""Run one stage of training and print the metrics of its best weights."""

from pathlib import Path
from typing import Annotated, Any

import click
import msgspec
from msgspec import Meta

from console.options import takes
from console.progress import Progress
from console.shared_options import Features, Output, Reading, flag
from trainer.config import Augmentation, Config

MODEL = ("backbone", "weights", "input_conv", "rnn", "freeze_backbone", "slices_per_step")
OPTIMISATION = ("epochs", "batch_size", "optimizer", "learning_rate", "class_weights", "seed")
SPEED = ("precision", "jit_compile")
config_options = takes("config", Config, (*MODEL, *OPTIMISATION, *SPEED), only_given=True)


class SplitOptions(msgspec.Struct, frozen=True):
    """Which samples train and which validate."""

    split: Annotated[
        Path | None,
        Meta(
            description="Which ids train and validate: the split.json of another run, or a file of your own.",
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
            raise click.UsageError("--drop-shared applies to the samples of --split; expected --split FILE too")


class AugmentationOptions(msgspec.Struct, frozen=True):
    """Random changes to samples in training."""

    augment: Annotated[
        bool | None,
        Meta(
            description="Change scans at random in each epoch, in fine-tuning only.",
            extra={"default": "no-augment"},
        ),
    ] = None
    augment_by: Annotated[
        tuple[Augmentation, ...],
        Meta(
            description="How: any of rotation, shift and blur.",
            extra={"metavar": "A,B,…", "default": "rotation"},
        ),
    ] = ()

    def __post_init__(self) -> None:
        if self.augment_by and not self.augment:
            raise click.UsageError("--augment-by says how --augment changes scans; expected --augment too")

    def given(self) -> dict[str, Any]:
        """The field of the configuration that these options set; empty where the user gave none."""
        if self.augment is None:
            return {}
        return {"augmentation": (self.augment_by or ("rotation",)) if self.augment else ()}


class SessionOptions(msgspec.Struct, frozen=True):
    """How a run is carried out; nothing here changes its result."""

    resume: Annotated[bool, flag("--resume", "Resume the run in RUN where it stopped.")] = False
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
    """Train RUN on `cache`, and print the metrics of its best weights. `config` has the fields that the user gave."""
    from trainer import backend

    device = backend.start()
    from trainer.evaluation.report import metrics_lines
    from trainer.runs.plan import Request
    from trainer.training.train import train

    request = Request(
        stage,
        cache,
        run,
        config | augmentation.given(),
        parent,
        split.split,
        session.resume,
        features.features,
        reading.readers,
        session.save_every,
        split.drop_shared,
    )
    with Progress(output.quiet or output.as_json) as progress:
        progress.on_note(device)
        metrics = train(request, progress)
    title = f"{run}: the best epoch on {metrics['n']} validation samples"
    output.show(lambda: metrics, lambda: ["", title, *metrics_lines(metrics)])
