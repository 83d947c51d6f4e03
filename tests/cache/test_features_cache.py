"""A feature cache has the guarantees of a volume cache, its own shapes and dtypes, and checks of its input."""

import json

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cache import InvalidFeatures, open_cache
from cache.feature_checks import checked_group
from cache.feature_writer import writing_features
from cache.features import feature_attributes
from cache.schema import AUGMENTED, FEATURES, MAX_ID_BYTES, VOLUME, Attributes
from cache.verify import verify
from tests.helpers.features import NAMES, chunk_of, some_features, spoiled, write

# -- reading and writing -----------------------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=25)
def test_features_are_read_as_they_were_written(tmp_path_factory, data):
    dtype = data.draw(st.sampled_from([np.float16, np.float32]))
    shape = data.draw(array_shapes(min_dims=3, max_dims=3, max_side=5))
    width = np.dtype(dtype).itemsize * 8
    array = data.draw(arrays(dtype, shape, elements=st.floats(allow_nan=False, allow_infinity=False, width=width)))
    array = data.draw(st.sampled_from([array, array[:, ::-1], np.asfortranarray(array)]))
    cache = write(tmp_path_factory.mktemp("f") / "c", array)
    stored = np.stack([cache.stored(number) for number in range(len(cache))])
    assert stored.dtype == dtype
    assert (cache.shape, cache[0].dtype) == (shape[1:], np.float32)
    assert np.array_equal(stored, array)


def test_labels_groups_ids_and_recipe_are_stored(tmp_path):
    labels, groups = [0, np.int64(1), -1, None, 1], ["p1", "p1", None, "", np.str_("p2")]
    cache = write(str(tmp_path / "c"), labels=labels, groups=groups, ids=np.array(["a", "b/c", "d", "e", "Ж"]))
    assert (cache.kind, cache.ids, cache.class_names) == ("features", ["a", "b/c", "d", "e", "Ж"], ["one", "two"])
    assert (cache.labels.tolist(), cache.groups, cache.angles) == ([0, 1, -1, -1, 1], ["p1", "p1", "", "", "p2"], ())
    assert cache.recipe == {
        "kind": "features", "version": 1, "dtype": "float16", "depth": 4, "channels": 6, "extractor": "mine",
    }  # fmt: skip
    assert repr(cache) == f"<Cache {tmp_path / 'c'} · features · 5 samples of 4×6>"
    assert np.array_equal(cache["d"], some_features()[2].astype(np.float32))
    assert verify(cache.path).sound


@pytest.mark.parametrize(
    ("array_dtype", "requested", "stored"),
    [
        ("float16", None, "float16"), ("float32", None, "float32"), (">f2", None, "float16"),
        ("float64", None, "float32"), ("int8", None, "float32"),
        ("float32", "float16", "float16"), ("float16", "float32", "float32"),
    ],
)  # fmt: skip
def test_the_stored_dtype_is_the_requested_one_or_fits_the_array(tmp_path, array_dtype, requested, stored):
    array = some_features().astype(array_dtype)
    cache = write(tmp_path / "c", array, dtype=requested)
    assert cache.stored(0).dtype == stored
    assert np.allclose(cache[3], array[3].astype(np.float32), rtol=1e-3)


def test_rows_are_read_one_at_a_time(tmp_path):
    class Rows:
        shape, dtype = (3, 4, 6), np.dtype(np.float16)

        def __getitem__(self, number):
            assert type(number) is int
            return some_features()[number].tolist()

    assert np.array_equal(write(tmp_path / "c", Rows(), ids=["a", "b", "c"])["c"], some_features()[2])
    mapped = np.memmap(tmp_path / "file", np.float16, "w+", shape=(5, 4, 6))
    mapped[:] = some_features()
    assert np.array_equal(write(tmp_path / "d", mapped)["s4"], some_features()[4])


