"""What becomes of a stored sample before the network sees it: changed by chance to learn from, as it is to be judged.

Volumes are turned, shifted or blurred. Features cannot be: there, one set for each angle was made beforehand, and
chance picks among them, the same angles as it would draw for volumes.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from cache import Cache
from trainer.config import Config
from trainer.data.augment import ANGLES, augment
from trainer.data.batches import draw
from trainer.data.stream import Transform
from trainer.errors import TrainerError
from trainer.model.viptt_net import LEAST_SIDE

FEATURES_AT_ONCE = 64


def as_they_are(cache: Cache) -> Transform | None:
    """For validation and prediction: None where samples need nothing, else the choice of those that are not turned."""
    if not cache.angles:
        return None
    if 0 not in cache.angles:
        raise TrainerError(
            f"{cache.path} has features of angles {cache.angles}; expected 0 degrees among them, make them with "
            "`features --augment`"
        )
    return partial(_set, cache.angles.index(0))


def by_chance(config: Config, cache: Cache) -> Callable[[int, np.ndarray, str], np.ndarray] | None:
    """For training: None where samples need nothing, else (epoch, stored sample, id) → what is learned."""
    if not config.augmentation:
        plain = as_they_are(cache)
        return None if plain is None else lambda epoch, stored, name: plain(stored, name)
    if cache.kind != "features":
        return partial(_changed, config)
    if config.augmentation != ("rotation",) or tuple(cache.angles) != ANGLES:
        raise TrainerError(
            f"--augment by {', '.join(config.augmentation)} on {cache.path}, which has features for angles "
            f"{cache.angles or (0,)}; make them with `features --augment`, and augment by rotation alone"
        )
    return partial(_any_angle, config)


def prediction_batch(config: Config, cache: Cache) -> int:
    """Samples at a time where nothing is learned: features take little memory."""
    return max(config.batch_size, FEATURES_AT_ONCE) if cache.kind == "features" else config.batch_size


def check_side(cache: Cache, backbone: str) -> None:
    """Raises TrainerError where the slices of `cache`, of volumes, are too small for `backbone`."""
    least = LEAST_SIDE[backbone]
    if min(cache.shape[1:]) < least:
        raise TrainerError(
            f"{cache.path} has slices of {cache.shape[1]}×{cache.shape[2]} px, backbone {backbone} takes "
            f"{least}×{least} or more; preprocess to a larger --height --width"
        )


def _changed(config: Config, epoch: int, stored: np.ndarray, name: str) -> np.ndarray:
    return augment(stored, config.augmentation, draw(config.seed, epoch, name))


def _any_angle(config: Config, epoch: int, stored: np.ndarray, name: str) -> np.ndarray:
    return np.asarray(stored[draw(config.seed, epoch, name).integers(len(ANGLES))])


def _set(number: int, stored: np.ndarray, name: str) -> np.ndarray:
    return np.asarray(stored[number])
