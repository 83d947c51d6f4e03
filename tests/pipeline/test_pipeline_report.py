"""Reports list every excluded input in a readable number of lines."""

from collections import Counter

import pytest

from cache.schema import Attributes, Entry, Source
from pipeline.jobs import report, report_lines
from pipeline.jobs.summary import summarise
from pipeline.sources.formats.ct import find_scans
from pipeline.sources.formats.video import find_clips
from pipeline.sources.records import Inputs


def test_a_few_exclusions_get_one_line_each():
    excluded = {"b.mha": "MetaImage, not read", "a.zip": "archive"}
    assert list(report_lines.exclusion_lines(excluded)) == [
        "Excluded:",
        "  a.zip: archive",
        "  b.mha: MetaImage, not read",
    ]
    assert list(report_lines.exclusion_lines({})) == []


def test_many_exclusions_get_one_line_per_reason_with_a_count_and_the_first_names():
    excluded = {f"Biking/{n:04}.avi": "class Biking was not chosen" for n in range(900)}
    excluded |= {f"Diving/{n:04}.avi": "class Diving was not chosen" for n in range(600)}
    excluded |= {f"Rowing/{n:02}.avi": f"too short: {n} frames, 70 needed" for n in range(3)}
    excluded |= {"d": "DICOM files (7), not read; convert each series to NIfTI, e.g. with dcm2niix"}
    names = ", ".join(f"Biking/{n:04}.avi" for n in range(10))
    assert list(report_lines.exclusion_lines(excluded)) == [
        "Excluded:",
        "  d: DICOM files (7), not read; convert each series to NIfTI, e.g. with dcm2niix",
        f"  1500 × class was not chosen: {names} and 1490 more",
        "  3 × too short: … frames, … needed: Rowing/00.avi, Rowing/01.avi, Rowing/02.avi",
    ]


def test_a_run_reports_all_exclusions_except_hidden_files(tmp_path):
    for name in (".DS_Store", "Thumbs.db", "x.mha", ".git/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("/")
    visible = report_lines.visible_exclusions(find_scans(tmp_path).excluded)
    assert visible.keys() == {"x.mha", "link"}


def test_an_error_about_a_source_without_inputs_lists_its_contents(tmp_path):
    (tmp_path / "link").symlink_to("/")
    (tmp_path / "x.zip").touch()
    for name in ("a.avi", "b.avi", "README"):
        (tmp_path / name).touch()
    for number in range(12):
        (tmp_path / f"{number}.dcm").touch()
    assert report.nothing_found(find_scans(tmp_path)) == (
        "; found instead: .: DICOM files (12), not read; convert each series to NIfTI, e.g. with dcm2niix"
        " · x.zip: archive, not unpacked; unpack it into SOURCE"
        " · link: link to a folder, not followed; give the folder itself as SOURCE"
        " · 2 × .avi · 1 × no file ending"
    )
    assert report.nothing_found(Inputs(excluded={".DS_Store": "hidden or system file"}, others=Counter())) == ""


@pytest.mark.parametrize("names", [["v_A_g01_c01.avi", "clip.avi", "x.mp4"], ["v_A_g01_c01.avi"]])
def test_clips_without_a_scene_in_their_name_are_counted(tmp_path, names):
    (tmp_path / "A").mkdir()
    for name in names:
        (tmp_path / "A" / name).touch()
    expected = [
        "2 of 3 clips have no _gNN_cMM in their names: each is its own group, so a split cannot keep clips of one "
        "scene together"
    ]
    assert list(report.scene_lines(find_clips(tmp_path))) == (expected if len(names) > 1 else [])


def test_long_texts_of_an_untrusted_ledger_are_shortened(tmp_path):
    long = "x" * 500_000
    attributes = Attributes(
        "ct", {"kind": "ct", "depth": 2, "height": 2, "width": 2, "dtype": "uint8", "note": long}, ("a",)
    )
    details = {"flags": [f"flag {long}"], "notes": [f"note {long}"]}
    entries = [
        Entry("s", "complete", row=0, details=details),
        Entry(long, "quarantined", reason=long, source=Source(long, (long,))),
        Entry(f"{long}/", "excluded", reason=long, source=Source(f"{long}/", (long,))),
    ]
    summary = summarise(attributes, {entry.id: entry for entry in entries})
    lines = list(report.cache_lines("c", summary, attributes, False))
    assert any("flag x" in line for line in lines)
    assert max(map(len, lines)) < 1300
