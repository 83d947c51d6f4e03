"""If writing a file of a run fails, the earlier file is kept; files are read back as written."""

import csv
import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.oserrors import REMEDIES
from tests.helpers.networks import small
from trainer.errors import TrainerError
from trainer.runs.files import PARTIAL, read_json, replace, replace_by, write_csv, write_json

KEPT = "the earlier file is kept"


@contextmanager
def file_size_limit(size):
    """Limit files to `size` bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def earlier_file(tmp_path):
    """An earlier file, which a later failure must keep without leaving other files next to it."""
    path = tmp_path / "model.keras"
    replace(path, b"before")
    return path


def is_kept(path):
    return path.read_bytes() == b"before" and list(path.parent.iterdir()) == [path]


# -- atomic replacement ------------------------------------------------------------------------------------------------


@given(first=st.binary(max_size=99), second=st.binary(max_size=99))
def test_a_file_has_the_contents_of_its_last_replacement(tmp_path, first, second):
    path = tmp_path / "file"
    for data in (first, second):
        replace(path, data)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]


def test_on_a_full_disk_the_earlier_file_is_kept(earlier_file):
    with file_size_limit(1000), pytest.raises(TrainerError) as error:
        replace(earlier_file, bytes(5000))
    assert (
        str(error.value) == f"cannot write {earlier_file}: {os.strerror(errno.EFBIG)}; {KEPT}; {REMEDIES[errno.EFBIG]}"
    )
    assert is_kept(earlier_file)


def test_on_a_full_disk_the_earlier_model_is_kept(earlier_file):
    _, full_model = small()
    with file_size_limit(100_000), pytest.raises(TrainerError) as error:
        replace_by(earlier_file, full_model.save)
    assert (
        str(error.value) == f"cannot write {earlier_file}: {os.strerror(errno.EFBIG)}; {KEPT}; {REMEDIES[errno.EFBIG]}"
    )
    assert is_kept(earlier_file)


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT])
def test_a_failed_system_call_is_reported_and_keeps_the_earlier_file(call, number, earlier_file, monkeypatch):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    def write(partial):
        partial.write_bytes(b"half")
        if call == "write":
            fail()

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    if call == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(TrainerError) as error:
        replace_by(earlier_file, write)
    assert str(error.value) == f"cannot write {earlier_file}: {os.strerror(number)}; {KEPT}; {REMEDIES[number]}"
    assert is_kept(earlier_file)


def test_an_error_without_errno_is_reported(earlier_file):
    def write(partial):
        raise OSError("Can't write data (no space)")

    with pytest.raises(TrainerError, match=r"Can't write data \(no space\); the earlier file is kept"):
        replace_by(earlier_file, write)
    assert is_kept(earlier_file)


def test_writing_into_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(TrainerError) as error:
        replace(tmp_path / "gone" / "file", b"")
    assert (
        str(error.value)
        == f"cannot write {tmp_path}/gone/file: No such file or directory; {KEPT}; check the path and its permissions"
    )


def test_interrupted_writing_leaves_only_the_earlier_file(earlier_file):
    def write(partial):
        partial.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_by(earlier_file, write)
    assert earlier_file.read_bytes() == b"before"
    assert {path.name for path in earlier_file.parent.iterdir()} == {earlier_file.name}


def test_bytes_are_flushed_before_the_rename_and_the_folder_after_it(earlier_file, monkeypatch):
    calls = []
    rename = Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: calls.append(Path(f"/proc/self/fd/{number}").resolve().name))
    monkeypatch.setattr(Path, "replace", lambda path, target: calls.append("rename") or rename(path, target))
    replace(earlier_file, b"after")
    assert calls == [PARTIAL + earlier_file.name, "rename", earlier_file.parent.name]


# -- JSON and tables ---------------------------------------------------------------------------------------------------


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_json_is_read_back_as_written(tmp_path, data):
    write_json(tmp_path / "a.json", data)
    assert read_json(tmp_path / "a.json", "anything") == data


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_invalid_json_is_not_written(number, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": number})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is not readable as JSON (Expecting value"),
        (b'{"a": 1', "is not readable as JSON (Expecting"),
        (b"\xff\xfe\x00", "is not readable as JSON ("),
        (b"[" * 10**5, "is not readable as JSON (maximum recursion depth"),
        (b"9" * 5000, "is not readable as JSON (Exceeds the limit"),
        (b"[1]", "holds a list"),
        (b"null", "holds a NoneType"),
    ],
)
def test_a_file_that_is_not_a_json_object_gives_a_one_line_error(raw, message, tmp_path):
    (tmp_path / "a.json").write_bytes(raw)
    with pytest.raises(TrainerError) as error:
        read_json(tmp_path / "a.json", "a split")
    assert f"{tmp_path}/a.json {message}" in str(error.value)
    assert str(error.value).endswith("; expected a split")
    assert "\n" not in str(error.value)


def test_a_missing_json_file_is_an_error(tmp_path):
    with pytest.raises(TrainerError) as error:
        read_json(tmp_path / "a.json", "a split")
    assert str(error.value) == f"{tmp_path}/a.json: No such file or directory; expected a split"
    with pytest.raises(TrainerError, match=r"it is a folder, not a file; expected a split$"):
        read_json(tmp_path, "a split")


@given(st.lists(st.fixed_dictionaries({"epoch": st.integers(), "loss": st.floats(allow_nan=False)}), min_size=1))
def test_a_table_is_read_back_exactly(tmp_path, rows):
    write_csv(tmp_path / "a.csv", rows)
    with (tmp_path / "a.csv").open(newline="") as file:
        read_rows = [{"epoch": int(row["epoch"]), "loss": float(row["loss"])} for row in csv.DictReader(file)]
    assert read_rows == rows


def test_a_table_is_csv_with_a_header(tmp_path):
    write_csv(tmp_path / "a.csv", [{"epoch": 1, "loss": 0.1}, {"epoch": 2, "loss": 1e-9}])
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,loss\n1,0.1\n2,1e-09\n"
