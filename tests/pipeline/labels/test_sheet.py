"""Labels CSV files of any common spreadsheet program are read."""

import os

import pytest

from pipeline.errors import PipelineError
from pipeline.labels.sheet import MAX_BYTES, read_sheet
from tests.helpers.label_sheets import GOOD, HEADER, put

ALL = {"a": 0, "b": 4, "sub/a": 2, "p": 1}
EXPORT = "save the spreadsheet as `CSV UTF-8` and give that file"


# Encodings, separators and quotes


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
    labelled, groups, report = labels(text)
    assert labelled == ALL
    assert groups == {name: name for name in labelled}
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
def test_a_file_that_is_not_a_labels_table_is_rejected_with_a_remedy(rejection, content, problem):
    assert rejection(content).startswith(f"labels {problem}")


def test_a_path_that_is_not_a_file_or_too_large_is_rejected_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for name, problem in {
        "": "cannot read labels .*: it is a folder, not a file; give a CSV",
        "pipe": "cannot read labels .*pipe: it is a pipe or a device, not a file; give a CSV",
        "large": f"has {MAX_BYTES + 1} bytes, at most {MAX_BYTES} are read; keep only the columns",
        "missing": "cannot read labels .*missing: No such file or directory; check the path",
        "a\0b": "cannot read labels .*null",
        "x" * 300: "cannot read labels .*File name too long",
    }.items():
        with pytest.raises(PipelineError, match=problem):
            read_sheet(tmp_path / name)
