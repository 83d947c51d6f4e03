"""Committed samples survive damage to the ledger, changes of their source, and kills of the run that rebuilds them."""

import os
import pickle
import shutil
from contextlib import nullcontext

import numpy as np
import pytest

from cache import UnknownSample, catalog, ledger, open_cache
from cache.errors import MissingSample
from cache.removal import remove
from cache.verify import verify
from cache.writer import open_writer
from pipeline.jobs import preprocess
from pipeline.jobs import repair as repair_job
from pipeline.workers.executors.serial import serial
from tests.helpers.caches import make_cache, tiny_attributes, volume, write_sample
from tests.helpers.interruptions import copied, documents_built_once, killed_at_each_call, traces
from tests.helpers.small_sources import CLIPS, clip, run

LEDGER = ("ledger/entries.jsonl", "ledger/snapshot.jsonl")


__all__ = ["documents_built_once"]  # a fixture


@pytest.fixture(autouse=True)
def clips_are_texts(monkeypatch):
    """Let `repair` read the text files of these tests as clips, like `run`."""
    monkeypatch.setattr(repair_job, "recipe_from_json", lambda recipe: CLIPS)


@pytest.fixture
def clips(tmp_path):
    """A folder with a cache `c` of three clips, each of a different gray value, and its source `s`."""
    for number in (1, 2, 3):
        clip(tmp_path / "s", f"A/{number}", "x" * number)
    run(tmp_path / "s", tmp_path / "c", CLIPS)
    return tmp_path


def name_of(number):
    return f"A/v_A_{number}_g01_c01"


def grays(cache):
    return {name: int(cache.stored(name).max()) for name in cache.ids}


def repair(root):
    return repair_job.run(repair_job.prepare(root), nullcontext(serial))


# -- the ledger --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deleted", [LEDGER, LEDGER[:1]])
def test_a_repair_of_a_deleted_ledger_that_is_killed_at_any_call_loses_no_sample(clips, tmp_path, deleted):
    for file in deleted:
        (clips / "c" / file).unlink()
    for root in killed_at_each_call(clips / "c", repair, tmp_path):
        cache = open_cache(root)
        assert cache.ids == [name_of(number) for number in (1, 2, 3)]
        assert cache.labels.tolist() == [0, 0, 0]
        report = verify(root)
        assert report.ok + len(report.damaged.keys() & set(cache.ids)) == 3
        repair(root)
        assert verify(root).sound
        assert grays(open_cache(root)) == {name_of(number): number for number in (1, 2, 3)}


def test_a_lost_sample_that_cannot_be_rebuilt_stays_reported_with_its_label_and_group(clips):
    before = open_cache(clips / "c").record(name_of(2))
    for file in LEDGER:
        (clips / "c" / file).unlink()
    clip(clips / "s", "A/2").unlink()
    for _ in range(2):
        assert repair(clips / "c").failed.keys() == {name_of(2)}
        assert verify(clips / "c").damaged.keys() == {name_of(2)}
    shutil.rmtree(clips / "c/sample_id")  # by now, the ledger lists the sample again
    after = open_cache(clips / "c").record(name_of(2))
    assert (after["label"], after["group"]) == (before["label"], before["group"])
    clip(clips / "s", "A/2", "xx")
    assert not repair(clips / "c").failed
    assert verify(clips / "c").sound


def test_the_search_for_a_moved_source_is_bounded(clips, monkeypatch):
    for file in LEDGER:
        (clips / "c" / file).unlink()
    monkeypatch.setattr(repair_job, "MAX_FILES", 3)  # the class folder and three clips are four
    assert repair(clips / "c").failed.keys() == {name_of(number) for number in (1, 2, 3)}
    monkeypatch.setattr(repair_job, "MAX_FILES", 4)
    assert not repair(clips / "c").failed


@pytest.mark.parametrize("size", [0, 1, 100, 700])
def test_a_log_cut_anywhere_is_restored_from_the_snapshot(clips, size):
    before = catalog.read_entries(clips / "c")
    os.truncate(clips / "c" / LEDGER[0], size)
    assert catalog.read_entries(clips / "c") == before
    assert verify(clips / "c").damaged.keys() == {LEDGER[0]}
    repair(clips / "c")
    assert verify(clips / "c").sound
    assert catalog.read_entries(clips / "c") == before


