"""System errors are reported with a remedy, and never mistaken for a fault of the data."""

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


def failing(monkeypatch, owner, name, number, part):
    """Make calls of `owner.name` fail on paths that contain `part`."""
    real = getattr(owner, name)

    def call(path, *arguments, **options):
        if part in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(owner, name, call)


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(UNFLUSHABLE), ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_file_system_that_cannot_flush_folders_is_accepted(tmp_path, monkeypatch, number, call):
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


def test_any_other_failure_to_flush_is_an_error(tmp_path, monkeypatch):
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
    with pytest.raises(CacheError) as cache_error:
        make_cache(tmp_path / "new")
    with pytest.raises(TrainerError) as run_error:
        files.replace(tmp_path / "new", b"")
    failing(monkeypatch, preprocess, "prepare", number, "new")
    result = CliRunner().invoke(main, ["preprocess", "ct", str(tmp_path / "new"), str(tmp_path / "c")])
    assert result.exit_code == 1
    for message in (str(cache_error.value), str(run_error.value), result.stderr.removesuffix("\n")):
        assert str(tmp_path / "new") in message
        assert message.endswith(REMEDIES[number])
        assert f": {os.strerror(number)}" in message


# -- reading -----------------------------------------------------------------------------------------------------------


class Unreadable(io.FileIO):
    """A file that can be opened but fails when read."""

    number = 0

    def readinto(self, buffer):
        raise OSError(self.number, os.strerror(self.number))


def failing_reads(monkeypatch, call, number, part):
    """Make opening or reading (`call`) fail on files whose path contains `part`."""
    if call == "open":
        failing(monkeypatch, os, "open", number, part)
        return
    real = os.fdopen

    def fdopen(descriptor, *arguments):
        if part not in os.readlink(f"/proc/self/fd/{descriptor}"):  # noqa: PTH115
            return real(descriptor, *arguments)
        file = Unreadable(descriptor)
        file.number = number
        return io.BufferedReader(file)

    monkeypatch.setattr(os, "fdopen", fdopen)


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "read"])
def test_an_unreadable_chunk_is_neither_damaged_nor_missing(tiny, monkeypatch, number, call):
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


def test_the_error_about_a_chunk_on_a_bad_block_says_how_to_rebuild_it(tiny, monkeypatch):
    failing(monkeypatch, os, "open", errno.EIO, "volume/c/1/")
    with pytest.raises(UnreadableSample, match=r"; if the file is lost, delete it and run `repair` to rebuild it"):
        open_cache(tiny)["s1"]


def test_verify_and_repair_report_unreadable_samples_and_do_not_change_them(tmp_path, monkeypatch):
    scan(tmp_path / "s" / "a.nii")
    scan(tmp_path / "s" / "b.nii")
    root = tmp_path / "c"
    run(tmp_path / "s", root, CtRecipe(**SMALL))
    before = store.chunk_path(root, 0).stat()
    failing(monkeypatch, os, "open", errno.EACCES, "volume/c/0/")
    reason = f"cannot read {store.chunk_path(root, 0)}: Permission denied; change the permissions"
    verified = CliRunner().invoke(main, ["verify", str(root)])
    assert (verified.exit_code, verified.stdout.splitlines()) == (
        1,
        ["Unreadable, possibly intact:", f"  a: {reason}", "1 intact, 0 damaged, 0 missing, 0 stale, 1 unreadable"],
    )
    result = repair.run(repair.prepare(root), nullcontext(serial))
    assert (result.repaired, result.failed) == ([], {"a": reason})
    assert store.chunk_path(root, 0).stat() == before


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
def test_repair_reports_why_a_source_cannot_be_reached(tmp_path, monkeypatch, number):
    scan(tmp_path / "s" / "a.nii")
    root = tmp_path / "c"
    run(tmp_path / "s", root, CtRecipe(**SMALL))
    store.chunk_path(root, 0).unlink()
    failing(monkeypatch, os, "stat", number, "a.nii")
    failed = repair.run(repair.prepare(root), nullcontext(serial)).failed
    reason = f"cannot be reached: {os.strerror(number)}; {REMEDIES[number]}"
    assert failed["a"].endswith(f"; but its source {tmp_path}/s/a.nii {reason}")


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
def test_repair_reports_why_the_folder_of_a_source_cannot_be_listed(tmp_path, monkeypatch, number):
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


def test_features_that_cannot_be_read_are_not_extracted_again(tiny, monkeypatch):
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
def test_an_unreadable_file_of_a_cache_is_reported_with_a_remedy(tiny, monkeypatch, number, call, file):
    failing_reads(monkeypatch, call, number, file)
    with pytest.raises(CacheError) as caught:
        open_cache(tiny)
    assert str(caught.value) == f"cannot read {tiny}/{file}: {os.strerror(number)}; {REMEDIES[number]}"


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "read"])
def test_an_unreadable_source_is_neither_vanished_nor_changed(tiny, monkeypatch, number, call):
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
def test_an_unreadable_new_source_is_quarantined_with_the_system_error_and_retried(tmp_path, monkeypatch, number, call):
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
def test_a_sample_with_an_inaccessible_source_is_kept_and_not_reported_as_vanished(tmp_path, monkeypatch, number):
    scan(tmp_path / "s" / "a.nii")
    scan(tmp_path / "s" / "b.nii")
    run(tmp_path / "s", tmp_path / "c", CtRecipe(**SMALL))
    failing(monkeypatch, os, "stat", number, "s/a.nii")
    before = catalog.read_entries(tmp_path / "c")
    command = ["preprocess", "ct", str(tmp_path / "s"), str(tmp_path / "c"), "--workers", "0"]
    result = CliRunner().invoke(main, [*command, "--dry-run"])
    assert f"1 to keep although their source cannot be read: a ({os.strerror(number)})\n" in result.stdout
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 3
    assert f"1 kept although their source cannot be read: a ({os.strerror(number)})\n" in result.stdout
    assert "gone" not in result.output
    assert catalog.read_entries(tmp_path / "c") == before


@pytest.mark.parametrize("number", UNREADABLE, ids=errno.errorcode.get)
@pytest.mark.parametrize("at", range(5))
def test_a_failure_to_open_a_label_sheet_at_any_attempt_is_reported(tmp_path, monkeypatch, number, at):
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
