"""Caches of tiny volumes with their features, for tests of extraction and of training on features."""

from cache.progress import Callback
from tests.helpers.caches import make_cache, tiny_attributes, volume
from trainer.features.extract import Extraction, extract

SHAPE = (5, 16, 16)
WEIGHTS = {"weights": "none", "backbone": "small"}
CHANNELS = 128


def clips(root, count=12, dtype="uint8", kind="video"):
    attributes = tiny_attributes(dtype, SHAPE, kind, order=3)
    values = [volume(number, SHAPE) for number in range(count)]
    values[1][1] = values[1][2] = values[2][0] = 0  # empty slices, twice in one sample
    return make_cache(root, values, attributes)


def make_features(folder):
    """Write clips.zarr, a cache of clips, and features.zarr, its features, to `folder`; return the folder."""
    clips(folder / "clips.zarr")
    extract(Extraction(folder / "clips.zarr", folder / "features.zarr", WEIGHTS), Callback())
    return folder
