"""The number of slices at once follows from the memory of the device and an estimate near the measured peak."""

import keras
import pytest

from trainer.config import FINETUNE, PRETRAIN
from trainer.model.memory import fixed_block, slice_bytes, slices_at_once

DEPTH = 70
BFLOAT16 = {"precision": "mixed_bfloat16"}
# Peaks measured on an H100 with VGG-16 from random weights, batches of 2×70×224×224, all slices at once, in bytes.
PEAKS = [(FINETUNE, 19.7e9), (FINETUNE.replace(**BFLOAT16), 11.9e9), (PRETRAIN.replace(**BFLOAT16), 6.5e9)]


@pytest.fixture(scope="module")
def vgg16():
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=(224, 224, 3), pooling="avg")


@pytest.mark.parametrize(("config", "peak"), PEAKS)
def test_the_memory_estimate_is_0_to_15_percent_above_the_measured_peak(config, peak, vgg16):
    estimate = config.batch_size * DEPTH * slice_bytes(config, vgg16)
    assert peak <= estimate <= 1.15 * peak


@pytest.mark.parametrize(("config", "peak"), PEAKS)
def test_all_slices_are_processed_at_once_if_they_fit_and_otherwise_blocks_that_fit(config, peak, vgg16):
    assert slices_at_once(config, vgg16, DEPTH, int(1.5 * peak)) == 0
    for free in (4 << 30, int(0.6 * peak)):
        block = slices_at_once(config, vgg16, DEPTH, free)
        assert 0 < block < DEPTH
        assert config.batch_size * block * slice_bytes(config, vgg16) < 0.9 * free


def test_a_device_without_memory_gets_one_slice_at_a_time(vgg16):
    assert slices_at_once(FINETUNE, vgg16, DEPTH, 1 << 20) == 1


def test_on_a_cpu_blocks_have_a_fixed_size(vgg16):
    assert slices_at_once(FINETUNE, vgg16, DEPTH, None) == 5


@pytest.mark.parametrize("free", [None, 1 << 40])
def test_a_number_of_slices_chosen_by_the_user_is_not_changed(vgg16, free):
    assert slices_at_once(FINETUNE.replace(slices_per_step=9), vgg16, DEPTH, free) == 9


def test_blocks_of_smaller_slices_are_larger(vgg16):
    from trainer.model.backbone import get_backbone

    small = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    backbone = get_backbone("vgg16")
    assert fixed_block(backbone, small) == 49 * fixed_block(backbone, vgg16)
