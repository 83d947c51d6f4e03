"""An error of the system is said with its remedy, and is never taken for something about the data."""

import errno
import io
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner

from cache import CacheError, DamagedSample, UnreadableSample, catalog, open_cache, store
from cache.durable import UNFLUSHABLE, flush_folder
from cache.feature_writer import writing_features
from cache.features import pending
from cache.oserrors import REMEDIES
from cache.verify import verify
from cli import main
from pipeline.errors import PipelineError
from pipeline.jobs import preprocess, repair
from pipeline.labels.sheet import read_sheet
from pipeline.recipes.ct import CtRecipe
from pipeline.workers.executors.serial import serial
from tests.helpers.caches import make_cache
from tests.helpers.small_sources import SMALL, run, scan
from trainer.errors import TrainerError
from trainer.runs import files

UNREADABLE = (errno.EIO, errno.EACCES, errno.EMFILE, errno.ESTALE)


def failing(monkeypatch, owner, name, number, where):
    """Have calls of `owner.name` on paths that hold `where` fail."""
    real = getattr(owner, name)

    def call(path, *arguments, **options):
        if where in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(owner, name, call)


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(UNFLUSHABLE), ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_folder_that_cannot_be_flushed_raises_nothing(tmp_path, monkeypatch, number, call):
    def fail(path, *_):
        if call == "open" and not Path(path).is_dir():
            return opened(path, *_)
        if call == "fsync" and os.path.isfile(f"/proc/self/fd/{path}"):  # noqa: PTH113 - follows the link
            return None
        raise OSError(number, os.strerror(number))

    opened = os.open
    monkeypatch.setattr(os, call, fail)
    root = make_cache(tmp_path / "deep" / "c", 2)
    files.replace(tmp_path / "file", b"data")
    flush_folder(tmp_path)
    monkeypatch.undo()
    assert verify(root).ok == 2


def test_a_folder_whose_flush_fails_for_a_reason_is_an_error(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CacheError) as caught:
        make_cache(tmp_path / "c")
    assert str(caught.value) == (
        f"cannot write to {tmp_path / 'c'}: Input/output error; check the disk and its connection (`dmesg` has "
        "details), and run the same command again"
    )


@pytest.mark.parametrize("number", REMEDIES, ids=errno.errorcode.get)
def test_cache_run_and_command_line_give_the_same_remedy(tmp_path, monkeypatch, number):
    failing(monkeypatch, os, "mkdir", number, "new")
    failing(monkeypatch, Path, "write_bytes", number, "partial-new")
    with pytest.raises(CacheError) as cache:
        make_cache(tmp_path / "new")
    with pytest.raises(TrainerError) as trained:
        files.replace(tmp_path / "new", b"")
    failing(monkeypatch, preprocess, "prepare", number, "new")
    told = CliRunner().invoke(main, ["preprocess", "ct", str(tmp_path / "new"), str(tmp_path / "c")])
    assert told.exit_code == 1
    for message in (str(cache.value), str(trained.value), told.stderr.removesuffix("\n")):
        assert str(tmp_path / "new") in message
        assert message.endswith(REMEDIES[number])
        assert f": {os.strerror(number)}" in message


# -- reading -----------------------------------------------------------------------------------------------------------


class Unreadable(io.FileIO):
    """A file that opens, and fails when it is read."""

    number = 0

    def readinto(self, buffer):
        raise OSError(self.number, os.strerror(self.number))


def failing_reads(monkeypatch, call, number, where):
    """Have the opening, or the reading, of files whose path holds `where` fail."""
    if call == "open":
        failing(monkeypatch, os, "open", number, where)
        return
    real = os.fdopen

    def fdopen(descriptor, *arguments):
        if where not in os.readlink(f"/proc/self/fd/{descriptor}"):  # noqa: PTH115
            return real(descriptor, *arguments)
        file = Unreadable(descriptor)
        file.number = number
        return io.BufferedReader(file)

    monkeypatch.setattr(os, "fdopen", fdopen)


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "read"])
def test_a_chunk_that_the_system_does_not_give_is_neither_damaged_nor_missing(tiny, monkeypatch, number, call):
    failing_reads(monkeypatch, call, number, "volume/c/1/")
    with pytest.raises(UnreadableSample) as caught:
        open_cache(tiny)["s1"]
    assert not isinstance(caught.value, DamagedSample)
    assert str(caught.value).startswith(
        f"s1: cannot read {store.chunk_path(tiny, 1)}: {os.strerror(number)}; {REMEDIES[number]}"
    )
    report = verify(tiny)
    assert (report.ok, report.damaged, report.missing, list(report.unreadable)) == (2, {}, {}, ["s1"])
    assert not report.sound


