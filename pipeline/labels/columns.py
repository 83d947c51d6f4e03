"""The header of a labels CSV → which column holds file names, which labels, which patients. Pure.

Columns are found by name, whatever their case, spaces, `_`, `-` or other signs (R writes `Patient.ID`); a column that
the user chose comes first. Where two columns may mean the same, the user must choose.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from cache.schema import composed
from cache.text import cut, shown

# Names of each role's column as `_key` gives them. A column of a rare name is taken only where none has a usual one.
USUAL = {
    "file": {"filename", "file", "name", "scan", "image", "id"},
    "label": {"typeoftb", "label", "class", "type"},
    "patient": {"patient", "patientid", "subject", "subjectid", "case", "caseid"},
}
RARE = {
    "file": {f"{what}{kind}" for what in ("image", "scan") for kind in ("name", "file", "path", "id")}
    | {"path", "filenames", "filepath", "fileid", "sample", "sampleid"},
    "label": {"tbtype"},
    "patient": {f"{who}{kind}" for who in ("patient", "subject", "case") for kind in ("no", "number", "name", "code")}
    | {"patientkey", "pid", "participant", "participantid"},
}
EXPECTED = {
    "file": "file names (FileName, File, Name, Scan, Image or ID)",
    "label": "labels (TypeOfTB, Label, Class or Type)",
    "patient": "patients (Patient, PatientID, Subject or Case)",
}


class UnclearHeader(ValueError):
    """A header that does not say which column is which; the message follows the name of the file."""


class ColumnChoice(msgspec.Struct, frozen=True):
    """The columns that the user chose by name; None where the header decides."""

    file: Annotated[
        str | None,
        Meta(
            description="Column of file names in the CSV; default: FileName, ID, …",
            extra={"option": "--file-column", "metavar": "NAME"},
        ),
    ] = None
    label: Annotated[
        str | None,
        Meta(
            description="Column of labels; default: TypeOfTB, Label, Class or Type.",
            extra={"option": "--label-column", "metavar": "NAME"},
        ),
    ] = None
    patient: Annotated[
        str | None,
        Meta(
            description="Column of patients; default: Patient, Subject, Case, …",
            extra={"option": "--patient-column", "metavar": "NAME"},
        ),
    ] = None

    def given(self) -> dict[str, str]:
        """Role → name of the columns that were chosen."""
        return {role: name for role, name in msgspec.structs.asdict(self).items() if name is not None}


@dataclass(frozen=True)
class Columns:
    """Positions in `header` of the columns used; `patient` is None where there is none.

    `by_position` says that the columns of file names or labels were found by their place and not by their name.
    """

    header: tuple[str, ...]
    file: int
    label: int
    patient: int | None = None
    by_position: bool = False

    def name(self, position: int) -> str:
        """The header of a column, or its number from 1 where it has none."""
        return self.header[position] or f"column {position + 1}"

    @property
    def patient_name(self) -> str:
        """The header of the patients' column; empty where there is none."""
        return "" if self.patient is None else self.name(self.patient)

    @property
    def unused(self) -> list[str]:
        """The headers of the columns that nothing is read from."""
        used = (self.file, self.label, self.patient)
        return [self.name(position) for position in range(len(self.header)) if position not in used]


def find_columns(header: Sequence[str], choice: ColumnChoice, by_position: bool = False) -> Columns:
    """Which of the `header`'s columns is which.

    With `by_position`, file names and labels may be in columns of any name: in the only one that is left, or, where
    neither is found by its name, in the first two. Raises UnclearHeader.
    """
    found = {role: _chosen(header, role, name) for role, name in choice.given().items()}
    chosen = set(found.values())
    for role in [role for role in USUAL if role not in found]:
        if (position := _named(header, role, chosen)) is not None:
            found[role] = position
    missing = [role for role in ("file", "label") if role not in found]
    if missing and by_position:
        found = _positions(header, found, missing)
    if still_missing := [role for role in ("file", "label") if role not in found]:
        raise _no_column(header, still_missing)
    if found["label"] in (found["file"], found.get("patient")):
        raise UnclearHeader(
            f"one column, {shown(header[found['label']])}, chosen for labels and for something else; choose two"
        )
    return Columns(tuple(header), found["file"], found["label"], found.get("patient"), by_position=bool(missing))


def known_names(header: Sequence[str], choice: ColumnChoice) -> int:
    """How many cells of `header` are names of columns: the right separator is the one that shows most."""
    known = set().union(*USUAL.values(), *RARE.values(), map(_key, filter(None, choice.given().values())))
    return sum(_key(cell) in known for cell in header)


def shown_header(header: Sequence[str]) -> str:
    """A header as messages show it."""
    return cut(", ".join(map(repr, header)) or "empty")


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", "", composed(name)).casefold()


def _chosen(header: Sequence[str], role: str, name: str) -> int:
    """The one column of the name that an option gave: exactly that, else the only one that is nearly that."""
    exact = [position for position, cell in enumerate(header) if composed(cell) == composed(name.strip())]
    found = exact or [position for position, cell in enumerate(header) if _key(cell) == _key(name) != ""]
    if len(found) == 1:
        return found[0]
    count, remedy = (f"{len(found)} columns", "; rename all but one") if found else ("no column", "")
    raise UnclearHeader(
        f"{count} named {shown(name)}, as --{role}-column asks; the header is {shown_header(header)}{remedy}"
    )


def _named(header: Sequence[str], role: str, chosen: set[int]) -> int | None:
    """The one column, but for those `chosen`, that has a name of this role; None where there is none."""
    keys = {position: _key(cell) for position, cell in enumerate(header) if position not in chosen}
    usual, rare = ([place for place, key in keys.items() if key in names[role]] for names in (USUAL, RARE))
    found = usual or rare
    if len(found) > 1:
        names = " and ".join(shown(header[position]) for position in found[:3])
        raise UnclearHeader(f"{len(found)} columns that may hold {EXPECTED[role]}: {names}; choose by --{role}-column")
    return found[0] if found else None


def _positions(header: Sequence[str], found: Mapping[str, int], missing: Sequence[str]) -> dict[str, int]:
    """`found`, and where the `missing` columns are by their place, if that is beyond doubt."""
    if len(missing) == 2 and len(header) == 2:  # whatever they are called: `Case,Finding`
        return {"file": 0, "label": 1}
    left = [position for position in range(len(header)) if position not in found.values()]
    if len(missing) == 1 and len(left) != 1:
        return dict(found)
    return dict(found) | dict(zip(missing, left, strict=False))


def _no_column(header: Sequence[str], missing: Sequence[str]) -> UnclearHeader:
    what = " or ".join(EXPECTED[role] for role in missing)
    options = " and ".join(f"--{role}-column" for role in missing)
    remedy = f"rename one, or choose by {options}"
    if len(header) == 1:  # a title, a comment, or another separator
        remedy = "the first line must name all columns, separated by commas, semicolons or tabs"
    return UnclearHeader(f"no column of {what}; the header is {shown_header(header)}; {remedy}")
