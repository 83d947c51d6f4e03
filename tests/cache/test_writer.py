"""Only one writer at a time changes a cache, and a kill or a full disk at any moment loses nothing committed."""

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

from cache import CacheError, CacheLocked, catalog, ledger, open_cache, store
from cache.verify import verify
from cache.writer import open_writer
from tests.helpers.caches import files_of, make_cache, tiny_attributes, volume, write_sample

ERROR = {"uint8": 0.51 / 255, "uint16": 0.51 / 65535, "float16": 2.5e-4, "float32": 0}


ROOT = Path(__file__).resolve().parents[2]


HOLD = """
import sys
from pathlib import Path
from cache import catalog, store
from cache.writer import open_writer
from cache import writer as cache_writer
root = Path(sys.argv[1])
with open_writer(root, catalog.read_attributes(root), catalog.read_entries(root)):
    print("writing", flush=True)
    sys.stdin.read()
"""


def second_process(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_a_second_writer_is_rejected_while_the_first_lives_and_accepted_after_its_death(tiny):
    with second_process(HOLD, tiny) as first:
        assert first.stdout.readline() == "writing\n"
        before = files_of(tiny)
        with pytest.raises(CacheLocked) as caught:
            make_cache(tiny, 1)
        assert re.fullmatch(
            rf"another run is writing to {tiny} \(process {first.pid} of \S+ on \S+, since [0-9 :-]+, [a-z0-9 ]+\);"
            " wait for it to end, or choose another CACHE",
            str(caught.value),
        )
        assert files_of(tiny) == before
        assert len(open_cache(tiny)) == 3
        assert verify(tiny).sound
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert len(open_cache(make_cache(tiny, 1))) == 4


def test_a_second_writer_in_the_same_process_is_rejected(tiny):
    with (
        open_writer(tiny, catalog.read_attributes(tiny), catalog.read_entries(tiny)),
        pytest.raises(CacheLocked),
    ):
        make_cache(tiny, 1)


def test_a_plan_older_than_another_run_is_rejected(tiny):
    planned = catalog.read_entries(tiny)
    make_cache(tiny, 1)
    before = files_of(tiny)
    with pytest.raises(CacheLocked, match=r"has written to .* since; run the same command again$"):
        open_writer(tiny, catalog.read_attributes(tiny), planned).__enter__()
    assert files_of(tiny) == before


KILLED = """
import itertools, os, sys
from pathlib import Path
sys.path.insert(0, "tests")
from tests.helpers.caches import tiny_attributes, volume, write_sample
from cache import catalog, store
from cache.writer import open_writer
from cache import writer as cache_writer
import xarray, zarr  # once, not in every forked writer
root, attributes = Path(sys.argv[1]), tiny_attributes()
for line in sys.stdin:
    writer_id = os.fork()
    if writer_id == 0:
        cache_writer.PUBLISH_SECONDS = float(line)
        with open_writer(root, attributes, catalog.read_entries(root)) as writer:
            for row in itertools.count(len(writer.entries)):
                writer.commit([write_sample(root, attributes, row, volume(row))])
                os.write(1, b"%d\\n" % row)
    os.write(1, b"writer %d\\n" % writer_id)
    os.waitpid(writer_id, 0)
    os.write(1, b"dead\\n")
"""


def test_a_writer_killed_at_any_moment_loses_no_committed_sample(tmp_path):
    seed = random.randrange(10**6)
    print(f"{seed=}")  # shown where the test fails
    rng, root, committed = random.Random(seed), tmp_path / "c", 0
    with second_process(KILLED, root) as server:
        for attempt in range(20):
            print(rng.choice([0, 0.002, 60]), file=server.stdin, flush=True)
            writer_id = int(server.stdout.readline().removeprefix("writer "))
            lines = [server.stdout.readline() for _ in range(rng.randrange(4))]
            time.sleep(rng.uniform(0, 0.01 if lines else 0.1))
            os.kill(writer_id, signal.SIGKILL)
            lines += iter(server.stdout.readline, "dead\n")
            committed = max([committed, *(int(row) + 1 for row in lines)])
            if not root.joinpath("zarr.json").exists():
                continue
            cache = open_cache(root)
            assert committed <= len(cache) <= committed + 1, attempt
            assert cache.ids == [f"s{row}" for row in range(len(cache))]
            committed = len(cache)
            assert verify(root).sound, attempt
        server.stdin.close()
    root = make_cache(root, 1)
    cache = open_cache(root)
    assert len(cache) == committed + 1 > 10
    for row in range(committed):
        assert np.abs(cache[row] - volume(row)).max() <= ERROR["uint16"]
    assert verify(root).sound
    assert not catalog.unpublished(root)
    assert list((root / "ledger/partial").iterdir()) == []


@pytest.fixture
def events(monkeypatch):
    """The flushes of files and folders and the renames of files, with their paths, in order."""
    recorded = []
    fsync, rename = os.fsync, os.replace

    def recording_fsync(descriptor):
        fsync(descriptor)
        recorded.append(("flush", Path(f"/proc/self/fd/{descriptor}").readlink()))

    def recording_replace(source, target):
        rename(source, target)
        recorded.append(("rename", Path(target)))

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    return recorded


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="which file was flushed is read from Linux's /proc")
def test_a_sample_and_its_folders_are_flushed_before_its_ledger_line(tmp_path, events):
    root, attributes = tmp_path / "new" / "c", tiny_attributes()
    with open_writer(root, attributes, {}) as writer:
        assert [path for _, path in events[:3]] == [tmp_path, tmp_path / "new", root]
        assert ("flush", root / "volume") in events  # contains the name of the chunk folder
        assert ("flush", root / "ledger") in events  # contains the new ledger, and the mark that the index may lag
        assert events[-2:] == [("rename", root / "zarr.json"), ("flush", root)]
        events.clear()
        entry = write_sample(root, attributes, 0, volume(0))
        chunk = store.chunk_path(root, 0)
        assert events[0][1].parent == root / "volume/partial"
        assert events[1:] == [("rename", chunk), *(("flush", folder) for folder in chunk.parents[:4])]
        assert chunk.parents[3] == root / "volume/c"
        events.clear()
        writer.commit([entry])
        assert events == [("flush", catalog.ledger_path(root))]


