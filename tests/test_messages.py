"""Every error message that users can see is in tests/messages.txt."""

from tests.helpers.messages import GOLDEN, ROOT, golden, messages


def test_every_error_message_is_in_the_golden_file():
    assert golden() == GOLDEN.read_text(encoding="utf-8"), "run `make docs`, and read the changed lines"


def test_messages_are_collected_with_their_values_in_braces(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        'raise TrainerError(f"{path} is not a run; " + "expected {a folder}")\n'
        'InvalidInput("2-D", f"{3}-D", remedy)\n'
        'raise ValueError("for programmers")\n'
    )
    assert sorted(messages(path), reverse=True) == [
        "TrainerError: {path} is not a run; expected {a folder}",
        "InvalidInput: 2-D | 3-D | {remedy}",
    ]


def test_the_golden_file_has_every_package():
    text = GOLDEN.read_text(encoding="utf-8")
    assert all(f"# {package}/" in text for package in ("cache", "console", "pipeline", "trainer"))
    assert (ROOT / "tests" / "messages.txt").stat().st_size > 10_000
