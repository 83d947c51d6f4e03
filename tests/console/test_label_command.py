"""Labels on the command line: how `preprocess --labels` and `label` read a CSV, what they print and store."""

import json
import shutil
import unicodedata

import nibabel as nib
import numpy as np
import pytest

from cache import catalog, open_cache, write_features
from cache.verify import verify
from cache.writer import open_writer
from pipeline.jobs import relabel
from pipeline.sources.formats.video import find_clips
from tests.helpers.caches import make_cache, tiny_attributes
from tests.helpers.commands import arrays, error, facts
from tests.helpers.commands import cli as run
from tests.helpers.interruptions import killed_at_each_call

SMALL = ("--depth", "4", "--height", "8", "--width", "8", "--workers", "0")
SCANS = ("TRN_0001", "TRN_0002", "TRN_0003", "TRN_0004")


def cli(*arguments, code=0):
    """Run the command line and check its exit code."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    return result


def ct(source, cache, *options, code=0):
    return cli("preprocess", "ct", source, cache, *SMALL, *options, code=code)


def classes(cache):
    opened = open_cache(cache)
    names = [*opened.class_names, None]
    return {name: names[label] for name, label in zip(opened.ids, opened.labels, strict=True)}


def groups(cache):
    opened = open_cache(cache)
    return dict(zip(opened.ids, opened.groups, strict=True))


def state(cache):
    """Every byte of a cache except its chunks."""
    return {path: path.read_bytes() for path in cache.rglob("*") if path.is_file() and "volume/c" not in str(path)}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, name in enumerate(SCANS):
        nib.save(nib.Nifti1Image(np.full((6, 6, 6), number, np.int16), np.diag([-1, -1, 1, 1])), folder / f"{name}.nii")
    return folder


@pytest.fixture
def csv(tmp_path):
    def csv(text, name="labels.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return csv


@pytest.fixture
def patients(csv):
    rows = "".join(f"{name},{number % 2 + 1},P{number // 2}\n" for number, name in enumerate(SCANS))
    return csv(f"FileName,TypeOfTB,patient_id\n{rows}", "patients.csv")


@pytest.fixture
def cache(source, patients, tmp_path):
    """Four scans of two patients, alternating between classes A and B."""
    ct(source, tmp_path / "ct.zarr", "--class-names", "A,B", "--labels", patients)
    return tmp_path / "ct.zarr"


PAIRS = {"TRN_0001": "P0", "TRN_0002": "P0", "TRN_0003": "P1", "TRN_0004": "P1"}


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
    for name, (labels, groups_) in expected.items():
        ct(source, tmp_path / name, "--labels", real_data / f"field/labels/{name}.csv")
        found = open_cache(tmp_path / name)
        assert found.labels.tolist() == labels, name
        if groups_:
            assert found.groups == groups_, name


def test_a_run_prints_the_columns_it_used(source, tmp_path, csv):
    path = csv("Sex,Scan,Label,Subject ID\nm,TRN_0001,1,x\nf,TRN_0002,2,x\n")
    expected = "Labels: column Label; file names: Scan; patients: Subject ID (1 patient); not used: Sex\n"
    for options in (["--dry-run"], []):
        assert expected in ct(source, tmp_path / "c", "--labels", path, *options).stdout
        columns = {"file": "Scan", "label": "Label", "patient": "Subject ID", "unused": ["Sex"], "by_position": False}
        found = json.loads(ct(source, tmp_path / "c", "--labels", path, "--json", *options).stdout)
        assert found["columns"] == columns
    path = csv("image,finding\nTRN_0001,1\n")
    found = ct(source, tmp_path / "d", "--labels", path, "--class-names", "A,B").stdout
    assert "Labels: column finding; file names: image, found by position, not by name; patients: no column" in found


def test_options_choose_columns_and_are_refused_without_a_sheet(source, tmp_path, csv):
    path = csv("ID,FileName,TypeOfTB,Type,who\n7,TRN_0001,1,2,x\n8,TRN_0002,1,2,x\n")
    message = error(ct(source, tmp_path / "c", "--labels", path, code=1))
    assert message.endswith("'ID' and 'FileName'; choose one with --file-column\n")
    assert not (tmp_path / "c").exists()
    options = ("--file-column", "filename", "--label-column", "Type", "--patient-column", "WHO")
    ct(source, tmp_path / "c", "--labels", path, *options)
    assert classes(tmp_path / "c") == dict.fromkeys(SCANS[:2], "Focal") | dict.fromkeys(SCANS[2:])
    assert facts(tmp_path / "c")["patients"] == {"column": "who", "count": 1}
    assert "need --labels CSV" in ct(source, tmp_path / "c", *options, code=2).stderr


def test_info_shows_the_known_patients(source, cache, tmp_path):
    assert facts(cache)["patients"] == {"column": "patient_id", "count": 2}
    assert "\npatients: 2, from column patient_id\n" in cli("info", cache).stdout
    ct(source, tmp_path / "c")
    assert facts(tmp_path / "c")["patients"] == {"column": None, "count": 0}


def test_a_sheet_without_patients_keeps_known_patients(source, cache, csv):
    path = csv("FileName,Label\n" + "".join(f"{name},1\n" for name in SCANS))
    expected = "patients: no column, 2 patients from earlier runs are kept, column patient_id\n"
    assert expected in ct(source, cache, "--labels", path).stdout
    assert groups(cache) == PAIRS
    assert facts(cache)["patients"] == {"column": "patient_id", "count": 2}
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
    (line,) = (line for line in result.stdout.splitlines() if "refused" in line)
    assert line.startswith("Label refused: 1524 rows that name no scan: 'x0' (line 3), 'x1' (line 4), ")
    assert line.endswith("'x9' (line 12) and 1514 more")
    assert (
        len(json.loads(ct(source, tmp_path / "c", "--labels", path, "--json", code=3).stdout)["wrong_labels"]) == 1524
    )
    path = csv("FileName,TypeOfTB\nTRN_0002,1\n" + "TRN_0001,x\n" * 30)
    lines = ct(source, tmp_path / "c", "--labels", path, code=3).stdout.splitlines()
    assert [line for line in lines if "refused" in line][-1] == "Label refused: 20 more rows; --json names all"


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


# Class names


def test_class_names_in_another_order_are_reported_with_sample_counts(source, cache, csv):
    before = arrays(cache)
    line = "Class names changed from A, B to B, A: class numbers, also in a labels CSV, now mean other classes. "
    for options in (["--dry-run"], []):
        result = ct(source, cache, "--class-names", "B,A", *options)
        assert f"{line}Samples, before → after: A 2 → 2, B 2 → 2\n" in result.stdout
    assert classes(cache) == {"TRN_0001": "A", "TRN_0002": "B", "TRN_0003": "A", "TRN_0004": "B"}
    path = csv("FileName,Label\nTRN_0001,1\nTRN_0002,1\nTRN_0003,1\n")
    result = ct(source, cache, "--class-names", "A,B", "--labels", path)
    assert "Class names changed from B, A to A, B" in result.stdout
    assert "before → after: B 2 → 0, A 2 → 3\n" in result.stdout
    found = json.loads(cli("label", cache, path, "--class-names", "C,B", "--json").stdout)
    assert found["class_names_changed"] == {
        "before": ["A", "B"], "after": ["C", "B"], "samples": {"A": [3, 0], "B": [0, 0], "C": [0, 3]}
    }  # fmt: skip
    assert arrays(cache) == before


def test_more_or_equal_class_names_are_not_reported_as_a_change(source, cache, patients):
    for names in ("A,B", "A,B,C"):
        result = ct(source, cache, "--class-names", names, "--labels", patients)
        assert "Class names" not in result.stdout
    assert json.loads(ct(source, cache, "--json").stdout)["class_names_changed"] is None


def test_a_class_name_may_contain_a_comma(source, tmp_path, csv):
    path = csv('FileName,Label\nTRN_0001,"a, B"\nTRN_0002,2\n')
    ct(source, tmp_path / "c", "--class-names", '"A, b",c', "--labels", path)
    assert open_cache(tmp_path / "c").class_names == ["A, b", "c"]
    assert classes(tmp_path / "c") == {"TRN_0001": "A, b", "TRN_0002": "c", "TRN_0003": None, "TRN_0004": None}
    for names in ('"a', '"a"b,c', '"a\nb",c', '"",a', "Ä,A\u0308"):
        assert (
            "expected different names with commas" in ct(source, tmp_path / "c", "--class-names", names, code=2).stderr
        )


def test_accents_in_class_names_are_the_same_however_they_are_composed(source, tmp_path, csv):
    plain, apart = (unicodedata.normalize(form, "Käse") for form in ("NFC", "NFD"))
    path = csv("FileName,Label\nTRN_0001,1\n")
    ct(source, tmp_path / "c", "--class-names", f"{apart},B", "--labels", path)
    for name in ("zarr.json", "ledger/zarr.json"):  # as earlier versions wrote it
        document = (tmp_path / "c" / name).read_text()
        (tmp_path / "c" / name).write_text(document.replace(json.dumps(plain)[1:-1], json.dumps(apart)[1:-1]))
    assert open_cache(tmp_path / "c").class_names == [plain, "B"]
    result = ct(source, tmp_path / "c", "--class-names", f"{plain},B")
    assert "Class names" not in result.stdout
    assert classes(tmp_path / "c")["TRN_0001"] == plain


def test_class_folders_of_clips_are_found_however_their_accents_are_composed(tmp_path):
    plain, apart = (unicodedata.normalize(form, "Käse") for form in ("NFC", "NFD"))
    for folder in (apart, "Brot"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"v_{folder}_g01_c01.avi").touch()
    for names in (None, ("Brot", plain), ("Brot", apart)):
        found = find_clips(tmp_path, None, names)
        assert found.class_names == ("Brot", plain)
        assert [record.label for record in found.records] == [0, 1]


def test_a_dry_run_reports_labels_and_duplicate_ids_as_the_run_does(source, cache, csv):
    (source / "TRN_0001.nii").unlink()
    for name in ("TWIN.nii", "TWIN.nii.gz"):
        shutil.copy(source / "TRN_0002.nii", source / name)
    sheet = csv("FileName,TypeOfTB\nTRN_0002,1\nTRN_0003,1\n")
    kept = "although their source is gone: TRN_0001\n"
    missing = "3 without a row in the labels, {}cached without a label: TWIN.nii, TWIN.nii.gz, TRN_0004.nii\n"
    known = "patients: no column, 2 patients from earlier runs are kept"  # files without an id are not patients
    twin = "two files would get the id 'TWIN' ('TWIN.nii', 'TWIN.nii.gz'); expected one file for each id; keep one"
    for again in (False, True):
        dry = ct(source, cache, "--labels", sheet, "--dry-run").stdout
        assert ("2 labels to update\n" in dry) is not again
        assert f"1 to keep {kept}" in dry
        assert missing.format("to be ") in dry
        assert known in dry
        assert f"To be quarantined, as their paths show:\n  TWIN.nii: {twin}" in dry
        plan = json.loads(ct(source, cache, "--labels", sheet, "--dry-run", "--json").stdout)
        assert list(plan["refused"]) == ["TWIN.nii", "TWIN.nii.gz"]
        assert plan["vanished"] == ["TRN_0001"]
        run = ct(source, cache, "--labels", sheet, code=3).stdout
        assert ("2 labels updated\n" in run) is not again
        assert f"1 kept {kept}" in run
        assert missing.format("") in run
        assert f"Quarantined:\n  TWIN.nii: {twin}" in run
        assert known in run
        assert known in cli("label", cache, sheet).stdout


# label CACHE CSV


def test_label_corrects_labels_and_patients_without_sources_or_array_writes(source, cache, csv):
    shutil.rmtree(source)
    before = arrays(cache)
    path = csv("Subject;Name;Class\nX;TRN_0001.nii;b\nNA;trn_0002;2\nX;C:\\scans\\TRN_0003.nii;1\nX;TRN_0009;1\n")
    result = cli("label", cache, path, code=3)
    assert result.stdout == (
        f"4 labels or patients updated in {cache}\n"
        "  A: 1\n  B: 2\n  unlabelled: 1\n"
        "1 without a row in the labels, left without a label: TRN_0004.nii\n"
        "Labels: column Class; file names: Name; patients: Subject (2 patients)\n"
        "Label refused: 1 row that names no scan: 'TRN_0009' (line 5)\n"
    )
    assert classes(cache) == {"TRN_0001": "B", "TRN_0002": "B", "TRN_0003": "A", "TRN_0004": None}
    assert groups(cache) == {"TRN_0001": "X", "TRN_0002": "TRN_0002", "TRN_0003": "X", "TRN_0004": "P1"}
    assert facts(cache)["patients"] == {"column": "Subject", "count": 2}
    assert arrays(cache) == before
    assert verify(cache).sound
    assert not catalog.unpublished(cache)
    found = json.loads(cli("label", cache, path, "--json", code=3).stdout)
    assert (found["relabelled"], found["complete"], len(found["wrong_labels"])) == (0, 4, 1)
    assert cli("label", cache, path, "--quiet", code=3).output == ""


def test_label_killed_at_any_point_is_finished_by_the_same_command(source, cache, csv, tmp_path):
    path = csv("FileName,Label,Case\n" + "".join(f"{name},2,Q\n" for name in SCANS))
    before = classes(cache)

    def relabel_it(root):
        relabel.run(relabel.prepare(root, path))

    for root in killed_at_each_call(cache, relabel_it, tmp_path):
        assert all(now in ("B", before[name]) for name, now in classes(root).items())
        chunks = arrays(root)
        relabel_it(root)
        assert set(classes(root).values()) == {"B"}
        assert set(groups(root).values()) == {"Q"}
        assert arrays(root) == chunks
        assert verify(root).sound


def test_the_next_run_keeps_labels_set_by_label(source, cache, csv):
    cli("label", cache, csv("FileName,Label,Case\n" + "".join(f"{name},2,Q\n" for name in SCANS)))
    ct(source, cache)
    assert set(classes(cache).values()) == {"B"}
    assert facts(cache)["patients"] == {"column": "Case", "count": 1}


def test_label_is_refused_for_clips_features_and_other_folders(tmp_path, csv):
    path = csv("FileName,Label\ns0,1\n")
    video = make_cache(tmp_path / "video", 1, tiny_attributes("uint8", kind="video"))
    assert "is a cache of clips, whose labels are their class folders" in error(cli("label", video, path, code=1))
    features = tmp_path / "features"
    write_features(features, ["s0"], [0], ["p"], np.ones((1, 2, 3), np.float32), ["one"], "mean")
    assert "is a cache of features, whose labels are those of their vol" in error(cli("label", features, path, code=1))
    assert "is not a cache" in error(cli("label", tmp_path / "none", path, code=1))
    assert not (tmp_path / "none").exists()


def test_label_does_not_wait_for_a_running_job(cache, patients):
    with open_writer(cache, catalog.read_attributes(cache), catalog.read_entries(cache)):
        assert "another run is writing to" in error(cli("label", cache, patients, "--class-names", "B,A", code=1))
