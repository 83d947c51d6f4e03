"""Per-sample transforms: random augmentation for training, none for evaluation.

Volumes are rotated, shifted or blurred on the fly. Cached features cannot be, so they are stored once per rotation
angle and training picks one at random, with the same random draws that volumes would get.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from cache import Cache
from trainer.config import Config
from trainer.data.augment import ANGLES, augment
from trainer.data.batches import sample_rng
from trainer.data.stream import Transform
from trainer.errors import TrainerError
from trainer.model.backbone import get_backbone

MIN_FEATURE_BATCH = 64  # samples of features predicted at a time: they take little memory


def eval_transform(cache: Cache) -> Transform | None:
    """The transform for validation and prediction: picks the features at 0°, or None if samples are used unchanged.

    Raises TrainerError where `cache` holds features for several angles and 0° is not among them.
    """
    if not cache.angles:
        return None
    if 0 not in cache.angles:
        raise TrainerError(
            f"{cache.path} holds features for angles {cache.angles} and none for 0°; make them again with "
            "`features --augment`"
        )
    return partial(_feature_set, cache.angles.index(0))


def train_transform(config: Config, cache: Cache) -> Callable[[int, np.ndarray, str], np.ndarray] | None:
    """The transform for training: (epoch, stored sample, id) → augmented sample, or None if samples are used unchanged.

    Raises TrainerError where `config` asks for augmentation that cached features do not have.
    """
    if not config.augmentation:
        plain = eval_transform(cache)
        return None if plain is None else lambda epoch, stored, name: plain(stored, name)
    if cache.kind != "features":
        return partial(_augmented, config)
    if config.augmentation != ("rotation",) or tuple(cache.angles) != ANGLES:
        angles = ", ".join(f"{angle:g}°" for angle in cache.angles or (0,))
        raise TrainerError(
            f"{cache.path} holds features for {angles} only, so --augment by {', '.join(config.augmentation)} is not "
            "possible; run `features --augment`, and train with --augment by rotation alone"
        )
    return partial(_random_angle, config)


def prediction_batch(config: Config, cache: Cache) -> int:
    """Samples in a batch for prediction: at least 64 where `cache` holds features."""
    return max(config.batch_size, MIN_FEATURE_BATCH) if cache.kind == "features" else config.batch_size


def check_side(cache: Cache, backbone: str) -> None:
    """Raises TrainerError where the slices of `cache`, a cache of volumes, are too small for `backbone`."""
    min_side = get_backbone(backbone).min_side
    if min(cache.shape[1:]) < min_side:
        raise TrainerError(
            f"{cache.path} has slices of {cache.shape[1]}×{cache.shape[2]} px, backbone {backbone} takes "
            f"{min_side}×{min_side} or more; preprocess to a larger --height --width"
        )


def _augmented(config: Config, epoch: int, stored: np.ndarray, name: str) -> np.ndarray:
    return augment(stored, config.augmentation, sample_rng(config.seed, epoch, name))


def _random_angle(config: Config, epoch: int, stored: np.ndarray, name: str) -> np.ndarray:
    return np.asarray(stored[sample_rng(config.seed, epoch, name).integers(len(ANGLES))])


def _feature_set(number: int, stored: np.ndarray, name: str) -> np.ndarray:
    return np.asarray(stored[number])