@pytest.mark.parametrize("angles", [(), (-20, 0, 0.5)])
def test_zarr_and_xarray_read_the_same_features(tmp_path, angles):
    shape = (*((len(angles),) if angles else ()), 4, 6)
    attributes = feature_attributes(4, 6, NAMES, {"name": "net"}, dtype="float32", angles=angles)
    values = some_features(3, shape, np.float32)
    with writing_features(tmp_path / "c", attributes, ["s0", "s1", "s2"]) as features:
        assert [features.put(f"s{row}", values[row], row - 1) for row in range(3)] == [True] * 3
    cache, group = open_cache(tmp_path / "c"), zarr.open_group(tmp_path / "c", mode="r")
    assert (cache.angles, cache.shape) == (angles, shape)
    dimensions = ("sample", *(("angle",) if angles else ()), "depth", "channel")
    assert group["features"].metadata.dimension_names == dimensions
    assert group["features"].chunks == (1, *shape)
    assert dict(group.attrs) == attributes.to_json()
    assert np.array_equal(group["features"][:], values)
    plain, dataset = xarray.open_zarr(tmp_path / "c").load(), cache.to_xarray()
    assert plain.features.dims == dataset.features.dims == dimensions
    assert np.array_equal(plain.features.values, dataset.features.values)
    assert dataset.features.data.chunksize == (1, *shape)
    assert np.array_equal(dataset.features.sel(sample="s1"), values[1])
    assert ("angle" in dataset.coords) == bool(angles)
    if angles:
        assert np.array_equal(dataset.features.sel(angle=0.5)[2], values[2, 2])
    assert verify(tmp_path / "c").sound


def test_an_array_without_rows_makes_an_empty_cache(tmp_path):
    cache = write(tmp_path / "c", np.empty((0, 4, 6), np.float16))
    assert (len(cache), cache.shape) == (0, (4, 6))
    assert cache.to_xarray().features.shape == (0, 4, 6)
    assert cache._repr_html_()