def test_entries_committed_after_the_snapshot_are_read_from_the_log(tmp_path):
    root = make_cache(tmp_path / "c")
    snapshot = (root / LEDGER[1]).read_bytes()
    make_cache(root, 1)
    (root / LEDGER[1]).write_bytes(snapshot)  # as a kill before the next publication leaves it
    log = root / LEDGER[0]
    assert list(catalog.read_entries(root)) == ["s0", "s1", "s2", "s3"]
    assert ledger.read(root / "ledger").is_complete
    log.write_bytes(b"\0" * 100 + log.read_bytes()[100:])
    assert list(catalog.read_entries(root)) == ["s0", "s1", "s2", "s3"]
    assert ledger.read(root / "ledger").fault == "it has changed since it was written"


@pytest.mark.parametrize("method", ["add", "append"])
def test_after_a_signal_during_a_commit_the_published_arrays_match_the_log(tmp_path, monkeypatch, method):
    root, attributes = make_cache(tmp_path / "c"), tiny_attributes()

    def interrupted(real):
        def call(*arguments):
            real(*arguments)
            raise KeyboardInterrupt

        return call

    def interrupted_run():
        with (
            open_writer(root, attributes, catalog.read_entries(root)) as writer,
            monkeypatch.context() as patch,
        ):
            entries = [write_sample(root, attributes, row, volume(row)) for row in (3, 4)]
            owner = ledger.Ledger if method == "add" else ledger.LedgerWriter
            patch.setattr(owner, method, interrupted(getattr(owner, method)))
            writer.commit(entries)

    with pytest.raises(KeyboardInterrupt):
        interrupted_run()
    assert open_cache(root).ids == ["s0", "s1", "s2", "s3", "s4"]
    assert not catalog.unpublished(root)
    assert verify(root).sound


# -- changed sources ---------------------------------------------------------------------------------------------------


def test_a_kill_while_a_changed_source_is_rebuilt_leaves_the_old_or_the_new_sample(clips, tmp_path):
    clip(clips / "s", "A/2", "xxxxx")
    for root in killed_at_each_call(clips / "c", lambda root: run(clips / "s", root, CLIPS), tmp_path):
        assert grays(open_cache(root)) in [{name_of(1): 1, name_of(2): gray, name_of(3): 3} for gray in (2, 5)]
        run(clips / "s", root, CLIPS)
        assert grays(open_cache(root)) == {name_of(1): 1, name_of(2): 5, name_of(3): 3}
        assert verify(root).sound
        assert rows_on_disk(root) == {0, 2, 3}


def rows_on_disk(root):
    return {int(path.name) for path in (root / "volume/c").iterdir()}


def test_an_open_cache_keeps_reading_its_samples_after_they_are_replaced(clips):
    cache = open_cache(clips / "c")
    unpickled = pickle.loads(pickle.dumps(cache))
    for gray in (5, 6):
        clip(clips / "s", "A/2", "x" * gray)
        run(clips / "s", clips / "c", CLIPS)
        assert grays(cache) == grays(unpickled) == {name_of(1): 1, name_of(2): 2, name_of(3): 3}
    reopened = open_cache(clips / "c")
    assert grays(reopened) == {name_of(1): 1, name_of(2): 6, name_of(3): 3}
    assert verify(clips / "c").sound
    assert rows_on_disk(clips / "c") == {0, 1, 2, 3, 4}
    del cache, unpickled, reopened
    run(clips / "s", clips / "c", CLIPS)
    assert rows_on_disk(clips / "c") == {0, 2, 4}


def test_a_sample_is_kept_when_its_source_cannot_be_read(clips, monkeypatch):
    file = clip(clips / "s", "A/2", "xx")
    os.utime(file, (1, 1))

    def failing(paths):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.jobs.sample.digest_files", failing)
        summary = run(clips / "s", clips / "c", CLIPS)
    assert (summary.complete, summary.unreadable) == (3, {name_of(2): "Input/output error"})
    assert grays(open_cache(clips / "c"))[name_of(2)] == 2


