"""Read a lock with the extra `gpu` from stdin; print what requirements.lock lacks of it: requirements-gpu.lock."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

HEADER = "# Made by `make lock`: the packages that `make gpu` adds to those of requirements.lock.\n"


def entries(lock: str) -> Iterator[tuple[str, str]]:
    """Each requirement of a lock, such as `jax==0.10.2 ; python_full_version < '3.12'`, and its lines with hashes."""
    for block in re.findall(r"^[a-z0-9].*\n(?:[ #].*\n)*", lock, re.MULTILINE):
        lines = [line for line in block.splitlines() if not line.lstrip().startswith("#")]
        yield lines[0].removesuffix(" \\"), "\n".join(lines) + "\n"


if __name__ == "__main__":
    known = {requirement for requirement, _ in entries(Path("requirements.lock").read_text())}
    added = [lines for requirement, lines in entries(sys.stdin.read()) if requirement not in known]
    sys.stdout.write(HEADER + "".join(added))
