"""Columns of a labels CSV are chosen by option, or found by name or position."""

import pytest

from pipeline.labels.columns import ColumnChoice
from pipeline.sources.formats.ct import TUBERCULOSIS_TYPES
from tests.helpers.label_sheets import GOOD

FILES = "file names (FileName, File, Name, Scan, Image or ID)"
LABELS = "labels (TypeOfTB, Label, Class or Type)"


# Columns


@pytest.mark.parametrize(
    ("file", "label", "patient"),
    [
        ("FileName", "TypeOfTB", "Patient"),
        ("file name", "type of TB", "PatientID"),
        ("FILE", "Label", "patient_id"),
        ("Name", "CLASS", "Patient ID"),
        ("Scan", "type", "patient-id"),
        ("image-id", "Type_of_TB", "Subject"),
        ("ID", "label", "SubjectID"),
        ("Image", "Class", "subject id"),
        ("image_path", "typeoftb", "Case"),
        ("ScanID", "Class", "Patient_Name"),
        ("File.Name", "Type.of.TB", "Patient.ID"),
        ("File name:", "Type of TB?", "Patient No."),
        ("image_id", "label", "pid"),
    ],
)
def test_columns_are_found_by_name_and_the_others_are_reported(labels, file, label, patient):
    labelled, groups, report = labels(f"Sex,{patient},{label},{file},Age\n2,P 7,1,a.nii,3\n1, P 7 ,2,b.nii.gz,4\n")
    assert labelled == {"a": 0, "b": 1}
    assert groups == {"a": "P 7", "b": "P 7", "sub/a": "sub/a", "p": "p"}
    assert report.columns.unused == ["Sex", "Age"]
    assert (report.patient_column, report.patients) == (patient, 1)


def test_a_column_with_a_common_name_takes_precedence_over_one_with_a_rare_name(labels):
    labelled, groups, report = labels("FileName,TypeOfTB,PatientName,PatientID,path\na.nii,1,Doe,P1,/x/b.nii.gz\n")
    assert (labelled["a"], groups["a"]) == (0, "P1")
    assert report.columns.unused == ["PatientName", "path"]


@pytest.mark.parametrize("names", [TUBERCULOSIS_TYPES, ("one", "two")])
def test_columns_found_by_name_take_precedence_over_position(labels, names):
    text = "FileName,Sex,TypeOfTB\na.nii,2,1\nb.nii.gz,2,1\n"
    assert labels(text, names, by_position=True)[0] == {"a": 0, "b": 0}


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("ID,FileName,TypeOfTB", f"2 columns that may hold {FILES}: 'ID' and 'FileName'; choose one with --file"),
        ("FileName,Label,TypeOfTB", f"2 columns that may hold {LABELS}: 'Label' and 'TypeOfTB'; choose one with --"),
        ("FileName,Type,Patient,patient_id", "2 columns that may hold patients (Patient, PatientID, Subject or Case): "
                                             "'Patient' and 'patient_id'; choose one with --patient-column"),
        ("FileName,FileName,TypeOfTB", f"2 columns that may hold {FILES}"),
        ("FileName,Sex", f"no column of {LABELS}; the header is 'FileName', 'Sex'; rename one, or choose one with"),
        ("a.nii,1", f"no column of {FILES} or {LABELS}; the header is 'a.nii', '1'; rename one, or choose one with "
                    "--file-column and --label-column"),
        ("FileName", "no column of labels"),
        ("TypeOfTB,Patient", "no column of file names"),
        ("", f"no column of {FILES} or {LABELS}; the header is empty; rename"),
        ("\n\n", "no column of file names"),
        *(
            (first, f"no column of {FILES} or {LABELS}; the header is {first.strip(',')!r}; the first line must name "
                    "all columns, separated by commas, semicolons or tabs")
            for first in ("FileName|TypeOfTB", "FileName TypeOfTB", "# exported in May", "Training set,,")
        ),
        (",".join("x" * 50 for _ in range(50)), "no column of file names"),
    ],
)  # fmt: skip
def test_an_ambiguous_header_is_rejected(rejection, header, problem):
    message = rejection(f"{header}\na.nii,1,2,3\n" if header.strip() else header)
    assert message.startswith(f"labels CSV have {problem}")
    assert len(message) < 500


