"""Every registered backbone matches its declaration and gives the same features for any number of slices at once."""

import keras
import numpy as np
import pytest

from cache.registry import names
from tests.helpers.networks import SMALL
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.model.backbone import PACKAGE, get_backbone
from trainer.model.frame_encoder import FrameEncoder, input_conv_layer
from trainer.model.viptt_net import build_model
from trainer.model.weights import load_backbone
from trainer.runs.plan import configure

NAMES = names(PACKAGE)
PREPROCESSING = {  # the preprocessing of Keras for gray images in 0..255
    "vgg16": lambda image: keras.applications.vgg16.preprocess_input(image.copy()),
    "resnet50": lambda image: keras.applications.resnet50.preprocess_input(image.copy()),
    "efficientnetv2b0": lambda image: (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    "small": lambda image: image / 255 - 0.5,
}
SHAPE = (5, 32, 32)


def volumes():
    return np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)


def encoder(name, block):
    keras.utils.set_random_seed(1)
    layer = FrameEncoder(name, "imagenet", block)
    layer.build((None, *SHAPE))
    return layer


# -- declarations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_matches_its_declaration(name):
    backbone = get_backbone(name)
    model = backbone.build((backbone.min_side, backbone.min_side, 3), None)
    assert model.output_shape == (None, backbone.channels)
    layers = [type(layer) for layer in model._flatten_layers()]
    assert (keras.layers.BatchNormalization in layers) == backbone.has_batch_norm
    assert backbone.has_imagenet_weights or backbone.defaults["weights"] == "none"


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_uses_the_defaults_of_its_backbone(name):
    config = configure("pretrain", {"backbone": name})
    assert config.backbone == name
    for key, value in get_backbone(name).defaults.items():
        assert getattr(config, key) == value


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_in_training_mode_is_deterministic(name):
    layer = encoder(name, 0)
    first, second = (keras.ops.convert_to_numpy(layer(volumes(), training=True)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_new_runs_of_small_recompute_batch_statistics_and_earlier_runs_do_not():
    config = configure("pretrain", {"backbone": "small"})
    earlier = {name: value for name, value in config.to_json().items() if name != "precise_batch_norm"}
    assert (config.precise_batch_norm, Config.from_json(earlier).precise_batch_norm) == (True, False)


# -- the 1×1 convolution -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_initial_input_convolution_equals_the_preprocessing_of_the_backbone(name):
    gray = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 16, 16, 1)
    values = keras.ops.convert_to_numpy(input_conv_layer(name, "imagenet")(gray))
    expected = PREPROCESSING[name](np.repeat(gray * np.float32(255), 3, axis=-1))
    np.testing.assert_allclose(values, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["vgg16", "small"])
def test_a_random_input_convolution_depends_only_on_the_seed(name):
    config = SMALL.replace(backbone=name, input_conv="random")
    first, same, different = (
        build_model(config.replace(seed=seed), SHAPE, 2).get_layer("frames").input_map.get_weights()[0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - different).max() > 0.01


# -- blocks of slices --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["inference", "frozen", "trained"])
@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_slices_give_the_features_of_all_slices_at_once(name, mode):
    outputs = []
    for block in (2, 0):
        layer = encoder(name, block)
        layer.backbone.trainable = mode != "frozen"
        outputs.append(keras.ops.convert_to_numpy(layer(volumes(), training=mode != "inference")))
    scale = max(1.0, float(np.abs(outputs[1]).max()))
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_slices_per_step_is_used_only_if_blocks_do_not_change_the_result(name):
    config = configure("finetune", {"backbone": name, "weights": "none", "slices_per_step": 2})
    for frozen in (True, False):
        block = build_model(config.replace(freeze_backbone=frozen), SHAPE, 2).get_layer("frames").block
        assert block == (2 if get_backbone(name).can_be_cut_into_blocks(frozen) else 0)


# -- weights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if get_backbone(name).has_imagenet_weights])
@pytest.mark.parametrize(
    "ending",
    ["weights.h5", pytest.param("h5", marks=pytest.mark.slow), pytest.param("keras", marks=pytest.mark.slow)],
)
def test_weights_of_every_backbone_load_exactly_from_a_file(name, ending, tmp_path):
    backbone = get_backbone(name)
    keras.utils.set_random_seed(3)
    source, target = (backbone.build((32, 32, 3), None) for _ in range(2))
    path = tmp_path / f"backbone.{ending}"
    (source.save_weights if ending == "weights.h5" else source.save)(path)
    load_backbone(target, name, str(path))
    assert all(np.array_equal(a, b) for a, b in zip(source.get_weights(), target.get_weights(), strict=True))


@pytest.mark.parametrize("name", [name for name in NAMES if get_backbone(name).has_imagenet_weights])
def test_a_failed_download_of_imagenet_weights_gives_a_one_line_error_with_the_alternative(name, monkeypatch):
    def fail(*_, **__):
        raise Exception("URL fetch failure:\nName or service not known")

    model = get_backbone(name).build((32, 32, 3), None)
    for module in ("vgg16", "resnet", "efficientnet_v2"):
        monkeypatch.setattr(f"keras.src.applications.{module}.file_utils.get_file", fail)
    with pytest.raises(TrainerError, match=r"cannot download .* \(URL fetch failure: Name .*--weights PATH") as error:
        load_backbone(model, name, "imagenet")
    assert "\n" not in str(error.value)
