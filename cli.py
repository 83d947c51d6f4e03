"""The command line: parse, call, print, map errors to exit codes. Heavy imports stay inside the commands."""

import csv
import io
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from cache.progress import Callback
    from pipeline.jobs.preprocess import PreprocessJob
    from pipeline.jobs.repair import RepairJob
    from pipeline.transforms.recipes import Recipe
    from pipeline.workers.execute import Executor

DONE, FAILED, QUARANTINED, STOPPED, TERMINATED = 0, 1, 3, 130, 143
TASK_SECONDS = 300.0  # for one scan or clip
MAX_MESSAGE = 2000  # characters of a line that says why a command failed
LINE_SECONDS = 5.0  # between progress lines where there is no terminal
# As in cache.schema, which is too heavy to import for --help.
DTYPES = ("uint8", "uint16", "float16", "float32")
ADDRESS = re.compile(r"((tcp|tls|ws|wss|ucx)://)?([^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")


class Commands(click.Group):
    """Turns whatever a command raises into one line on stderr and an exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):  # a name or a sign that the terminal lacks must not end a run
            sys.stdout.reconfigure(errors="backslashreplace")
        return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except (KeyboardInterrupt, click.Abort) as stop:
            for number in (signal.SIGINT, signal.SIGTERM):  # impatient further ones must not spoil the end
                signal.signal(number, signal.SIG_IGN)
            click.echo(
                f"Stopped. What was committed is kept: run the same command again{_resuming()} to go on.", err=True
            )
            ctx.exit(TERMINATED if isinstance(stop, Terminated) else STOPPED)
        except Exception as error:  # noqa: BLE001 - the one place where errors become messages
            click.echo(f"Error: {_one_line(error)}", err=True)
            _drop_unwritable_output()
            ctx.exit(FAILED)
        finally:
            if signal.getsignal(signal.SIGTERM) is _terminate:
                signal.signal(signal.SIGTERM, before)


def _drop_unwritable_output() -> None:
    """Send what is left in stdout nowhere if it cannot be written: Python would fail on it again at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _resuming() -> str:
    """What to add to a command that does not go on by itself."""
    return ", with --resume," if "train" in sys.argv[1:2] and "--resume" not in sys.argv else ""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a job scheduler sends it: the run stops as by Ctrl-C."""


def _terminate(*_: object) -> None:
    raise Terminated


def _one_line(error: Exception) -> str:
    from cache.errors import CacheError
    from cache.oserrors import remedy
    from cache.text import cut
    from pipeline.errors import PipelineError
    from trainer.errors import TrainerError

    text = printable(cut(error, MAX_MESSAGE))
    if isinstance(error, CacheError | PipelineError | TrainerError):
        return text
    if isinstance(error, OSError) and error.strerror:
        where = f"{cut(error.filename)}: " if error.filename else "cannot continue: "
        todo = remedy(error, "check the path, its permissions and the space left")
        return printable(f"{where}{error.strerror}; {todo}")
    return f"{type(error).__name__}: {text}; this is not expected, please report it with the command you ran"


def printable(text: str) -> str:
    """`text` with control characters, line breaks and undecodable bytes escaped, safe to print to a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import cache

        click.echo(f"viptt-net {cache.__version__}")
        ctx.exit()


class GivenPath(click.Path):
    """A path; "", as an unset variable of a shell script gives it, would mean the current folder.

    A `~` that the shell has left as it is, as in quotes or after `=`, is the home folder.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; expected a path", param, ctx)
        if isinstance(value, str):
            value = os.path.expanduser(value)  # noqa: PTH111 - Path's own fails for a file named ~x
        return super().convert(value, param, ctx)


def _one_of_both(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Refuse --workers beside --scheduler, and what cannot be an address."""
    from cache.text import shown
    from pipeline.errors import PipelineError

    other = {"workers": "scheduler", "scheduler": "workers"}[str(param.name)]
    if value is not None and ctx.params.get(other) is not None:
        raise click.UsageError("--workers starts local processes, --scheduler uses others; expected one of the two")
    if isinstance(value, str) and not ADDRESS.fullmatch(value):
        raise PipelineError(f"scheduler {shown(value)} is no address; expected one such as tcp://host:8786")
    return value


PATH = GivenPath(path_type=Path, readable=False)  # what cannot be read is said where it is read


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print it.")
def main() -> None:
    """Resize CT scans and action clips once, into a Zarr cache, look after that cache, and train from it."""
    os.environ["MATPLOTLIBRC"] = os.devnull  # Matplotlib does not load with some settings, and complains of others
    os.environ.pop("MPLBACKEND", None)


@main.group()
def preprocess() -> None:
    """Turn every file below a folder into one sample of a cache."""