def test_a_chunk_on_a_bad_block_can_be_given_up(tiny, monkeypatch):
    failing(monkeypatch, os, "open", errno.EIO, "volume/c/1/")
    with pytest.raises(UnreadableSample, match=r"; if the file is lost, delete it and run `repair` to rebuild it"):
        open_cache(tiny)["s1"]


def test_verify_and_repair_report_unreadable_samples_and_leave_them(tmp_path, monkeypatch):
    scan(tmp_path / "s" / "a.nii")
    scan(tmp_path / "s" / "b.nii")
    root = tmp_path / "c"
    run(tmp_path / "s", root, CtRecipe(**SMALL))
    before = store.chunk_path(root, 0).stat()
    failing(monkeypatch, os, "open", errno.EACCES, "volume/c/0/")
    reason = f"cannot read {store.chunk_path(root, 0)}: Permission denied; change the permissions"
    told = CliRunner().invoke(main, ["verify", str(root)])
    assert (told.exit_code, told.stdout.splitlines()) == (
        1,
        ["Unreadable, possibly intact:", f"  a: {reason}", "1 intact, 0 damaged, 0 missing, 0 stale, 1 unreadable"],
    )
    result = repair.run(repair.prepare(root), nullcontext(serial))
    assert (result.repaired, result.failed) == ([], {"a": reason})
    assert store.chunk_path(root, 0).stat() == before


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
def test_repair_says_why_it_cannot_reach_a_source(tmp_path, monkeypatch, number):
    scan(tmp_path / "s" / "a.nii")
    root = tmp_path / "c"
    run(tmp_path / "s", root, CtRecipe(**SMALL))
    store.chunk_path(root, 0).unlink()
    failing(monkeypatch, os, "stat", number, "a.nii")
    failed = repair.run(repair.prepare(root), nullcontext(serial)).failed
    reached = f"cannot be reached: {os.strerror(number)}; {REMEDIES[number]}"
    assert failed["a"].endswith(f"; but its source {tmp_path}/s/a.nii {reached}")


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
def test_repair_says_why_it_cannot_look_for_a_source(tmp_path, monkeypatch, number):
    scan(tmp_path / "s" / "a.nii")
    root = tmp_path / "c"
    run(tmp_path / "s", root, CtRecipe(**SMALL))
    for name in ("entries.jsonl", "snapshot.jsonl"):
        (root / "ledger" / name).unlink()
    failing(monkeypatch, os, "scandir", number, f"{tmp_path}/s")
    failed = repair.run(repair.prepare(root), nullcontext(serial)).failed
    assert f"; but cannot list {tmp_path}/s: {os.strerror(number)}; " in failed["a"]


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
def test_a_cache_whose_chunks_cannot_be_listed_is_not_rebuilt(tmp_path, monkeypatch, number):
    scan(tmp_path / "s" / "a.nii")
    run(tmp_path / "s", tmp_path / "c", CtRecipe(**SMALL))
    for call in ("scandir", "stat"):
        with monkeypatch.context() as patch:
            failing(patch, os, call, number, "volume/c")
            with pytest.raises(CacheError, match=f"^cannot read .*/volume/c: {os.strerror(number)}; "):
                preprocess.prepare(tmp_path / "s", tmp_path / "c", CtRecipe(**SMALL))