# -- invalid input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (spoiled(np.nan), {}, "s3: nan at (1, 2), expected finite numbers that float32 can hold; leave"),
        (spoiled(-np.inf, np.float16), {}, "s3: -inf at (1, 2), expected finite numbers that float16 can hold; leave"),
        (spoiled(70000), {"dtype": "float16"}, "s3: 70000.0 at (1, 2), expected finite numbers that float16 can"),
        (spoiled(1e39, np.float64), {}, "s3: 1e+39 at (1, 2), expected finite numbers that float32 can hold"),
        (some_features().astype(complex), {}, "s0: features of dtype complex128; expected real numbers"),
        (some_features().astype(str), {}, "s0: features of dtype <U32; expected real numbers"),
        (some_features()[0], {"ids": ["a"]}, "array of shape (4, 6); expected (1 ids, depth, channels)"),
        (some_features()[None], {"ids": ["a"]}, "array of shape (1, 5, 4, 6); expected (1 ids, depth, channels)"),
        (None, {"ids": ["a", "b"]}, "array of shape (5, 4, 6); expected (2 ids, depth, channels)"),
        (np.empty((5, 0, 6)), {}, "shape (0, 6), expected 2 positive integers"),
        (None, {"dtype": "uint8"}, "dtype 'uint8', expected one of float16, float32"),
        (None, {"labels": [0, 1]}, "5 ids, 2 labels, 5 groups"),
        (None, {"groups": ["a"]}, "5 ids, 5 labels, 1 groups"),
        (None, {"labels": [0, 1, 2, 0, 0]}, "s2: label 2; expected 0 to 1 for the 2 class names, or None"),
        (None, {"labels": [0, True, 0, 0, 0]}, "s1: label True; expected 0 to 1 for the 2 class names, or None"),
        (None, {"labels": [0, 1.0, 0, 0, 0]}, "s1: label 1.0; expected 0 to 1 for the 2 class names, or None"),
        (None, {"labels": [0, -2, 0, 0, 0]}, "s1: label -2; expected 0 to 1 for the 2 class names, or None"),
        (None, {"groups": ["a", 1, "a", "a", "a"]}, "s1: group 1; expected"),
        (None, {"class_names": "ab"}, "class names 'ab'; expected a list of different names"),
        (None, {"class_names": ["a", "a"]}, "class names ['a', 'a']; expected a list of different names"),
        (None, {"extractor": ""}, "extractor ''; expected text or a dict"),
        (None, {"extractor": {"a": np.nan}}, "extractor {'a': nan} is not JSON"),
        (None, {"extractor": {"a": np}}, "is not JSON"),
    ],
)  # fmt: skip
def test_invalid_features_labels_or_groups_are_rejected_in_one_line(tmp_path, array, options, message):
    with pytest.raises(InvalidFeatures) as caught:
        write(tmp_path / "c", array, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", ["", "/etc/a", "../a", "a/../b", "a\nb", "\x1b[31m", "a\0", "\udcff", 7, None, b"a"])
def test_an_invalid_id_is_rejected_before_anything_is_written(tmp_path, name):
    with pytest.raises(InvalidFeatures, match=r"^id .*; expected "):
        write(tmp_path / "c", ids=["a", "b", name, "d", "e"])
    assert not (tmp_path / "c").exists()


def test_write_features_rejects_a_repeated_id(tmp_path):
    with pytest.raises(InvalidFeatures, match="id 'a' occurs twice"):
        write(tmp_path / "c", ids=["a", "b", "c", "d", "a"])


@pytest.mark.parametrize("angles", [[], 5, "12", [np.nan], [True], [None], [0, 0.0], [10**400], [400], {"a": 1}])
def test_values_that_are_not_angles_are_rejected(angles):
    recipe = feature_attributes(4, 6, NAMES, "mine").recipe
    with pytest.raises(ValueError, match="angles"):
        Attributes("features", {**recipe, "angles": angles}, NAMES)


def test_feature_attributes_survive_json_and_give_shape_and_layout():
    plain = feature_attributes(70, 512, NAMES, "net")
    rotated = feature_attributes(70, 512, NAMES, {"name": "net"}, angles=[-20, 0, 20])
    for attributes, shape, layout in ((plain, (70, 512), FEATURES), (rotated, (3, 70, 512), AUGMENTED)):
        assert Attributes.from_json(json.loads(json.dumps(attributes.to_json()))) == attributes
        assert (attributes.shape, attributes.layout, attributes.sample_bytes) == (shape, layout, 2 * np.prod(shape))
    assert (FEATURES.chunk(3), AUGMENTED.chunk(3), VOLUME.chunk(3)) == (
        "features/c/3/0/0", "features/c/3/0/0/0", "volume/c/3/0/0/0",
    )  # fmt: skip


# -- montage, summary and size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("angles", "description"), [((), "features"), ((-20, 0), "features, at -20 degrees")])
def test_a_montage_of_features_is_one_image_with_labelled_axes(tmp_path, angles, description):
    values = some_features(1, (*((2,) if angles else ()), 4, 6))[0]
    with writing_features(tmp_path / "c", feature_attributes(4, 6, NAMES, "net", angles=angles), ["a"]) as features:
        features.put("a", values, 1)
    figure = open_cache(tmp_path / "c").montage("a")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("channel", "depth")
    assert np.array_equal(axes.images[0].get_array(), values[0] if angles else values)
    assert figure.get_suptitle() == f"a · two · {description}"
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_summary_of_a_feature_cache_shows_shape_extractor_and_thumbnails(tmp_path):
    cache = write(tmp_path / "c", labels=[0, 1, 0, 1, None], extractor={"name": "<b>net"})
    chunk_of(tmp_path / "c", 1).write_bytes(b"")
    html = cache._repr_html_()
    for text in ("features cache", "5 × 4 × 6, stored as float16", "one 2, two 2", "&lt;b&gt;net", "s1: damaged"):
        assert text in html
    assert html.count("<img ") == 4


def test_features_of_a_full_size_sample_take_at_most_a_thirtieth_of_its_volume(tmp_path):
    dense = np.random.default_rng(0).random((1, 70, 512), np.float32).astype(np.float16)  # nothing to compress
    write(tmp_path / "c", dense)
    assert chunk_of(tmp_path / "c", 0).stat().st_size <= 70 * 224 * 224 / 30


def test_a_group_may_be_as_long_as_an_id():
    assert len(checked_group("s", "é" * (MAX_ID_BYTES // 2))) == MAX_ID_BYTES // 2
    with pytest.raises(InvalidFeatures, match="expected at most 4096 bytes"):
        checked_group("s", "é" * (MAX_ID_BYTES // 2) + "a")
