"""Write docs/cli.md from the commands and docs/api.md from the docstrings of `cache`; run by `make docs`."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cache  # noqa: E402 - found through the path above
from console.app import main  # noqa: E402
from console.groups import all_commands  # noqa: E402

CLI_HEAD = """# Commands

Made from the commands by `make docs`. Each is run as `python cli.py COMMAND …` from the repository, or as
`viptt COMMAND …` where the project is installed; `--help` shows the same text.

| exit code | meaning |
| --- | --- |
| 0 | all done |
| 1 | failed, with one line that gives the reason |
| 2 | wrong usage |
| 3 | finished, but inputs were quarantined or unreadable, or rows of the labels CSV were wrong |
| 130, 143 | stopped by Ctrl-C, by SIGTERM |

Old option names keep working, with a note on stderr: {old_options}.

For shell completion of the installed `viptt`, add one line to your shell's start-up file:

| shell | file | line |
| --- | --- | --- |
| bash | `~/.bashrc` | `eval "$(_VIPTT_COMPLETE=bash_source viptt)"` |
| zsh | `~/.zshrc` | `eval "$(_VIPTT_COMPLETE=zsh_source viptt)"` |
| fish | `~/.config/fish/completions/viptt.fish` | `_VIPTT_COMPLETE=fish_source viptt \\| source` |
"""
API_HEAD = """# Python

Made from the docstrings of `cache` by `make docs`. Everything here is imported as `from cache import …`.
"""


def cli_page() -> str:
    """The text of docs/cli.md."""
    commands = dict(all_commands(main))
    renamed = {
        f"`{old}` (now `{option.opts[0]}`)"
        for command in commands.values()
        for option in command.params
        for old in getattr(option, "old_options", ())
    }
    parts = [CLI_HEAD.format(old_options=", ".join(sorted(renamed)))]
    for words, command in commands.items():
        parts += ["\n".join(command_section(words, command))]
    return "\n".join(parts)


def command_section(words: tuple[str, ...], command: click.Command) -> Iterator[str]:
    """The Markdown lines of one command: usage, help, example, options."""
    ctx = click.Context(command, info_name=f"python cli.py {' '.join(words)}")
    text, _, example = inspect.cleandoc(command.help or "").partition("\b\nExample:\n")
    yield f"## {' '.join(words)}\n"
    yield f"```sh\n{' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)])}\n```\n"
    yield text.strip() + "\n"
    yield f"```sh\n{inspect.cleandoc(example)}\n```\n"
    yield "| option | meaning |\n| --- | --- |"
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            name, meaning = parameter.get_help_record(ctx) or ("", "")
            yield f"| `{cell(name)}` | {cell(meaning)} |"
    yield ""


def cell(text: str) -> str:
    """`text` for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<=", "≤").replace(">=", "≥")


def api_page() -> str:
    """The text of docs/api.md."""
    public = [(name, getattr(cache, name)) for name in cache.__all__]
    classes = [(name, value) for name, value in public if inspect.isclass(value)]
    parts = [API_HEAD]
    parts += [described(f"{name}{signature(value)}", value) for name, value in public if inspect.isfunction(value)]
    for name, value in classes:
        if not issubclass(value, Exception):
            parts += [described(name, value), *members(value)]
    parts.append("## Errors\n")
    for name, value in classes:
        if issubclass(value, Exception):
            bases = ", ".join(base.__name__ for base in value.__bases__)
            parts.append(f"- `{name}` ({bases}): {' '.join(inspect.cleandoc(value.__doc__ or '').split())}")
    return "\n".join(parts) + "\n"


def members(kind: type) -> Iterator[str]:
    """The public methods and properties of a class that have docstrings, in the order of its source."""
    for name, value in vars(kind).items():
        if name.startswith("_") or not inspect.getdoc(value):
            continue
        if inspect.isfunction(value):
            yield described(f"{kind.__name__}.{name}{signature(value)}", value, "###")
        elif isinstance(value, property):
            yield described(f"{kind.__name__}.{name}", value, "###")


def signature(function: Any) -> str:
    """The parameters of a function or method as its source has them, without `self`; the same for every Python."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)
    node.args.args = [argument for argument in node.args.args if argument.arg != "self"]
    returns = ast.unparse(node.returns).strip("'") if node.returns else "None"
    return f"({ast.unparse(node.args)}) → {returns}"


def described(title: str, value: Any, level: str = "##") -> str:
    """A heading, and the docstring with its code blocks and lists as they are."""
    return f"{level} `{title}`\n\n{inspect.getdoc(value)}\n"


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(cli_page(), encoding="utf-8")
    (ROOT / "docs" / "api.md").write_text(api_page(), encoding="utf-8")
