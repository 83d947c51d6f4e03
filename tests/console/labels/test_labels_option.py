"""`preprocess ct --labels CSV`: columns, patients, problems, and what is printed."""

import json
import shutil

import nibabel as nib
import pytest

from cache import open_cache
from tests.helpers.commands import arrays, error, info_json
from tests.helpers.labelled import PAIRS, SCANS, classes, cli, ct, groups, state


def test_real_sheets_label_scans_and_group_their_patients(source, tmp_path, real_data):
    expected = {
        "ids_without_ending": ([0, 1, 2, -1], None),
        "names_instead_of_numbers": ([0, 1, -1, -1], None),
        "patient_id": ([0, 1, 2, 0], ["P001", "P001", "P002", "P003"]),
        "patient_na": ([0, 1, 2, 0], [*SCANS[:3], "P003"]),
        "semicolons_bom_crlf": ([0, 1, -1, -1], ["P001", "P001", *SCANS[2:]]),
        "tabs": ([0, 1, -1, -1], None),
    }
    for path in source.iterdir():
        nib.save(nib.load(path), f"{path}.gz")
        path.unlink()
    assert {path.stem for path in (real_data / "field/labels").glob("*.csv")} == set(expected)
    for name, (labels, patients) in expected.items():
        ct(source, tmp_path / name, "--labels", real_data / f"field/labels/{name}.csv")
        opened = open_cache(tmp_path / name)
        assert opened.labels.tolist() == labels, name
        if patients:
            assert opened.groups == patients, name


def test_preprocess_prints_the_columns_it_uses(source, tmp_path, csv):
    path = csv("Sex,Scan,Label,Subject ID\nm,TRN_0001,1,x\nf,TRN_0002,2,x\n")
    expected = "Labels: column Label; file names: Scan; patients: Subject ID (1 patient); not used: Sex\n"
    for options in (["--dry-run"], []):
        assert expected in ct(source, tmp_path / "c", "--labels", path, *options).stdout
        columns = {"file": "Scan", "label": "Label", "patient": "Subject ID", "unused": ["Sex"], "by_position": False}
        output = json.loads(ct(source, tmp_path / "c", "--labels", path, "--json", *options).stdout)
        assert output["columns"] == columns
    path = csv("image,finding\nTRN_0001,1\n")
    output = ct(source, tmp_path / "d", "--labels", path, "--class-names", "A,B").stdout
    assert "Labels: column finding; file names: image, found by position, not by name; patients: no column" in output


def test_options_choose_columns_and_are_rejected_without_a_sheet(source, tmp_path, csv):
    path = csv("ID,FileName,TypeOfTB,Type,who\n7,TRN_0001,1,2,x\n8,TRN_0002,1,2,x\n")
    message = error(ct(source, tmp_path / "c", "--labels", path, code=1))
    assert message.endswith("'ID' and 'FileName'; choose one with --file-column\n")
    assert not (tmp_path / "c").exists()
    options = ("--file-column", "filename", "--label-column", "Type", "--patient-column", "WHO")
    ct(source, tmp_path / "c", "--labels", path, *options)
    assert classes(tmp_path / "c") == dict.fromkeys(SCANS[:2], "Focal") | dict.fromkeys(SCANS[2:])
    assert info_json(tmp_path / "c")["patients"] == {"column": "who", "count": 1}
    assert "need --labels CSV" in ct(source, tmp_path / "c", *options, code=2).stderr


def test_info_shows_the_known_patients(source, cache, tmp_path):
    assert info_json(cache)["patients"] == {"column": "patient_id", "count": 2}
    assert "\npatients: 2, from column patient_id\n" in cli("info", cache).stdout
    ct(source, tmp_path / "c")
    assert info_json(tmp_path / "c")["patients"] == {"column": None, "count": 0}


def test_a_sheet_without_patients_keeps_known_patients(source, cache, csv):
    path = csv("FileName,Label\n" + "".join(f"{name},1\n" for name in SCANS))
    expected = "patients: no column, 2 patients kept from earlier runs, column patient_id\n"
    assert expected in ct(source, cache, "--labels", path).stdout
    assert groups(cache) == PAIRS
    assert info_json(cache)["patients"] == {"column": "patient_id", "count": 2}
    assert expected in cli("label", cache, path).stdout
    assert groups(cache) == PAIRS


def test_a_run_without_labels_explains_how_to_add_them(source, cache, tmp_path):
    hint = f"No labels: add them with `label {tmp_path / 'c'} LABELS.csv`"
    assert hint in ct(source, tmp_path / "c", "--dry-run").stdout
    assert hint in ct(source, tmp_path / "c").stdout
    assert "No labels" not in ct(source, cache).stdout
    assert "No labels" not in ct(source, cache, "--dry-run").stdout


