"""`label CACHE CSV`: new labels and patients without sources or array writes."""

import json
import shutil

import numpy as np

from cache import catalog, write_features
from cache.verify import verify
from cache.writer import open_writer
from pipeline.jobs import relabel
from tests.helpers.caches import make_cache, tiny_attributes
from tests.helpers.commands import arrays, error, info_json
from tests.helpers.interruptions import killed_at_each_call
from tests.helpers.labelled import SCANS, classes, cli, ct, groups


def test_label_corrects_labels_and_patients_without_sources_or_array_writes(source, cache, csv):
    shutil.rmtree(source)
    before = arrays(cache)
    path = csv("Subject;Name;Class\nX;TRN_0001.nii;b\nNA;trn_0002;2\nX;C:\\scans\\TRN_0003.nii;1\nX;TRN_0009;1\n")
    result = cli("label", cache, path, code=3)
    assert result.stdout == (
        f"labels or patients of 4 samples updated in {cache}\n"
        "  A: 1\n  B: 2\n  unlabelled: 1\n"
        "1 without a row in the labels, left without a label: TRN_0004.nii\n"
        "Labels: column Class; file names: Name; patients: Subject (2 patients)\n"
        "Label rejected: 1 row that names no scan: 'TRN_0009' (line 5)\n"
    )
    assert classes(cache) == {"TRN_0001": "B", "TRN_0002": "B", "TRN_0003": "A", "TRN_0004": None}
    assert groups(cache) == {"TRN_0001": "X", "TRN_0002": "TRN_0002", "TRN_0003": "X", "TRN_0004": "P1"}
    assert info_json(cache)["patients"] == {"column": "Subject", "count": 2}
    assert arrays(cache) == before
    assert verify(cache).sound
    assert not catalog.unpublished(cache)
    report = json.loads(cli("label", cache, path, "--json", code=3).stdout)
    assert (report["relabelled"], report["complete"], len(report["wrong_labels"])) == (0, 4, 1)
    assert cli("label", cache, path, "--quiet", code=3).output == ""


def test_label_killed_at_any_point_is_finished_by_the_same_command(source, cache, csv, tmp_path):
    path = csv("FileName,Label,Case\n" + "".join(f"{name},2,Q\n" for name in SCANS))
    before = classes(cache)

    def relabel_root(root):
        relabel.run(relabel.prepare(root, path))

    for root in killed_at_each_call(cache, relabel_root, tmp_path):
        assert all(label in ("B", before[name]) for name, label in classes(root).items())
        chunks = arrays(root)
        relabel_root(root)
        assert set(classes(root).values()) == {"B"}
        assert set(groups(root).values()) == {"Q"}
        assert arrays(root) == chunks
        assert verify(root).sound


def test_the_next_run_keeps_labels_set_by_label(source, cache, csv):
    cli("label", cache, csv("FileName,Label,Case\n" + "".join(f"{name},2,Q\n" for name in SCANS)))
    ct(source, cache)
    assert set(classes(cache).values()) == {"B"}
    assert info_json(cache)["patients"] == {"column": "Case", "count": 1}


def test_label_rejects_clips_features_and_other_folders(tmp_path, csv):
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
