"""`demo`: every step on phantom data."""

import time
from pathlib import Path

import click

from console.command import command
from console.exit_codes import DONE, QUARANTINED
from console.values import PATH


@command()
@click.argument("folder", metavar="[DIR]", type=PATH, default=Path("demo"))
@click.option("--quick", is_flag=True, help="Run every step on a few tiny samples, from which nothing can be learned.")
def demo(folder: Path, quick: bool) -> None:
    """Run every step on phantom scans and clips, generated in DIR.

    The results are in DIR/report.md; DIR is `demo` by default.

    \b
    Example:
      python cli.py demo /tmp/demo
    """
    from pipeline.demo import story
    from pipeline.demo.generate import generate
    from pipeline.demo.report import write_report
    from pipeline.demo.single_frames import write_middle_frames
    from trainer.evaluation.report import kappa_text

    started, size = time.monotonic(), story.QUICK if quick else story.FULL
    generate(folder, size, click.echo)
    for step in story.steps(folder, size):
        if isinstance(step, story.Command):
            run_command(step.words)
        else:
            click.echo(f"\n{step.title}")
            write_middle_frames(step.features, step.out)
    report = write_report(folder, kappa_text)
    click.echo(f"\n{report} shows the results, after {time.monotonic() - started:.0f} s")


def run_command(words: tuple[str, ...]) -> None:
    """Show and run one command line; a command that fails ends the demo with its exit code."""
    from console.app import main

    click.echo(f"\n$ python cli.py {' '.join(words)}")
    code = main.main(list(words), standalone_mode=False)
    if code not in (None, DONE, QUARANTINED):  # some inputs are damaged on purpose
        click.get_current_context().exit(code)


COMMAND = demo