def test_many_rows_without_a_scan_give_one_line(source, tmp_path, csv):
    path = csv("FileName,TypeOfTB\nTRN_0001,1\n" + "".join(f"x{number},1\n" for number in range(1524)))
    result = ct(source, tmp_path / "c", "--labels", path, code=3)
    (line,) = (line for line in result.stdout.splitlines() if "rejected" in line)
    assert line.startswith("Label rejected: 1524 rows that name no scan: 'x0' (line 3), 'x1' (line 4), ")
    assert line.endswith("'x9' (line 12) and 1514 more")
    assert (
        len(json.loads(ct(source, tmp_path / "c", "--labels", path, "--json", code=3).stdout)["wrong_labels"]) == 1524
    )
    path = csv("FileName,TypeOfTB\nTRN_0002,1\n" + "TRN_0001,x\n" * 30)
    lines = ct(source, tmp_path / "c", "--labels", path, code=3).stdout.splitlines()
    assert [line for line in lines if "rejected" in line][-1] == "Label rejected: 20 more rows; --json lists all"


@pytest.mark.parametrize(
    "text",
    [
        "FileName,TypeOfTB\nx,1\ny,2\n",
        "FileName,TypeOfTB\nTRN_0001,0\nTRN_0002,1\n",
        "FileName,TypeOfTB\nTRN_0001,7\nTRN_0002,C\n",
        "FileName,TypeOfTB\n",
        "FileName,Sex\nTRN_0001,1\n",
    ],
)
@pytest.mark.parametrize("command", ["preprocess", "label"])
def test_an_unclear_sheet_leaves_existing_labels_unchanged(source, cache, csv, text, command):
    before = state(cache)
    path = csv(text)
    result = cli("label", cache, path, code=1) if command == "label" else ct(source, cache, "--labels", path, code=1)
    assert error(result).startswith("Error: ")
    assert state(cache) == before


def test_a_sheet_also_labels_samples_whose_source_is_missing_or_elsewhere(source, cache, csv):
    (source / "TRN_0001.nii").unlink()
    (source / "TRN_0003.nii").unlink()
    before = arrays(cache)
    path = csv("FileName,Label,Case\nTRN_0001.nii,2,Q\nTRN_0002.nii,1,Q\n")
    ct(source, cache, "--labels", path)
    assert classes(cache) == {"TRN_0001": "B", "TRN_0002": "A", "TRN_0003": "A", "TRN_0004": None}
    assert groups(cache) == PAIRS | {"TRN_0001": "Q", "TRN_0002": "Q"}
    for name in ("TRN_0002", "TRN_0004"):
        (source / f"{name}.nii").unlink()
    ct(source, cache, "--labels", csv("FileName,Label\nTRN_0004,1\nTRN_0003,9\n"), code=3)
    assert classes(cache) == {"TRN_0001": "B", "TRN_0002": "A", "TRN_0003": "A", "TRN_0004": "A"}
    assert arrays(cache) == before


def test_an_empty_source_is_reported_rather_than_the_sheet(tmp_path, csv):
    (tmp_path / "empty").mkdir()
    message = error(ct(tmp_path / "empty", tmp_path / "c", "--labels", csv("FileName,Label\nx,1\n"), code=1))
    assert "holds no input" in message


def test_a_dry_run_reports_labels_and_duplicate_ids_as_the_run_does(source, cache, csv):
    (source / "TRN_0001.nii").unlink()
    for name in ("TWIN.nii", "TWIN.nii.gz"):
        shutil.copy(source / "TRN_0002.nii", source / name)
    sheet = csv("FileName,TypeOfTB\nTRN_0002,1\nTRN_0003,1\n")
    kept_text = "although their source is gone: TRN_0001\n"
    missing_text = "3 without a row in the labels, {}cached without a label: TWIN.nii, TWIN.nii.gz, TRN_0004.nii\n"
    known_text = "patients: no column, 2 patients kept from earlier runs"  # files without an id are not patients
    twin_text = "two files would get the id 'TWIN' ('TWIN.nii', 'TWIN.nii.gz'); expected one file for each id; keep one"
    for again in (False, True):
        dry = ct(source, cache, "--labels", sheet, "--dry-run").stdout
        assert ("2 labels to update\n" in dry) is not again
        assert f"1 to keep {kept_text}" in dry
        assert missing_text.format("to be ") in dry
        assert known_text in dry
        assert f"To be quarantined, as their paths show:\n  TWIN.nii: {twin_text}" in dry
        plan = json.loads(ct(source, cache, "--labels", sheet, "--dry-run", "--json").stdout)
        assert list(plan["refused"]) == ["TWIN.nii", "TWIN.nii.gz"]
        assert plan["vanished"] == ["TRN_0001"]
        run = ct(source, cache, "--labels", sheet, code=3).stdout
        assert ("2 labels updated\n" in run) is not again
        assert f"1 kept {kept_text}" in run
        assert missing_text.format("") in run
        assert f"Quarantined:\n  TWIN.nii: {twin_text}" in run
        assert known_text in run
        assert known_text in cli("label", cache, sheet).stdout
