"""What is decided before and after a run, without one."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_plan import record

from cache import CacheError, schema, store
from cache.schema import Entry
from pipeline.errors import InvalidInput, PipelineError
from pipeline.jobs import preprocess, report
from pipeline.jobs.estimate import Estimate
from pipeline.jobs.repair import check_kind
from pipeline.jobs.sample import current_source, quarantine_reason
from pipeline.labels.apply import LabelReport, WrongRow, check_not_wiping
from pipeline.readers.clip.container import OpenVideo, _shown_entries
from pipeline.readers.clip.decode import Clip
from pipeline.recipes.ct import CtRecipe
from pipeline.sources.walk import _folders_of
from pipeline.workers.executors.dask_cluster import await_worker
from pipeline.workers.startup import exceeded_limits, start_error, watch_workers


@pytest.mark.parametrize(("make", "kind"), [(os.mkdir, "a folder"), (os.mkfifo, "not a regular file")])
def test_what_is_no_file_is_called_what_it_is(tmp_path, make, kind):
    make(tmp_path / "a.nii")
    with pytest.raises(InvalidInput) as caught:
        current_source(record("a", root=str(tmp_path)))
    assert caught.value.given == f"'a.nii' is {kind}"


@pytest.mark.parametrize(
    ("error", "begins", "may_pass"),
    [
        (InvalidInput("a page", "a scan", "log in"), "a page", False),
        (OSError(5, "Input/output error"), "it cannot be read (Input/output error); ", True),
        (MemoryError(), "not enough memory; ", True),
        (ValueError("no such luck"), "reading it failed (ValueError: no such luck); ", False),
    ],
)
def test_why_an_input_is_quarantined(error, begins, may_pass):
    reason, passes = quarantine_reason(error)
    assert reason.startswith(begins)
    assert passes == may_pass


@pytest.mark.parametrize(
    ("sources", "again"),
    [
        (("/old.zarr", "/ct.zarr"), "run `features /ct.zarr /f.zarr` again"),
        ((), "write it again with `write_features`"),
    ],
)
def test_a_feature_cache_is_made_again_from_its_volumes(sources, again):
    recipe = {"depth": 1, "channels": 2, "dtype": "float32"}
    attributes = schema.Attributes("features", recipe, ("a",), sources)
    with pytest.raises(CacheError, match="cannot rebuild") as caught:
        check_kind(Path("/f.zarr"), attributes)
    assert str(caught.value).endswith(again)


def test_a_sheet_without_labels_takes_none_away_and_harms_nothing_where_there_are_none():
    nothing = LabelReport(wrong=[WrongRow("labels.csv line 2", "x", "no such scan")])
    unlabelled = [Entry("a", "complete", row=0), Entry("b", "quarantined", label=1), Entry("c", "excluded", label=0)]
    check_not_wiping(nothing, Path("labels.csv"), unlabelled)
    labelled = [*unlabelled, Entry("d", "complete", row=1, label=0)]
    check_not_wiping(LabelReport(labelled=1), Path("labels.csv"), labelled)
    with pytest.raises(PipelineError, match="the cache has 1 labelled samples"):
        check_not_wiping(nothing, Path("labels.csv"), labelled)


def test_every_folder_above_a_file_is_known_but_the_root():
    assert _folders_of(["a/b/c.nii", "a/d.nii", "e.nii", "f/g/h/i.nii"]) == {"a", "a/b", "f", "f/g", "f/g/h"}


def frame(timestamp, size=1, is_discard=False):
    return SimpleNamespace(timestamp=timestamp, size=size, is_discard=is_discard)


@pytest.mark.parametrize(
    ("entries", "shown", "ticks"),
    [
        ([], 0, 0),
        ([frame(5)], 1, 0),
        ([frame(0), frame(10), frame(25)], 3, 25),
        ([frame(0, is_discard=True), frame(10), frame(20)], 2, 10),
        ([frame(0), frame(10, size=0), frame(30), frame(40)], 3, 20),
    ],
)
def test_frames_that_the_index_of_an_mp4_shows_and_how_long_they_are(entries, shown, ticks):
    assert _shown_entries(SimpleNamespace(index_entries=entries)) == (shown, ticks)


def test_a_plan_says_how_long_the_workers_will_take(tmp_path):
    for name in "abcdef":
        (tmp_path / f"{name}.nii").write_bytes(b"0123456789")
    job = preprocess.prepare(tmp_path, tmp_path.with_name("none.zarr"), CtRecipe())
    planned = report.plan_json(job, 4, Estimate("a", 2.0, 100, 7))
    assert (planned["to_make"], planned["already_there"], planned["source_bytes"]) == (6, 0, 60)
    assert (planned["seconds"], planned["cache_bytes"], planned["workers"]) == (3.0, 600, 4)


def test_a_cache_keeps_the_name_of_the_patient_column_until_a_sheet_names_another(tmp_path):
    source, root, sheet = tmp_path / "scans", tmp_path / "ct.zarr", tmp_path / "labels.csv"
    source.mkdir()
    (source / "a.nii").touch()

    def column(header):
        if header:
            sheet.write_text(f"{header}\na.nii,1,x\n")
        attributes = preprocess.prepare(source, root, CtRecipe(), labels=sheet if header else None).attributes
        with store.writing(root, attributes, store.read_entries(root)):
            pass
        return attributes.patient_column

    assert column("") == ""
    assert column("FileName,TypeOfTB,Case") == "Case"
    assert column("") == "Case"
    assert column("FileName,TypeOfTB,Patient") == "Patient"


def video(**fields):
    """An MP4 that says it has 100 frames, with an index of just the `shown` first of them, 10 units each."""
    entries = [frame(10 * number) for number in range(fields.pop("shown", 100))]
    stream = SimpleNamespace(frames=100, duration=fields.pop("duration", 1000), index_entries=entries)
    container = SimpleNamespace(duration=fields.pop("of_file", None))
    given = {"demuxer": "mov", "reports": [], "ignored": frozenset()} | fields
    return OpenVideo(container=container, stream=stream, **given)


@pytest.mark.parametrize(
    ("fields", "listed"),
    [
        ({}, 100),
        ({"shown": 98}, 98),
        ({"shown": 97, "duration": 1019}, 97),
        ({"shown": 97, "duration": 1020}, 100),  # the duration says that the index is too short: damage
        ({"shown": 97, "duration": None}, 97),
        ({"shown": 0}, 100),
        ({"shown": 50, "demuxer": "avi"}, 100),
    ],
)
def test_how_many_frames_a_container_lists(fields, listed):
    assert video(**fields).listed() == listed


@pytest.mark.parametrize(
    ("duration", "fps", "frames"), [(2_000_000, 25.0, 50), (None, 25.0, 0), (2_000_000, None, 0), (1 << 60, 25.0, 0)]
)
def test_frames_are_guessed_by_the_duration(duration, fps, frames):
    assert video(of_file=duration).guess(fps) == frames


def test_what_decoders_of_other_streams_report_is_ignored():
    reports = [(16, "mp3float", "Header missing"), (16, "h264", "error while decoding")]
    assert video(reports=reports, ignored=frozenset({"mp3float"})).errors == reports[1:]


@pytest.mark.parametrize(("packets", "missing"), [(5, 0), (4, 1), (7, 0)])
def test_packets_that_the_file_lacks_are_counted(packets, missing):
    clip = SimpleNamespace(_listed=6, _empty=1, _packets=packets)
    assert Clip.missing.fget(clip) == missing


@pytest.mark.parametrize(
    ("fields", "lost"), [({}, 1), ({"_shown": 9}, 0), ({"codec": "mpeg4"}, 0), ({"interlaced": True}, 0)]
)
def test_packets_without_a_frame_are_lost_where_the_codec_has_no_such(fields, lost):
    clip = SimpleNamespace(
        **{"codec": "h264", "interlaced": False, "_packets": 10, "_leading": 1, "_shown": 8} | fields
    )
    assert Clip.lost.fget(clip) == lost


@pytest.mark.parametrize(
    ("error", "workers", "said", "begins", "has"),
    [
        (OSError("full"), 2, "", "2 local workers cannot start: OSError: full", "; use --workers 0"),
        (OSError("full"), 1, "killed by signal 9", "a local worker cannot start: OSError: full", "; use --workers 0"),
        (AssertionError(), 2, "", "2 local workers cannot start: a worker process died while it started", "; use --"),
        (RuntimeError("Nanny failed to start worker process"), 2, "Worker process 7 was killed by signal 9",
         "2 local workers cannot start: a worker process died while it started (killed by signal 9)", "; free memory"),
        (RuntimeError("failed to start worker process"), 2, "Worker process 7 exited with status 1",
         "2 local workers cannot start: a worker process died while it started (exited with status 1)", "; use --"),
    ],
)  # fmt: skip
def test_why_local_workers_do_not_start_is_one_line(error, workers, said, begins, has):
    try:
        raise TimeoutError("the cluster did not start") from error
    except TimeoutError as outer:
        with watch_workers() as ends:
            ends.logged += ["nothing of interest", said]
            text = start_error(outer, workers, ends)
    assert text.startswith(begins)
    assert has in text
    assert text.endswith("use --workers 0 to work in this process")


def test_the_last_word_of_a_process_that_died_is_told():
    with watch_workers() as ends:
        os.write(2, b"Traceback\n\nImportError: no dask\n\n")
        assert ends.first_death() == "ImportError: no dask"


@pytest.mark.parametrize(("writable", "said"), [(True, False), (False, True)])
def test_a_shm_that_cannot_be_written_is_named(writable, said, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "access", lambda *_: writable)
    assert ("no writable /dev/shm" in exceeded_limits(1)) == said


def test_a_scheduler_with_workers_is_not_waited_for():
    said = []
    there, waited = SimpleNamespace(nthreads=lambda: {"tcp://a": 1}), []
    await_worker(there, "tcp://s", said.append)
    none = SimpleNamespace(nthreads=dict, wait_for_workers=lambda count, timeout: waited.append(count))
    await_worker(none, "tcp://s", said.append)
    assert (len(said), waited) == (1, [1])