def test_features_that_cannot_be_read_are_not_made_again(tiny, monkeypatch):
    attributes = catalog.read_attributes(tiny)
    features = tiny.parent / "f"
    with writing_features(features, attributes, ["s1"]) as writer:
        writer.put("s1", open_cache(tiny).stored("s1"), source=open_cache(tiny).entry("s1").source)
    monkeypatch.setattr("cache.features.is_made_from", lambda *_: True)
    failing(monkeypatch, os, "open", errno.EIO, str(store.chunk_path(features, 0)))
    with pytest.raises(UnreadableSample):
        pending(open_cache(tiny), features, attributes)


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "read"])
@pytest.mark.parametrize("file", ["zarr.json", "ledger/entries.jsonl", "sample_id/c/0", "label/c/0"])
def test_an_unreadable_cache_is_reported_as_unreadable(tiny, monkeypatch, number, call, file):
    failing_reads(monkeypatch, call, number, file)
    with pytest.raises(CacheError) as caught:
        open_cache(tiny)
    assert str(caught.value) == f"cannot read {tiny}/{file}: {os.strerror(number)}; {REMEDIES[number]}"


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "read"])
def test_a_source_that_cannot_be_read_is_neither_vanished_nor_changed(tiny, monkeypatch, number, call):
    source = tiny.parent / "source/1.nii"
    os.utime(source, (1, 1))
    failing_reads(monkeypatch, call, number, "source/1.nii")
    report = verify(tiny)
    assert (report.ok, report.vanished, report.stale) == (2, [], {})
    assert report.unreadable == {
        "s1": f"its source {source} cannot be compared: {os.strerror(number)}; {REMEDIES[number]}"
    }


# -- sources and label sheets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["stat", "open", "read"])
def test_a_new_source_that_cannot_be_read_is_quarantined_with_the_systems_words_and_tried_again(
    tmp_path, monkeypatch, number, call
):
    scan(tmp_path / "s" / "a.nii")
    with monkeypatch.context() as patch:
        if call == "stat":
            failing(patch, os, "stat", number, "s/a.nii")
        else:
            failing_reads(patch, call, number, "s/a.nii")
        summary = run(tmp_path / "s", tmp_path / "c", CtRecipe(**SMALL))
    assert summary.quarantined == {
        "a.nii": f"it cannot be read ({os.strerror(number)}); expected a readable file; {REMEDIES[number]}"
    }
    assert run(tmp_path / "s", tmp_path / "c", CtRecipe(**SMALL)).complete == 1


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
def test_a_sample_whose_source_cannot_be_looked_at_is_kept_and_not_called_vanished(tmp_path, monkeypatch, number):
    scan(tmp_path / "s" / "a.nii")
    scan(tmp_path / "s" / "b.nii")
    run(tmp_path / "s", tmp_path / "c", CtRecipe(**SMALL))
    failing(monkeypatch, os, "stat", number, "s/a.nii")
    before = catalog.read_entries(tmp_path / "c")
    command = ["preprocess", "ct", str(tmp_path / "s"), str(tmp_path / "c"), "--workers", "0"]
    told = CliRunner().invoke(main, [*command, "--dry-run"])
    assert f"1 to keep although their source cannot be read: a ({os.strerror(number)})\n" in told.stdout
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 3
    assert f"1 kept although their source cannot be read: a ({os.strerror(number)})\n" in told.stdout
    assert "gone" not in told.output
    assert catalog.read_entries(tmp_path / "c") == before


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
@pytest.mark.parametrize("at", range(5))
def test_a_label_sheet_that_fails_to_open_at_any_time_is_reported(tmp_path, monkeypatch, number, at):
    path, real, opened = tmp_path / "l.csv", os.open, []
    path.write_text("FileName;TypeOfTB\na;1\n")

    def call(file, *arguments, **options):
        if str(file) == str(path):
            opened.append(file)
            if len(opened) == at + 1:
                raise OSError(number, os.strerror(number))
        return real(file, *arguments, **options)

    monkeypatch.setattr(os, "open", call)
    with pytest.raises(PipelineError) as caught:
        read_sheet(path)
    assert str(caught.value) == f"cannot read labels {path}: {os.strerror(number)}; {REMEDIES[number]}"
