"""Click options from the fields of a `cache.documents.Document`: type, bounds, default and help stand there once."""

from collections.abc import Callable, Iterable
from typing import Any, get_args, get_origin

import click
from msgspec import NODEFAULT, Meta, structs

from cache.documents import annotations, choices, meta, plain


class FieldOption(click.Option):
    """An option for one field; `old_names` maps names of earlier versions to what their values are called now."""

    def __init__(self, *words: Any, old_names: dict[str, dict[str, str]] | None = None, **options: Any) -> None:
        super().__init__(*words, **options)
        self.old_names = old_names or {}


class Command(click.Command):
    """A command that also takes the option names of earlier versions, and says the new name on stderr."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for option in self.params:
            for old, values in getattr(option, "old_names", {}).items():
                args = _renamed(args, old, option.opts[0], values)
        return super().parse_args(ctx, args)


def _renamed(args: list[str], old: str, new: str, values: dict[str, str]) -> list[str]:
    """`args` with the option `old`, and its value, as they are called now."""
    result: list[str] = []
    for number, word in enumerate(args):
        name, equals, value = word.partition("=")
        if number and args[number - 1] == old:
            result.append(values.get(word, word))
        elif name == old:
            click.echo(f"Note: {old} is now {new}; the old name still works.", err=True)
            result.append(new + equals + values.get(value, value))
        else:
            result.append(word)
    return result


def field_options(kind: type, names: Iterable[str]) -> Callable[..., Any]:
    """Options for the fields `names` of the document `kind`; one that is not given has the value None."""
    fields = {field.name: field for field in structs.fields(kind)}
    notes = annotations(kind)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(tuple(names)):
            command = _option(name, notes[name], fields[name].default)(command)
        return command

    return decorate


def _option(name: str, annotation: Any, default: Any) -> Callable[..., Any]:
    about = meta(annotation)
    extra = about.extra or {}
    words = f"--{name.replace('_', '-')}"
    help_text = " ".join(filter(None, (about.description, _default_text(default))))
    settings: dict[str, Any] = {"default": None, "help": help_text, "metavar": extra.get("metavar")}
    if plain(annotation) is bool:
        words = extra.get("option", f"{words}/--no-{name.replace('_', '-')}")
    else:
        words = extra.get("option", words)
        settings["type"] = _type(annotation, about)
        if get_origin(plain(annotation)) is tuple:
            settings["nargs"] = len(get_args(plain(annotation)))
    return click.option(words, name, cls=FieldOption, old_names=extra.get("old"), **settings)


def _type(annotation: Any, about: Meta) -> Any:
    """The click type with the bounds of the field."""
    kind = plain(annotation)
    if allowed := choices(annotation):
        return click.Choice(allowed)
    if get_origin(kind) is tuple:
        return get_args(kind)[0]
    if kind is int and about.ge is not None:
        return click.IntRange(int(about.ge), None if about.le is None else int(about.le))
    if kind is float:
        low, high = (about.ge if about.gt is None else about.gt), (about.le if about.lt is None else about.lt)
        return click.FloatRange(low, high, min_open=about.gt is not None, max_open=about.lt is not None)
    return kind


def _default_text(default: Any) -> str:
    if default is NODEFAULT or default is None:
        return ""
    if isinstance(default, tuple):
        return f"Default: {' '.join(f'{value:g}' for value in default)}."
    if isinstance(default, bool):
        return "Default: yes." if default else "Default: no."
    return f"Default: {default}."
