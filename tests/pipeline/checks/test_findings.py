"""Flags and notes are reported by id in JSON, and each text once in printed reports."""

import json

import nibabel as nib
import numpy as np
from click.testing import CliRunner

from cache import open_cache
from cache.schema import Attributes, Entry, Source
from cli import main
from pipeline.jobs.report import cache_json, cache_lines, ledger_line
from pipeline.jobs.report_lines import finding_lines
from pipeline.jobs.summary import summarise

ATTRIBUTES = Attributes("ct", {"kind": "ct", "depth": 2, "height": 2, "width": 2, "dtype": "uint8"}, ("one", "two"))


def entry(name, *, state="complete", label=0, digest=None, **details):
    source = Source("/scans", (f"{name}.nii",))
    return Entry(name, state, row=0, label=label, source=source, nbytes=9, digest=digest or name, details=details)


def summary(*entries):
    return summarise(ATTRIBUTES, {item.id: item for item in entries})


def test_only_samples_with_findings_are_listed():
    result = summary(
        entry("a", flags=["no air: 0 %"], notes=[]), entry("b", flags=[], notes=["odd"]), entry("c"),
        entry("d", state="quarantined", flags=["x"], notes=["y"]),
    )  # fmt: skip
    assert (result.flags, result.notes) == ({"a": ["no air: 0 %"]}, {"b": ["odd"]})
    data = cache_json(result, ATTRIBUTES)
    assert (data["flags"], data["notes"]) == (result.flags, result.notes)


def test_flags_and_notes_of_unexpected_types_are_tolerated():
    result = summary(entry("a", flags="text", notes=None), entry("b", flags={"x": 1}), entry("c", notes=[3]))
    assert (result.flags, result.notes) == ({}, {"c": ["3"]})


def test_the_ledger_line_counts_flagged_samples():
    result = summary(entry("a", flags=["x"]), entry("b"), entry("c", state="quarantined"))
    line = "3 discovered = 2 complete + 1 quarantined + 0 excluded"
    assert ledger_line(result) == f"{line}; 1 of the complete flagged"
    assert ledger_line(summary(entry("a"), entry("b"), entry("c", state="quarantined"))) == line


def test_texts_that_differ_only_in_numbers_are_reported_once_with_ten_ids():
    result = summary(*(entry(f"s{n:03}", notes=[f"{n} bytes were ignored"], flags=["no air: 0 %"]) for n in range(900)))
    ten = ", ".join(f"s{n:03}" for n in range(10))
    assert list(finding_lines(result.findings)) == [
        "Flagged (cached anyway; check their sources):",
        "  no air: 0 %",
        f"    900 samples: {ten} and 890 more",
        "Noted:",
        "  0 bytes were ignored",
        f"    900 samples, figures of the first: {ten} and 890 more",
    ]


def test_a_cache_without_findings_reports_none():
    result = summary(entry("a", flags=[], notes=[]), entry("b"))
    assert list(finding_lines(result.findings)) == []
    assert not any("flag" in line.lower() for line in cache_lines("c", result, ATTRIBUTES, unpublished=False))


def test_many_samples_with_equal_arrays_are_not_compared_in_pairs():
    labels = [-1, 0, 0, 1, 2] * 4000
    result = summary(*(entry(f"{number:05}", label=label, digest="x") for number, label in enumerate(labels)))
    assert len(result.flags) == 16_000
    assert "'00003', which is labelled two, not one" in result.flags["00002"][0]
    assert "'00001', which is labelled one, not two" in result.flags["00003"][0]
    assert result.notes["00000"] == ["same array: '00001' and 19998 more in this cache"]


def test_equal_arrays_with_different_labels_are_flagged_at_both_samples():
    result = summary(entry("a", digest="x"), entry("b", label=1, digest="x"), entry("c"))
    assert result.flags == {
        "a": ["two labels: the same array as 'b', which is labelled two, not one; correct the labels"],
        "b": ["two labels: the same array as 'a', which is labelled one, not two; correct the labels"],
    }
    assert list(finding_lines(result.findings)) == [
        "1 pair of samples holds the same array under two labels, correct the labels: a = b",
        "2 samples hold the same array as another; a split keeps them together: a, b",
    ]


def test_ten_pairs_with_different_labels_are_listed():
    entries = [entry(f"{half}{n:02}", label="ab".index(half), digest=f"x{n}") for n in range(12) for half in "ab"]
    first = next(finding_lines(summary(*entries).findings))
    assert first.startswith("12 pairs of samples hold the same array under two labels, correct the labels: a00 = b00, ")
    assert first.endswith("a09 = b09 and 2 more")


def test_equal_arrays_with_the_same_label_are_noted():
    result = summary(*(entry(name, digest="x") for name in "abc"), entry("d", label=-1, digest="x"))
    assert result.flags == {}
    assert result.notes["a"] == ["same array: 'b' and 2 more in this cache"]
    assert result.notes["d"] == ["same array: 'a' and 2 more in this cache"]
    assert list(finding_lines(result.findings)) == [
        "4 samples hold the same array as another; a split keeps them together: a, b, c, d"
    ]


def test_an_unlabelled_copy_contradicts_no_label():
    result = summary(entry("a", label=-1, digest="x"), entry("b", label=1, digest="x"))
    assert (result.flags, list(result.notes)) == ({}, ["a", "b"])


def test_flagged_samples_are_stored_and_their_flags_shown_by_every_command(tmp_path):
    (tmp_path / "scans").mkdir()
    hu = np.random.default_rng(0).integers(-1000, 400, (6, 7, 20), np.int16)
    for name, shift in (("right", 0), ("shifted", 1024)):
        image = nib.Nifti1Image(hu + np.int16(shift), np.diag([-40.0, -40.0, 5.0, 1.0]))
        nib.save(image, tmp_path / "scans" / f"{name}.nii")
    cache = tmp_path / "ct.zarr"
    size = ("--depth", "8", "--height", "8", "--width", "8", "--workers", "0")
    run = CliRunner().invoke(main, ["preprocess", "ct", str(tmp_path / "scans"), str(cache), *size])
    assert run.exit_code == 0
    assert "2 discovered = 2 complete + 0 quarantined + 0 excluded; 1 of the complete flagged\n" in run.stdout
    flag_lines = run.stdout.partition("Flagged")[2]
    assert "  no air: 0.0 % of voxels" in flag_lines
    assert "    1 sample: shifted\n" in flag_lines
    assert flag_lines in CliRunner().invoke(main, ["info", str(cache)]).stdout
    texts = json.loads(CliRunner().invoke(main, ["info", str(cache), "--json"]).stdout)["flags"]["shifted"]
    record = open_cache(cache).record("shifted")
    assert record["flags"] == texts
    assert record["measured"]["least"] == 24
    assert open_cache(cache).record("right")["flags"] == []
    second = CliRunner().invoke(main, ["preprocess", "ct", str(tmp_path / "scans"), str(cache), *size, "--json"])
    assert json.loads(second.stdout)["flags"] == {"shifted": texts}
