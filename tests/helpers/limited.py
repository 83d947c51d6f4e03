"""Run commands on hostile folders with limited time and memory: a program for `tests.faults.server`."""

import os
import resource
import signal
from dataclasses import astuple
from pathlib import Path

import click
import psutil

import cli
from console import progress
from tests.faults import world
from tests.faults.server import command

progress.LINE_SECONDS = float("inf")  # a slow machine would print progress
SECONDS = 10  # CPU time
WAITING_SECONDS = 60  # by the clock, as the machine may be busy
MEMORY_BYTES = 500_000_000  # of address space, in addition to that of this process


@cli.main.command()
@click.argument("cache", type=Path)
def read(cache: Path) -> None:
    """Read everything that training reads from CACHE."""
    from cache import open_cache

    opened = open_cache(cache)
    click.echo(f"{len(opened)} samples, {len(opened.labels)} labels, {len(opened.groups)} groups")
    click.echo(sum(float(sample.sum()) for sample in opened))


@cli.main.command()
@click.argument("folder", type=Path)
def extract(folder: Path) -> None:
    """Extract features in FOLDER like `features`, with a mean in place of a network."""
    from tests.helpers.archives import extract

    extract(folder)


def prepare(folder: Path, part: str) -> str:
    os.chdir(folder)
    world.load_everything(part)
    return ""


def trial(words: list[str]) -> tuple[int, str, str, int]:
    """The outcome of a command: exit code (negative: the signal), stdout, stderr, number of processes left."""
    return astuple(command(words, limit))


def limit() -> None:
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(WAITING_SECONDS)
