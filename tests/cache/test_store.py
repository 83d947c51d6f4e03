"""What was committed is there whole, whatever happens to the writer; what is there reads alike with plain Zarr."""

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cache import CacheError, CacheLocked, NotACache, catalog, index, ledger, open_cache, store
from cache.schema import DTYPES, Entry, Source, scale_factor
from cache.verify import verify
from cache.writer import open_writer
from tests.helpers.caches import SHAPE, make_cache, tiny_attributes, volume, write_sample

ERROR = {"uint8": 0.51 / 255, "uint16": 0.51 / 65535, "float16": 2.5e-4, "float32": 0}
ROOT = Path(__file__).resolve().parents[2]


def one_chunk(root, values, dtype):
    """Write one sample and read it back as stored."""
    (root / "ledger/partial").mkdir(parents=True, exist_ok=True)
    nbytes, digest = store.write_chunk(root, 0, values, dtype)
    return store.read_chunk(root, Entry("s", "complete", row=0, nbytes=nbytes, digest=digest), values.shape, dtype)


def files_of(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chunks")


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@settings(max_examples=40)
def test_what_is_read_is_what_was_written_to_the_error_of_its_dtype(folder, dtype, data):
    source = data.draw(st.sampled_from([np.float32, np.float64]))
    shape = data.draw(array_shapes(min_dims=3, max_dims=3, max_side=7))
    values = data.draw(arrays(source, shape, elements=st.floats(0, 1, width=32)))
    values = data.draw(st.sampled_from([values, values[::-1, :, ::-1], np.asfortranarray(values)]))
    stored = one_chunk(folder, values, dtype)
    decoded = stored * np.float64(scale_factor(dtype) or 1)
    assert stored.dtype == dtype
    assert np.abs(decoded - values).max() <= ERROR[dtype]
    assert np.array_equal(one_chunk(folder, stored, dtype), stored)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_a_constant_sample_has_its_chunk_and_keeps_its_value(tmp_path, dtype, value):
    constant = np.full(SHAPE, value, np.float32)
    root = make_cache(tmp_path / "c", [constant, constant], tiny_attributes(dtype))
    assert catalog.rows_present(root) == {0, 1}
    assert np.allclose(open_cache(root)[1], value, atol=ERROR[dtype])
    plain = zarr.open_group(root, mode="r")["volume"]
    assert np.allclose(plain[1] * plain.attrs.get("scale_factor", 1), value, atol=ERROR[dtype])


@pytest.mark.parametrize("wrong", [1.001, -0.001, np.nan, np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_that_would_wrap_around_are_refused(dtype, wrong):
    values = volume(0)
    values[1, 2, 3] = wrong
    with pytest.raises(ValueError, match="expected 0 to 1"):
        store.encode(values, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_zarr_and_xarray_read_the_same_after_every_append(tmp_path, dtype):
    attributes = tiny_attributes(dtype)
    for count in (0, 2, 2, 1):  # warnings are errors
        root = make_cache(tmp_path / "c", [volume(row) for row in range(count)], attributes)
        ours = open_cache(root)
        group = zarr.open_group(root, mode="r")
        plain = group["volume"]
        opened = xarray.open_zarr(root).load()
        assert dict(group.attrs) == attributes.to_json()
        assert plain.shape == (len(ours), *SHAPE)
        assert plain.chunks == (1, *SHAPE)
        assert plain.metadata.dimension_names == ("sample", "depth", "height", "width")
        assert plain.attrs.asdict() == ({"scale_factor": scale_factor(dtype)} if scale_factor(dtype) else {})
        assert opened.volume.dims == plain.metadata.dimension_names
        assert opened.label.dims == opened.sample_id.dims == ("sample",)
        for number, sample in enumerate(ours):
            assert np.array_equal(plain[number], ours.stored(number))
            assert np.allclose(opened.volume[number], sample, rtol=0, atol=1e-7)
        assert opened.label.values.tolist() == group["label"][:].tolist() == ours.labels.tolist()
        assert opened.sample_id.values.tolist() == group["sample_id"][:].tolist() == ours.ids
        assert group["group"][:].tolist() == ours.groups


def test_without_consolidated_metadata_zarr_finds_the_same_members(tiny):
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")  # `ledger` holds files that are none of Zarr's
        found = dict(zarr.open_group(tiny, mode="r", use_consolidated=False).members())
    assert found.keys() == dict(zarr.open_group(tiny, mode="r").members()).keys()


def test_rows_that_are_not_complete_have_no_id_and_no_label(tmp_path):
    root, attributes = tmp_path / "c", tiny_attributes()
    with open_writer(root, attributes, {}) as writer:
        writer.commit([write_sample(root, attributes, 2, volume(2), label=1)])
        writer.commit([Entry("bad", "quarantined", row=0, label=1), Entry("x.txt", "excluded")])
    group = zarr.open_group(root, mode="r")
    assert group["sample_id"][:].tolist() == ["", "", "s2"]
    assert group["label"][:].tolist() == [-1, -1, 1]
    assert open_cache(root).ids == ["s2"]


def test_an_index_of_several_chunks_grows_by_appends(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "ROWS", 2)
    for count in (1, 2, 2):
        root = make_cache(tmp_path / "c", [volume(row) for row in range(count)])
        ours = open_cache(root)
        assert zarr.open_group(root, mode="r")["sample_id"][:].tolist() == ours.ids
        assert verify(root).sound
    assert len(ours) == 5


# -- who may write -----------------------------------------------------------------------------------------------------

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


def test_a_second_writer_is_refused_while_the_first_lives_and_not_after_it_was_killed(tiny):
    with second_process(HOLD, tiny) as other:
        assert other.stdout.readline() == "writing\n"
        before = files_of(tiny)
        with pytest.raises(CacheLocked) as caught:
            make_cache(tiny, 1)
        assert re.fullmatch(
            rf"another run is writing to {tiny} \(process {other.pid} of \S+ on \S+, since [0-9 :-]+, [a-z0-9 ]+\);"
            " wait for it to end, or choose another CACHE",
            str(caught.value),
        )
        assert files_of(tiny) == before
        assert len(open_cache(tiny)) == 3
        assert verify(tiny).sound
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert len(open_cache(make_cache(tiny, 1))) == 4


def test_a_second_writer_in_the_same_process_is_refused(tiny):
    with (
        open_writer(tiny, catalog.read_attributes(tiny), catalog.read_entries(tiny)),
        pytest.raises(CacheLocked),
    ):
        make_cache(tiny, 1)


def test_a_plan_made_before_another_run_wrote_is_refused(tiny):
    planned_on = catalog.read_entries(tiny)
    make_cache(tiny, 1)
    before = files_of(tiny)
    with pytest.raises(CacheLocked, match=r"has written to .* since; run the same command again$"):
        open_writer(tiny, catalog.read_attributes(tiny), planned_on).__enter__()
    assert files_of(tiny) == before


# -- what a death leaves -----------------------------------------------------------------------------------------------

KILLED = """
import itertools, os, sys
from pathlib import Path
sys.path.insert(0, "tests")
from tests.helpers.caches import tiny_attributes, volume, write_sample
from cache import catalog, store
from cache.writer import open_writer
from cache import writer as cache_writer
import xarray, zarr  # so that the writers below, forked, need not
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


def test_a_writer_killed_at_any_moment_loses_nothing_that_it_committed(tmp_path):
    seed = random.randrange(10**6)
    print(f"{seed=}")  # shown where the test fails
    chance, root, committed = random.Random(seed), tmp_path / "c", 0
    with second_process(KILLED, root) as server:
        for turn in range(20):
            print(chance.choice([0, 0.002, 60]), file=server.stdin, flush=True)
            writer_id = int(server.stdout.readline().removeprefix("writer "))
            told = [server.stdout.readline() for _ in range(chance.randrange(4))]
            time.sleep(chance.uniform(0, 0.01 if told else 0.1))
            os.kill(writer_id, signal.SIGKILL)
            told += iter(server.stdout.readline, "dead\n")
            committed = max([committed, *(int(row) + 1 for row in told)])
            if not root.joinpath("zarr.json").exists():
                continue
            found = open_cache(root)
            assert committed <= len(found) <= committed + 1, turn
            assert found.ids == [f"s{row}" for row in range(len(found))]
            committed = len(found)
            assert verify(root).sound, turn
        server.stdin.close()
    root = make_cache(root, 1)
    found = open_cache(root)
    assert len(found) == committed + 1 > 10
    for row in range(committed):
        assert np.abs(found[row] - volume(row)).max() <= ERROR["uint16"]
    assert verify(root).sound
    assert not catalog.unpublished(root)
    assert list((root / "ledger/partial").iterdir()) == []


@pytest.fixture
def events(monkeypatch):
    """The names of files and folders as they are flushed, and of files as they are renamed into place."""
    seen = []
    fsync, rename = os.fsync, os.replace

    def noting_fsync(descriptor):
        fsync(descriptor)
        seen.append(("flush", Path(f"/proc/self/fd/{descriptor}").readlink()))

    def noting_replace(source, target):
        rename(source, target)
        seen.append(("rename", Path(target)))

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    return seen


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="which file was flushed is read from Linux's /proc")
def test_a_sample_is_flushed_renamed_and_its_folders_flushed_before_its_line_is(tmp_path, events):
    root, attributes = tmp_path / "new" / "c", tiny_attributes()
    with open_writer(root, attributes, {}) as writer:
        assert [path for _, path in events[:3]] == [tmp_path, tmp_path / "new", root]
        assert ("flush", root / "volume") in events  # names the folder of all chunks
        assert ("flush", root / "ledger") in events  # holds the new ledger, and the mark that the index may lag
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
def test_a_disk_that_is_full_from_any_moment_on_gives_one_line_and_a_sound_cache(tmp_path, monkeypatch, call):
    owner, name = {"os": os, "pathlib.Path": Path}[call.rpartition(".")[0]], call.rpartition(".")[2]
    real, outcomes = getattr(owner, name), set()
    for spared in (*range(8), 11, 15, 20, 30, 45, 60):
        root, calls = tmp_path / str(spared) / "c", iter(range(10**6))
        (root.parent / "source").mkdir(parents=True)

        def failing(*arguments, spared=spared, calls=calls, **options):
            mine = "source" in str(arguments[0]) or "rb" in arguments  # what the test needs, and what only reads
            if not mine and next(calls) >= spared:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            try:
                make_cache(root)
            except CacheError as error:
                outcomes.add(str(error).replace(str(root), "CACHE"))
        if root.joinpath("zarr.json").exists():
            assert verify(root).sound, spared
        before = catalog.read_entries(root)
        make_cache(root, 1)
        assert before.items() <= catalog.read_entries(root).items()
        assert verify(root).sound
        assert list((root / "ledger/partial").iterdir()) == []
    assert outcomes == {
        "cannot write to CACHE: No space left on device; free some space and run the same command again"
    }


def test_a_file_where_the_cache_should_be_is_left_alone(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for root in (file, file / "c"):
        with pytest.raises(CacheError, match=rf"^cannot write to {root}: .*; choose a CACHE that can be written$"):
            make_cache(root)
    assert file.read_text() == "mine"


def commit_and_raise(writer, entry, end):
    writer.commit([entry])
    raise end


@pytest.mark.parametrize("end", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_however_the_block_ends_what_was_committed_is_published(tmp_path, end):
    root, attributes = tmp_path / "c", tiny_attributes()
    with pytest.raises(end), open_writer(root, attributes, {}) as writer:
        commit_and_raise(writer, write_sample(root, attributes, 0, volume(0)), end)
    assert zarr.open_group(root, mode="r")["sample_id"][:].tolist() == ["s0"]
    assert not catalog.unpublished(root)
    assert verify(root).sound


def test_a_torn_last_line_is_cut_and_its_sample_made_again(tmp_path):
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


def test_a_folder_that_took_the_place_of_a_file_is_written_over(tiny):
    attributes = catalog.read_attributes(tiny)
    for path in (store.chunk_path(tiny, 1), tiny / "label/c/0", tiny / "label/zarr.json"):
        path.unlink()
        (path / "deep").mkdir(parents=True)
    with open_writer(tiny, attributes, catalog.read_entries(tiny)) as writer:
        writer.commit([write_sample(tiny, attributes, 1, volume(1))])
    assert verify(tiny).sound


# -- the ledger and the index ------------------------------------------------------------------------------------------


def test_new_labels_touch_no_array(tiny):
    before = {path: path.stat().st_mtime_ns for path in (tiny / "volume").rglob("*")}
    with open_writer(tiny, catalog.read_attributes(tiny), catalog.read_entries(tiny)) as writer:
        writer.commit([entry.replace(label=1) for entry in writer.entries.values()])
    assert {path: path.stat().st_mtime_ns for path in (tiny / "volume").rglob("*")} == before
    assert zarr.open_group(tiny, mode="r")["label"][:].tolist() == [1, 1, 1]
    assert verify(tiny).sound


def test_a_ledger_does_not_grow_without_end(tmp_path):
    root, attributes = tmp_path / "c", tiny_attributes()
    one = Entry("a.txt", "excluded", source=Source("/", ("a.txt",)))
    with open_writer(root, attributes, {}) as writer:
        writer.commit([one] * 1005)
    with open_writer(root, attributes, {one.id: one}) as writer:
        writer.commit([one])
    assert ledger.read(root / "ledger").lines == 2


def test_what_is_forgotten_is_gone_and_the_rest_goes_on(tiny):
    with open_writer(tiny, catalog.read_attributes(tiny), catalog.read_entries(tiny)) as writer:
        writer.commit([Entry("a", "quarantined"), Entry("b", "quarantined")])
        writer.forget(["a", "never heard of"])
        writer.commit([Entry("c", "quarantined")])
    assert list(catalog.read_entries(tiny)) == ["s0", "s1", "s2", "b", "c"]


def test_rows_that_readers_may_have_open_are_kept_as_long_as_their_chunk_is_there(tiny):
    layout = catalog.read_attributes(tiny).layout
    known = catalog.read_contents(tiny)
    old = list(known.entries.values())
    known.ledger.superseded = old
    assert catalog.reserved_rows(tiny, known, layout) == {entry.row for entry in old} == {0, 1, 2}
    store.chunk_path(tiny, 1, layout).unlink()
    assert catalog.reserved_rows(tiny, known, layout) == {0, 2}


# -- what describes the cache ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:99]),
        lambda path: path.write_bytes(b"[" * 10**6),
        lambda path: path.write_bytes(b"\xff"),
    ],
)
def test_a_cache_opens_without_its_zarr_json_and_the_next_run_writes_it_again(tiny, damage):
    before = files_of(tiny)
    damage(tiny / "zarr.json")
    assert len(open_cache(tiny)) == 3
    assert list(verify(tiny).damaged) == ["zarr.json"]
    make_cache(tiny, 0)
    assert files_of(tiny) == before


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"[]", b"5", b'{"attributes": null}', b'{"attributes": {"kind": 1}}', b'{"attributes": []}',
     b'{"attributes": {"kind": "ct", "recipe": {"dtype": []}, "class_names": [], "format_version": 1}}',
     b'{"attributes": {"kind": "ct", "recipe": {"dtype": "uint8"}, "class_names": 5, "format_version": 1}}'],
)  # fmt: skip
def test_what_is_no_cache_is_called_so_in_one_line(tmp_path, document):
    (tmp_path / "zarr.json").write_bytes(document)
    with pytest.raises(NotACache) as caught:
        open_cache(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_there_is_not_a_cache(tmp_path):
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(NotACache) as caught:
            open_cache(str(path))
        assert str(caught.value) == f"{path} is not a cache: it has no readable zarr.json; build one with `preprocess`"
        assert isinstance(caught.value, FileNotFoundError)


def test_a_cache_can_be_moved(tiny, tmp_path):
    shutil.move(tiny, tmp_path / "moved")
    assert verify(tmp_path / "moved").sound


@pytest.mark.parametrize("name", ["zarr.json", "ledger/zarr.json"])
def test_a_damaged_class_name_is_not_believed(tiny, name):
    path = tiny / name
    path.write_bytes(path.read_bytes().replace(b'"one"', b'"ona"'))
    assert open_cache(tiny).class_names == ["one", "two"]
    (tiny / catalog.DIGESTS).unlink()
    with pytest.raises(NotACache, match="describe different caches, and no digest says which is right"):
        open_cache(tiny)
    path.unlink()
    assert open_cache(tiny).class_names == ["one", "two"]


def test_a_sample_that_only_the_published_arrays_know_is_lost_and_keeps_its_row_and_label(tiny):
    assert catalog.read_contents(tiny).lost == []
    log = tiny / "ledger/entries.jsonl"
    log.write_bytes(b"".join(line for line in log.read_bytes().splitlines(keepends=True) if b'"s1"' not in line))
    (tiny / "ledger/snapshot.jsonl").unlink()
    known = catalog.read_contents(tiny)
    assert [(entry.id, entry.row, entry.label, entry.group) for entry in known.lost] == [("s1", 1, 1, "patient 1")]
    assert known.entries.keys() == {"s0", "s1", "s2"}
    assert known.entries["s0"].digest
    assert not known.is_complete