@pytest.mark.parametrize("call", ["os.fsync", "os.replace", "os.mkdir", "pathlib.Path.open"])
def test_a_disk_that_becomes_full_at_any_call_gives_a_one_line_error_and_a_sound_cache(tmp_path, monkeypatch, call):
    owner, name = {"os": os, "pathlib.Path": Path}[call.rpartition(".")[0]], call.rpartition(".")[2]
    real, outcomes = getattr(owner, name), set()
    for allowed in (*range(8), 11, 15, 20, 30, 45, 60):
        root, calls = tmp_path / str(allowed) / "c", iter(range(10**6))
        (root.parent / "source").mkdir(parents=True)

        def failing(*arguments, allowed=allowed, calls=calls, **options):
            unrelated = "source" in str(arguments[0]) or "rb" in arguments  # files of the test, and reads
            if not unrelated and next(calls) >= allowed:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            try:
                make_cache(root)
            except CacheError as error:
                outcomes.add(str(error).replace(str(root), "CACHE"))
        if root.joinpath("zarr.json").exists():
            assert verify(root).sound, allowed
        before = catalog.read_entries(root)
        make_cache(root, 1)
        assert before.items() <= catalog.read_entries(root).items()
        assert verify(root).sound
        assert list((root / "ledger/partial").iterdir()) == []
    assert outcomes == {
        "cannot write to CACHE: No space left on device; free some space and run the same command again"
    }


def test_a_file_in_place_of_the_cache_is_not_changed(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for root in (file, file / "c"):
        with pytest.raises(CacheError, match=rf"^cannot write to {root}: .*; choose a CACHE that can be written$"):
            make_cache(root)
    assert file.read_text() == "mine"


def commit_and_raise(writer, entry, error):
    writer.commit([entry])
    raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_committed_entries_are_published_however_the_block_ends(tmp_path, error):
    root, attributes = tmp_path / "c", tiny_attributes()
    with pytest.raises(error), open_writer(root, attributes, {}) as writer:
        commit_and_raise(writer, write_sample(root, attributes, 0, volume(0)), error)
    assert zarr.open_group(root, mode="r")["sample_id"][:].tolist() == ["s0"]
    assert not catalog.unpublished(root)
    assert verify(root).sound


def test_a_torn_last_line_is_removed_and_its_sample_can_be_written_again(tmp_path):
    killed = tmp_path / "killed.zarr"
    root, attributes = make_cache(tmp_path / "tiny.zarr", samples=2), tiny_attributes()
    with open_writer(root, attributes, catalog.read_entries(root)) as writer:
        writer.commit([write_sample(root, attributes, 2, volume(2))])
        shutil.copytree(root, killed)
    path = catalog.ledger_path(killed)
    path.write_bytes(path.read_bytes()[:-7])
    assert len(ledger.read(path.parent).entries) == 2
    make_cache(killed, [volume(2)])
    assert ledger.read(path.parent).damaged == []
    assert np.abs(open_cache(killed)["s2"] - volume(2)).max() <= ERROR["uint16"]


def test_a_folder_in_place_of_a_file_is_replaced(tiny):
    attributes = catalog.read_attributes(tiny)
    for path in (store.chunk_path(tiny, 1), tiny / "label/c/0", tiny / "label/zarr.json"):
        path.unlink()
        (path / "deep").mkdir(parents=True)
    with open_writer(tiny, attributes, catalog.read_entries(tiny)) as writer:
        writer.commit([write_sample(tiny, attributes, 1, volume(1))])
    assert verify(tiny).sound
