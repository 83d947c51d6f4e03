"""The application `cli.py`: its group of commands, how errors become exit codes, and how SIGTERM stops a command."""

import io
import os
import signal
import sys
from typing import Any

import click

from console.errors import one_line
from console.exit_codes import FAILED, STOPPED, TERMINATED
from console.groups import CommandGroup


class Application(CommandGroup):
    """Turns every error of a command into one line on stderr and an exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):  # a character that the terminal lacks must not end a run
            sys.stdout.reconfigure(errors="backslashreplace")
        return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except (KeyboardInterrupt, click.Abort) as stop:
            for number in (signal.SIGINT, signal.SIGTERM):  # a second Ctrl-C must not interrupt the clean exit
                signal.signal(number, signal.SIG_IGN)
            click.echo(
                f"Stopped. Finished work is kept; run the same command again{_resume_hint()} to continue.", err=True
            )
            ctx.exit(TERMINATED if isinstance(stop, Terminated) else STOPPED)
        except Exception as error:  # noqa: BLE001 - the one place where errors become messages
            click.echo(f"Error: {one_line(error)}", err=True)
            _discard_unwritable_output()
            ctx.exit(FAILED)
        finally:
            if signal.getsignal(signal.SIGTERM) is _terminate:
                signal.signal(signal.SIGTERM, before)


def _discard_unwritable_output() -> None:
    """Discard what is left in the buffer of stdout if it cannot be written: Python would fail again at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _resume_hint() -> str:
    """The option that a stopped command needs to continue; "" if it needs none."""
    return ", with --resume," if "train" in sys.argv[1:2] and "--resume" not in sys.argv else ""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as job schedulers send it; it stops a command like Ctrl-C."""


def _terminate(*_: object) -> None:
    raise Terminated


def print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        import cache

        click.echo(f"viptt-net {cache.__version__}")
        ctx.exit()


@click.group(cls=Application, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Print the version."
)
def main() -> None:
    """Resize CT scans and action clips once into a Zarr cache, maintain that cache, and train from it."""
    os.environ["MATPLOTLIBRC"] = os.devnull  # a user's settings may make Matplotlib fail or print warnings
    os.environ.pop("MPLBACKEND", None)