def options(*several: Callable[..., Any]) -> Callable[..., Any]:
    """Several click options as one decorator."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(several):
            command = option(command)
        return command

    return decorate


QUOTED = """quote a name that has a comma: '"a, b",c'."""
OUTPUT = options(
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    click.option("--quiet", is_flag=True, help="No progress and no tables, only errors."),
)
WORKERS = options(
    click.option(
        "--workers",
        type=click.IntRange(0),
        callback=_one_of_both,
        help="Local processes; default: one a core, fewer where memory is short; 0: this process.",
    ),
    click.option(
        "--scheduler",
        metavar="ADDRESS",
        callback=_one_of_both,
        help="Use the Dask cluster there, such as tcp://host:8786.",
    ),
)
LINKED = click.option(
    "--linked-volume",
    type=PATH,
    metavar="DIR",
    help="The folder of arrays in the cache is a link to DIR, on a disk with more space.",
)
SHEET = options(
    click.option("--class-names", metavar="A,B,…", help=f"Other classes, counted from 1 in the CSV; {QUOTED}"),
    click.option("--file-column", metavar="NAME", help="The CSV's column of file names; default: FileName, ID, …"),
    click.option(
        "--label-column", metavar="NAME", help="Its column of labels; default: TypeOfTB, Label, Class or Type."
    ),
    click.option("--patient-column", metavar="NAME", help="Its column of patients; default: Patient, Subject, Case, …"),
)


def time_limit(name: str, what: str) -> Callable[..., Any]:
    """The option that says how long one input may take."""
    return click.option(
        name,
        "timeout",
        type=click.FloatRange(0, min_open=True),
        default=TASK_SECONDS,
        show_default=True,
        help=f"Seconds after which {what} that does not end is quarantined.",
    )


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
    from pipeline.transforms.recipes import CtRecipe

    columns = ColumnChoice(file_column, label_column, patient_column)
    if labels is None and columns != ColumnChoice():
        raise click.UsageError("--file-column, --label-column and --patient-column are about --labels CSV; give it too")
    wanted = _recipe(CtRecipe, cache, recipe)
    job = preprocess.prepare(source, cache, wanted, _names("--class-names", class_names), labels, columns)
    _preprocess(job, workers, scheduler, dry_run, stop_on_error, as_json, quiet, timeout, linked_volume)


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
    from pipeline.sources.records import PAPER_CLASSES
    from pipeline.transforms.recipes import VideoRecipe

    wanted = _recipe(VideoRecipe, cache, recipe)
    names = PAPER_CLASSES if classes == "paper" else _names("--classes", classes)
    job = preprocess.prepare(source, cache, wanted, names)
    _preprocess(job, workers, scheduler, dry_run, stop_on_error, as_json, quiet, timeout, linked_volume)


def _recipe(kind: Any, cache: Path, parameters: Mapping[str, Any]) -> "Recipe":
    """A recipe of `kind`: that of `cache` where it exists, but for what was given; what it refuses is wrong usage."""
    from pipeline.errors import PipelineError
    from pipeline.transforms.recipes import continued

    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in parameters.items() if source(name) is not ParameterSource.DEFAULT}
    if given.get("preset") == "original":
        given.setdefault("order", 1)
    try:
        return continued(kind, cache, given)
    except PipelineError as error:
        raise click.UsageError(str(error)) from error


def _preprocess(
    job: "PreprocessJob",
    workers: int | None,
    scheduler: str | None,
    dry_run: bool,
    stop_on_error: bool,
    as_json: bool,
    quiet: bool,
    timeout: float,
    linked_volume: Path | None,
) -> None:
    """Run a prepared job, or say what it would do."""
    _refuse_nothing(job)
    linked = _linked(job.root, "volume", linked_volume)
    if dry_run:
        _dry_run(job, workers, as_json, quiet, timeout)
    else:
        executor = _executor(workers, scheduler, len(job.plan.tasks), (job.source, job.root), timeout, quiet)
        _run(job, executor, stop_on_error, as_json, quiet, linked)


def _linked(root: Path, array: str, folder: Path | None) -> str:
    """`array` where its folder in the cache in `root` is a link to `folder`; empty where the user names none."""
    from cache.confined import linked_folder
    from cache.paths import absolute, cache_root

    return linked_folder(cache_root(root), array, absolute(folder)) if folder else ""


def _refuse_nothing(job: "PreprocessJob") -> None:
    """Stop where SOURCE is most likely the wrong folder."""
    from pipeline.errors import PipelineError
    from pipeline.jobs import report
    from pipeline.sources.records import ENDINGS

    if not job.inputs.records and not job.entries:
        endings = ", ".join(ENDINGS[job.recipe.kind])
        raise PipelineError(
            f"SOURCE {job.source} holds no input; expected files that end in {endings}, in it or in folders below it"
            f"{report.nothing_found(job.inputs)}"
        )


def _names(option: str, text: str | None) -> tuple[str, ...] | None:
    """The names in one line of CSV, in Unicode's NFC."""
    from cache.schema import composed
    from cache.text import shown

    if text is None:
        return None
    try:
        line = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error:
        line = []
    names = tuple(composed(name.strip()) for name in line)
    if not names or not all(name and name.isprintable() for name in names) or len(set(names)) != len(names):
        raise click.UsageError(f"{option} {shown(text)}: expected different names with commas between them")
    return names


def _dry_run(job: "PreprocessJob", workers: int | None, as_json: bool, quiet: bool, timeout: float) -> None:
    """Say what a prepared job would do; wrong labels show in the exit code as after the run itself."""
    from pipeline.jobs import report
    from pipeline.jobs.estimate import estimate
    from pipeline.workers import execute

    count = execute.usable_workers(workers, _nothing if quiet else _note)
    count = max(1, min(count, len(job.plan.tasks)))
    sample = estimate(job, timeout)
    if as_json:
        _say_json(report.plan_json(job, count, sample))
    elif not quiet:
        _say(report.plan_lines(job, count, sample))
        _say(execute.too_large(count, sample.memory) if sample else ())
    if job.labels.wrong:
        click.get_current_context().exit(QUARANTINED)


