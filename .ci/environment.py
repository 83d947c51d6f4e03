"""Write environment.yml, for conda users, with exactly the packages of requirements.lock."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def locked(text: str) -> list[str]:
    """The requirements of a lock, markers kept and hashes dropped."""
    return [line.rstrip(" \\") for line in text.splitlines() if re.match(r"[a-z0-9]", line)]


def environment(lock: str) -> str:
    """The text of environment.yml for the text of a lock."""
    lines = ["# Made from requirements.lock by `make lock`.", "name: viptt", "channels:", "  - conda-forge"]
    lines += ["dependencies:", "  - python=3.12", "  - pip", "  - pip:"]
    lines += [f"      - {requirement}" for requirement in locked(lock)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(environment((ROOT / "requirements.lock").read_text()))
