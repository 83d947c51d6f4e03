"""Class names on the command line: order, commas and accents."""

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
    report = json.loads(cli("label", cache, path, "--class-names", "C,B", "--json").stdout)
    assert report["class_names_changed"] == {
        "before": ["A", "B"], "after": ["C", "B"], "samples": {"A": [3, 0], "B": [0, 0], "C": [0, 3]}
    }  # fmt: skip
    assert arrays(cache) == before


def test_unchanged_or_additional_class_names_are_not_reported_as_a_change(source, cache, patients):
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


def test_composed_and_decomposed_accents_in_class_names_are_equal(source, tmp_path, csv):
    composed, decomposed = (unicodedata.normalize(form, "Käse") for form in ("NFC", "NFD"))
    path = csv("FileName,Label\nTRN_0001,1\n")
    ct(source, tmp_path / "c", "--class-names", f"{decomposed},B", "--labels", path)
    for name in ("zarr.json", "ledger/zarr.json"):  # as earlier versions wrote it
        document = (tmp_path / "c" / name).read_text()
        (tmp_path / "c" / name).write_text(document.replace(json.dumps(composed)[1:-1], json.dumps(decomposed)[1:-1]))
    assert open_cache(tmp_path / "c").class_names == [composed, "B"]
    result = ct(source, tmp_path / "c", "--class-names", f"{composed},B")
    assert "Class names" not in result.stdout
    assert classes(tmp_path / "c")["TRN_0001"] == composed


def test_class_folders_of_clips_are_found_with_composed_or_decomposed_accents(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Käse") for form in ("NFC", "NFD"))
    for folder in (decomposed, "Brot"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"v_{folder}_g01_c01.avi").touch()
    for names in (None, ("Brot", composed), ("Brot", decomposed)):
        inputs = find_clips(tmp_path, None, names)
        assert inputs.class_names == ("Brot", composed)
        assert [record.label for record in inputs.records] == [0, 1]