def _run(job: "PreprocessJob", executor: Any, stop_on_error: bool, as_json: bool, quiet: bool, linked: str) -> None:
    """Run a prepared job with a progress bar, print how it ended, and exit accordingly."""
    from pipeline.jobs import preprocess, report
    from pipeline.labels import report as label_report

    with Progress(len(job.plan.tasks), quiet) as progress:
        summary = preprocess.run(job, executor, cast("Callback", progress), stop_on_error, linked)
    if as_json:
        _say_json(report.run_json(summary, job.attributes) | label_report.labels_json(job))
    elif not quiet:
        _say(report.run_lines(job, summary))
    if summary.quarantined or summary.unreadable or summary.wrong_labels:
        click.get_current_context().exit(QUARANTINED)


@contextmanager
def _executor(
    workers: int | None,
    scheduler: str | None,
    tasks: int,
    folders: tuple[Path, ...],
    timeout: float,
    quiet: bool,
) -> Iterator["Executor"]:
    """The executor asked for, started when entered; no more local workers than there are tasks."""
    from pipeline.workers import execute

    say = _nothing if quiet else _note
    if scheduler is not None:
        with execute.existing_cluster(scheduler, folders, timeout, say) as run_all:
            yield run_all
        return
    count = min(execute.usable_workers(workers, say), tasks)
    if count == 0:
        yield partial(execute.serial, timeout=timeout)
    else:
        with execute.local_cluster(count, timeout) as run_all:
            yield run_all


def _note(line: str) -> None:
    click.echo(printable(line), err=True)


def _nothing(line: str) -> None:
    """Say it to nobody."""


# -- looking after a cache ---------------------------------------------------------------------------------------------


