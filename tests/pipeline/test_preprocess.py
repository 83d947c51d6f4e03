"""Checks and estimates before and after a run."""

import os
from pathlib import Path

import pytest

from cache import CacheError, catalog, schema
from cache.schema import Entry
from cache.writer import open_writer
from pipeline.errors import InvalidInput, PipelineError
from pipeline.jobs import preprocess, report
from pipeline.jobs.estimate import Estimate
from pipeline.jobs.repair import check_kind
from pipeline.jobs.sample import current_source, quarantine_reason
from pipeline.labels.apply import LabelReport, WrongRow, check_keeps_labels
from pipeline.recipes.ct import CtRecipe
from pipeline.sources.walk import _folders_of
from tests.helpers.records import record


@pytest.mark.parametrize(("make", "kind"), [(os.mkdir, "a folder"), (os.mkfifo, "not a regular file")])
def test_a_path_that_is_not_a_file_is_rejected_with_its_kind(tmp_path, make, kind):
    make(tmp_path / "a.nii")
    with pytest.raises(InvalidInput) as error:
        current_source(record("a", root=str(tmp_path)))
    assert error.value.problem == f"'a.nii' is {kind}"


@pytest.mark.parametrize(
    ("error", "start", "retry"),
    [
        (InvalidInput("a page", "a scan", "log in"), "a page", False),
        (OSError(5, "Input/output error"), "it cannot be read (Input/output error); ", True),
        (MemoryError(), "not enough memory; ", True),
        (ValueError("no such luck"), "reading it failed (ValueError: no such luck); ", False),
    ],
)
def test_an_error_determines_the_quarantine_reason_and_whether_to_retry(error, start, retry):
    reason, is_temporary = quarantine_reason(error)
    assert reason.startswith(start)
    assert is_temporary == retry


@pytest.mark.parametrize(
    ("sources", "command"),
    [
        (("/old.zarr", "/ct.zarr"), "run `features /ct.zarr /f.zarr` again"),
        ((), "write it again with `write_features`"),
    ],
)
def test_repair_of_a_feature_cache_names_the_command_that_writes_it_again(sources, command):
    recipe = {"depth": 1, "channels": 2, "dtype": "float32"}
    attributes = schema.Attributes("features", recipe, ("a",), sources)
    with pytest.raises(CacheError, match="cannot rebuild") as error:
        check_kind(Path("/f.zarr"), attributes)
    assert str(error.value).endswith(command)


def test_a_sheet_without_labels_is_rejected_only_if_samples_have_labels():
    empty = LabelReport(wrong=[WrongRow("labels.csv line 2", "x", "no such scan")])
    unlabelled = [Entry("a", "complete", row=0), Entry("b", "quarantined", label=1), Entry("c", "excluded", label=0)]
    check_keeps_labels(empty, Path("labels.csv"), unlabelled)
    labelled = [*unlabelled, Entry("d", "complete", row=1, label=0)]
    check_keeps_labels(LabelReport(labelled=1), Path("labels.csv"), labelled)
    with pytest.raises(PipelineError, match="the cache has 1 labelled samples"):
        check_keeps_labels(empty, Path("labels.csv"), labelled)


def test_every_parent_folder_except_the_root_is_listed():
    assert _folders_of(["a/b/c.nii", "a/d.nii", "e.nii", "f/g/h/i.nii"]) == {"a", "a/b", "f", "f/g", "f/g/h"}


def test_a_plan_estimates_time_and_disk_space(tmp_path):
    for name in "abcdef":
        (tmp_path / f"{name}.nii").write_bytes(b"0123456789")
    job = preprocess.prepare(tmp_path, tmp_path.with_name("none.zarr"), CtRecipe())
    plan = report.plan_json(job, 4, Estimate("a", 2.0, 100, 7))
    assert (plan["to_make"], plan["already_there"], plan["source_bytes"]) == (6, 0, 60)
    assert (plan["seconds"], plan["cache_bytes"], plan["workers"]) == (3.0, 600, 4)


def test_a_cache_keeps_the_patient_column_until_a_sheet_names_another(tmp_path):
    source, root, sheet = tmp_path / "scans", tmp_path / "ct.zarr", tmp_path / "labels.csv"
    source.mkdir()
    (source / "a.nii").touch()

    def column(header):
        if header:
            sheet.write_text(f"{header}\na.nii,1,x\n")
        attributes = preprocess.prepare(source, root, CtRecipe(), labels=sheet if header else None).attributes
        with open_writer(root, attributes, catalog.read_entries(root)):
            pass
        return attributes.patient_column

    assert column("") == ""
    assert column("FileName,TypeOfTB,Case") == "Case"
    assert column("") == "Case"
    assert column("FileName,TypeOfTB,Patient") == "Patient"
