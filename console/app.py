"""The command group: whatever a command raises becomes one line on stderr and an exit code."""

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
            click.echo(f"Error: {one_line(error)}", err=True)
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


def print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import cache

        click.echo(f"viptt-net {cache.__version__}")
        ctx.exit()


@click.group(cls=Application, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Print it.")
def main() -> None:
    """Resize CT scans and action clips once, into a Zarr cache, look after that cache, and train from it."""
    os.environ["MATPLOTLIBRC"] = os.devnull  # Matplotlib does not load with some settings, and complains of others
    os.environ.pop("MPLBACKEND", None)
