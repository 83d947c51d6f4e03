"""Pytest plugins: one records which lines each test reaches, one selects and orders tests."""

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


class Selection:
    """Run only `tests`, in their order, until one fails."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.positions = {test: number for number, test in enumerate(tests)}

    def pytest_configure(self, config: Any) -> None:
        config.option.maxfail = 1

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.positions), key=lambda item: self.positions[item.nodeid]
        )


class LineRecorder:
    """Write to `path`, for each test that passes, its seconds and the lines that it reaches in each module of `code`.

    `code` are the names of modules and packages in `folder`.
    """

    def __init__(self, path: Path, folder: Path, code: Sequence[str]) -> None:
        self.path, self.folder, self.code = path, folder, code
        self.lines: dict[str, set[int]] = {}
        self.tests: dict[str, tuple[float, dict[str, list[int]]]] = {}
        self.failed: set[str] = set()
        self.modules: dict[str, str] = {}  # path of a source file → its module, "" for code of others

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> None:
        self.lines = {}
        threading.settrace(self._trace_call)
        sys.settrace(self._trace_call)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if not report.passed:
            self.failed.add(report.nodeid)
        seconds = self.tests.get(report.nodeid, (0.0, {}))[0]
        lines = {module: sorted(lines) for module, lines in self.lines.items()}
        self.tests[report.nodeid] = (seconds + report.duration, lines)
        if report.when == "teardown":
            self._write()

    def pytest_sessionfinish(self) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        self._write()

    def _write(self) -> None:
        passed = {name: record for name, record in self.tests.items() if name not in self.failed}
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(passed), encoding="utf-8")
        partial.replace(self.path)

    def _trace_call(self, frame: FrameType, event: str, argument: object) -> Any:
        """Trace the lines of a function if its module is part of the code."""
        module = self._module(frame.f_code.co_filename)
        if not module:
            return None
        lines = self.lines.setdefault(module, set())
        lines.add(frame.f_lineno)

        def trace_line(frame: FrameType, event: str, argument: object) -> Any:
            lines.add(frame.f_lineno)
            return trace_line

        return trace_line

    def _module(self, path: str) -> str:
        if path not in self.modules:
            relative = path.removeprefix(f"{self.folder}/")
            ours = relative != path and relative.partition("/")[0] in self.code
            self.modules[path] = relative if ours else ""
        return self.modules[path]
