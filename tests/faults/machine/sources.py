"""Rules that change the sources of a cache and its labels CSV."""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.faults.machine.model import INVALID, Allowed

FOLDERS = "st"  # of sources
NAMES = [f"S{number}" for number in range(5)]


class SourceRules(RuleBasedStateMachine):
    """Two folders of sources, and the labels of the first one.

    A rule that is not applicable does nothing instead of having a precondition: the choices of Hypothesis must not
    depend on the bytes of the cache, which contain the name of a temporary folder.
    """

    def create_folders(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.root, self.features = self.folder / "ct.zarr", self.folder / "features.zarr"
        self.outside = self.folder / "outside"
        for folder in (*FOLDERS, "outside"):
            (self.folder / folder).mkdir()
        (self.outside / "file").write_text("content")
        self.labels: dict[str, int] = {}
        self.allowed: dict[str, Allowed] = {}
        self.damaged = False  # whether a file of the cache was damaged since the last complete repair
        self.clock = 10**9

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def source_path(self, folder: str, name: str) -> Path:
        """Sources of the second folder have other names, as ids and lines of the labels CSV must be unique."""
        return self.folder / folder / f"{name if folder == 's' else name.replace('S', 'T')}.nii"

    def source_texts(self, folder: str) -> dict[str, str]:
        return {path.stem: path.read_text() for path in (self.folder / folder).iterdir()}

    def write_source(self, folder: str, name: str, text: str) -> None:
        path = self.source_path(folder, name)
        path.write_text(text)
        self.clock += 1
        os.utime(path, (self.clock, self.clock))

    @rule(folder=st.sampled_from(FOLDERS), name=st.sampled_from(NAMES), intensity=st.integers(1, 60_000))
    def add_or_change_source(self, folder: str, name: str, intensity: int) -> None:
        self.write_source(folder, name, str(intensity))

    @rule(folder=st.sampled_from(FOLDERS), name=st.sampled_from(NAMES))
    def spoil_source(self, folder: str, name: str) -> None:
        self.write_source(folder, name, INVALID)

    @rule(folder=st.sampled_from(FOLDERS), name=st.sampled_from(NAMES))
    def touch_source(self, folder: str, name: str) -> None:
        if self.source_path(folder, name).exists():
            self.write_source(folder, name, self.source_path(folder, name).read_text())

    @rule(folder=st.sampled_from(FOLDERS), name=st.sampled_from(NAMES))
    def delete_source(self, folder: str, name: str) -> None:
        self.source_path(folder, name).unlink(missing_ok=True)

    @rule(name=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def rename_source(self, name: str, new: str) -> None:
        if self.source_path("s", name).exists():
            text = self.source_path("s", name).read_text()
            self.source_path("s", name).unlink()
            self.write_source("s", new, text)

    @rule(name=st.sampled_from(NAMES), label=st.sampled_from([0, 1]))
    def edit_label(self, name: str, label: int) -> None:
        self.labels[name] = label

    def write_labels(self) -> Path:
        path = self.folder / "labels.csv"
        rows = [f"{name},{label + 1}" for name, label in sorted(self.labels.items())]
        path.write_text("\n".join(["FileName,TypeOfTB", *rows, ""]))
        return path
