"""Run a prepared `preprocess` job of any source format and print its result."""

from typing import TYPE_CHECKING, Annotated

import click
import msgspec

from console.exit_codes import QUARANTINED
from console.progress import Progress
from console.shared_options import Output, Storage, flag
from console.workers import executor_for
from pipeline.workers.options import WorkerOptions

if TYPE_CHECKING:
    from pipeline.jobs.preprocess import PreprocessJob


class Mode(msgspec.Struct, frozen=True):
    """--dry-run and --stop-on-error."""

    dry_run: Annotated[bool, flag("--dry-run", "Report the plan, its time and the disk space; write nothing.")] = False
    stop_on_error: Annotated[
        bool, flag("--stop-on-error", "Stop at the first bad input instead of quarantining it.")
    ] = False


def run_job(
    job: "PreprocessJob", timeout: float, mode: Mode, workers: WorkerOptions, storage: Storage, output: Output
) -> None:
    """Run `job`, or with --dry-run print its plan. Exits with 3 if inputs were quarantined or labels are wrong."""
    _check_inputs(job)
    linked = storage.linked_array(job.root, "volume")
    if mode.dry_run:
        complete = _show_plan(job, timeout, workers, output)
    else:
        complete = _run(job, timeout, mode, workers, linked, output)
    if not complete:
        click.get_current_context().exit(QUARANTINED)


def _check_inputs(job: "PreprocessJob") -> None:
    """Raises PipelineError if there is no input at all, so that SOURCE is most likely the wrong folder."""
    from pipeline.errors import PipelineError
    from pipeline.jobs import report
    from pipeline.sources.format import format_of

    if not job.inputs.records and not job.entries:
        endings = ", ".join(format_of(job.recipe.kind).endings)
        raise PipelineError(
            f"SOURCE {job.source} holds no input; expected files that end in {endings}, in it or in folders below it"
            f"{report.nothing_found(job.inputs)}"
        )


def _show_plan(job: "PreprocessJob", timeout: float, workers: WorkerOptions, output: Output) -> bool:
    """Print the plan of `job`; returns whether all its labels are valid."""
    from pipeline.jobs import report
    from pipeline.jobs.estimate import estimate
    from pipeline.workers.limits import memory_warning, usable_workers

    count = max(1, min(usable_workers(workers.workers, output.note), len(job.plan.tasks)))
    cost = estimate(job, timeout)
    warnings = memory_warning(count, cost.memory) if cost else ()
    output.show(lambda: report.plan_json(job, count, cost), lambda: [*report.plan_lines(job, count, cost), *warnings])
    return not job.labels.wrong


def _run(job: "PreprocessJob", timeout: float, mode: Mode, workers: WorkerOptions, linked: str, output: Output) -> bool:
    """Run `job` and print the result; returns whether every input is complete and every label valid."""
    from pipeline.jobs import preprocess, report
    from pipeline.jobs.label_report import labels_json

    executor = executor_for(workers, len(job.plan.tasks), (job.source, job.root), output, timeout)
    with Progress(output.quiet, len(job.plan.tasks)) as progress:
        summary = preprocess.run(job, executor, progress, mode.stop_on_error, linked)
    output.show(
        lambda: report.run_json(summary, job.attributes) | labels_json(job), lambda: report.run_lines(job, summary)
    )
    return not (summary.quarantined or summary.unreadable or summary.wrong_labels)