@main.command()
@click.argument("cache", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def info(cache: Path, as_json: bool) -> None:
    """Say what is in CACHE, from what recipe, and how every input ended.

    \b
    Example:
      python cli.py info ct.zarr
    """
    from cache import store
    from pipeline.jobs import report
    from pipeline.jobs.summary import summarise

    attributes = store.read_attributes(cache)
    summary = summarise(attributes, store.read_entries(cache))
    if as_json:
        _say_json(report.cache_json(summary, attributes))
    else:
        _say(report.cache_lines(str(cache), summary, attributes, store.unpublished(cache)))


@main.command()
@click.argument("cache", type=PATH)
@click.argument("labels", metavar="CSV", type=PATH)
@SHEET
@LINKED
@OUTPUT
def label(
    cache: Path,
    labels: Path,
    linked_volume: Path | None,
    class_names: str | None,
    file_column: str | None,
    label_column: str | None,
    patient_column: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Give the scans of CACHE the labels and patients of CSV; no array is touched and no source file is needed.

    The CSV is read as by `preprocess ct --labels`. Samples that it does not name are left without a label.

    \b
    Example:
      python cli.py label ct.zarr corrected.csv
    """
    from pipeline.jobs import relabel, report
    from pipeline.labels.columns import ColumnChoice

    columns = ColumnChoice(file_column, label_column, patient_column)
    job = relabel.prepare(cache, labels, _names("--class-names", class_names), columns)
    summary = relabel.run(job, _linked(job.root, "volume", linked_volume))
    if as_json:
        _say_json(report.relabel_json(job, summary))
    elif not quiet:
        _say(report.relabel_lines(job, summary))
    if summary.wrong_labels:
        click.get_current_context().exit(QUARANTINED)


@main.command()
@click.argument("cache", type=PATH)
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--from", "file", type=PATH, help="Forget the ids in this file too, one a line.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be forgotten; write nothing.")
@LINKED
@OUTPUT
def remove(
    cache: Path,
    ids: tuple[str, ...],
    file: Path | None,
    yes: bool,
    dry_run: bool,
    linked_volume: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Forget the samples and other inputs ID... of CACHE for good: their arrays and all that the cache says of them.

    What is not in CACHE stays: sources, label sheets, caches of features, runs. While its source is in SOURCE, the next
    `preprocess` makes a sample again.

    \b
    Example:
      python cli.py remove ct.zarr TRN_0007 TRN_0123
    """
    from cache import removal, store
    from pipeline.jobs import remove as removing

    wanted = [*ids, *(removing.read_ids(file) if file else ())]
    if not wanted:
        raise click.UsageError("expected the ids of what to forget, or --from FILE")
    job = removing.prepare(cache, wanted)
    if not dry_run:
        linked = _linked(job.root, store.read_attributes(job.root).layout.array, linked_volume)
        if not yes and not _agreed(removing.question(job)):
            click.echo("Nothing was removed; --yes removes without asking.", err=True)
            click.get_current_context().exit(FAILED)
        removal.remove(job.root, wanted, linked)
    if as_json:
        _say_json(removing.removal_json(job, done=not dry_run))
    elif not quiet:
        _say(removing.removal_lines(job) if dry_run else removing.removed_lines(job))


def _agreed(question: str) -> bool:
    """Whether the user says yes; nobody there to answer is a no."""
    try:
        return click.confirm(printable(question), err=True)
    except click.Abort:
        click.echo(err=True)
        return False


@main.command()
@click.argument("cache", type=PATH)
@click.option(
    "--sample", "percent", type=click.FloatRange(0, 100, min_open=True), default=100.0, help="Check only PERCENT."
)
@OUTPUT
def verify(cache: Path, percent: float, as_json: bool, quiet: bool) -> None:
    """Read CACHE again and compare it with its records.

    Exits with 1 where a sample is damaged, missing, or stale (its source or recipe changed), and names each.

    \b
    Example:
      python cli.py verify ct.zarr --sample 10
    """
    from cache.verify import verify as check
    from pipeline.jobs import report

    with Progress(0, quiet, "checked") as progress:
        found = check(cache, percent, progress=progress.at)
    if as_json:
        _say_json(report.verify_json(found))
    elif not quiet or not found.sound:
        _say(report.verify_lines(found))
    if not found.sound:
        click.get_current_context().exit(FAILED)


@main.command()
@click.argument("cache", type=PATH)
@WORKERS
@LINKED
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@OUTPUT
def repair(
    cache: Path,
    workers: int | None,
    scheduler: str | None,
    linked_volume: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make the damaged, missing and stale samples of CACHE again from their sources, and no others.

    Exits with 1 where something cannot be healed, with --dry-run where that is known beforehand.

    \b
    Example:
      python cli.py repair ct.zarr
    """
    from cache.verify import verify as check
    from pipeline.jobs import repair, report
    from pipeline.sources.walk import is_folder

    with Progress(0, quiet, "checked") as progress:
        found = check(cache, progress=progress.at)
    job = repair.prepare(cache, found)
    if dry_run:
        _dry_repair(job, as_json, quiet)
        return
    linked = _linked(job.root, "volume", linked_volume)
    folders = (job.root, *(source for source in map(Path, job.attributes.sources) if is_folder(source)))
    executor = _executor(workers, scheduler, len(job.tasks), folders, TASK_SECONDS, quiet)
    with Progress(len(job.tasks), quiet) as progress:
        result = repair.run(job, executor, cast("Callback", progress), linked)
    if as_json:
        _say_json(report.repair_json(result))
    elif not quiet or result.failed:
        _say(report.repair_lines(result))
    if result.failed:
        click.get_current_context().exit(FAILED)


def _dry_repair(job: "RepairJob", as_json: bool, quiet: bool) -> None:
    """Say what `repair` would do, with its exit code."""
    from pipeline.jobs import report

    if as_json:
        _say_json(report.repair_plan_json(job))
    elif not quiet or job.result.failed:
        _say(report.repair_plan_lines(job))
    if job.result.failed:
        click.get_current_context().exit(FAILED)


# -- training ----------------------------------------------------------------------------------------------------------

READERS = click.option(
    "--readers", type=click.IntRange(1), default=2, show_default=True, help="Threads that read from the cache."
)
FEATURES = click.option("--features", type=PATH, help="Cached features of CACHE: saves running the backbone.")
CONFIG = options(
    click.option("--backbone", type=click.Choice(("vgg16", "small")), help="Default: vgg16; small: for demo and CPU."),
    click.option("--weights", help="Of the backbone: imagenet (default), none, or a Keras weights file."),
    click.option(
        "--input-map",
        type=click.Choice(("imagenet", "glorot")),
        help="Start of the 1×1×1 convolution: what the backbone expects (default), or random.",
    ),
    click.option("--rnn", type=click.Choice(("lstm", "gru")), help="Over the slices; default: lstm."),
    click.option(
        "--freeze-backbone/--train-backbone",
        default=None,
        help="Default: frozen in pretraining with vgg16, trained otherwise.",
    ),
    click.option("--epochs", type=int, help="At most; training ends before if nothing improves. Default: 100."),
    click.option("--batch-size", type=int, help="Default: 2."),
    click.option("--optimizer", type=click.Choice(("sgd", "adam")), help="Default: sgd; for small adam."),
    click.option("--learning-rate", type=float, help="At first; default: 0.001."),
    click.option("--seed", type=int, help="Of split, first weights, order and augmentation. Default: 0."),
    click.option(
        "--class-weights/--no-class-weights", default=None, help="Weigh classes by how rare they are. Default: no."
    ),
    click.option("--split", type=PATH, help="Which ids train and validate: another run's split.json, or one by hand."),
    click.option(
        "--drop-shared",
        is_flag=True,
        help="With --split: leave samples out of training whose array is in validation or test too.",
    ),
    click.option(
        "--frame-block",
        type=int,
        help="Slices at a time in the backbone: bounds memory. Default: five of 224×224, more of smaller.",
    ),
    click.option(
        "--precision",
        type=click.Choice(("float32", "mixed_bfloat16")),
        help="Default: float32; mixed_bfloat16 for recent GPUs.",
    ),
    click.option("--jit-compile/--no-jit-compile", default=None, help="Compile by XLA. Default: no."),
)
TRAINING = options(
    click.argument("cache", type=PATH),
    click.argument("run", type=PATH),
    click.option("--features", type=PATH, help="Cached features of CACHE: train only what is behind the backbone."),
    CONFIG,
    click.option(
        "--augment/--no-augment", default=None, help="Turn scans anew in each epoch, in fine-tuning only. Default: no."
    ),
    click.option("--augment-by", metavar="A,B,…", help="Of rotation, shift and blur; default: rotation."),
    click.option("--resume", is_flag=True, help="Go on with the run in RUN where it stopped."),
    click.option(
        "--save-every",
        type=click.FloatRange(0),
        default=60.0,
        show_default=True,
        help="Seconds between checkpoints within an epoch.",
    ),
    READERS,
    OUTPUT,
)


@main.group()
def train() -> None:
    """Train a network on a cache: first on clips, then on CT."""


@train.command()
@TRAINING
def pretrain(**given: Any) -> None:
    """Train on the clips of CACHE with the backbone frozen, into the new folder RUN.

    A run that was stopped goes on by the same command with --resume.

    \b
    Example:
      python cli.py train pretrain clips.zarr runs/pretrained --weights vgg16.weights.h5
    """
    _train("pretrain", **given)


@train.command()
@TRAINING
@click.option("--from", "parent", type=PATH, help="The run to start from; default: none, the paper's `No PT`.")
def finetune(**given: Any) -> None:
    """Train all layers on the scans of CACHE, into the new folder RUN.

    \b
    Example:
      python cli.py train finetune ct.zarr runs/pt_cw_aug --from runs/pretrained --class-weights --augment
    """
    _train("finetune", **given)


def _train(
    stage: str,
    cache: Path,
    run: Path,
    split: Path | None,
    drop_shared: bool,
    resume: bool,
    features: Path | None,
    save_every: float,
    readers: int,
    as_json: bool,
    quiet: bool,
    augment: bool | None,
    augment_by: str | None,
    parent: Path | None = None,
    **given: Any,
) -> None:
    """Run one stage, showing how it goes, and print the metrics of its best weights."""
    _check_drop_shared(drop_shared, split)
    if augment_by is not None and not augment:
        raise click.UsageError("--augment-by says what --augment does; expected --augment too")
    if augment is not None:
        given["augmentation"] = _names("--augment-by", augment_by or "rotation") if augment else ()
    from trainer import backend

    device = backend.start()
    from trainer.evaluation.report import metrics_lines
    from trainer.runs.plan import Request
    from trainer.training.train import train

    chosen = {name: value for name, value in given.items() if value is not None}
    request = Request(stage, cache, run, chosen, parent, split, resume, features, readers, save_every, drop_shared)
    with Training(quiet or as_json) as listener:
        listener.note(device)
        metrics = train(request, listener)
    if as_json:
        _say_json(metrics)
    elif not quiet:
        _say(["", f"{run}: the best epoch on {metrics['n']} validation samples", *metrics_lines(metrics)])


def _check_drop_shared(drop_shared: bool, split: Path | None) -> None:
    if drop_shared and split is None:
        raise click.UsageError("--drop-shared is about the samples of --split; expected --split FILE too")


@main.command()
@click.argument("run", type=PATH)
@click.argument("cache", type=PATH)
@click.option(
    "--part",
    type=click.Choice(("train", "validation", "test")),
    help="Of the run's split, on the cache it was trained on; default: validation.",
)
@click.option("--picture", type=PATH, help="Write the confusion matrix there, as PNG.")
@FEATURES
@READERS
@OUTPUT
def evaluate(
    run: Path,
    cache: Path,
    part: str | None,
    picture: Path | None,
    features: Path | None,
    readers: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say how well RUN does on CACHE: kappa, accuracy, F1 of each class, confusion matrix, 95 % intervals.

    On the cache it was trained on, only its validation ids count.

    \b
    Example:
      python cli.py evaluate runs/pt_cw_aug ct.zarr
    """
    from trainer import backend

    backend.start()
    from trainer.evaluation import report, submission
    from trainer.evaluation.evaluate import evaluate as score
    from trainer.runs import marks

    submission.check_outputs(run, [picture] if picture else [], is_ours=marks.is_picture)
    notes: list[str] = []
    with Progress(0, quiet, "predicted") as progress:
        metrics = score(run, cache, part, readers, progress.at, features, notes.append)
    if as_json:
        _say_json(metrics)
    elif not quiet:
        _say([f"{run} on {cache}, part {metrics['part']}", *notes, *report.metrics_lines(metrics)])
    if picture:  # last: it must not cost the metrics
        report.replace_picture(picture, report.confusion_picture(metrics))


@main.command()
@click.argument("run", type=PATH)
@click.argument("cache", type=PATH)
@click.argument("out", metavar="OUT.csv", type=PATH)
@click.option("--ids", type=PATH, help="Predict exactly these: a file with one id or file name a line.")
@click.option(
    "--probabilities",
    type=PATH,
    is_flag=False,
    flag_value=Path(),
    help="Write each class's probability too, to this file; without one to OUT.probabilities.csv.",
)
@FEATURES
@READERS
@click.option("--quiet", is_flag=True, help="No progress, only errors.")
def predict(
    run: Path,
    cache: Path,
    out: Path,
    ids: Path | None,
    probabilities: Path | None,
    features: Path | None,
    readers: int,
    quiet: bool,
) -> None:
    """Write what RUN predicts for each sample of CACHE to OUT.csv, as ImageCLEF takes it: `TST_0001.nii.gz,2`.

    \b
    Example:
      python cli.py predict runs/pt_cw_aug test.zarr submission.csv --ids test_ids.txt
    """
    from trainer import backend

    backend.start()
    from trainer.evaluation import submission
    from trainer.evaluation.evaluate import predictions
    from trainer.runs import names

    if probabilities == Path():
        probabilities = out.with_name(f"{out.stem}.probabilities.csv")
    outputs = [out, probabilities] if probabilities else [out]
    submission.check_outputs(run, outputs, [ids] if ids else [])
    wanted = names.read_ids(ids) if ids else None
    with Progress(0, quiet, "predicted") as progress:
        found = predictions(run, cache, wanted, readers, progress.at, features)
    submission.write_submission(out, found)
    if probabilities:
        submission.write_probabilities(probabilities, found)
    if not quiet:
        if advice := submission.naming_advice(found):
            click.echo(printable(advice), err=True)
        left = len(found.cache) - len(found.ids)
        _say([f"{out}: {len(found.ids)} samples" + (f", {left} of {cache} not asked for" if left else "")])


@main.command("features")
@click.argument("cache", type=PATH)
@click.argument("into", metavar="FEATURES", type=PATH)
@click.option("--backbone", type=click.Choice(("vgg16", "small")), help="Default: vgg16.")
@click.option("--weights", help="Of the backbone: imagenet (default), none, or a Keras weights file.")
@click.option("--input-map", type=click.Choice(("imagenet", "glorot")), help="As in training; default: imagenet.")
@click.option("--seed", type=int, help="Of random weights. Default: 0.")
@click.option("--precision", type=click.Choice(("float32", "mixed_bfloat16")), help="As in training.")
@click.option("--from", "parent", type=PATH, help="Take the backbone of this run instead.")
@click.option("--augment", is_flag=True, help="One set of features for each of the paper's seven rotations.")
@READERS
@LINKED
@OUTPUT
def extract_features(
    cache: Path,
    into: Path,
    parent: Path | None,
    augment: bool,
    readers: int,
    linked_volume: Path | None,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Compute what the frozen backbone says of every sample of CACHE, once, into FEATURES.

    Run it again to add new samples or to go on after an interruption: what is there and fresh is kept.

    \b
    Example:
      python cli.py features clips.zarr clips_features.zarr --weights vgg16.weights.h5
    """
    from trainer import backend

    backend.start()
    from trainer.features.extract import Extraction, extract

    chosen = {name: value for name, value in given.items() if value is not None}
    linked = _linked(into, "features", linked_volume)
    with Progress(0, quiet, "through the backbone") as progress:
        done = extract(Extraction(cache, into, chosen, parent, augment, readers, linked), progress.at)
    if as_json:
        _say_json(asdict(done))
    elif not quiet:
        rate = f", {done.rate:.1f} frames/s" if done.made else ""
        gone = f"; {len(done.vanished)} kept that are no more in {cache}" if done.vanished else ""
        _say([f"{into}: {done.made} made, {done.kept} already there{rate}{gone}"])


@main.command()
@click.argument("clips", metavar="VIDEO_CACHE", type=PATH)
@click.argument("scans", metavar="CT_CACHE", type=PATH)
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Repeat with as many seeds.")
@click.option("--features", "frozen", is_flag=True, help="Keep the backbone frozen throughout, on cached features.")
@click.option("--pretrain-epochs", type=int, help="For pretraining; default: as --epochs.")
@CONFIG
@READERS
@click.option("--quiet", is_flag=True, help="No progress, only errors.")
def experiment(
    clips: Path,
    scans: Path,
    folder: Path,
    seeds: int,
    frozen: bool,
    pretrain_epochs: int | None,
    split: Path | None,
    drop_shared: bool,
    readers: int,
    quiet: bool,
    class_weights: bool | None,
    **given: Any,
) -> None:
    """Repeat the paper's Table 1: No PT, PT, PT+CW and PT+CW+AUG on one split, into DIR/report.md.

    Run it again to go on after an interruption, or with more --seeds: finished parts are kept.

    \b
    Example:
      python cli.py experiment clips.zarr ct.zarr table1 --seeds 5 --weights vgg16.weights.h5
    """
    if class_weights is not None:
        raise click.UsageError("--class-weights is one of the strategies compared; leave it out")
    _check_drop_shared(drop_shared, split)
    if frozen and given["freeze_backbone"] is False:
        raise click.UsageError("--features keeps the backbone frozen, --train-backbone does not; leave one of them out")
    from trainer import backend

    device = backend.start()
    from trainer.experiments.experiment import Experiment, run_experiment

    chosen = {name: value for name, value in given.items() if value is not None}
    pretraining = {} if pretrain_epochs is None else {"epochs": pretrain_epochs}
    asked = Experiment(clips, scans, folder, chosen, pretraining, seeds, frozen, split, readers, drop_shared)
    with Training(quiet) as observer:
        observer.note(device)
        lines = run_experiment(asked, observer)
    if not quiet:
        _say([*lines, "", f"{folder / 'report.md'} has this with pictures"])


# -- demo --------------------------------------------------------------------------------------------------------------

# How much there is to learn from, and how long: enough to learn in some minutes, or just enough to run every step.
DEMO: dict[str, Any] = {
    "scans": {"per_class": (80, 56, 40, 36, 28), "size": 80, "slices": (34, 44)},
    "clips": {"groups": 12, "clips": 4},
    "recipe": "--depth 24 --height 64 --width 64",
    "training": "--backbone small --batch-size 8",
    "epochs": "--pretrain-epochs 12 --epochs 14",
    "behind": "--batch-size 8 --optimizer adam --epochs 12",
}
QUICK_DEMO: dict[str, Any] = {
    "scans": {"per_class": 3, "size": 32, "slices": (10, 12)},
    "clips": {"groups": 2, "clips": 1},
    "recipe": "--depth 8 --height 16 --width 16",
    "training": "--backbone small",
    "epochs": "--epochs 1",
    "behind": "--epochs 1",
}


@main.command()
@click.argument("folder", metavar="[DIR]", type=PATH, default=Path("demo"))
@click.option("--quick", is_flag=True, help="Every step on a few tiny samples, from which nothing can be learned.")
def demo(folder: Path, quick: bool) -> None:
    """Generate phantom scans and clips in DIR (default: demo), run every step on them, and write DIR/report.md.

    \b
    Example:
      python cli.py demo /tmp/demo
    """
    started, size = time.monotonic(), QUICK_DEMO if quick else DEMO
    labels = _phantoms(folder, size)
    clips, scans, table = folder / "clips.zarr", folder / "ct.zarr", folder / "table1"
    features, frame = folder / "clips_features.zarr", folder / "one_frame.zarr"
    sequence, single, behind = folder / "sequence", folder / "one_frame", f"{size['behind']} --resume"
    split, best = ("--split", table / "clips.json"), table / "seed0" / "pt_cw_aug"
    pretrained = table / "seed0" / "pretrained"
    _demo_step("preprocess ct", folder / "scans", scans, "--labels", labels, options=size["recipe"])
    _demo_step("preprocess video", folder / "clips", clips, options=size["recipe"])
    _demo_step("verify", scans)
    _demo_step("info", clips)
    _demo_step("experiment", clips, scans, table, options=f"{size['training']} {size['epochs']}")
    _demo_step("evaluate", pretrained, clips)
    _demo_step("features", clips, features, "--from", pretrained)
    _demo_step("train pretrain", clips, sequence, "--features", features, *split, options=behind)
    click.echo(f"\nThe middle frame of each clip alone, {frame}: does a single picture tell the classes apart?")
    _middle_frames(features, frame)
    _demo_step("train pretrain", frame, single, *split, options=behind)
    _demo_step("evaluate", best, scans, "--picture", folder / "confusion.png")
    _demo_step("predict", best, scans, folder / "submission.csv", options="--probabilities")
    _demo_report(folder, clips, scans)
    click.echo(f"\n{folder / 'report.md'} shows all of it, after {time.monotonic() - started:.0f} s")


def _phantoms(folder: Path, size: Mapping[str, Any]) -> Path:
    """Write scans and clips side by side, where that is not done yet; return the labels CSV.

    Only a folder that is new or empty, or that a demo of the same size began, is written into.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from pipeline.demo import phantom_clips, phantoms
    from pipeline.errors import PipelineError

    labels, mark = folder / "labels.csv", folder / "demo.json"
    begun, done = (json.dumps({"generated": generated, **size}, indent=2) for generated in (False, True))
    found = mark.read_text() if mark.is_file() else None
    if found == done:
        return labels
    if found != begun and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PipelineError(f"{folder} holds something else than this demo; delete it, or give the demo a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(begun)
    click.echo(f"Generating scans and clips in {folder}, some of them damaged on purpose ...")
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        scans = pool.submit(phantoms.write_scans, folder / "scans", **size["scans"])
        pool.submit(phantom_clips.write_clips, folder / "clips", **size["clips"]).result()
        scans.result()
    mark.write_text(done)
    return labels


def _demo_step(command: str, *paths: object, options: str = "") -> None:
    """Show and run one command."""
    words = [*command.split(), *map(str, paths), *options.split()]
    click.echo(f"\n$ python cli.py {' '.join(words)}")
    code = main.main(words, standalone_mode=False)
    if code not in (None, DONE, QUARANTINED):  # some inputs are damaged on purpose
        click.get_current_context().exit(code)


def _middle_frames(features: Path, out: Path) -> None:
    """A cache of features of just the middle frame of each clip."""
    from cache import open_cache, write_features

    clips = open_cache(features)
    middle = clips.shape[0] // 2
    import numpy as np

    frames = np.stack([clips.stored(number)[middle : middle + 1] for number in range(len(clips))])
    write_features(
        out, clips.ids, clips.labels, clips.groups, frames, clips.class_names, f"frame {middle} of {features}"
    )


def _demo_report(folder: Path, clips: Path, scans: Path) -> None:
    """Write report.md: what went in, what came out, with pictures."""
    from cache import open_cache
    from trainer.evaluation.report import kappa_text

    def metrics(run: str) -> str:
        return kappa_text(json.loads((folder / run / "metrics.json").read_text()))

    lines = ["# Demo", "", "Kappa on validation samples, in brackets its 95 % interval.", "", "## Clips", ""]
    for root, slices in ((clips, 12), (scans, 12)):
        cache = open_cache(root)
        pictures = _demo_pictures(cache, folder, slices)
        if root == scans:
            lines += ["## Scans", ""]
        lines += [f"{len(cache)} samples of {'×'.join(map(str, cache.shape))}, one of each class:", ""]
        lines += [*(f"![{name}]({picture})" for name, picture in pictures.items()), ""]
        if root == clips:
            lines += [
                "The classes differ in order and tempo alone, so a single frame tells nothing:",
                "",
                "| trained on | kappa |",
                "| --- | --- |",
                f"| clips, the whole network | {metrics('table1/seed0/pretrained')} |",
                f"| cached features of all frames | {metrics('sequence')} |",
                f"| cached features of the middle frame | {metrics('one_frame')} |",
                "",
                "![curves](table1/seed0/pretrained/curves.png)",
                "",
            ]
    table = (folder / "table1" / "report.md").read_text().replace("](", "](table1/").splitlines()
    lines += [line.replace("# ", "## ", 1) if line.startswith("#") else line for line in table]
    (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _demo_pictures(cache: Any, folder: Path, slices: int) -> dict[str, str]:
    """Write a montage of one sample of each class; class → file name."""
    labels, pictures = cache.labels.tolist(), {}
    for number, name in enumerate(cache.class_names):
        pictures[name] = f"{cache.path.stem}_{number + 1}_{name}.png"
        cache.montage(labels.index(number), slices).savefig(folder / pictures[name], dpi=70)
    return pictures


# -- what is printed ---------------------------------------------------------------------------------------------------


class Progress:
    """A bar on stderr with rate, time left and quarantined so far; plain lines where that is no terminal."""

    def __init__(self, total: int, quiet: bool, verb: str = "done") -> None:
        self.total, self.quiet, self.verb = total, quiet, verb
        self.done = self.quarantined = 0
        self.started = self.printed = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> "Progress":
        if not self.quiet and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=self.total or None, unit=" samples", dynamic_ncols=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_progress(
        self, done: int, total: int, unit: str = "samples", figures: Mapping[str, float] | None = None
    ) -> None:
        self.quarantined = int((figures or {}).get("quarantined", 0))
        self.at(done, total)

    def at(self, done: int, total: int) -> None:
        """`done` of `total` samples are through."""
        step, self.done, self.total = done - self.done, done, total
        if self.bar is not None:
            self.bar.total = total
            if self.verb == "done":
                self.bar.set_postfix(quarantined=self.quarantined, refresh=False)
            self.bar.update(step)
        elif done and not self.quiet and time.monotonic() - self.printed > LINE_SECONDS:
            self.printed = time.monotonic()
            rate = done / (self.printed - self.started)
            left = f"{(total - done) / rate:.0f} s left"
            quarantined = f", {self.quarantined} quarantined" if self.verb == "done" else ""
            click.echo(f"{done} of {total} {self.verb}, {rate:.1f}/s, {left}{quarantined}", err=True)


class Training:
    """How training goes: a bar for each epoch on stderr, a line after it; plain lines where that is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.printed = time.monotonic()
        self.bar: Any = None
        self.noted: set[str] = set()

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar = None

    def note(self, text: str) -> None:
        """Say something, once."""
        if not self.quiet and text not in self.noted:
            self.noted.add(text)
            click.echo(printable(text), err=True)

    def part(self, name: str) -> None:
        """A part of several begins."""
        self.noted.clear()
        self.note(f"-- {name}")

    def at_sample(self, done: int, total: int) -> None:
        """So many samples are through the backbone."""
        self._bar("features", done, total, " samples")

    def at_step(self, epoch: int, done: int, total: int, loss: float) -> None:
        self._bar(f"epoch {epoch + 1}", done, total, " steps", f"loss {loss:.4f}")

    def _bar(self, title: str, done: int, total: int, unit: str, more: str = "") -> None:
        if self.quiet:
            return
        if sys.stderr is not None and sys.stderr.isatty():
            if self.bar is None:
                from tqdm import tqdm

                self.bar = tqdm(desc=title, total=total, unit=unit, dynamic_ncols=True, leave=False)
            self.bar.set_postfix_str(more, refresh=False)
            self.bar.update(done - self.bar.n)
            if done == total:
                self._close()
        elif time.monotonic() - self.printed > LINE_SECONDS:
            self.printed = time.monotonic()
            click.echo(f"{title}, {done} of {total}{unit}{', ' * bool(more)}{more}", err=True)

    def after_epoch(self, row: Mapping[str, float], timing: Mapping[str, float], epochs: int) -> None:
        from trainer.evaluation.report import epoch_line, stall_advice

        self._close()
        if not self.quiet:
            click.echo(epoch_line(row, timing, epochs))
            if advice := stall_advice(timing):
                self.note(advice)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(printable(line))


def _say_json(data: Mapping[str, Any]) -> None:
    click.echo(json.dumps(data, indent=2))


if __name__ == "__main__":
    main()
