"""A cache returns exactly what was committed, or an error that names the unavailable sample and the reason."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cache import UnknownSample, catalog, open_cache
from cache.verify import verify
from cache.writer import open_writer
from tests.helpers.caches import SHAPE, make_cache, tiny_attributes, volume, write_sample

# -- contents of a cache -----------------------------------------------------------------------------------------------


def test_a_cache_describes_its_contents(tiny):
    cache = open_cache(str(tiny))
    assert (len(cache), cache.ids, cache.kind, cache.shape) == (3, ["s0", "s1", "s2"], "ct", SHAPE)
    assert (cache.labels.tolist(), cache.labels.dtype) == ([0, 1, 0], np.int64)
    assert (cache.class_names, cache.groups) == (["one", "two"], ["patient 0", "patient 1", "patient 2"])
    assert cache.recipe == catalog.read_attributes(tiny).recipe
    assert repr(cache) == f"<Cache {tiny} · ct · 3 samples of 3×4×5>"
    assert cache.entry("s1").source.files == ("1.nii",)


@pytest.mark.parametrize("key", [1, -2, np.int64(1), np.uint8(1), np.array(1), "s1", np.str_("s1")])
def test_a_sample_is_read_by_number_or_id(shared_tiny, key):
    sample = open_cache(shared_tiny)[key]
    assert np.abs(sample - volume(1)).max() < 1e-5
    assert (sample.dtype, sample.shape) == (np.float32, SHAPE)
    assert sample.flags.writeable
    assert sample.flags.owndata


@pytest.mark.parametrize("key", [True, np.True_, None, 1.0, slice(0, 2), [0], (0, 1), b"s1", np.array([0, 1])])
def test_a_key_that_is_neither_number_nor_id_is_rejected(shared_tiny, key):
    with pytest.raises(TypeError):
        open_cache(shared_tiny)[key]


def test_key_errors_name_the_requested_and_the_available_samples(shared_tiny):
    cache = open_cache(shared_tiny)
    with pytest.raises(IndexError) as number:
        cache[3]
    assert str(number.value) == f"sample 3 of 3 in {shared_tiny}"
    with pytest.raises(KeyError) as name:
        cache["s3"]
    assert isinstance(name.value, UnknownSample)
    assert str(name.value) == f"no complete sample 's3' in {shared_tiny}; `.ids` lists all 3"
    with pytest.raises(TypeError) as piece:
        cache[0:2]
    assert str(piece.value) == (
        "slice(0, 2, None) is neither a number nor an id; expected one sample, as in cache[0] or cache['ID']"
    )


def test_a_cache_iterates_over_its_samples_and_contains_their_ids(shared_tiny):
    cache = open_cache(shared_tiny)
    assert [np.array_equal(sample, cache[number]) for number, sample in enumerate(cache)] == [True] * 3
    assert ("s2" in cache, "s3" in cache) == (True, False)


def test_an_empty_cache_opens(tmp_path):
    cache = open_cache(make_cache(tmp_path / "c", 0))
    assert (len(cache), cache.ids, list(cache), cache.labels.shape) == (0, [], [], (0,))
    with pytest.raises(IndexError, match="sample 0 of 0"):
        cache[0]


def test_samples_are_ordered_by_row_and_not_by_commit(tmp_path):
    root, attributes = tmp_path / "c", tiny_attributes()
    with open_writer(root, attributes, {}) as writer:
        for row in (4, 0, 2):
            writer.commit([write_sample(root, attributes, row, volume(row))])
    assert open_cache(root).ids == ["s0", "s2", "s4"]


def test_a_pickled_cache_can_be_read_from_several_threads(shared_tiny):
    cache = pickle.loads(pickle.dumps(open_cache(shared_tiny)))
    expected = [cache[number] for number in range(3)]
    with ThreadPoolExecutor(4) as pool:
        for number, sample in enumerate(pool.map(lambda n: cache[n % 3], range(300))):
            assert np.array_equal(sample, expected[number % 3])


def test_later_commits_are_visible_after_reopening(tiny):
    before = open_cache(tiny)
    make_cache(tiny, 1)
    assert (len(before), len(open_cache(tiny))) == (3, 4)
    assert np.array_equal(before[2], open_cache(tiny)[2])


def test_commits_of_a_running_writer_are_visible_before_they_are_published(tiny):
    attributes = catalog.read_attributes(tiny)
    with open_writer(tiny, attributes, catalog.read_entries(tiny)) as writer:
        writer.commit([write_sample(tiny, attributes, 3, volume(3))])
        assert len(open_cache(tiny)) == 4
        assert verify(tiny).sound


def test_a_reader_never_writes(tiny):
    def state():
        return {path: (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in tiny.rglob("*")}

    before = state()
    cache = open_cache(tiny)
    cache.montage("s0").savefig(tiny.parent / "montage.png")
    cache.to_xarray().load()
    assert cache._repr_html_()
    assert verify(tiny).sound
    assert state() == before
