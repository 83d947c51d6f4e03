"""Only one process at a time writes to a folder, on every file system, and errors name that process."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cache import CacheError, CacheLocked, lock
from cache.lock import NO_FLOCK, LockHeld, exclusive
from tests.helpers.caches import make_cache
from trainer.errors import TrainerError
from trainer.runs import folder as run

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
from cache.lock import exclusive
if sys.argv[2]:
    import errno, fcntl
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")
    fcntl.flock = flock
with exclusive(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def without_flock(monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


def record(path, **fields):
    """Write the record of a lock owner that differs from this process in `fields`."""
    path.with_name("lock.owner").write_text(json.dumps(asdict(replace(lock._this_process(flock=False), **fields))))


def lock_error(path):
    """The message of the error raised when `path` is locked."""
    with pytest.raises(LockHeld) as caught, exclusive(path):
        pass
    return str(caught.value)


def is_free(path):
    with exclusive(path):
        return json.loads(path.with_name("lock.owner").read_bytes())["pid"] == os.getpid()


def dead_process():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize("lacks_flock", ["", "x"], ids=["flock", "no flock"])
def test_a_lock_lasts_until_its_process_dies_and_names_that_process(path, lacks_flock, monkeypatch):
    if lacks_flock:
        monkeypatch.setattr(lock, "_flock", lambda *_: False)
    command = [sys.executable, "-c", HOLD, path, lacks_flock]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as owner:
        assert owner.stdout.readline() == "locked\n"
        message = lock_error(path)
        assert f" (process {owner.pid} of " in message
        assert f" on {socket.gethostname()}, since " in message
        assert "delete" not in message
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert is_free(path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["lock"]


@pytest.mark.parametrize("number", sorted(NO_FLOCK), ids=errno.errorcode.get)
def test_a_file_system_without_flock_is_locked_by_a_file(path, number, monkeypatch):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(path):
        assert f"process {os.getpid()} of" in lock_error(path)
    assert is_free(path)


def test_a_failing_disk_is_not_mistaken_for_a_file_system_without_flock(path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output"), exclusive(path):
        pass


def test_a_lock_left_by_another_host_is_reported_with_owner_age_and_remedy(path, without_flock):
    record(path, host="node7", pid=42, user="anna", since=time.time() - 13.5 * 3600)
    message = lock_error(path)
    assert " (process 42 of anna on node7, since 20" in message
    assert message.endswith(
        f", 13 h ago); if that run is gone, delete {path.with_name('lock.owner')} and run the same command again"
    )
    path.with_name("lock.owner").unlink()
    assert is_free(path)


def test_a_lock_left_by_another_container_on_this_host_is_reported_with_a_remedy(path, without_flock):
    record(path, pid=dead_process(), space="pid:[1]")
    assert "if that run is gone, delete " in lock_error(path)


@pytest.mark.parametrize("fields", [{}, {"pid": os.getpid(), "started": "1"}], ids=["dead", "pid reused"])
def test_the_lock_of_a_dead_process_of_this_host_is_taken_over(path, without_flock, fields):
    record(path, **({"pid": dead_process()} | fields))
    assert is_free(path)


def test_a_zombie_process_counts_as_dead(path, without_flock):
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    record(path, pid=process.pid, started="")
    assert is_free(path)
    process.communicate()


def test_a_record_with_an_impossible_pid_is_ignored(path, without_flock):
    record(path, pid=10**20)
    assert is_free(path)


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff" * 99])
def test_an_incomplete_record_is_ignored(path, without_flock, junk, monkeypatch):
    monkeypatch.setattr(lock, "WRITE_SECONDS", 0)
    path.with_name("lock.owner").write_bytes(junk)
    assert is_free(path)


@pytest.mark.parametrize("flock", [True, False])
@pytest.mark.parametrize("make", [os.mkfifo, lambda record: record.touch() or os.truncate(record, 1 << 40)])
def test_a_record_that_is_a_pipe_or_huge_neither_hangs_nor_fills_memory(path, make, flock, monkeypatch):
    monkeypatch.setattr(lock, "WRITE_SECONDS", 0)
    monkeypatch.setattr(lock, "_flock", lambda *_: flock)
    make(path.with_name("lock.owner"))
    assert is_free(path)
    assert not list(path.parent.glob("*owner"))


def test_with_flock_a_lock_file_of_a_killed_run_is_ignored_on_any_host(path):
    record(path, host="node7", flock=True)
    assert is_free(path)


def test_with_flock_the_lock_of_a_host_without_flock_is_respected(path):
    record(path, host="node7")
    assert " on node7, " in lock_error(path)


def test_a_lock_taken_over_by_another_process_is_not_removed(path):
    owner = path.with_name("lock.owner")
    owner.write_bytes(b"of another process")
    lock._remove_stale(owner, b"stale")
    assert owner.read_bytes() == b"of another process"
    assert list(path.parent.iterdir()) == [owner]


def test_messages_about_a_locked_cache_or_run_name_the_owner_and_a_remedy(tiny, tmp_path, without_flock):
    record(tiny / "ledger/lock", host="node7", pid=42, user="anna")
    with pytest.raises(CacheLocked) as cache_error:
        make_cache(tiny, 1)
    owner = r" \(process 42 of anna on node7, since [0-9 :-]+, just now\)"
    cache_error.match(
        rf"^another run is writing to {tiny}{owner}; wait for it to end, or choose another CACHE; "
        rf"if that run is gone, delete {tiny}/ledger/lock\.owner and run the same command again$"
    )
    (tmp_path / "run").mkdir()
    record(tmp_path / "run" / "lock", host="node7", pid=42, user="anna")
    with pytest.raises(TrainerError) as run_error, run.lock_run(tmp_path / "run", resume=False):
        pass
    run_error.match(
        rf"^another process trains into {tmp_path}/run{owner}; wait for it to end, or choose another RUN; "
        rf"if that run is gone, delete {tmp_path}/run/lock\.owner and run the same command again$"
    )


@pytest.mark.parametrize("name", ["lock", "lock.owner"])
def test_a_folder_in_place_of_a_lock_file_is_reported(tmp_path, name):
    (tmp_path / "c/ledger" / name).mkdir(parents=True)
    with pytest.raises(CacheError, match=f"Is a directory \\({tmp_path}/c/ledger/{name}\\)"):
        make_cache(tmp_path / "c", 1)


def test_reading_a_record_waits_until_it_is_written(path):
    path.write_bytes(b"")
    writer = threading.Timer(0.2, path.write_bytes, [b"written"])
    writer.start()
    assert lock._read(path, seconds=60) == b"written"
    writer.join()
    assert lock._read(path.with_name("none"), seconds=60) is None


@pytest.mark.parametrize(
    ("pid", "valid"), [(-1, False), (0, False), (1, True), ((1 << 31) - 1, True), (1 << 31, False)]
)
def test_only_a_possible_pid_is_accepted_as_owner(pid, valid):
    data = json.dumps(asdict(replace(lock._this_process(flock=True), pid=pid))).encode()
    assert (lock._parse(data) is not None) == valid


@pytest.mark.parametrize(
    ("minutes", "age"),
    [(-5, "just now"), (0.5, "just now"), (1.5, "1 min ago"), (119.5, "119 min ago"), (120.5, "2 h ago"),
     (47 * 60 + 59.5, "47 h ago"), (48 * 60 + 0.5, "2 days ago"), (10 * 24 * 60 + 0.5, "10 days ago")],
)  # fmt: skip
def test_the_age_of_a_lock_is_shown(minutes, age, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1e9 + 60 * minutes)
    assert lock._ago(1e9) == age


def test_the_lock_file_is_readable_and_writable_but_not_executable(path):
    old = os.umask(0)
    try:
        with exclusive(path):
            assert path.stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(old)
