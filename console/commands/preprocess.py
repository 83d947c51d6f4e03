"""`preprocess KIND`: make samples of a cache from source files; each source format is a command."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from console.command import command
from console.options import Function, struct_options
from console.preprocessing import Mode, run_job
from console.shared_options import TASK_SECONDS, Output, Storage
from console.sheet_options import CLASS_NAMES, LABELS, QUOTING
from console.values import PATH, FiniteFloat, NameList
from console.workers import check_workers
from pipeline.labels.columns import ColumnChoice
from pipeline.sources.format import Format, format_of, kinds
from pipeline.workers.options import WorkerOptions

if TYPE_CHECKING:
    from pipeline.recipes.base import Recipe


class FormatGroup(click.Group):
    """A command for each source format."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(kinds())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return preprocess_command(format_of(cmd_name)) if cmd_name in kinds() else None


@click.group(cls=FormatGroup)
def preprocess() -> None:
    """Make one sample of a cache from every source file in a folder."""


def preprocess_command(source_format: Format) -> click.Command:
    """The command that makes samples of the files of `source_format`."""

    @command(source_format.kind, help=_help(source_format))
    @click.argument("source", type=PATH)
    @click.argument("cache", type=PATH)
    @_class_options(source_format)
    @struct_options("recipe", source_format.recipe, only_set=True)
    @click.option(
        source_format.timeout_option,
        "timeout",
        type=FiniteFloat(0, min_open=True),
        default=TASK_SECONDS,
        show_default=True,
        help=f"Quarantine a {source_format.noun} that takes more seconds than this.",
    )
    @struct_options("mode", Mode)
    @struct_options("workers", WorkerOptions)
    @struct_options("storage", Storage)
    @struct_options("output", Output)
    def run(
        source: Path,
        cache: Path,
        class_names: tuple[str, ...] | None,
        recipe: dict[str, Any],
        timeout: float,
        mode: Mode,
        workers: WorkerOptions,
        storage: Storage,
        output: Output,
        labels: Path | None = None,
        columns: ColumnChoice | None = None,
    ) -> None:
        from pipeline.jobs import preprocess

        check_workers(workers)
        if labels is None and columns not in (None, ColumnChoice()):
            raise click.UsageError("--file-column, --label-column and --patient-column need --labels CSV")
        names = _preset(source_format, class_names)
        recipe_of_cache = _recipe(source_format.recipe, cache, recipe)
        job = preprocess.prepare(source, cache, recipe_of_cache, names, labels, columns)
        run_job(job, timeout, mode, workers, storage, output)

    return run


def _preset(source_format: Format, class_names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The classes that a single name such as `paper` stands for, or else `class_names`."""
    if class_names is None or len(class_names) != 1:
        return class_names
    return source_format.class_presets.get(class_names[0], class_names)


def _help(source_format: Format) -> str:
    example = f"\b\nExample:\n  python cli.py {source_format.example}" if source_format.example else ""
    return "\n\n".join(filter(None, [source_format.summary, source_format.details, example]))


def _class_options(source_format: Format) -> Callable[[Function], Function]:
    """Where labels and the names of classes come from: a CSV, or the folders of the sources."""

    def decorate(function: Function) -> Function:
        if source_format.labels_from_csv:
            return LABELS(CLASS_NAMES(struct_options("columns", ColumnChoice)(function)))
        presets = "".join(f"; `{name}`: {len(names)} classes" for name, names in source_format.class_presets.items())
        option = click.option(
            "--classes",
            "class_names",
            type=NameList(),
            metavar="A,B,…",
            help=f"Class folders in label order{presets}. {QUOTING}",
        )
        return option(function)

    return decorate


def _recipe(kind: type["Recipe"], cache: Path, options: dict[str, Any]) -> "Recipe":
    """The recipe of `cache`, where it exists, with `options`. Raises UsageError where they make no valid recipe."""
    from pipeline.errors import PipelineError
    from pipeline.recipes.stored import recipe_for

    try:
        return recipe_for(kind, cache, options)
    except PipelineError as error:
        raise click.UsageError(str(error)) from error


COMMAND = preprocess
