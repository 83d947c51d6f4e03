"""Which expressions the method `mutants` of the fault campaign changes, and which it leaves alone."""

import pytest

from tests.faults.mutants import HARMLESS, ROOT, _key, _modules, mutants

LINES = {
    "a < b": {"(a <= b)"},
    "a == b in c": {"(a != b in c)", "(a == b not in c)"},
    "n + 1": {"(n - 1)", "2"},
    "'text' + s": set(),
    "f'{n + 1}'": set(),
    "x and not y": {"(x or not y)", "(y)"},
    "a if b else c": {"(c if b else a)"},
    "True": {"False"},
    "0.0": {"1.0"},
    "[a for a in b if f(a)]": {"(not (f(a)))"},
    "def f(a: int | None) -> int | str: pass": set(),
    "assert a == 1": set(),
    "@cache(size=3)\ndef f(): pass": set(),
    "if f(x): y": {"(not (f(x)))"},
    "if not x: y": {"(x)"},
}


@pytest.mark.parametrize("line", LINES)
def test_comparisons_calculations_numbers_and_branches_are_changed(line, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.faults.mutants.ROOT", tmp_path)
    (tmp_path / "module.py").write_text(line)
    assert {each.text for each in mutants("module.py")} == LINES[line]


def test_every_mutant_of_the_code_can_be_compiled():
    for module in _modules():
        source = (ROOT / module).read_bytes()
        all_mutants = mutants(module)
        assert len({each.name for each in all_mutants}) == len(all_mutants)
        for each in all_mutants[::7]:
            changed = source[: each.start] + each.text.encode() + source[each.end :]
            assert changed != source
            compile(changed, module, "exec")


def test_every_harmless_mutant_exists_and_has_a_reason():
    lines = [line.split("\t") for line in HARMLESS.read_text(encoding="utf-8").splitlines()]
    known = {_key(each) for module in {line[0] for line in lines} for each in mutants(module)}
    for module, text, change, reason in lines:
        assert reason
        assert (module, text, change) in known
