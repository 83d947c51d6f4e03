"""Class names on the command line: their order, commas and accents."""

import json
import unicodedata

from cache import open_cache
from pipeline.sources.formats.video import find_clips
from tests.helpers.commands import arrays
from tests.helpers.labelled import classes, cli, ct


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
