"""Ids are unique, and samples keep their ids."""

import os
import unicodedata

import pytest

from cache.schema import Entry
from pipeline.sources.formats.ct import find_scans
from pipeline.sources.formats.video import find_clips
from pipeline.sources.ids import keep_ids
from tests.helpers.source_folders import ids, put


@pytest.mark.parametrize(
    ("first", "second"),
    [("x.nii", "x.nii.gz"), ("x.NII", "x.nii"), ("x.HDR", "x.hdr"), ("d/x.IMG", "d/x.img"), ("x.hdr", "x.hdr.gz")],
)
def test_two_files_with_the_same_id_are_both_rejected_and_named(root, first, second):
    records = put(root, "good.nii", first, second).records
    assert [record.id for record in records] == [f"{root}/{first}", f"{root}/{second}", "good"]
    for record in records[:2]:
        name = first.rpartition(".")[0]
        assert record.refusal == (
            f"two files would get the id {name!r} ({first!r}, {second!r})",
            "one file for each id",
            "keep one of them, or rename one",
        )


def test_a_folder_named_like_a_scan_does_not_take_its_id(root):
    put(root, "x.nii.gz")
    (root / "x.nii").mkdir()
    folder, scan = find_scans(root).records
    assert (scan.id, scan.source.files, scan.refusal) == ("x", ("x.nii.gz",), None)
    assert folder.source.files == ("x.nii",)
    assert folder.refusal


def test_half_a_pair_does_not_take_the_id_of_a_complete_scan(root):
    complete, half = sorted(put(root, "x.nii", "x.hdr").records, key=lambda record: record.source.files, reverse=True)
    assert (complete.id, complete.refusal) == ("x", None)
    assert half.refusal[0] == "two files would get the id 'x' ('x.hdr', 'x.nii')"


def test_a_pair_and_a_single_file_with_the_same_id_are_both_rejected(root):
    records = put(root, "x.img", "x.nii", "x.hdr").records
    assert [record.source.files for record in records] == [("x.hdr", "x.img"), ("x.nii",)]
    assert all(record.refusal for record in records)


def test_a_reason_names_at_most_five_files_with_the_same_id(root):
    for number in range(9):
        put(root, f"{number}/A/x.avi")
    records = find_clips(root).records
    assert len({record.id for record in records}) == len(records) == 9
    assert records[0].refusal[0].startswith("9 files would get the id 'A/x' (")
    assert records[0].refusal[0].endswith(", …)")


@pytest.mark.parametrize(("first", "second"), [("A/x.avi", "A/x.mp4"), ("a/A/x.avi", "b/A/x.avi")])
def test_two_clips_with_the_same_id_are_rejected_and_other_clips_are_not(root, first, second):
    put(root, first, second, "A/y.avi")
    (*duplicates, unique) = find_clips(root).records
    assert {record.source.files[0] for record in duplicates} == {first, second}
    assert all(record.refusal[0].startswith("two files would get the id 'A/x'") for record in duplicates)
    assert (unique.id, unique.refusal) == ("A/y", None)


def test_the_source_of_a_sample_keeps_its_id_if_a_second_file_appears(root):
    (before,) = put(root, "x.nii.gz").records
    entries = {"x": Entry("x", "complete", row=0, source=before.source)}
    added, existing = keep_ids(put(root, "x.nii").records, entries)
    assert (existing.group, added.group) == (existing.id, added.id)  # each is its own group
    assert existing == before
    assert added.source.files == ("x.nii",)
    assert added.refusal[2] == "keep one of them, or rename one"


@pytest.mark.parametrize("state", ["quarantined", "excluded"])
def test_a_file_without_a_sample_does_not_keep_its_id(root, state):
    (before,) = put(root, "x.nii.gz").records
    records = put(root, "x.nii").records
    assert keep_ids(records, {"x": Entry("x", state, source=before.source)}) == records


def test_ids_that_differ_only_in_case_or_accents_are_different(root):
    assert len(put(root, "a.nii", "A.nii", "é.nii", unicodedata.normalize("NFD", "é.nii")).records) == 4


@pytest.mark.parametrize(
    "name",
    ["a\nb", "a b", " a ", "été", "-x", "--help", "%s%n", "\x1b[31mred", "x" * 251, "a.b.", "\u202egnp", "*", "a\\b"],
)
def test_any_valid_file_name_becomes_an_id(root, name):
    assert ids(put(root, f"{name}.nii")) == [name]


def test_a_scan_with_a_name_that_is_not_utf8_is_listed(root):
    path = os.fsencode(root) + b"/bad\xff.nii"
    with open(path, "wb"):  # noqa: PTH123 - a path of bytes
        pass
    assert ids(find_scans(root)) == ["bad\udcff"]
