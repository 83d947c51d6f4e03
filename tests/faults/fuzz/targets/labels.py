"""Labels CSVs."""

from pathlib import Path
from typing import Any

from tests.faults import world
from tests.faults.fuzz.target import Target
from tests.faults.fuzz.value_changes import change_table


def labels(folder: Path) -> Target:
    """A file with numbers of classes, and one with their names and more columns."""
    from cache.schema import Source
    from pipeline.labels.apply import apply_labels
    from pipeline.labels.columns import ColumnChoice
    from pipeline.sources.formats.ct import TUBERCULOSIS_TYPES
    from pipeline.sources.records import Record

    folder.mkdir()
    names = [f"S{number:02d}.nii.gz" for number in range(1, 9)]
    records = [Record(name.removesuffix(".nii.gz"), Source("/scans", (name,))) for name in names]
    world.write_labels(folder / "labels.csv", names)
    with_numbers = (folder / "labels.csv").read_bytes()
    with_names = b"id,class,subject id,age\n" + b"".join(
        b"%s,Miliary,P%d,40\n" % (name.encode(), number) for number, name in enumerate(names)
    )

    def read(path: Path) -> Any:
        return apply_labels(records, path, TUBERCULOSIS_TYPES, ColumnChoice())

    return Target([with_numbers, with_names], ".csv", change_table, read)