@pytest.mark.parametrize(
    ("header", "choice"),
    [
        ("ID,FileName,TypeOfTB,x", ColumnChoice(file="filename")),
        ("x,Scan A,Type,Label", ColumnChoice("scan_a", "TYPE")),
        ("Label,label,Class,x", ColumnChoice("label", "Class")),
        ("x,y,z,w", ColumnChoice("y", "z", "w")),
        ("x;y;z;w", ColumnChoice("y", "z")),
        ("Patient,Subject,Class,w", ColumnChoice("Subject", patient="w")),
    ],
)
def test_a_chosen_column_takes_precedence(labels, header, choice):
    rows = "\n4,a.nii,1,P1\n4,b.nii.gz,2,P1\n".replace(",", ";" if ";" in header else ",")
    labelled, groups, _ = labels(header + rows, choice=choice)
    assert labelled == {"a": 0, "b": 1}
    if choice.patient:
        assert groups["a"] == groups["b"] == "P1"


def test_a_chosen_column_that_is_missing_or_chosen_twice_is_rejected(rejection):
    assert rejection(GOOD, choice=ColumnChoice(patient="Pat")) == (
        "labels CSV have no column named 'Pat', given by --patient-column; the header is 'FileName', 'TypeOfTB'"
    )
    assert rejection("x,label,Class,label\n", choice=ColumnChoice("label")).startswith(
        "labels CSV have 2 columns named 'label', given by --file-column; the header is 'x', 'label', 'Class', 'label'"
    )
    assert rejection("x,label,Class,label\n", choice=ColumnChoice("label")).endswith("; rename all but one")
    assert rejection("FileName,,TypeOfTB\na.nii,1,2\n", choice=ColumnChoice(patient="#")).startswith(
        "labels CSV have no column named '#', given by --patient-column"
    )
    message = rejection(GOOD, choice=ColumnChoice("TypeOfTB", "TypeOfTB"))
    assert (
        message == "labels CSV have one column, 'TypeOfTB', chosen for labels and for another role; choose two columns"
    )


@pytest.mark.parametrize(
    "header",
    ["scan,finding", "x,y", "x,y,z", "case,finding", "Patient,x,y", "x,Label", "x;y;z", "image,finding,patient"],
)
def test_with_class_names_columns_with_any_name_are_found_by_position(labels, header):
    text = "P,a.nii,2\nP,b.nii.gz,1" if header.startswith("P") else "a.nii,2,P\nb.nii.gz,1,P"
    if header.count(",") + header.count(";") == 1:
        text = text.replace(",P", "")
    if ";" in header:
        text = text.replace(",", ";")
    labelled, groups, report = labels(f"{header}\n{text}\n", ("one", "two"), by_position=True)
    assert labelled == {"a": 1, "b": 0}
    assert groups["a"] == ("P" if "atient" in header else "a")
    assert report.columns.by_position


def test_by_position_a_label_column_is_not_picked_from_several(rejection):
    message = rejection("FileName,Sex,finding\na.nii,1,2\n", ("one", "two"), by_position=True)
    assert message.startswith("labels CSV have no column of labels")


def test_by_position_a_label_column_may_have_the_name_of_a_class(labels):
    assert labels("image,mass\na.nii,2\nb.nii.gz,Mass\n", ("normal", "mass"), by_position=True)[0] == {"a": 1, "b": 1}


@pytest.mark.parametrize("first", ["a.nii,1", "a.nii,two", "a.nii,0", "elsewhere.nii,1"])
def test_by_position_a_table_without_a_header_is_rejected(rejection, first):
    message = rejection(f"{first}\nb.nii.gz,2\n", ("one", "two"), by_position=True)
    assert message == (
        f"labels CSV begin with {', '.join(map(repr, first.split(',')))}, which is a row, not a header; expected a "
        "first line such as FileName,TypeOfTB"
    )
