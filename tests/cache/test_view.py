"""Datasets, montages and summaries show the samples of a cache, and hostile names stay text."""

from html.parser import HTMLParser

import numpy as np
import pytest

from cache import CacheError, DamagedSample, open_cache, store
from tests.helpers.caches import SHAPE, make_cache, tiny_attributes, volume

HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\nb\r\n", "\x1b[31mred", "$\\frac", "$x^$",
    "{0} %s", "\u202egnp.exe", "Ж 患者 😀", "\0", "x" * 4096, "&lt;", "' onload='x", "é",
]  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return open_cache(make_cache(tmp_path_factory.mktemp("view") / "c", 4, labels=[0, 1, -1, 7]))


# -- xarray ------------------------------------------------------------------------------------------------------------


def test_the_dataset_contains_the_samples(cache):
    data = cache.to_xarray()
    assert data.volume.dims == ("sample", "depth", "height", "width")
    assert (data.volume.dtype, data.volume.shape) == (np.float32, (4, *SHAPE))
    assert data.volume.data.chunksize == (1, *SHAPE)
    assert np.array_equal(data.volume.values, np.stack(list(cache)))
    assert data.label.values.tolist() == cache.labels.tolist()
    assert data.sample_id.values.tolist() == data.sample.values.tolist() == cache.ids
    assert data.group.values.tolist() == cache.groups
    assert data.attrs == {"kind": "ct", "class_names": ["one", "two"], "recipe": cache.recipe}
    assert np.array_equal(data.volume.sel(sample="s2"), cache["s2"])


@pytest.mark.parametrize(
    "key",
    [
        np.s_[1], np.s_[-1, 2], np.s_[:, 0], np.s_[1:3, ::-1, 1:2, ::2], np.s_[[2, 0, 2]], np.s_[:0], np.s_[..., 3],
        np.s_[::-2, 1, 1:, -1], np.s_[:, [2, 0]], np.s_[3:1], np.s_[2:, 5:],
    ],
)  # fmt: skip
def test_indexing_the_dataset_equals_indexing_the_samples(cache, key):
    part = cache.to_xarray().volume[key].compute().values
    assert np.array_equal(part, np.stack(list(cache))[key])


def test_the_dataset_reads_a_sample_only_when_it_is_computed(tiny):
    store.chunk_path(tiny, 1).write_bytes(b"")
    data = open_cache(tiny).to_xarray()
    assert np.array_equal(data.volume[0], open_cache(tiny)[0])
    with pytest.raises(DamagedSample, match="s1"):
        data.volume[1].compute()


def test_datasets_from_before_and_after_an_append_are_not_mixed_up(tiny):
    before = open_cache(tiny).to_xarray().volume[:2]
    both = np.stack([before.values, open_cache(make_cache(tiny, 1)).to_xarray().volume[2:].values])
    assert np.abs(both - np.stack([volume(0), volume(1), volume(2), volume(0)]).reshape(both.shape)).max() < 1e-5


def test_an_empty_cache_has_an_empty_dataset_and_summary(tmp_path):
    empty = open_cache(make_cache(tmp_path / "c", 0))
    assert empty.to_xarray().load().volume.shape == (0, *SHAPE)
    assert "0 × 3 × 4 × 5" in empty._repr_html_()
    with pytest.raises(IndexError, match="sample 0 of 0"):
        empty.montage(0)


# -- montage -----------------------------------------------------------------------------------------------------------


def drawn(figure, tmp_path):
    """Draw a figure and return its title; warnings are errors."""
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    return figure.get_suptitle()


@pytest.mark.parametrize(
    ("number", "title"),
    [(0, "s0 · one · slices of 3"), (2, "s2 · unlabelled · slices of 3"), (3, "s3 · class 7 · slices of 3")],
)
def test_the_title_of_a_montage_names_its_sample(cache, tmp_path, number, title):
    assert drawn(cache.montage(number), tmp_path) == title


def test_a_montage_shows_evenly_spaced_slices_in_order(tmp_path):
    cache = open_cache(make_cache(tmp_path / "c", 1, tiny_attributes(shape=(70, 8, 6), kind="video")))
    figure = cache.montage("s0", slices=6)
    assert [axes.texts[0].get_text() for axes in figure.axes if axes.texts] == ["0", "14", "28", "41", "55", "69"]
    assert np.array_equal(figure.axes[2].images[0].get_array(), cache["s0"][28])
    assert figure.axes[2].images[0].get_clim() == (0, 1)
    assert "frames of 70" in drawn(figure, tmp_path)
    assert len([axes for axes in cache.montage(0, slices=500).axes if axes.images]) == 70
    assert len(cache.montage(0, slices=1).axes) == 1


@pytest.mark.parametrize("shape", [(2, 600, 2), (2, 2, 600), (1, 1, 1)])
def test_a_montage_of_any_shape_can_be_drawn(tmp_path, shape):
    cache = open_cache(make_cache(tmp_path / "c", 1, tiny_attributes(shape=shape)))
    assert drawn(cache.montage(0), tmp_path)


def test_a_montage_without_slices_is_rejected(cache):
    with pytest.raises(CacheError, match="slices 0; expected at least 1"):
        cache.montage(0, slices=0)


class Tags(HTMLParser):
    """The names of all tags and attributes in a text."""

    ATTRIBUTES = ("style", "width", "src", "alt")

    def handle_starttag(self, tag, attrs):
        self.names |= {tag, *dict(attrs)}

    @classmethod
    def of(cls, html):
        parser = cls()
        parser.names = set()
        parser.feed(html)
        return parser.names


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_text_in_montage_and_summary(tmp_path, name):
    root = make_cache(tmp_path / "c", 1, tiny_attributes(class_names=(name, "two"), note=name), names=[name])
    hostile = open_cache(root)
    assert hostile.ids == [name]
    title = drawn(hostile.montage(name, slices=1), tmp_path)
    assert title.isprintable()
    assert len(title) < 900
    html = hostile._repr_html_()
    assert Tags.of(html) == {"div", "b", "table", "tr", "th", "td", "figure", "img", "figcaption", *Tags.ATTRIBUTES}
    assert html.isprintable()
    assert len(html) < 4000


# -- notebooks ---------------------------------------------------------------------------------------------------------


def test_the_summary_names_kind_shape_labels_and_recipe(cache):
    html = cache._repr_html_()
    for text in ("ct cache", "4 × 3 × 4 × 5, stored as uint16", "one 1, two 1", "depth 3, height 4"):
        assert text in html
    assert html.count("<img ") == 4


def test_the_summary_marks_a_damaged_sample(tiny):
    store.chunk_path(tiny, 1).write_bytes(b"")
    html = open_cache(tiny)._repr_html_()
    assert "s1: damaged" in html
    assert html.count("<img ") == 2
