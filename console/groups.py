"""The group of all commands, found by file name: `commands/info.py` defines `COMMAND`, the command `info`.

A file is imported when its command runs or its help is shown, so that no command pays for the imports of others.
"""

from collections.abc import Iterator

import click

from cache.registry import load, names

PACKAGE = "console.commands"


class CommandGroup(click.Group):
    """The commands in the files of `console.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *names(PACKAGE)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.commands or cmd_name not in names(PACKAGE):
            return super().get_command(ctx, cmd_name)
        command: click.Command = load(PACKAGE, cmd_name, "COMMAND")
        return command


def all_commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The words and the object of every command in `group` and its subgroups."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            yield from all_commands(command, (*words, name))
        elif command is not None:
            yield (*words, name), command
