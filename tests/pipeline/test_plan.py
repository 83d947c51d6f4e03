"""The plan has a task for each missing or stale sample, keeps the others, and accounts for every input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.schema import Entry, Source
from pipeline.jobs.plan import Task, make_plan, same_files
from pipeline.sources.ids import path_id
from tests.helpers.records import ROOT, record


def entry(record, row, state="complete", **fields):
    source = record.source.replace(digest="d" if state == "complete" else "")
    details = {} if state == "complete" else {"software": "1"}
    fields = {"recipe": "r", "source": source, "label": record.label, "group": record.group} | fields
    return Entry(record.id, state, row=row, details=details, **fields)


def plan(records, entries=(), excluded=(), rows=None, relabel=False, software="1"):
    by_id = {item.id: item for item in entries}
    present = {item.row for item in entries} if rows is None else rows
    return make_plan(
        records,
        dict(excluded),
        by_id,
        root=ROOT,
        recipe="r",
        software=software,
        rows_present=present,
        relabel=relabel,
    )


def test_new_inputs_get_free_rows_in_order():
    a, b, c, d = map(record, "abcd")
    result = plan([a, b, c, d], [entry(b, 1), entry(d, 3)])
    assert result.tasks == [Task(a, 0), Task(c, 2)]
    assert result.kept == 2


def test_an_unchanged_complete_or_quarantined_input_needs_no_task():
    a, b = map(record, "ab")
    result = plan([a, b], [entry(a, 0), entry(b, 1, "quarantined")])
    assert result.tasks == result.commits == result.vanished == result.forget == []
    assert result.kept == 2


@pytest.mark.parametrize("change", [{"size": 11}, {"mtime_ns": 2}, {"root": "/moved"}])
def test_a_sample_whose_files_look_changed_gets_a_task_that_compares_their_digest(change):
    old = entry(record("a"), 7)
    assert plan([record("a", **change)], [old]).tasks == [Task(record("a", **change), 7, existing=old)]


def test_a_changed_quarantined_input_is_processed_again_in_its_row():
    old = entry(record("a"), 7, "quarantined")
    assert plan([record("a", size=11)], [old]).tasks == [Task(record("a", size=11), 7)]


@pytest.mark.parametrize(
    ("fields", "options"),
    [({"retry": True}, {}), ({}, {"software": "2"}), ({"recipe": "old"}, {})],
    ids=["temporary failure", "quarantined by another version", "another recipe"],
)
def test_an_outdated_quarantined_input_is_processed_again(fields, options):
    old = entry(record("a"), 0, "quarantined", **fields)
    assert plan([record("a")], [old], **options).tasks == [Task(record("a"), 0)]


@pytest.mark.parametrize(("fields", "rows"), [({"recipe": "old"}, {0}), ({}, set())], ids=["recipe", "no chunk"])
def test_an_unusable_sample_is_processed_again_without_comparing_digests(fields, rows):
    old = entry(record("a"), 0, **fields)
    assert plan([record("a")], [old], rows=rows).tasks == [Task(record("a"), 0)]


def test_new_labels_need_a_commit_and_no_task():
    old = entry(record("a", label=1), 0)
    result = plan([record("a", label=2, group="P1")], [old], relabel=True)
    assert result.commits == [old.replace(label=2, group="P1")]
    assert result.tasks == []


def test_labels_are_kept_if_a_run_has_none():
    old = entry(record("a", label=1, group="P1"), 0)
    assert plan([record("a")], [old]).commits == []
    (task,) = plan([record("a", size=11)], [old]).tasks
    assert (task.record.label, task.record.group) == (1, "P1")


def test_a_vanished_sample_is_kept_and_reported_and_a_vanished_quarantined_input_is_removed():
    vanished = entry(record("a"), 0), entry(record("b"), 1, "quarantined")
    result = plan([], vanished)
    assert (result.vanished, result.forget, result.tasks) == (["a"], ["b"], [])


def test_entries_of_another_source_are_ignored():
    other = record("a", root="/elsewhere")
    assert plan([record("b")], [entry(other, 0), entry(record("c", root="/elsewhere"), 1, "quarantined")]) == plan(
        [record("b")], [entry(record("x", root="/elsewhere"), 0), entry(record("y", root="/elsewhere"), 1)]
    )


def test_an_exclusion_is_committed_once_and_removed_with_its_file():
    (first,) = plan([], excluded={".h": "hidden"}).commits
    assert (first.state, first.reason, first.source) == ("excluded", "hidden", Source(ROOT, (".h",)))
    assert plan([], [first], {".h": "hidden"}).commits == []
    assert plan([], [first], {".h": "hidden"}).forget == []
    assert plan([], [first]).forget == [first.id]


def test_an_exclusion_never_replaces_a_sample_with_the_same_name():
    result = plan([record("x")], excluded={"x": "link to a folder"})
    assert [task.record.id for task in result.tasks] == ["x"]
    assert [item.id for item in result.commits] == [path_id(ROOT, "x")] == ["/scans/x"]


def test_exclusions_of_two_sources_have_different_ids():
    assert path_id("/a", ".h") != path_id("/b", ".h")


def test_files_are_compared_without_their_digest():
    source = record("a").source
    assert same_files(source.replace(digest="d"), source)
    assert not same_files(source, source.replace(files=("a.nii.gz",)))


names = st.sets(st.sampled_from("abcdefgh"))


@given(present=names, complete=names, quarantined=names)
def test_every_input_is_in_one_list_and_no_row_is_used_twice(present, complete, quarantined):
    quarantined = quarantined - complete
    entries = [entry(record(name), row) for row, name in enumerate(sorted(complete))]
    entries += [entry(record(name), row, "quarantined") for row, name in enumerate(sorted(quarantined), len(entries))]
    result = plan([record(name) for name in sorted(present)], entries)
    assert result.kept + len(result.tasks) == len(present)
    assert {task.record.id for task in result.tasks} == present - complete - quarantined
    assert set(result.vanished) == complete - present
    assert set(result.forget) == quarantined - present
    rows = [item.row for item in entries] + [task.row for task in result.tasks]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize(("size", "vanished"), [(-1, True), (0, False), (1, False)])
def test_an_empty_source_file_does_not_count_as_vanished(size, vanished):
    result = plan([record("a", size=size)], [entry(record("a", size=size), 0)])
    assert bool(result.vanished) == vanished
    assert bool(result.kept) == (not vanished)
