"""Weights are loaded exactly or rejected in one line with a remedy; code in a file is never run."""

import zipfile

import keras
import numpy as np
import pytest

from tests.helpers.networks import CLIP, SMALL, plain, small
from trainer.config import FINETUNE, PRETRAIN
from trainer.errors import TrainerError
from trainer.model.viptt_net import build_model
from trainer.model.weights import WEIGHTS_HINT, copy_weights, load_backbone, load_model

SIDE = (32, 32, 3)


def all_equal(actual, expected):
    return all(np.array_equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.fixture(scope="module")
def backbone():
    """The VGG-16 of the network; each test loads other weights into it."""
    return build_model(PRETRAIN, (1, 32, 32), 2).get_layer("frames").backbone


@pytest.fixture(scope="module")
def vgg16():
    """The VGG-16 of Keras without its top, with random weights."""
    keras.utils.set_random_seed(11)
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=SIDE)


@pytest.fixture(scope="module")
def files(vgg16, tmp_path_factory):
    """Valid and invalid weights files."""
    folder = tmp_path_factory.mktemp("weights")
    vgg16.save_weights(folder / "vgg16.weights.h5")
    vgg16.save(folder / "model.keras")
    vgg16.save(folder / "legacy.h5")
    _, other = small()
    other.save_weights(folder / "small.weights.h5")
    other.save(folder / "small.keras")
    intact = (folder / "vgg16.weights.h5").read_bytes()
    (folder / "half.weights.h5").write_bytes(intact[: len(intact) // 2])
    for name in ("text.weights.h5", "text.h5", "text.keras", "text.txt"):
        (folder / name).write_text("not weights")
    (folder / "empty.h5").touch()
    (folder / "folder.h5").mkdir()
    return folder


# -- backbones ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg16.weights.h5", "model.keras", "legacy.h5"])
def test_weights_files_of_keras_load_exactly(name, backbone, vgg16, files):
    backbone.set_weights([np.zeros_like(array) for array in backbone.get_weights()])
    load_backbone(backbone, "vgg16", str(files / name))
    assert all_equal(backbone.get_weights(), vgg16.get_weights())


def test_only_the_convolutions_of_a_file_with_dense_layers_are_loaded(backbone, tmp_path):
    full_model = keras.applications.VGG16(weights=None, classes=2, input_shape=SIDE)
    full_model.save_weights(tmp_path / "top.weights.h5")
    load_backbone(backbone, "vgg16", str(tmp_path / "top.weights.h5"))
    assert all_equal(backbone.get_weights(), full_model.get_weights()[:26])


@pytest.mark.parametrize(
    "name",
    ["small.weights.h5", "small.keras", "half.weights.h5", "text.weights.h5", "text.h5", "text.keras", "empty.h5"],
)
def test_a_file_without_the_expected_weights_is_rejected_in_one_line(name, backbone, files):
    with pytest.raises(TrainerError) as error:
        load_backbone(backbone, "vgg16", str(files / name))
    assert str(error.value).startswith(f"weights {files / name} are not those of VGG-16 without its top (")
    assert str(error.value).endswith(f"); {WEIGHTS_HINT}")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300 + len(str(files / name))


@pytest.mark.parametrize("name", ["gone.h5", "folder.h5", ""])
def test_a_missing_weights_file_is_an_error_with_its_path(name, backbone, files):
    with pytest.raises(TrainerError) as error:
        load_backbone(backbone, "vgg16", str(files / name))
    assert str(error.value) == f"weights {files / name}: no such file; {WEIGHTS_HINT}"


def test_a_weights_file_with_another_ending_is_rejected(backbone, files):
    with pytest.raises(TrainerError) as error:
        load_backbone(backbone, "vgg16", str(files / "text.txt"))
    expected = f"weights {files}/text.txt: expected a Keras weights file, .weights.h5 or .h5; {WEIGHTS_HINT}"
    assert str(error.value) == expected


def test_imagenet_weights_without_internet_give_a_one_line_error_and_print_nothing(backbone, monkeypatch, capsys):
    def fail(*_, **__):
        print("Downloading data from https://host/vgg16.h5")
        raise Exception("URL fetch failure on https://host/vgg16.h5: None -- [Errno -2] Name or\nservice not known")

    monkeypatch.setattr(keras.applications, "VGG16", fail)
    with pytest.raises(TrainerError) as error:
        load_backbone(backbone, "vgg16", "imagenet")
    reason = "URL fetch failure on https://host/vgg16.h5: None -- [Errno -2] Name or service not known"
    assert str(error.value) == f"cannot download the ImageNet weights of VGG-16 ({reason}); {WEIGHTS_HINT}"
    assert capsys.readouterr().out == ""


def test_imagenet_weights_equal_those_of_keras_without_the_top(backbone, vgg16, monkeypatch):
    calls = []
    monkeypatch.setattr(keras.applications, "VGG16", lambda **options: calls.append(options) or vgg16)
    load_backbone(backbone, "vgg16", "imagenet")
    assert all_equal(backbone.get_weights(), vgg16.get_weights())
    assert calls == [{"include_top": False, "weights": "imagenet", "input_shape": SIDE, "pooling": "avg"}]


def test_with_weights_none_the_initial_weights_are_kept(backbone):
    before = backbone.get_weights()
    load_backbone(backbone, "vgg16", "none")
    assert all_equal(backbone.get_weights(), before)


@pytest.mark.parametrize("weights", ["imagenet", "some.h5"])
def test_the_small_backbone_has_no_weights_to_load(weights):
    _, full_model = small()
    with pytest.raises(TrainerError) as error:
        load_backbone(full_model.get_layer("frames").backbone, "small", weights)
    assert str(error.value).startswith(f"weights {weights!r} with backbone small")


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    _, full_model = small()
    path = tmp_path_factory.mktemp("model") / "model.keras"
    full_model.save(path)
    return path


def other_weights():
    return build_model(SMALL.replace(seed=9), CLIP, 2)


def test_the_weights_of_a_run_load_exactly(model_file):
    model = other_weights()
    load_model(model, model_file)
    assert all_equal(model.get_weights(), small()[1].get_weights())


def assert_rejected_in_one_line(model, path):
    with pytest.raises(TrainerError) as error:
        load_model(model, path)
    assert str(error.value).startswith(f"{path} does not hold this run's weights (")
    assert str(error.value).endswith("); restore it from a copy, or train again")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kept_bytes", [0, 1, 100, 0.5, 0.999, -1])
def test_a_truncated_model_file_is_rejected(kept_bytes, model_file, tmp_path):
    raw = model_file.read_bytes()
    path = tmp_path / "model.keras"
    path.write_bytes(raw[: int(kept_bytes * len(raw)) if isinstance(kept_bytes, float) else kept_bytes])
    assert_rejected_in_one_line(other_weights(), path)


def test_a_flipped_bit_in_a_model_file_never_changes_a_weight(model_file, tmp_path):
    raw, path = model_file.read_bytes(), tmp_path / "model.keras"
    model, generator = other_weights(), np.random.default_rng(0)
    for position in (*generator.integers(len(raw), size=30), *range(len(raw) - 20, len(raw))):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        try:
            load_model(model, path)
        except TrainerError:
            continue
        assert all_equal(model.get_weights(), small()[1].get_weights())


def test_a_model_file_with_the_weights_of_another_network_is_rejected(model_file, tmp_path):
    _, full_model = plain()
    full_model.save(tmp_path / "model.keras")
    assert_rejected_in_one_line(other_weights(), tmp_path / "model.keras")
    assert_rejected_in_one_line(build_model(SMALL, CLIP, 3), model_file)
    assert_rejected_in_one_line(build_model(SMALL.replace(rnn="gru"), CLIP, 2), model_file)
    assert_rejected_in_one_line(build_model(FINETUNE.replace(weights="none"), (4, 32, 32), 2), model_file)


def test_a_missing_model_file_or_a_folder_is_rejected(tmp_path):
    assert_rejected_in_one_line(other_weights(), tmp_path / "gone.keras")
    (tmp_path / "model.keras").mkdir()
    assert_rejected_in_one_line(other_weights(), tmp_path / "model.keras")


# -- code in files -----------------------------------------------------------------------------------------------------


def with_config(model_file, path, config):
    """Copy a model file, and replace its configuration by `config`."""
    with zipfile.ZipFile(model_file) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, config if name == "config.json" else source.read(name))


def test_code_in_a_model_file_is_not_run(model_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the trap writes into the current folder
    trap = tmp_path / "triggered"
    trigger = keras.layers.Lambda(lambda x: (open("triggered", "w").close(), x)[1])  # noqa: PTH123
    network = keras.Sequential([keras.Input((2,)), trigger])
    network.save(tmp_path / "trap.keras")
    trap.unlink()
    keras.saving.load_model(tmp_path / "trap.keras", safe_mode=False)
    assert trap.exists()  # the trap works if Keras trusts the file
    trap.unlink()
    with zipfile.ZipFile(tmp_path / "trap.keras") as archive:
        config = archive.read("config.json")
    with_config(model_file, tmp_path / "model.keras", config)
    model = other_weights()
    load_model(model, tmp_path / "model.keras")
    assert_rejected_in_one_line(model, tmp_path / "trap.keras")
    assert all_equal(model.get_weights(), small()[1].get_weights())
    assert not trap.exists()


@pytest.mark.parametrize(
    "config", ["", "{", "[]", '{"module": "os", "class_name": "system", "config": {"command": "false"}}']
)
def test_the_network_description_in_a_model_file_is_not_read(config, model_file, tmp_path):
    with_config(model_file, tmp_path / "model.keras", config)
    model = other_weights()
    load_model(model, tmp_path / "model.keras")
    assert all_equal(model.get_weights(), small()[1].get_weights())


# -- from run to run ---------------------------------------------------------------------------------------------------


def test_all_layers_except_the_last_are_copied_from_a_parent():
    parent, child = other_weights(), build_model(SMALL, CLIP, 5)
    initial = child.get_layer("classes").get_weights()
    copy_weights(child, parent)
    assert all_equal(child.get_weights()[:-2], parent.get_weights()[:-2])
    assert all_equal(child.get_layer("classes").get_weights(), initial)
    assert len(child.get_weights()) == len(parent.get_weights())
