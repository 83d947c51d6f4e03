"""docs/cli.md and docs/api.md match the output of `make docs`; shell completion knows commands, options and choices."""

import os
import runpy
import subprocess
import sys

import pytest

from tests.helpers.commands import ROOT

REFERENCE = runpy.run_path(str(ROOT / ".ci" / "reference.py"))


@pytest.mark.parametrize("page", ["cli", "api"])
def test_the_reference_is_up_to_date(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert text == REFERENCE[f"{page}_page"](), f"docs/{page}.md is out of date; run `make docs`"


def complete(line):
    """The words that bash would offer after `line`."""
    words = line.split(" ")
    variables = {"_VIPTT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    command = [sys.executable, "-c", "from cli import main; main(prog_name='viptt')"]
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=60, check=True
    )
    return [offer.partition(",")[2] for offer in result.stdout.split()]


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("viptt tr", ["train"]),
        ("viptt train fine", ["finetune"]),
        ("viptt preprocess v", ["video"]),
        ("viptt train finetune --slices", ["--slices-per-step"]),
        ("viptt preprocess ct --preset o", ["original"]),
        ("viptt train pretrain --frame", []),
    ],
)
def test_shell_completion_offers_commands_options_and_choices(line, offers):
    assert complete(line) == offers
