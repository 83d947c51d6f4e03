"""The fault campaign in its short form, and its runner."""

import pytest

from tests.faults.__main__ import BEGIN, END, Row, methods, run, write
from tests.faults.method import Method, Outcome

METHODS = {name: method for name, method in methods().items() if method.short}


@pytest.mark.parametrize("name", METHODS)
def test_every_injected_fault_is_survived(name):
    outcome = run(METHODS[name], METHODS[name].short, seed=0).outcome
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.failures == ()
    assert outcome.survived == outcome.tried > 0


def test_a_method_is_named_as_its_module():
    assert all(method.run.__module__ == f"tests.faults.{name}" for name, method in METHODS.items())


def test_the_campaign_outlives_a_method_that_fails():
    def broken(trials, seed, only):
        raise RuntimeError("no such luck")

    row = run(Method("broken", "one that fails", 1, 1, "nothing", broken), 7, seed=3)
    assert row.outcome.failed == 1
    command, why = row.outcome.failures[0]
    assert command == "python -m tests.faults broken --seed 3 --trials 7"
    assert "no such luck" in why


def test_the_table_keeps_the_rows_of_methods_that_did_not_run(tmp_path, monkeypatch):
    a, b = (Method(name, f"of {name}", 1, 1, f"shows {name}", lambda *_: Outcome(1, 1)) for name in "ab")
    monkeypatch.setattr("tests.faults.__main__.methods", lambda: {"a": a, "b": b})
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\n{END}\n\nafter\n")
    write([Row(b, Outcome(5000, 4998, (("python", "why"),)), 12.3, 0)], "2026-01-02 abc", page)
    write([Row(a, Outcome(0, 0, (), "no compiler"), 0, 1)], "2026-01-03 def", page)
    assert page.read_text().count(BEGIN) == page.read_text().count(END) == 1
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert lines[5:7] == [
        "| `a`: of a | 0 | 0 | 0 | no compiler | 0 | 1 | 2026-01-03 def |",
        "| `b`: of b | 5,000 | 4,998 | 2 | – | 12 | 0 | 2026-01-02 abc |",
    ]
    assert lines[8:10] == ["- **a**: shows a", "- **b**: shows b"]
