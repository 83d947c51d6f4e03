"""Real files, outside the repository; tests that need them are skipped where they are missing."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real files are not at {DATA}")
