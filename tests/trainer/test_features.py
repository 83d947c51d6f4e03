"""Features equal the outputs of the layers of the network, for any number of slices at once."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cache import DamagedSample, InvalidFeatures, catalog, open_cache, store
from cache.progress import Callback
from cache.verify import verify
from cache.writer import open_writer
from tests.helpers.caches import volume
from tests.helpers.feature_caches import CHANNELS, SHAPE, WEIGHTS, clips, make_features
from trainer.config import PRETRAIN
from trainer.data.augment import ANGLES, rotate
from trainer.errors import TrainerError
from trainer.features.extract import Extraction, FrameFeatures, extract
from trainer.model.networks import initial_model
from trainer.runs.plan import run_with


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with a cache of clips and its features."""
    return make_features(tmp_path_factory.mktemp("features"))


@pytest.fixture
def folder(shared, tmp_path):
    return Path(shutil.copytree(shared, tmp_path / "own"))


def computed_features(volumes, values):
    """The features that the network computes for `values` (depth, height, width) in [0, 1]."""
    model = initial_model(run_with(volumes, PRETRAIN.__class__.from_json(PRETRAIN.to_json() | WEIGHTS)))
    return np.asarray(model.get_layer("frames")(values[None]))[0]


def test_each_sample_has_the_features_of_its_volume(shared):
    volumes, features = open_cache(shared / "clips.zarr"), open_cache(shared / "features.zarr")
    assert features.shape == (5, CHANNELS)
    assert features.attributes.dtype == "float16"
    assert (features.ids, features.labels.tolist(), features.groups) == (
        volumes.ids,
        volumes.labels.tolist(),
        volumes.groups,
    )
    for name in volumes.ids:
        np.testing.assert_allclose(features[name], computed_features(volumes, volumes[name]), rtol=2e-3, atol=1e-5)


def test_with_augment_features_are_stored_for_each_angle_of_the_paper(tmp_path):
    root = clips(tmp_path / "ct.zarr", 3, "uint16", "ct")
    extract(Extraction(root, tmp_path / "features.zarr", WEIGHTS, augment=True), Callback())
    volumes, features = open_cache(root), open_cache(tmp_path / "features.zarr")
    assert features.shape == (7, 5, CHANNELS)
    assert features.angles == ANGLES
    for number, angle in enumerate(ANGLES):
        rotated = rotate(volumes.stored("s2"), angle).astype(np.float32) / 65535
        np.testing.assert_allclose(features["s2"][number], computed_features(volumes, rotated), rtol=2e-3, atol=1e-5)


def test_features_too_large_for_float16_are_rejected_with_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(FrameFeatures, "__init__", lambda self, model, volumes: None)
    monkeypatch.setattr(FrameFeatures, "block", 4, raising=False)
    huge = staticmethod(lambda block: np.full((1, 4, CHANNELS), 1e6, np.float32))
    monkeypatch.setattr(FrameFeatures, "forward", huge, raising=False)
    with pytest.raises(InvalidFeatures, match=r"^s0: inf at .*, expected finite numbers that float16 can hold"):
        extract(Extraction(clips(tmp_path / "clips.zarr"), tmp_path / "features.zarr", WEIGHTS), Callback())


def test_up_to_date_features_are_not_computed_again(folder):
    result = extract(Extraction(folder / "clips.zarr", folder / "features.zarr", WEIGHTS), Callback())
    assert (result.made, result.kept, result.vanished) == (0, 12, [])


def test_only_changed_and_new_samples_are_extracted(folder):
    root, attributes = folder / "clips.zarr", open_cache(folder / "clips.zarr").attributes
    # updates the recorded sources, since the caches were moved
    extract(Extraction(root, folder / "features.zarr", WEIGHTS), Callback())
    entries = catalog.read_entries(root)
    with open_writer(root, attributes, entries) as writer:
        nbytes, digest = store.write_chunk(root, 4, volume(99, SHAPE), "uint8")
        changed = entries["s4"].__class__(**{**_fields(entries["s4"]), "nbytes": nbytes, "digest": digest})
        nbytes, digest = store.write_chunk(root, 12, volume(12, SHAPE), "uint8")
        writer.commit([changed, changed.__class__("new", "complete", row=12, nbytes=nbytes, digest=digest)])
    assert verify(folder / "features.zarr").stale.keys() == {"s4"}
    result = extract(Extraction(root, folder / "features.zarr", WEIGHTS), Callback())
    assert (result.made, result.kept) == (2, 11)
    volumes, features = open_cache(root), open_cache(folder / "features.zarr")
    for name in ("s4", "new", "s5"):
        np.testing.assert_allclose(features[name], computed_features(volumes, volumes[name]), rtol=2e-3, atol=1e-5)


def _fields(entry):
    return {name: getattr(entry, name) for name in entry.__slots__}


def test_a_stopped_extraction_is_resumed(tmp_path):
    root = clips(tmp_path / "clips.zarr", 40)

    class Stop(Callback):
        def on_progress(self, result, total, unit="samples", figures=None):
            if result == 30:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(Extraction(root, tmp_path / "features.zarr", WEIGHTS), Stop())
    result = extract(Extraction(root, tmp_path / "features.zarr", WEIGHTS), Callback())
    assert (result.made, result.kept) == (10, 30)
    assert verify(tmp_path / "features.zarr").sound


def test_a_damaged_volume_is_an_error_with_its_id_and_has_no_features(folder):
    root = folder / "clips.zarr"
    store.chunk_path(root, 7).write_bytes(b"x")
    with pytest.raises(DamagedSample, match="s7"):
        extract(Extraction(root, folder / "other.zarr", WEIGHTS), Callback())
    assert "s7" not in open_cache(folder / "other.zarr")


def test_a_feature_cache_rejects_features_of_other_weights(folder):
    with pytest.raises(ValueError, match=r"extractor\.weights"):
        extract(Extraction(folder / "clips.zarr", folder / "features.zarr", {**WEIGHTS, "seed": 1}), Callback())


def test_features_of_features_are_rejected(folder):
    with pytest.raises(TrainerError, match="holds features; expected a cache of scans or clips"):
        extract(Extraction(folder / "features.zarr", folder / "other.zarr", WEIGHTS), Callback())
