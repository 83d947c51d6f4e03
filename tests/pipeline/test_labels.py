"""Every row of a labels CSV is followed or reported, however people and spreadsheets wrote it."""

import os
import unicodedata
from dataclasses import replace

import pytest

from pipeline.errors import PipelineError
from pipeline.labels.apply import apply_labels
from pipeline.labels.columns import ColumnChoice
from pipeline.labels.sheet import MAX_BYTES, read_sheet
from pipeline.sources.formats.ct import TUBERCULOSIS_TYPES, find_scans

HEADER = "FileName,TypeOfTB"
GOOD = f"{HEADER}\na.nii,1\nb.nii.gz,5\nsub/a.nii,3\np.hdr,2\n"
ALL = {"a": 0, "b": 4, "sub/a": 2, "p": 1}
FILES = "file names (FileName, File, Name, Scan, Image or ID)"
LABELS = "labels (TypeOfTB, Label, Class or Type)"
EXPORT = "save the spreadsheet as `CSV UTF-8` and give that file"


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "scans"
    put(folder, "a.nii", "b.nii.gz", "sub/a.nii", "p.hdr", "p.img")
    return folder


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def labels(root, tmp_path):
    """Write the bytes or text of a CSV and apply it to the scans: (label by id, group by id, report)."""

    def labels(text, names=TUBERCULOSIS_TYPES, choice=None, groups=(), **options):
        path = tmp_path / "labels.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        records = [replace(item, group=dict(groups).get(item.id, item.id)) for item in find_scans(root).records]
        records, report = apply_labels(records, path, names, choice, **options)
        given = {record.id: record.label for record in records if record.label >= 0}
        return given, {record.id: record.group for record in records}, report

    return labels


@pytest.fixture
def refused(labels, tmp_path):
    """As `labels`, for a CSV that is refused: the message, which is one line, with `CSV` for the path."""

    def refused(*arguments, **options):
        with pytest.raises(PipelineError) as caught:
            labels(*arguments, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(str(tmp_path / "labels.csv"), "CSV")

    return refused


def wrong(report):
    return list(map(str, report.wrong))


# How a table is written


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.encode("utf-8-sig"),
        GOOD.encode("utf-16"),
        "\ufeff".encode("utf-16-be") + GOOD.encode("utf-16-be"),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.removesuffix("\n"),
        GOOD.replace("\n", "\n\n , \n"),
        "\n\n" + GOOD,
        GOOD.replace("\na.nii", '\n"a.nii"'),
        GOOD.replace(HEADER, '"FileName","TypeOfTB"'),
        GOOD.replace(HEADER, '"FileName","Type\nOfTB"'),
        GOOD.replace(",", " , "),
        "".join(f'"{line}"\n' for line in GOOD.replace(",", '", "').splitlines()),
        GOOD.replace(",5", ",5.0"),
        GOOD.replace("p.hdr", "p.img"),
        GOOD.replace("\n", ",\n"),
        GOOD.replace(HEADER, "filename,TYPEOFTB"),
        GOOD.replace(HEADER, "File Name,type_of-tb"),
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD.replace(",", ";").replace(";5", ";5,0"),
        "sep=;\n" + GOOD.replace(",", ";"),
        "sep=,\r\n" + GOOD.replace("\n", "\r\n"),
        GOOD.replace(",", ";").replace("TypeOfTB", "TypeOfTB;Sex, Age, Weight, Height"),
        GOOD.replace(".nii.gz", "").replace(".nii", "").replace(".hdr", ""),
        "TypeOfTB,x,FileName\n1,,a.nii\n5,,b.nii.gz\n3,9,sub/a.nii\n2,,p.hdr",
    ],
)
def test_a_table_from_any_spreadsheet_is_read(labels, text):
    given, groups, report = labels(text)
    assert given == ALL
    assert groups == {name: name for name in given}
    assert report.wrong == report.unlabelled == []


