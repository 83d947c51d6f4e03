"""Rows assign labels and patients to scans; unusable rows are reported."""

import pytest

from tests.helpers.label_sheets import GOOD, HEADER, wrong


def test_scans_without_a_row_are_reported_separately_from_wrong_rows(labels):
    _, _, report = labels("FileName,TypeOfTB\na.nii,9\nb.nii.gz,1\n")
    assert len(report.wrong) == 1
    assert report.unlabelled == ["p.hdr", "sub/a.nii"]


def test_duplicate_rows_are_used_only_if_they_agree(labels):
    labelled, _, report = labels(GOOD + "b,5\np.img,Focal\na.nii,4\na.nii,1\n")
    assert labelled == {"b": 4, "sub/a": 2, "p": 1}
    assert wrong(report) == [
        "labels.csv lines 2, 8, 9: 'a.nii': 3 rows with different labels or patients: it stays unlabelled",
        "labels.csv lines 3, 6: 'b.nii.gz': 2 rows with the same label and patient",
        "labels.csv lines 5, 7: 'p.hdr': 2 rows with the same label and patient",
    ]
    assert report.unlabelled == []


def test_a_row_with_an_extra_cell_is_rejected(labels):
    for trailing in ("", ","):
        labelled, _, report = labels(f"FileName,TypeOfTB{trailing}\na.nii,2,5\n")
        assert labelled == {}
        problem = "1 more cell than the header; expected as many, and no comma inside a number"
        assert wrong(report) == [f"labels.csv line 2: 'a.nii': {problem}"]


# Patients


@pytest.mark.parametrize(
    "missing", ["", "NA", "na", "nan", "NaN", "None", "-", "N/A", "null", "?", " ", "#N/A", "<NA>"]
)
def test_a_scan_without_a_patient_is_its_own_group(labels, missing):
    _, groups, report = labels(f"{HEADER},Patient\na.nii,1,{missing}\nb.nii.gz,2,{missing}\np.hdr,1,P3\n")
    assert groups == {"a": "a", "b": "b", "p": "P3", "sub/a": "sub/a"}
    assert (report.patients, report.wrong) == (1, [])


def test_a_row_with_a_patient_of_more_than_4096_bytes_is_rejected(labels):
    _, groups, report = labels(f"FileName,TypeOfTB,Patient\na.nii,1,{'x' * 4096}\nb.nii.gz,1,{'x' * 4097}\n")
    assert [len(group) for group in groups.values() if len(group) > 99] == [4096]
    assert [str(row) for row in report.wrong] == [
        f"labels.csv line 3: 'b.nii.gz': patient '{'x' * 200}…', expected at most 4096 bytes"
    ]


def test_patients_that_differ_in_case_or_inner_space_are_different(labels):
    _, groups, _ = labels(f"{HEADER},Patient\na.nii,1,P 1\nb.nii.gz,2,p 1\np.hdr,1,P1 \nsub/a.nii,1,P1\n")
    assert groups == {"a": "P 1", "b": "p 1", "p": "P1", "sub/a": "P1"}


def test_known_groups_are_kept_if_the_sheet_has_no_patient_column(labels):
    known_groups = {"a": "P1", "b": "P1", "p": "P2", "sub/a": "sub/a"}
    _, groups, report = labels(GOOD, groups=known_groups)
    assert groups == known_groups
    assert (report.patients, report.patient_column) == (2, "")
    _, groups, _ = labels(f"{HEADER},Case\na.nii,1,NA\nb.nii.gz,9,Q\n", groups=known_groups)
    assert groups == {"a": "a", "b": "P1", "p": "P2", "sub/a": "sub/a"}
