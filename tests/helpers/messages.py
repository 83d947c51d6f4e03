"""The exact wording of every error that users can see, collected from the source.

`python -m tests.helpers.messages --write` (part of `make docs`) writes it to tests/messages.txt; a test compares. So a
change of words shows in one file, and all other tests compare key nouns only.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import cache.documents
import cache.errors
import pipeline.errors
import trainer.errors

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "messages.txt"
PACKAGES = ("cache", "console", "pipeline", "trainer")
MODULES = (cache.documents, cache.errors, pipeline.errors, trainer.errors, click)
ERRORS = {
    name
    for module in MODULES
    for name, value in vars(module).items()
    if inspect.isclass(value) and issubclass(value, Exception)
}


def messages(path: Path) -> Iterator[str]:
    """The wording of each error that the module in `path` raises or makes, values as {expressions}."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and _name(node.func) in ERRORS and node.args:
            yield f"{_name(node.func)}: {' | '.join(map(_wording, node.args))}"


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _wording(node: ast.expr) -> str:
    """The text of a literal; expressions are in braces, by their name where they have one, both ends of a choice."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_wording, node.values))
    if isinstance(node, ast.FormattedValue):
        return _wording(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _wording(node.left) + _wording(node.right)
    if isinstance(node, ast.IfExp):
        return f"[{_wording(node.body)} or {_wording(node.orelse)}]"
    if isinstance(node, ast.Name | ast.Attribute):
        return f"{{{ast.unparse(node)}}}"
    return f"{{{_name(node.func)}(…)}}" if isinstance(node, ast.Call) else "{…}"


def golden() -> str:
    """The text of tests/messages.txt: a section for each module that raises errors."""
    sections = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        if lines := sorted({" ".join(message.split()) for message in messages(path)}):
            sections.append("\n".join([f"# {path.relative_to(ROOT).as_posix()}", *lines]))
    return "\n\n".join(sections) + "\n"


if __name__ == "__main__" and "--write" in sys.argv:
    GOLDEN.write_text(golden(), encoding="utf-8")
