"""The columns of a labels CSV: which of them holds file names, which labels, which patients. Pure.

Columns are found by name, ignoring case, spaces, `_`, `-` and other signs (R writes `Patient.ID`). The user's
choice takes precedence. Where two columns could have the same role, the user must choose.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from cache.schema import composed
from cache.text import cut, shown

# Names of the column of each role, as returned by `_key`. A rare name counts only where no column has a usual one.
USUAL = {
    "file": {"filename", "file", "name", "scan", "image", "id"},
    "label": {"typeoftb", "label", "class", "type"},
    "patient": {"patient", "patientid", "subject", "subjectid", "case", "caseid"},
}
RARE = {
    "file": {f"{noun}{kind}" for noun in ("image", "scan") for kind in ("name", "file", "path", "id")}
    | {"path", "filenames", "filepath", "fileid", "sample", "sampleid"},
    "label": {"tbtype"},
    "patient": {f"{noun}{kind}" for noun in ("patient", "subject", "case") for kind in ("no", "number", "name", "code")}
    | {"patientkey", "pid", "participant", "participantid"},
}
EXPECTED = {
    "file": "file names (FileName, File, Name, Scan, Image or ID)",
    "label": "labels (TypeOfTB, Label, Class or Type)",
    "patient": "patients (Patient, PatientID, Subject or Case)",
}


class UnclearHeader(ValueError):
    """A header whose columns are ambiguous; messages put the path of the CSV before this text."""


class ColumnChoice(msgspec.Struct, frozen=True):
    """The columns of a labels CSV that the user chose by name; None where the header decides."""

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

    def by_role(self) -> dict[str, str]:
        """Role → name of the columns that were chosen."""
        return {role: name for role, name in msgspec.structs.asdict(self).items() if name is not None}


@dataclass(frozen=True)
class Columns:
    """Positions in `header` of the columns used; `patient` is None where there is none.

    `by_position` is True where the column of file names or labels was found by its position, not by its name.
    """

    header: tuple[str, ...]
    file: int
    label: int
    patient: int | None = None
    by_position: bool = False

    def name(self, position: int) -> str:
        """The header of a column, or its number, counted from 1, where it has none."""
        return self.header[position] or f"column {position + 1}"

    @property
    def patient_name(self) -> str:
        """The header of the patients' column; empty where there is none."""
        return "" if self.patient is None else self.name(self.patient)

    @property
    def unused(self) -> list[str]:
        """The headers of the columns that are not read."""
        used = (self.file, self.label, self.patient)
        return [self.name(position) for position in range(len(self.header)) if position not in used]


def find_columns(header: Sequence[str], choice: ColumnChoice, by_position: bool = False) -> Columns:
    """Find the columns of file names, labels and patients in `header`.

    With `by_position`, file names and labels may be in columns with any name: in the only remaining one, or, if neither
    is found by name, in the first two. Raises UnclearHeader.
    """
    columns = {role: _chosen(header, role, name) for role, name in choice.by_role().items()}
    chosen = set(columns.values())
    for role in [role for role in USUAL if role not in columns]:
        if (position := _named(header, role, chosen)) is not None:
            columns[role] = position
    missing = [role for role in ("file", "label") if role not in columns]
    if missing and by_position:
        columns = _by_position(header, columns, missing)
    if still_missing := [role for role in ("file", "label") if role not in columns]:
        raise _no_column(header, still_missing)
    if columns["label"] in (columns["file"], columns.get("patient")):
        raise UnclearHeader(
            f"one column, {shown(header[columns['label']])}, chosen for labels and for another role; choose two columns"
        )
    return Columns(tuple(header), columns["file"], columns["label"], columns.get("patient"), by_position=bool(missing))


def known_names(header: Sequence[str], choice: ColumnChoice) -> int:
    """How many cells of `header` are known column names: the right separator gives the most."""
    names = set().union(*USUAL.values(), *RARE.values(), map(_key, filter(None, choice.by_role().values())))
    return sum(_key(cell) in names for cell in header)


def shown_header(header: Sequence[str]) -> str:
    """`header` as messages show it."""
    return cut(", ".join(map(repr, header)) or "empty")


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", "", composed(name)).casefold()


def _chosen(header: Sequence[str], role: str, name: str) -> int:
    """The column with the name in an option: exactly that name, else the only similar one."""
    exact = [position for position, cell in enumerate(header) if composed(cell) == composed(name.strip())]
    matches = exact or [position for position, cell in enumerate(header) if _key(cell) == _key(name) != ""]
    if len(matches) == 1:
        return matches[0]
    count, remedy = (f"{len(matches)} columns", "; rename all but one") if matches else ("no column", "")
    raise UnclearHeader(
        f"{count} named {shown(name)}, given by --{role}-column; the header is {shown_header(header)}{remedy}"
    )


def _named(header: Sequence[str], role: str, chosen: set[int]) -> int | None:
    """The column with a name of this role, except those `chosen`; None where there is none."""
    keys = {position: _key(cell) for position, cell in enumerate(header) if position not in chosen}
    usual, rare = ([position for position, key in keys.items() if key in names[role]] for names in (USUAL, RARE))
    matches = usual or rare
    if len(matches) > 1:
        names = " and ".join(shown(header[position]) for position in matches[:3])
        raise UnclearHeader(
            f"{len(matches)} columns that may hold {EXPECTED[role]}: {names}; choose one with --{role}-column"
        )
    return matches[0] if matches else None


def _by_position(header: Sequence[str], columns: Mapping[str, int], missing: Sequence[str]) -> dict[str, int]:
    """`columns` and the positions of the `missing` ones, if these are unambiguous."""
    if len(missing) == 2 and len(header) == 2:  # with any names: `Case,Finding`
        return {"file": 0, "label": 1}
    unused = [position for position in range(len(header)) if position not in columns.values()]
    if len(missing) == 1 and len(unused) != 1:
        return dict(columns)
    return dict(columns) | dict(zip(missing, unused, strict=False))


def _no_column(header: Sequence[str], missing: Sequence[str]) -> UnclearHeader:
    roles = " or ".join(EXPECTED[role] for role in missing)
    options = " and ".join(f"--{role}-column" for role in missing)
    remedy = f"rename one, or choose one with {options}"
    if len(header) == 1:  # a title, a comment, or another separator
        remedy = "the first line must name all columns, separated by commas, semicolons or tabs"
    return UnclearHeader(f"no column of {roles}; the header is {shown_header(header)}; {remedy}")
