"""Fixtures for labels CSV files."""

from dataclasses import replace

import pytest

from pipeline.errors import PipelineError
from pipeline.labels.apply import apply_labels
from pipeline.sources.formats.ct import TUBERCULOSIS_TYPES, find_scans
from tests.helpers.label_sheets import put


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "scans"
    put(folder, "a.nii", "b.nii.gz", "sub/a.nii", "p.hdr", "p.img")
    return folder


@pytest.fixture
def labels(root, tmp_path):
    """A function that writes a CSV and applies it to the scans; returns (label by id, group by id, report)."""

    def labels(text, names=TUBERCULOSIS_TYPES, choice=None, groups=(), **options):
        path = tmp_path / "labels.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        records = [replace(item, group=dict(groups).get(item.id, item.id)) for item in find_scans(root).records]
        records, report = apply_labels(records, path, names, choice, **options)
        labelled = {record.id: record.label for record in records if record.label >= 0}
        return labelled, {record.id: record.group for record in records}, report

    return labels


@pytest.fixture
def rejection(labels, tmp_path):
    """Like `labels`, for a CSV that is rejected: returns the one-line message, with `CSV` for the path."""

    def rejection(*arguments, **options):
        with pytest.raises(PipelineError) as error:
            labels(*arguments, **options)
        assert "\n" not in str(error.value)
        return str(error.value).replace(str(tmp_path / "labels.csv"), "CSV")

    return rejection
