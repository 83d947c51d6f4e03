"""The possible changes of a module: one comparison, calculation, number, truth value or branch each."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

REPLACEMENTS: dict[type[ast.AST], tuple[ast.AST, str]] = {
    ast.Lt: (ast.LtE(), "< to <="), ast.LtE: (ast.Lt(), "<= to <"), ast.Gt: (ast.GtE(), "> to >="),
    ast.GtE: (ast.Gt(), ">= to >"), ast.Eq: (ast.NotEq(), "== to !="), ast.NotEq: (ast.Eq(), "!= to =="),
    ast.In: (ast.NotIn(), "in to not in"), ast.NotIn: (ast.In(), "not in to in"),
    ast.Is: (ast.IsNot(), "is to is not"), ast.IsNot: (ast.Is(), "is not to is"),
    ast.Add: (ast.Sub(), "+ to -"), ast.Sub: (ast.Add(), "- to +"), ast.Mult: (ast.FloorDiv(), "* to //"),
    ast.Div: (ast.Mult(), "/ to *"), ast.FloorDiv: (ast.Mult(), "// to *"), ast.Mod: (ast.Mult(), "% to *"),
    ast.Pow: (ast.Mult(), "** to *"), ast.BitAnd: (ast.BitOr(), "& to |"), ast.BitOr: (ast.BitAnd(), "| to &"),
    ast.LShift: (ast.RShift(), "<< to >>"), ast.RShift: (ast.LShift(), ">> to <<"),
    ast.And: (ast.Or(), "and to or"), ast.Or: (ast.And(), "or to and"),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A change of `module`: the bytes from `start` to `end` are replaced by `text`."""

    module: str  # path below the project folder
    line: int
    column: int
    change: str
    start: int
    end: int
    text: str

    @property
    def name(self) -> str:
        return f"{self.module}:{self.line}:{self.column}+{self.end - self.start} {self.change}"

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutants_of(module: str, source: bytes) -> list[Mutant]:
    """All mutants of a module, in the order of its lines."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    mutants, tree = [], ast.parse(source)
    changes = [(node, change, text) for node in _expressions(tree) for change, text in _changes(node)]
    for node, change, text in [*changes, *_negated_tests(tree)]:
        if node.end_lineno and node.end_col_offset:
            start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
            mutants.append(Mutant(module, node.lineno, node.col_offset, change, start, end, text))
    return sorted(mutants, key=lambda each: (each.line, each.column, each.change))


def _expressions(node: ast.AST) -> Iterator[Any]:
    """The expressions below `node`, except for types, decorators, f-strings and assertions for the type checker."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr | ast.Assert):
                continue
            if isinstance(child, ast.expr):
                yield child
            yield from _expressions(child)


def _changes(node: ast.expr) -> Iterator[tuple[str, str]]:
    """The description and the new text of each change of `node`."""
    match node:
        case ast.Compare():
            for number, operator in enumerate(node.ops):
                other, name = REPLACEMENTS[type(operator)]
                ops = [*node.ops[:number], other, *node.ops[number + 1 :]]
                yield (
                    name + f", place {number + 1}" * (number > 0),
                    f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})",
                )
        case ast.BinOp(left, operator, right) if type(operator) in REPLACEMENTS and not _has_text(left, right):
            other, name = REPLACEMENTS[type(operator)]
            yield name, f"({ast.unparse(ast.BinOp(left, other, right))})"  # type: ignore[arg-type]
        case ast.BoolOp(operator, values):
            other, name = REPLACEMENTS[type(operator)]
            yield name, f"({ast.unparse(ast.BoolOp(other, values))})"  # type: ignore[arg-type]
        case ast.UnaryOp(ast.Not(), operand):
            yield "without not", f"({ast.unparse(operand)})"
        case ast.Constant(bool(value) | int(value) | float(value)):
            other = _other_value(value)
            yield f"{value} to {other}", str(other)
        case ast.IfExp(test, body, orelse):
            yield "branches exchanged", f"({ast.unparse(ast.IfExp(test, orelse, body))})"


def _has_text(*operands: ast.expr) -> bool:
    return any(
        isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        for node in operands
    )


def _other_value(value: float) -> float:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else 2 * value or 1.0


def _negated_tests(tree: ast.AST) -> Iterator[tuple[ast.expr, str, str]]:
    """Negations of the tests of branches; not of comparisons and `not`, which have changes of their own."""
    for node in ast.walk(tree):
        tests = [node.test] if isinstance(node, ast.If | ast.While) else getattr(node, "ifs", [])
        for test in tests:
            if isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr | ast.Subscript):
                yield test, "negated", f"(not ({ast.unparse(test)}))"
