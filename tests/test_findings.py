"""Flags and notes reach the user: by id for programs, and each text once, however many samples have it."""

from cache.schema import Attributes, Entry, Source
from pipeline.build import summarise
from pipeline.report import cache_json, cache_lines, finding_lines, ledger_line

ATTRIBUTES = Attributes("ct", {"kind": "ct", "depth": 2, "height": 2, "width": 2, "dtype": "uint8"}, ("one", "two"))


def entry(name, *, state="complete", label=0, digest=None, **details):
    source = Source("/scans", (f"{name}.nii",))
    return Entry(name, state, row=0, label=label, source=source, nbytes=9, digest=digest or name, details=details)


def summary(*entries):
    return summarise(ATTRIBUTES, {item.id: item for item in entries})


def test_only_samples_that_have_some_are_listed():
    found = summary(
        entry("a", flags=["no air: 0 %"], notes=[]), entry("b", flags=[], notes=["odd"]), entry("c"),
        entry("d", state="quarantined", flags=["x"], notes=["y"]),
    )  # fmt: skip
    assert (found.flags, found.notes) == ({"a": ["no air: 0 %"]}, {"b": ["odd"]})
    data = cache_json(found, ATTRIBUTES)
    assert (data["flags"], data["notes"]) == (found.flags, found.notes)


def test_records_of_other_versions_or_other_makers_do_no_harm():
    found = summary(entry("a", flags="text", notes=None), entry("b", flags={"x": 1}), entry("c", notes=[3]))
    assert (found.flags, found.notes) == ({}, {"c": ["3"]})


def test_the_ledgers_line_counts_flagged_samples_and_still_adds_up():
    found = summary(entry("a", flags=["x"]), entry("b"), entry("c", state="quarantined"))
    line = "3 discovered = 2 complete + 1 quarantined + 0 excluded"
    assert ledger_line(found) == f"{line}; 1 of the complete flagged"
    assert ledger_line(summary(entry("a"), entry("b"), entry("c", state="quarantined"))) == line


def test_texts_that_differ_in_figures_only_are_told_once_with_ten_ids():
    found = summary(*(entry(f"s{n:03}", notes=[f"{n} bytes were ignored"], flags=["no air: 0 %"]) for n in range(900)))
    ten = ", ".join(f"s{n:03}" for n in range(10))
    assert list(finding_lines(found.findings)) == [
        "Flagged (cached all the same; check their sources):",
        "  no air: 0 %",
        f"    900 samples: {ten} and 890 more",
        "Noted:",
        "  0 bytes were ignored",
        f"    900 samples, figures of the first: {ten} and 890 more",
    ]


def test_a_cache_without_findings_says_nothing_of_them():
    found = summary(entry("a", flags=[], notes=[]), entry("b"))
    assert list(finding_lines(found.findings)) == []
    assert not any("flag" in line.lower() for line in cache_lines("c", found, ATTRIBUTES, unpublished=False))


def test_one_array_under_two_labels_is_flagged_at_both_samples():
    found = summary(entry("a", digest="x"), entry("b", label=1, digest="x"), entry("c"))
    assert found.flags == {
        "a": ["two labels: the same array as 'b', which is labelled two, not one; correct the labels"],
        "b": ["two labels: the same array as 'a', which is labelled one, not two; correct the labels"],
    }
    assert list(finding_lines(found.findings)) == [
        "1 pair of samples holds the same array under two labels, correct the labels: a = b",
        "2 samples hold the same array as another; a split keeps them together: a, b",
    ]


def test_ten_pairs_under_two_labels_are_named():
    entries = [entry(f"{half}{n:02}", label="ab".index(half), digest=f"x{n}") for n in range(12) for half in "ab"]
    first = next(finding_lines(summary(*entries).findings))
    assert first.startswith("12 pairs of samples hold the same array under two labels, correct the labels: a00 = b00, ")
    assert first.endswith("a09 = b09 and 2 more")


def test_one_array_twice_under_one_label_is_noted():
    found = summary(*(entry(name, digest="x") for name in "abc"), entry("d", label=-1, digest="x"))
    assert found.flags == {}
    assert found.notes["a"] == ["same array: 'b' and 2 more in this cache"]
    assert found.notes["d"] == ["same array: 'a' and 2 more in this cache"]
    assert list(finding_lines(found.findings)) == [
        "4 samples hold the same array as another; a split keeps them together: a, b, c, d"
    ]


def test_an_unlabelled_copy_contradicts_nobody():
    found = summary(entry("a", label=-1, digest="x"), entry("b", label=1, digest="x"))
    assert (found.flags, list(found.notes)) == ({}, ["a", "b"])
