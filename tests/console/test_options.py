"""Options generated from a struct: types, choices, bounds, defaults, old names."""

from pathlib import Path
from typing import Annotated, Literal

import click
import msgspec
import pytest
from click.testing import CliRunner
from msgspec import Meta

from console.command import command
from console.options import struct_options


class Choices(msgspec.Struct, frozen=True):
    count: Annotated[int, Meta(ge=1, lt=2**31, description="How many.")] = 2
    share: Annotated[float, Meta(gt=0, le=1, description="Which share.")] | None = None
    colour: Annotated[
        Literal["red", "grey"],
        Meta(description="Colour.", extra={"old_options": ["--color"], "old_values": {"gray": "grey"}}),
    ] = "red"
    backend: Annotated[str, Meta(description="From a registry.", extra={"registry": "console.commands"})] = "info"
    window: Annotated[tuple[float, float], Meta(description="Two.", extra={"metavar": "LOW HIGH"})] = (-1000.0, 400.0)
    parts: Annotated[tuple[Literal["a", "b"], ...], Meta(description="Some.")] = ()
    path: Annotated[Path | None, Meta(description="A file.")] = None
    fast: Annotated[bool, Meta(description="A switch.")] = False
    frozen: Annotated[bool | None, Meta(description="Named.", extra={"option": "--freeze/--train"})] = None
    as_json: Annotated[bool, Meta(description="A flag.", extra={"option": "--json"})] = False


@pytest.fixture
def run():
    """A function that runs a command with options of Choices, and returns the result and the parsed options."""
    calls = []

    @command()
    @struct_options("choices", Choices)
    def all_options(choices):
        calls.append(choices)

    @command()
    @struct_options("chosen", Choices, ("count", "colour"), only_set=True)
    def two_options(chosen):
        calls.append(chosen)

    def run(*words, command=all_options):
        result = CliRunner().invoke(command, [str(word) for word in words])
        return result, calls[-1] if calls else None

    run.two_options = two_options
    return run


def test_without_options_the_command_gets_the_defaults(run):
    assert run()[1] == Choices()


def test_options_of_every_type_are_parsed(run):
    words = "--count 3 --share 0.5 --colour grey --backend verify --window -1 1.5 --parts b,a --path x --fast --json"
    result, choices = run(*words.split(), "--train")
    assert result.exit_code == 0, result.output
    assert choices == Choices(
        3, 0.5, "grey", "verify", (-1.0, 1.5), ("b", "a"), Path("x"), fast=True, frozen=False, as_json=True
    )
    assert run("--no-fast", "--freeze")[1] == Choices(frozen=True)


@pytest.mark.parametrize(
    "words",
    [
        "--count 0",
        f"--count {2**31}",
        "--count x",
        "--share 0",
        "--share 1.5",
        "--share nan",
        "--window 1 inf",
        "--window 1",
        "--colour blue",
        "--backend nothing",
        "--parts a,c",
        "--parts a,a",
        "--no-json",
    ],
)
def test_values_out_of_bounds_or_not_among_the_choices_are_usage_errors(run, words):
    assert run(*words.split())[0].exit_code == 2


def test_old_names_and_values_work_with_a_note_and_are_not_in_the_help(run):
    for words in (["--color", "gray"], ["--color=gray"]):
        result, choices = run(*words)
        assert choices.colour == "grey"
        assert "--color is now --colour" in result.stderr
    text = run("--help")[0].output
    assert "--colour" in text
    assert "--color " not in text
    assert "gray" not in text


def test_arguments_after_two_dashes_are_not_renamed():
    @command()
    @click.argument("words", nargs=-1)
    @struct_options("choices", Choices, ("colour",))
    def show(words, choices):
        click.echo(words)

    assert "('--color',)" in CliRunner().invoke(show, ["--", "--color"]).output


def test_only_options_on_the_command_line_are_in_the_dict(run):
    assert run(command=run.two_options)[1] == {}
    assert run("--count", 2, command=run.two_options)[1] == {"count": 2}
    assert run("--share", 1, command=run.two_options)[0].exit_code == 2


def test_the_help_shows_bounds_choices_and_defaults(run):
    text = " ".join(run("--help")[0].output.split())
    for part in (
        "--count N How many. [default: 2; x>=1]",
        "--share X Which share. [0<x<=1]",
        "--colour [red|grey] Colour. [default: red]",
        "--window LOW HIGH Two. [default: -1000 400]",
        "--fast / --no-fast A switch. [default: no-fast]",
        "--freeze / --train Named.",
        "--json A flag.",
    ):
        assert part in text
