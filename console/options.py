"""Click options from the fields of a `msgspec.Struct`, which define type, choices, bounds, default and help once.

A field `slices_per_step: Annotated[int, msgspec.Meta(ge=0, description="…")] = 0` becomes `--slices-per-step`. Its
`msgspec.Meta(extra={…})` may have these keys:

- `option`: declarations other than the field's name, such as "--json" (a flag) or "--freeze/--train" (a switch);
- `old_options`, `old_values`: names and values of earlier versions, which keep working with a note;
- `registry`: the package whose module names are the choices;
- `metavar`, `default`: the placeholder and the default that the help shows.
"""

import types
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import click
import msgspec

from console.command import RenamedOption
from console.values import PATH, FiniteFloat, NameList, RegistryChoice, WholeNumber

Function = Callable[..., Any]
METAVARS: dict[Any, str] = {int: "N", float: "X"}
BOUNDS = ("gt", "ge", "lt", "le")


class Declaration(NamedTuple):
    """The parts of a field's type that define its option: type, help, bounds (of gt, ge, lt, le) and extra."""

    type: Any
    description: str
    bounds: dict[str, Any]
    extra: dict[str, Any]


def struct_options(
    parameter: str, kind: type[msgspec.Struct], names: Sequence[str] | None = None, only_set: bool = False
) -> Callable[[Function], Function]:
    """Decorator: the command has the options of `kind` and is called with their values as the argument `parameter`.

    `parameter` is a `kind`. With `only_set` it is a dict of the options that the user gave, so that other code can
    choose defaults that depend on them. `names` are the fields with options, in the order of the help; by default all.
    """
    by_name = {field.name: field for field in msgspec.structs.fields(kind)}
    fields = [by_name[name] for name in (by_name if names is None else names)]

    def decorate(function: Function) -> Function:
        @wraps(function)
        def call(**values: Any) -> Any:
            chosen = {field.name: values.pop(field.name) for field in fields}
            set_by_user = {name: value for name, value in chosen.items() if value is not None}
            return function(**values, **{parameter: set_by_user if only_set else kind(**set_by_user)})

        for field in reversed(fields):
            option(field)(call)
        return call

    return decorate


def option(field: msgspec.structs.FieldInfo) -> Callable[[Function], Function]:
    """The click option of one field. Its value is None if the user does not give it."""
    declared = declaration(field.type)
    extra = declared.extra
    name = f"--{field.name.replace('_', '-')}"
    names = extra.get("option", f"{name}/--no-{name[2:]}" if declared.type is bool else name)
    return click.option(
        names,
        field.name,
        cls=FieldOption,
        default=None,
        help=declared.description,
        default_text=extra.get("default", _default_text(field.default, names)),
        old_options=extra.get("old_options", ()),
        old_values=extra.get("old_values"),
        **({"is_flag": True} if declared.type is bool else _value_settings(declared)),
    )


def _value_settings(declared: Declaration) -> dict[str, Any]:
    """How click reads the value of an option that is not a flag."""
    kind = declared.type
    length = len(get_args(kind)) if get_origin(kind) is tuple and ... not in get_args(kind) else 1
    metavar = declared.extra.get("metavar", METAVARS.get(kind))
    return {"type": _parameter_type(declared), "metavar": metavar, "nargs": length}


class FieldOption(RenamedOption):
    """An option whose help shows the default of its field."""

    def __init__(self, *args: Any, default_text: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.default_text = default_text

    def get_help_extra(self, ctx: click.Context) -> Any:
        extra = super().get_help_extra(ctx)
        if self.default_text:
            extra["default"] = self.default_text
        return extra


def declaration(annotation: Any) -> Declaration:
    """The plain type in `annotation`, without None, and the contents of its `msgspec.Meta`."""
    description = ""
    bounds: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    while get_origin(annotation) in (Annotated, Union, types.UnionType):
        if get_origin(annotation) is not Annotated:
            (annotation,) = (kind for kind in get_args(annotation) if kind is not type(None))
            continue
        annotation, *metas = get_args(annotation)
        for meta in metas:
            description = description or meta.description or ""
            bounds |= {name: getattr(meta, name) for name in BOUNDS if getattr(meta, name) is not None}
            extra |= meta.extra or {}
    return Declaration(annotation, description, bounds, extra)


def _parameter_type(declared: Declaration) -> Any:
    """The click type of a field; for a tuple of fixed length, a tuple with the type of each element."""
    kind, parts = declared.type, get_args(declared.type)
    if "registry" in declared.extra:
        return RegistryChoice(declared.extra["registry"])
    if get_origin(kind) is Literal:
        return click.Choice(parts)
    if get_origin(kind) is tuple and ... in parts:
        element = declaration(parts[0])
        return NameList(get_args(element.type) if get_origin(element.type) is Literal else ())
    if get_origin(kind) is tuple:
        return tuple(_parameter_type(declaration(part)) for part in parts)
    if kind in (int, float):
        return _number_type(kind, declared.bounds)
    return PATH if kind is Path else click.STRING


def _number_type(kind: type, bounds: dict[str, Any]) -> click.ParamType:
    return (WholeNumber if kind is int else FiniteFloat)(
        min=bounds.get("ge", bounds.get("gt")),
        max=bounds.get("le", bounds.get("lt")),
        min_open="gt" in bounds,
        max_open="lt" in bounds,
    )


def _default_text(default: Any, names: str) -> str:
    """A field's default as the help shows it; "" for no default, None, and empty values."""
    if isinstance(default, bool):
        _, _, negative = names.partition("/")
        return (names.partition("/")[0] if default else negative).strip().removeprefix("--") if negative else ""
    if default is msgspec.NODEFAULT or default is None or default in ("", ()):
        return ""
    if isinstance(default, tuple):
        return " ".join(_default_text(value, names) for value in default)
    return f"{default:g}" if isinstance(default, float) else str(default)