def test_the_old_sample_is_kept_when_its_changed_source_cannot_be_read(clips, monkeypatch):
    clip(clips / "s", "A/2", "xxxxx")

    def failing(self, paths):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(type(CLIPS), "make", failing)
        summary = run(clips / "s", clips / "c", CLIPS)
    assert (summary.complete, summary.made, summary.quarantined) == (3, 0, {})
    assert "Input/output error" in summary.unreadable[name_of(2)]
    assert grays(open_cache(clips / "c"))[name_of(2)] == 2
    run(clips / "s", clips / "c", CLIPS)
    assert grays(open_cache(clips / "c"))[name_of(2)] == 5


@pytest.mark.parametrize("text", ["xx", "xxxxx"])
def test_the_size_and_time_of_a_source_are_never_recorded_as_unknown(clips, monkeypatch, text):
    os.utime(clip(clips / "s", "A/2", text), (1, 1))
    job = preprocess.prepare(clips / "s", clips / "c", CLIPS)
    real_stat = os.stat

    def failing_once(path, *arguments, **options):
        if str(path).endswith("v_A_2_g01_c01.avi") and isinstance(path, str):
            monkeypatch.setattr(os, "stat", real_stat)
            raise OSError(5, "Input/output error")
        return real_stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", failing_once)
    summary = preprocess.run(job, nullcontext(serial))
    assert os.stat is real_stat, "os.stat did not fail"
    assert list(summary.unreadable) == [name_of(2)]
    assert all(entry.source.size > 0 for entry in catalog.read_entries(clips / "c").values())


def test_the_rows_of_changed_and_new_sources_do_not_depend_on_kills(clips, tmp_path):
    for number in (1, 3):
        clip(clips / "s", f"A/{number}", "x" * (number + 5))
    clip(clips / "s", "A/4", "xxxx")
    os.utime(clip(clips / "s", "A/2", "xx"), (1, 1))
    reference = copied(clips / "c", tmp_path / "reference")
    run(clips / "s", reference, CLIPS)
    rows = {name: entry.row for name, entry in catalog.read_entries(reference).items()}
    assert rows == {name_of(1): 4, name_of(2): 1, name_of(3): 5, name_of(4): 3}
    for root in killed_at_each_call(clips / "c", lambda root: run(clips / "s", root, CLIPS), tmp_path):
        run(clips / "s", root, CLIPS)
        assert {name: entry.row for name, entry in catalog.read_entries(root).items()} == rows


# -- removal -----------------------------------------------------------------------------------------------------------


def test_no_trace_of_a_removed_sample_is_left_after_a_removal_killed_at_any_call_is_finished(tmp_path):
    source = make_cache(tmp_path / "c", names=["alpha", "withdrawn", "omega"])
    assert len(traces(source, "withdrawn")) == 3  # log, snapshot, published ids
    for root in killed_at_each_call(source, lambda root: remove(root, ["withdrawn"]), tmp_path):
        if "withdrawn" in catalog.read_entries(root):
            remove(root, ["withdrawn"])
        else:
            make_cache(root, 0)
        assert traces(root, "withdrawn") == []
        assert rows_on_disk(root) == {0, 2}
        assert verify(root).sound
        assert open_cache(root).ids == ["alpha", "omega"]
        assert np.abs(open_cache(root)["omega"] - volume(2)).max() < 1e-5


def test_removal_deletes_earlier_versions_of_a_sample_even_if_readers_have_them_open(clips):
    cache = open_cache(clips / "c")
    clip(clips / "s", "A/2", "xxxxx")
    run(clips / "s", clips / "c", CLIPS)
    assert rows_on_disk(clips / "c") == {0, 1, 2, 3}
    remove(clips / "c", [name_of(2)])
    assert rows_on_disk(clips / "c") == {0, 2}
    with pytest.raises(MissingSample):
        cache[name_of(2)]
    assert grays(open_cache(clips / "c")) == {name_of(1): 1, name_of(3): 3}


def test_an_unknown_id_cannot_be_removed(tmp_path):
    root = make_cache(tmp_path / "c", attributes=tiny_attributes())
    before = catalog.ledger_path(root).read_bytes()
    with pytest.raises(UnknownSample, match=r"^no input other in .*c; `info` lists the inputs$"):
        remove(root, ["s1", "other"])
    assert catalog.ledger_path(root).read_bytes() == before