def test_a_comma_inside_a_quoted_name_is_not_a_separator(labels, root):
    put(root, "c, d; e.nii")
    assert labels(f'{HEADER}\n"c, d; e.nii",3\n')[0] == {"c, d; e": 2}
    assert labels(f'{HEADER}\n"c, d; e.nii",3\n'.replace(",3", ";3").replace(HEADER, "FileName;TypeOfTB"))[0] == {
        "c, d; e": 2
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"PK\x03\x04\x14\0\x06\0", "CSV is a spreadsheet or an archive, not a CSV; open it in a spreadsheet, "
                                     f"{EXPORT}"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "CSV is a spreadsheet or an archive, not a CSV"),
        (GOOD.encode("utf-16-le"), "CSV cannot be read after line 0 (it holds a zero byte, so it is not text)"),
        (GOOD.encode("utf-32"), "CSV cannot be read after line 0 (it holds a zero byte"),
        (GOOD + "a\0,1\n", "CSV cannot be read after line 5 (it holds a zero byte"),
        (f"{HEADER}\n".encode() + b"\xe9.nii,1\n", f"CSV are not text in UTF-8 (invalid continuation byte); {EXPORT}"),
        (GOOD.encode("utf-16")[:-1], "CSV are not text in UTF-8 (truncated data)"),
        (GOOD + '"b.nii.gz,1\n', f"CSV cannot be read after line 5 (unexpected end of data); {EXPORT}"),
        (GOOD + "x" * 200_000, "CSV cannot be read after line 5 (field larger than field limit (131072))"),
        ("x" * 200_000, "CSV cannot be read after line 0 (field larger than field limit (131072))"),
        (f"{HEADER}\n", "CSV have a header and no rows; expected one row for each scan"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_a_labels_table_is_refused_with_a_remedy(refused, content, problem):
    assert refused(content).startswith(f"labels {problem}")


def test_a_path_that_is_not_a_file_or_too_large_is_refused_unopened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for name, problem in {
        "": "cannot read labels .*: it is a folder, not a file; give a CSV",
        "pipe": "cannot read labels .*pipe: it is a pipe or a device, not a file; give a CSV",
        "large": f"has {MAX_BYTES + 1} bytes, at most {MAX_BYTES} are read; leave only the columns",
        "missing": "cannot read labels .*missing: No such file or directory; check the path",
        "a\0b": "cannot read labels .*null",
        "x" * 300: "cannot read labels .*File name too long",
    }.items():
        with pytest.raises(PipelineError, match=problem):
            read_sheet(tmp_path / name)


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
def test_columns_are_found_by_name_and_the_others_are_named(labels, file, label, patient):
    given, groups, report = labels(f"Sex,{patient},{label},{file},Age\n2,P 7,1,a.nii,3\n1, P 7 ,2,b.nii.gz,4\n")
    assert given == {"a": 0, "b": 1}
    assert groups == {"a": "P 7", "b": "P 7", "sub/a": "sub/a", "p": "p"}
    assert report.columns.unused == ["Sex", "Age"]
    assert (report.patient_column, report.patients) == (patient, 1)


def test_a_rare_name_next_to_a_usual_one_is_another_column(labels):
    given, groups, report = labels("FileName,TypeOfTB,PatientName,PatientID,path\na.nii,1,Doe,P1,/x/b.nii.gz\n")
    assert (given["a"], groups["a"]) == (0, "P1")
    assert report.columns.unused == ["PatientName", "path"]


@pytest.mark.parametrize("names", [TUBERCULOSIS_TYPES, ("one", "two")])
def test_a_named_column_wins_over_the_first_two(labels, names):
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
def test_an_ambiguous_header_is_refused(refused, header, problem):
    message = refused(f"{header}\na.nii,1,2,3\n" if header.strip() else header)
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
def test_a_chosen_column_wins(labels, header, choice):
    rows = "\n4,a.nii,1,P1\n4,b.nii.gz,2,P1\n".replace(",", ";" if ";" in header else ",")
    given, groups, _ = labels(header + rows, choice=choice)
    assert given == {"a": 0, "b": 1}
    if choice.patient:
        assert groups["a"] == groups["b"] == "P1"


def test_a_chosen_column_that_is_missing_or_chosen_twice_is_refused(refused):
    assert refused(GOOD, choice=ColumnChoice(patient="Pat")) == (
        "labels CSV have no column named 'Pat', given by --patient-column; the header is 'FileName', 'TypeOfTB'"
    )
    assert refused("x,label,Class,label\n", choice=ColumnChoice("label")).startswith(
        "labels CSV have 2 columns named 'label', given by --file-column; the header is 'x', 'label', 'Class', 'label'"
    )
    assert refused("x,label,Class,label\n", choice=ColumnChoice("label")).endswith("; rename all but one")
    assert refused("FileName,,TypeOfTB\na.nii,1,2\n", choice=ColumnChoice(patient="#")).startswith(
        "labels CSV have no column named '#', given by --patient-column"
    )
    message = refused(GOOD, choice=ColumnChoice("TypeOfTB", "TypeOfTB"))
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
    given, groups, report = labels(f"{header}\n{text}\n", ("one", "two"), by_position=True)
    assert given == {"a": 1, "b": 0}
    assert groups["a"] == ("P" if "atient" in header else "a")
    assert report.columns.by_position


def test_by_position_a_label_column_is_not_picked_from_several(refused):
    message = refused("FileName,Sex,finding\na.nii,1,2\n", ("one", "two"), by_position=True)
    assert message.startswith("labels CSV have no column of labels")


def test_by_position_a_label_column_may_have_the_name_of_a_class(labels):
    assert labels("image,mass\na.nii,2\nb.nii.gz,Mass\n", ("normal", "mass"), by_position=True)[0] == {"a": 1, "b": 1}


@pytest.mark.parametrize("first", ["a.nii,1", "a.nii,two", "a.nii,0", "elsewhere.nii,1"])
def test_by_position_a_table_without_a_header_is_refused(refused, first):
    message = refused(f"{first}\nb.nii.gz,2\n", ("one", "two"), by_position=True)
    assert message == (
        f"labels CSV begin with {', '.join(map(repr, first.split(',')))}, which is a row, not a header; expected a "
        "first line such as FileName,TypeOfTB"
    )


# Labels


@pytest.mark.parametrize(
    "label", ["6", "2.5", "x", "", "NaN", "inf", "-inf", "1e400", "-1", "1,", "None", "0x1", "1_0"]
)
def test_a_label_that_is_not_a_class_is_reported_with_name_and_line(labels, label):
    given, _, report = labels(f'FileName,TypeOfTB\nb.nii.gz,2\na.nii,"{label}"\n')
    assert given == {"b": 1}
    assert wrong(report) == [f"labels.csv line 3: 'a.nii': label {label!r}, expected 1 to 5 or a class name"]
    assert report.unlabelled == ["p.hdr", "sub/a.nii"]


@pytest.mark.parametrize("zero", ["0", "0.0", "00", "-0", "0,0"])
@pytest.mark.parametrize("row", ["a.nii", "elsewhere.nii"])
def test_a_sheet_that_counts_from_0_is_refused(refused, zero, row):
    text = f'{HEADER}\nb.nii.gz,1\n{row},"{zero}"\np.hdr,4\nsub/a.nii,"{zero}"\n'
    assert refused(text) == (
        f"labels CSV have label {zero!r} in 2 rows, the first is line 3 ({row!r}); labels count from 1: add 1 to every "
        "label, write class names instead, or choose another column with --label-column"
    )


def test_class_names_that_are_numbers_are_names(labels):
    given, _, report = labels(f"{HEADER}\na.nii,0\nb.nii.gz,1\np.hdr,1.0\nsub/a.nii,2\n", ("0", "1"))
    assert given == {"a": 0, "b": 1, "p": 1}
    assert wrong(report) == ["labels.csv line 5: 'sub/a.nii': label '2', expected a class name"]


@pytest.mark.parametrize("text", ["Résumé", "RÉSUMÉ", " résumé ", unicodedata.normalize("NFD", "résumé"), "2", "2.0"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_label_may_be_a_class_name(labels, text, form):
    assert labels(f"{HEADER}\na.nii,{text}\n", ("x", unicodedata.normalize(form, "Résumé")))[0] == {"a": 1}


def test_a_class_name_in_another_case_must_be_unambiguous(labels):
    given, _, report = labels(f"{HEADER}\na.nii,ill\nb.nii.gz,Ill\np.hdr,ILL\n", ("ill", "Ill"))
    assert given == {"a": 0, "b": 1}
    assert [row.problem for row in report.wrong] == ["label 'ILL', expected 1 to 2 or a class name"]


@pytest.mark.parametrize("text", ["Fibro cavernous", "fibro_cavernous", "FIBROCAVERNOUS", "Fibro - cavernous"])
def test_a_class_name_may_have_other_separators_between_words(labels, text):
    assert labels(f"{HEADER}\na.nii,{text}\n")[0] == {"a": 4}


def test_separators_in_class_names_matter_next_to_digits_and_where_two_names_differ_by_them(labels):
    given, _, report = labels(
        f"{HEADER}\na.nii,a b\nb.nii.gz,a_b\np.hdr,1-2\nsub/a.nii,T 1\n", ("a b", "ab", "12", "T1")
    )
    assert given == {"a": 0}
    assert [row.file for row in report.wrong] == ["'b.nii.gz'", "'p.hdr'", "'sub/a.nii'"]


# Which scan a row means


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
def test_a_name_from_another_machine_finds_its_scan(labels, root, name, scan):
    put(root, "c/TRN_1.nii.gz")
    given, _, report = labels(f'{HEADER}\n"{name}",1\n')
    assert given == {scan: 0}
    assert report.wrong == []


def test_exact_names_win_over_similar_ones(labels, root):
    put(root, "x/Q.nii", "y/q.nii", "y/Q.nii.nii", r"w\q.nii", "w/q.nii")
    given, _, report = labels(f"{HEADER}\nx/Q.nii,1\ny/q.nii,2\nw\\q.nii,3\nw/q.nii,4\nQ.nii,5\n")
    assert given == {"x/Q": 0, "y/q": 1, r"w\q": 2, "w/q": 3}
    assert len(report.wrong) == 1


@pytest.mark.parametrize("name", ["x/a.nii", "c.nii/", "", ".", "/", "\\", "nii", ".nii", "*.nii", "=cmd|'/C calc'!A0"])
def test_a_name_without_a_scan_is_reported(labels, root, name):
    (root / "a.nii").unlink()
    given, _, report = labels(f'{HEADER}\nb.nii.gz,1\n"{name}",1\n')
    assert given == {"b": 0}
    assert wrong(report) == [f"labels.csv line 3: {name!r}: no scan has this name"]


def test_a_file_name_that_several_files_have_needs_its_path(labels, root):
    put(root, "x/c.nii", "y/c.nii")
    given, _, report = labels("FileName,TypeOfTB\nc.nii,1\ny/c.nii,2\nE:\\z\\c,3\n")
    assert given == {"y/c": 1}
    problem = "2 scans have this name; give the path below SOURCE"
    assert wrong(report) == [
        f"labels.csv line 2: 'c.nii': {problem}",
        f"labels.csv line 4: 'E:\\\\z\\\\c': {problem}",
    ]


def test_an_id_that_two_files_would_get_names_neither_and_is_reported(labels, root):
    put(root, "twin.nii", "twin.nii.gz")
    _, _, report = labels(f"{HEADER}\na.nii,1\ntwin,2\n")
    assert wrong(report) == ["labels.csv line 3: 'twin': 2 scans have this name; give the path below SOURCE"]
    _, _, report = labels(f"{HEADER}\na.nii,1\ntwin.nii,2\n")
    assert report.wrong == []


def test_a_sheet_without_a_matching_row_is_refused_with_examples(refused):
    rows = "".join(f"{number},1\n" for number in range(1500))
    assert refused(f"ID,Label\n{rows}") == (
        "no row of labels CSV names a scan; its column 'ID' holds '0', '1', '2', '3', '4', '5', '6', '7', '8', '9' and "
        "1490 more; expected names such as 'p'; choose another column with --file-column, or another CSV"
    )


def test_a_file_without_a_row_is_distinguished_from_one_with_a_wrong_row(labels):
    _, _, report = labels("FileName,TypeOfTB\na.nii,9\nb.nii.gz,1\n")
    assert len(report.wrong) == 1
    assert report.unlabelled == ["p.hdr", "sub/a.nii"]


def test_duplicate_rows_count_only_where_they_agree(labels):
    given, _, report = labels(GOOD + "b,5\np.img,Focal\na.nii,4\na.nii,1\n")
    assert given == {"b": 4, "sub/a": 2, "p": 1}
    assert wrong(report) == [
        "labels.csv lines 2, 8, 9: 'a.nii': 3 rows with different labels or patients: it stays unlabelled",
        "labels.csv lines 3, 6: 'b.nii.gz': 2 rows with the same label and patient",
        "labels.csv lines 5, 7: 'p.hdr': 2 rows with the same label and patient",
    ]
    assert report.unlabelled == []


def test_a_surplus_cell_is_reported_since_it_may_be_a_decimal_comma(labels):
    for trailing in ("", ","):
        given, _, report = labels(f"FileName,TypeOfTB{trailing}\na.nii,2,5\n")
        assert given == {}
        problem = "1 more cell than the header; expected as many, and no comma inside a number"
        assert wrong(report) == [f"labels.csv line 2: 'a.nii': {problem}"]


def test_accents_match_however_they_are_composed(labels, root):
    put(root, unicodedata.normalize("NFD", "été.nii"))
    given, _, report = labels(f"FileName,TypeOfTB\n{unicodedata.normalize('NFC', 'été.nii')},1\n")
    assert list(given.values()) == [0]
    assert report.wrong == []


def test_a_long_name_is_cut_in_the_report(labels):
    _, _, report = labels(f"FileName,TypeOfTB\na.nii,1\n{'x' * 1000},1\n")
    assert wrong(report) == [f"labels.csv line 3: '{'x' * 200}…': no scan has this name"]


# Patients


@pytest.mark.parametrize("nobody", ["", "NA", "na", "nan", "NaN", "None", "-", "N/A", "null", "?", " ", "#N/A", "<NA>"])
def test_a_scan_without_a_patient_is_its_own_group(labels, nobody):
    _, groups, report = labels(f"{HEADER},Patient\na.nii,1,{nobody}\nb.nii.gz,2,{nobody}\np.hdr,1,P3\n")
    assert groups == {"a": "a", "b": "b", "p": "P3", "sub/a": "sub/a"}
    assert (report.patients, report.wrong) == (1, [])


def test_a_patient_longer_than_any_path_is_a_wrong_row(labels):
    _, groups, report = labels(f"FileName,TypeOfTB,Patient\na.nii,1,{'x' * 4096}\nb.nii.gz,1,{'x' * 4097}\n")
    assert [len(group) for group in groups.values() if len(group) > 99] == [4096]
    assert [str(row) for row in report.wrong] == [
        f"labels.csv line 3: 'b.nii.gz': patient '{'x' * 200}…', expected at most 4096 bytes"
    ]


def test_patients_that_differ_in_case_or_inner_space_are_different(labels):
    _, groups, _ = labels(f"{HEADER},Patient\na.nii,1,P 1\nb.nii.gz,2,p 1\np.hdr,1,P1 \nsub/a.nii,1,P1\n")
    assert groups == {"a": "P 1", "b": "p 1", "p": "P1", "sub/a": "P1"}


def test_groups_stay_where_a_sheet_has_no_patients(labels):
    known = {"a": "P1", "b": "P1", "p": "P2", "sub/a": "sub/a"}
    _, groups, report = labels(GOOD, groups=known)
    assert groups == known
    assert (report.patients, report.patient_column) == (2, "")
    _, groups, _ = labels(f"{HEADER},Case\na.nii,1,NA\nb.nii.gz,9,Q\n", groups=known)
    assert groups == {"a": "a", "b": "P1", "p": "P2", "sub/a": "sub/a"}
