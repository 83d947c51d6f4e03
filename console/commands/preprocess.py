"""`preprocess`: every file below a folder becomes one sample of a cache."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from console.executors import executor_for
from console.exit_codes import QUARANTINED
from console.options import LINKED, OUTPUT, QUOTED, SHEET, WORKERS, options, time_limit
from console.output import no_note, note, print_json, print_lines
from console.parameters import PATH, linked_array, names_from_csv
from console.progress import Progress
from pipeline.workers.options import WorkerOptions

if TYPE_CHECKING:
    from cache.progress import Callback
    from pipeline.jobs.preprocess import PreprocessJob
    from pipeline.recipes.base import Recipe

# As in cache.schema, which is too heavy to import for --help.
DTYPES = ("uint8", "uint16", "float16", "float32")


@click.group()
def preprocess() -> None:
    """Turn every file below a folder into one sample of a cache."""


RUN = options(
    click.option("--depth", type=int, default=70, show_default=True, help="Slices or frames of a sample."),
    click.option("--height", type=int, default=224, show_default=True, help="Rows of a sample."),
    click.option("--width", type=int, default=224, show_default=True, help="Columns of a sample."),
    click.option(
        "--dtype", type=click.Choice(DTYPES), help="How values are stored; default: uint16 for CT, uint8 for video."
    ),
    WORKERS,
    click.option("--dry-run", is_flag=True, help="Say what would be done, how long and how large; write nothing."),
    click.option("--stop-on-error", is_flag=True, help="Stop at the first bad input instead of quarantining it."),
    OUTPUT,
)


@preprocess.command()
@click.argument("source", type=PATH)
@click.argument("cache", type=PATH)
@click.option("--labels", type=PATH, help="CSV with the columns FileName,TypeOfTB and optionally Patient.")
@SHEET
@click.option("--order", type=int, help="Order of the spline, 0 to 5 (default 3).")
@click.option("--window", type=float, nargs=2, default=(-1000, 400), show_default=True, help="HU that become 0 and 1.")
@click.option(
    "--preset",
    type=click.Choice(["paper", "original"]),
    default="paper",
    show_default=True,
    help="`original`: the arrays of the authors' code, with its faults, to compare published results.",
)
@time_limit("--scan-timeout", "a scan")
@LINKED
@RUN
def ct(
    source: Path,
    cache: Path,
    labels: Path | None,
    class_names: str | None,
    file_column: str | None,
    label_column: str | None,
    patient_column: str | None,
    timeout: float,
    linked_volume: Path | None,
    workers: int | None,
    scheduler: str | None,
    executor: str | None,
    dry_run: bool,
    stop_on_error: bool,
    as_json: bool,
    quiet: bool,
    **recipe: Any,
) -> None:
    """Resize every NIfTI scan below SOURCE into CACHE.

    Run it again to add new scans, to redo changed ones, or to go on after an interruption: what is there is kept, and
    the recipe is that of CACHE; options that contradict it are refused.

    \b
    Example:
      python cli.py preprocess ct TrainSet ct.zarr --labels train.csv --workers 4
    """
    from pipeline.jobs import preprocess
    from pipeline.labels.columns import ColumnChoice
    from pipeline.recipes.ct import CtRecipe

    columns = ColumnChoice(file_column, label_column, patient_column)
    if labels is None and columns != ColumnChoice():
        raise click.UsageError("--file-column, --label-column and --patient-column are about --labels CSV; give it too")
    wanted = _recipe(CtRecipe, cache, recipe)
    job = preprocess.prepare(source, cache, wanted, names_from_csv("--class-names", class_names), labels, columns)
    _preprocess(
        job, WorkerOptions(workers, scheduler, executor), dry_run, stop_on_error, as_json, quiet, timeout, linked_volume
    )


@preprocess.command()
@click.argument("source", type=PATH)
@click.argument("cache", type=PATH)
@click.option("--classes", metavar="A,B,…", help=f"Class folders in label order; `paper`: the paper's ten; {QUOTED}")
@click.option(
    "--sampling",
    type=click.Choice(("head", "uniform", "spline")),
    default="head",
    show_default=True,
    help="First frames, evenly spaced ones, or the spline zoom along time.",
)
@click.option(
    "--short",
    type=click.Choice(("skip", "loop", "stretch")),
    default="skip",
    show_default=True,
    help="What becomes of clips with fewer frames than --depth.",
)
@time_limit("--clip-timeout", "a clip")
@LINKED
@RUN
def video(
    source: Path,
    cache: Path,
    classes: str | None,
    timeout: float,
    linked_volume: Path | None,
    workers: int | None,
    scheduler: str | None,
    executor: str | None,
    dry_run: bool,
    stop_on_error: bool,
    as_json: bool,
    quiet: bool,
    **recipe: Any,
) -> None:
    """Turn every clip of a `Class/v_Class_gNN_cMM.avi` tree below SOURCE into gray frames in CACHE.

    The label is the folder, the group of a split is the gNN of the name. Run it again to add, redo or go on; the recipe
    is then that of CACHE, and options that contradict it are refused.

    \b
    Example:
      python cli.py preprocess video UCF50 clips.zarr --classes paper --workers 4
    """
    from pipeline.jobs import preprocess
    from pipeline.recipes.video import VideoRecipe
    from pipeline.sources.formats.video import PAPER_CLASSES

    wanted = _recipe(VideoRecipe, cache, recipe)
    names = PAPER_CLASSES if classes == "paper" else names_from_csv("--classes", classes)
    job = preprocess.prepare(source, cache, wanted, names)
    _preprocess(
        job, WorkerOptions(workers, scheduler, executor), dry_run, stop_on_error, as_json, quiet, timeout, linked_volume
    )


def _recipe(kind: Any, cache: Path, parameters: Mapping[str, Any]) -> "Recipe":
    """A recipe of `kind`: that of `cache` where it exists, but for what was given; what it refuses is wrong usage."""
    from pipeline.errors import PipelineError
    from pipeline.recipes.stored import recipe_for

    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in parameters.items() if source(name) is not ParameterSource.DEFAULT}
    if given.get("preset") == "original":
        given.setdefault("order", 1)
    try:
        return recipe_for(kind, cache, given)
    except PipelineError as error:
        raise click.UsageError(str(error)) from error


def _preprocess(
    job: "PreprocessJob",
    where: WorkerOptions,
    dry_run: bool,
    stop_on_error: bool,
    as_json: bool,
    quiet: bool,
    timeout: float,
    linked_volume: Path | None,
) -> None:
    """Run a prepared job, or say what it would do."""
    _refuse_nothing(job)
    linked = linked_array(job.root, "volume", linked_volume)
    if dry_run:
        _dry_run(job, where.workers, as_json, quiet, timeout)
    else:
        executor = executor_for(where, len(job.plan.tasks), (job.source, job.root), timeout, quiet)
        _run(job, executor, stop_on_error, as_json, quiet, linked)


def _refuse_nothing(job: "PreprocessJob") -> None:
    """Stop where SOURCE is most likely the wrong folder."""
    from pipeline.errors import PipelineError
    from pipeline.jobs import report
    from pipeline.sources.format import format_of

    if not job.inputs.records and not job.entries:
        endings = ", ".join(format_of(job.recipe.kind).endings)
        raise PipelineError(
            f"SOURCE {job.source} holds no input; expected files that end in {endings}, in it or in folders below it"
            f"{report.nothing_found(job.inputs)}"
        )


def _dry_run(job: "PreprocessJob", workers: int | None, as_json: bool, quiet: bool, timeout: float) -> None:
    """Say what a prepared job would do; wrong labels show in the exit code as after the run itself."""
    from pipeline.jobs import report
    from pipeline.jobs.estimate import estimate
    from pipeline.workers.limits import memory_warning, usable_workers

    count = usable_workers(workers, no_note if quiet else note)
    count = max(1, min(count, len(job.plan.tasks)))
    sample = estimate(job, timeout)
    if as_json:
        print_json(report.plan_json(job, count, sample))
    elif not quiet:
        print_lines(report.plan_lines(job, count, sample))
        print_lines(memory_warning(count, sample.memory) if sample else ())
    if job.labels.wrong:
        click.get_current_context().exit(QUARANTINED)


def _run(job: "PreprocessJob", executor: Any, stop_on_error: bool, as_json: bool, quiet: bool, linked: str) -> None:
    """Run a prepared job with a progress bar, print how it ended, and exit accordingly."""
    from pipeline.jobs import preprocess, report
    from pipeline.labels import report as label_report

    with Progress(len(job.plan.tasks), quiet) as progress:
        summary = preprocess.run(job, executor, cast("Callback", progress), stop_on_error, linked)
    if as_json:
        print_json(report.run_json(summary, job.attributes) | label_report.labels_json(job))
    elif not quiet:
        print_lines(report.run_lines(job, summary))
    if summary.quarantined or summary.unreadable or summary.wrong_labels:
        click.get_current_context().exit(QUARANTINED)


COMMAND = preprocess
