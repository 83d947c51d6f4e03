"""Commands whose renamed options still accept their old names."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from console.output import note


class RenamedOption(click.Option):
    """An option with old names (`old_options`) and old values (`old_values`: old → new), hidden from the help."""

    def __init__(
        self, *args: Any, old_options: Sequence[str] = (), old_values: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.old_options, self.old_values = tuple(old_options), dict(old_values or {})

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        if isinstance(value, str) and value in self.old_values:
            note(f"Note: {self.opts[0]} {value} is now {self.opts[0]} {self.old_values[value]}")
            value = self.old_values[value]
        return super().type_cast_value(ctx, value)


class Command(click.Command):
    """A command that replaces old option names with new ones and prints a note on stderr."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        new_names = {
            old: option.opts[0]
            for option in self.params
            if isinstance(option, RenamedOption)
            for old in option.old_options
        }
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [*(_renamed(word, new_names) for word in args[:end]), *args[end:]])


def _renamed(word: str, new_names: Mapping[str, str]) -> str:
    """A word of the command line, with an old option name (`--old` or `--old=value`) replaced by the new one."""
    name, equals, value = word.partition("=")
    if name not in new_names:
        return word
    note(f"Note: {name} is now {new_names[name]}")
    return f"{new_names[name]}{equals}{value}"


def command(name: str | None = None, **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """Decorator like `click.command` that makes a `Command`."""
    return click.command(name, cls=Command, **settings)
