"""Runs on a cache whose source, classes or labels have changed since: every sample keeps its class."""

import json
import shutil
from contextlib import nullcontext

import numpy as np
import pytest

from cache import NotACache, open_cache
from cache.store import chunk_path
from cache.verify import verify
from pipeline.errors import PipelineError
from pipeline.jobs import preprocess, repair
from pipeline.jobs.estimate import estimate
from pipeline.recipes.ct import CtRecipe
from pipeline.workers.executors.serial import serial
from tests.helpers.small_sources import CLIPS, SMALL, clip, run, scan


def labels(cache):
    opened = open_cache(cache)
    return {
        name: opened.class_names[label] for name, label in zip(opened.ids, opened.labels, strict=True) if label >= 0
    }


def clips_of(*classes):
    return {f"{name}/v_{name}_{number}_g01_c01": name for name in classes for number in (1, 2)}


@pytest.fixture
def tree(tmp_path):
    for name in "BC":
        for number in (1, 2):
            clip(tmp_path / "s", f"{name}/{number}")
    run(tmp_path / "s", tmp_path / "c", CLIPS)
    assert labels(tmp_path / "c") == clips_of("B", "C")
    return tmp_path


def test_samples_of_a_deleted_class_folder_keep_their_class(tree):
    shutil.rmtree(tree / "s" / "B")
    assert run(tree / "s", tree / "c", CLIPS).vanished == ["B/v_B_1_g01_c01", "B/v_B_2_g01_c01"]
    assert labels(tree / "c") == clips_of("B", "C")


def test_a_new_class_folder_does_not_shift_labels(tree):
    clip(tree / "s", "B/1").unlink()
    clip(tree / "s", "A/1")
    run(tree / "s", tree / "c", CLIPS)
    assert labels(tree / "c") == clips_of("B", "C") | {"A/v_A_1_g01_c01": "A"}


def test_a_second_source_may_add_classes(tree):
    clip(tree / "t", "A/1")
    run(tree / "t", tree / "c", CLIPS)
    assert labels(tree / "c") == clips_of("B", "C") | {"A/v_A_1_g01_c01": "A"}
    run(tree / "t", tree / "c", CLIPS, class_names=("A", "C", "B"))
    assert open_cache(tree / "c").class_names == ["A", "C", "B"]
    assert labels(tree / "c") == clips_of("B", "C") | {"A/v_A_1_g01_c01": "A"}


@pytest.fixture
def scans(tmp_path):
    for name in "ab":
        scan(tmp_path / "s" / f"{name}.nii")
    (tmp_path / "l.csv").write_text("FileName,Type\na.nii,1\nb.nii,2\n")
    run(tmp_path / "s", tmp_path / "c", CtRecipe(**SMALL), class_names=("X", "Y"), labels=tmp_path / "l.csv")
    assert labels(tmp_path / "c") == {"a": "X", "b": "Y"}
    return tmp_path


def test_reordered_class_names_keep_the_class_of_each_sample(scans):
    run(scans / "s", scans / "c", CtRecipe(**SMALL), class_names=("Y", "X"))
    assert open_cache(scans / "c").class_names == ["Y", "X"]
    assert labels(scans / "c") == {"a": "X", "b": "Y"}


def test_class_names_that_lack_a_used_class_are_rejected(scans):
    with pytest.raises(PipelineError, match=r"^the cache has samples of class Y, which is not among X, Z; name these"):
        run(scans / "s", scans / "c", CtRecipe(**SMALL), class_names=("X", "Z"))
    assert labels(scans / "c") == {"a": "X", "b": "Y"}


def test_a_moved_source_is_identified_by_its_bytes_and_another_file_of_that_name_is_rejected(scans):
    before = chunk_path(scans / "c", 0).stat().st_mtime_ns
    (scans / "s").rename(scans / "t")
    assert run(scans / "t", scans / "c", CtRecipe(**SMALL)).complete == 2
    assert chunk_path(scans / "c", 0).stat().st_mtime_ns == before
    assert labels(scans / "c") == {"a": "X", "b": "Y"}
    shutil.rmtree(scans / "t")
    scan(scans / "u" / "a.nii", value=300)
    with pytest.raises(PipelineError, match=r"would replace the sample 'a', made from .*contents differ"):
        run(scans / "u", scans / "c", CtRecipe(**SMALL))
    scan(scans / "u" / "a.nii", shape=(7, 7, 7))
    with pytest.raises(PipelineError, match="would replace the sample 'a'"):
        run(scans / "u", scans / "c", CtRecipe(**SMALL))
    assert verify(scans / "c").sound
    assert labels(scans / "c") == {"a": "X", "b": "Y"}


def test_a_sample_is_kept_when_its_source_becomes_a_dangling_link(scans):
    (scans / "s" / "a.nii").unlink()
    (scans / "s" / "a.nii").symlink_to(scans / "nowhere")
    summary = run(scans / "s", scans / "c", CtRecipe(**SMALL))
    assert (summary.complete, summary.vanished) == (2, ["a"])


@pytest.mark.parametrize("damage", ["version", "empty"])
def test_a_cache_of_unknown_format_is_not_overwritten(damage, scans):
    for name in ("zarr.json", "ledger/zarr.json"):
        document = json.loads((scans / "c" / name).read_bytes())
        document["attributes"] = {} if damage == "empty" else document["attributes"] | {"format_version": 2}
        (scans / "c" / name).write_text(json.dumps(document))
    with pytest.raises(NotACache, match="does not describe a cache of this format"):
        run(scans / "s", scans / "c", CtRecipe(**SMALL))


def test_a_failed_repair_is_reported_again_by_the_next_one(scans):
    chunk = chunk_path(scans / "c", 0)
    chunk.write_bytes(chunk.read_bytes()[:-1])
    (scans / "s" / "a.nii").write_bytes(b"junk")
    for _ in range(2):
        result = repair.run(repair.prepare(scans / "c"), nullcontext(serial))
        assert list(result.failed) == ["a"]
        assert "a" in verify(scans / "c").damaged


def test_a_deleted_ledger_is_rebuilt_from_the_index_even_without_its_labels(scans):
    shutil.rmtree(scans / "c" / "ledger")
    shutil.rmtree(scans / "c" / "label")
    result = repair.run(repair.prepare(scans / "c"), nullcontext(serial))
    assert not result.failed
    assert open_cache(scans / "c").ids == ["a", "b"]
    assert verify(scans / "c").sound


def test_preprocess_rebuilds_samples_without_a_ledger_line(scans):
    before = open_cache(scans / "c")["b"]
    shutil.rmtree(scans / "c" / "ledger")
    assert run(scans / "s", scans / "c", CtRecipe(**SMALL)).made == 2
    assert verify(scans / "c").sound
    assert np.array_equal(open_cache(scans / "c")["b"], before)


def test_an_estimate_skips_inputs_that_cannot_become_samples(tmp_path):
    clip(tmp_path / "s", "A/1", "bad")
    clip(tmp_path / "s", "A/2", "good")
    assert estimate(preprocess.prepare(tmp_path / "s", tmp_path / "c", CLIPS), timeout=60).id == "A/v_A_2_g01_c01"
