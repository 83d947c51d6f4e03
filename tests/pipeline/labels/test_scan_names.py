"""Names in a labels CSV are matched to scans."""

import unicodedata

import pytest

from tests.helpers.label_sheets import HEADER, put, wrong

# Matching names to scans


@pytest.mark.parametrize(
    ("name", "scan"),
    [
        ("c/TRN_1.nii.gz", "c/TRN_1"),
        ("TRN_1.nii.gz", "c/TRN_1"),
        ("TRN_1", "c/TRN_1"),
        ("c/TRN_1", "c/TRN_1"),
        ("TRN_1.nii", "c/TRN_1"),
        ("trn_1.NII.GZ", "c/TRN_1"),
        (r"c\TRN_1.nii.gz", "c/TRN_1"),
        (r"C:\data\c\TRN_1.nii.gz", "c/TRN_1"),
        (r"C:\data\TRN_1.nii.gz", "c/TRN_1"),
        (r"\\server\share\trn_1", "c/TRN_1"),
        ("/home/me/scans/c/TRN_1.nii.gz", "c/TRN_1"),
        ("./c/TRN_1.nii.gz", "c/TRN_1"),
        ("a.nii", "a"),
        ("A.nii", "a"),
        ("a", "a"),
        ("Sub/a.nii", "sub/a"),
        (r"D:\x\sub\a.nii", "sub/a"),
        (r"D:\x\a.nii", "a"),
        ("p.img", "p"),
        ("p", "p"),
    ],
)
def test_names_and_paths_from_other_machines_match_their_scan(labels, root, name, scan):
    put(root, "c/TRN_1.nii.gz")
    labelled, _, report = labels(f'{HEADER}\n"{name}",1\n')
    assert labelled == {scan: 0}
    assert report.wrong == []


def test_exact_names_take_precedence_over_similar_ones(labels, root):
    put(root, "x/Q.nii", "y/q.nii", "y/Q.nii.nii", r"w\q.nii", "w/q.nii")
    labelled, _, report = labels(f"{HEADER}\nx/Q.nii,1\ny/q.nii,2\nw\\q.nii,3\nw/q.nii,4\nQ.nii,5\n")
    assert labelled == {"x/Q": 0, "y/q": 1, r"w\q": 2, "w/q": 3}
    assert len(report.wrong) == 1


@pytest.mark.parametrize("name", ["x/a.nii", "c.nii/", "", ".", "/", "\\", "nii", ".nii", "*.nii", "=cmd|'/C calc'!A0"])
def test_a_name_without_a_scan_is_reported(labels, root, name):
    (root / "a.nii").unlink()
    labelled, _, report = labels(f'{HEADER}\nb.nii.gz,1\n"{name}",1\n')
    assert labelled == {"b": 0}
    assert wrong(report) == [f"labels.csv line 3: {name!r}: no scan has this name"]


def test_a_file_name_shared_by_several_scans_needs_its_path(labels, root):
    put(root, "x/c.nii", "y/c.nii")
    labelled, _, report = labels("FileName,TypeOfTB\nc.nii,1\ny/c.nii,2\nE:\\z\\c,3\n")
    assert labelled == {"y/c": 1}
    problem = "2 scans have this name; give the path below SOURCE"
    assert wrong(report) == [
        f"labels.csv line 2: 'c.nii': {problem}",
        f"labels.csv line 4: 'E:\\\\z\\\\c': {problem}",
    ]


def test_a_row_with_an_id_shared_by_two_files_matches_neither_and_is_reported(labels, root):
    put(root, "twin.nii", "twin.nii.gz")
    _, _, report = labels(f"{HEADER}\na.nii,1\ntwin,2\n")
    assert wrong(report) == ["labels.csv line 3: 'twin': 2 scans have this name; give the path below SOURCE"]
    _, _, report = labels(f"{HEADER}\na.nii,1\ntwin.nii,2\n")
    assert report.wrong == []


def test_a_sheet_without_a_matching_row_is_rejected_with_examples(rejection):
    rows = "".join(f"{number},1\n" for number in range(1500))
    assert rejection(f"ID,Label\n{rows}") == (
        "no row of labels CSV names a scan; its column 'ID' holds '0', '1', '2', '3', '4', '5', '6', '7', '8', '9' and "
        "1490 more; expected names such as 'p'; choose another column with --file-column, or another CSV"
    )


def test_composed_and_decomposed_accents_in_file_names_match(labels, root):
    put(root, unicodedata.normalize("NFD", "été.nii"))
    labelled, _, report = labels(f"FileName,TypeOfTB\n{unicodedata.normalize('NFC', 'été.nii')},1\n")
    assert list(labelled.values()) == [0]
    assert report.wrong == []


def test_a_long_name_is_truncated_in_the_report(labels):
    _, _, report = labels(f"FileName,TypeOfTB\na.nii,1\n{'x' * 1000},1\n")
    assert wrong(report) == [f"labels.csv line 3: '{'x' * 200}…': no scan has this name"]
