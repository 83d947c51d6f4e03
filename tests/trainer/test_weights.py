"""Initial weights come from where the user says, or one line tells what to do; no code in a file is ever run."""

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


def same(actual, expected):
    return all(np.array_equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.fixture(scope="module")
def backbone():
    """The VGG-16 of the network; each test loads other weights into it."""
    return build_model(PRETRAIN, (1, 32, 32), 2).get_layer("frames").backbone


@pytest.fixture(scope="module")
def vgg16():
    """Keras' own VGG-16 without its top, with random weights."""
    keras.utils.set_random_seed(11)
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=SIDE)


@pytest.fixture(scope="module")
def files(vgg16, tmp_path_factory):
    """Weights files: some that fit, and many that do not."""
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


# -- of the backbone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg16.weights.h5", "model.keras", "legacy.h5"])
def test_weights_that_keras_wrote_load_to_the_bit(name, backbone, vgg16, files):
    backbone.set_weights([np.zeros_like(array) for array in backbone.get_weights()])
    load_backbone(backbone, "vgg16", str(files / name))
    assert same(backbone.get_weights(), vgg16.get_weights())


def test_only_the_convolutions_of_a_file_with_dense_layers_are_loaded(backbone, tmp_path):
    full_model = keras.applications.VGG16(weights=None, classes=2, input_shape=SIDE)
    full_model.save_weights(tmp_path / "top.weights.h5")
    load_backbone(backbone, "vgg16", str(tmp_path / "top.weights.h5"))
    assert same(backbone.get_weights(), full_model.get_weights()[:26])


@pytest.mark.parametrize(
    "name",
    ["small.weights.h5", "small.keras", "half.weights.h5", "text.weights.h5", "text.h5", "text.keras", "empty.h5"],
)
def test_a_file_that_does_not_hold_the_weights_is_refused_in_one_line(name, backbone, files):
    with pytest.raises(TrainerError) as refused:
        load_backbone(backbone, "vgg16", str(files / name))
    assert str(refused.value).startswith(f"weights {files / name} are not those of VGG-16 without its top (")
    assert str(refused.value).endswith(f"); {WEIGHTS_HINT}")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300 + len(str(files / name))


@pytest.mark.parametrize("name", ["gone.h5", "folder.h5", ""])
def test_a_missing_weights_file_is_named(name, backbone, files):
    with pytest.raises(TrainerError) as refused:
        load_backbone(backbone, "vgg16", str(files / name))
    assert str(refused.value) == f"weights {files / name}: no such file; {WEIGHTS_HINT}"


def test_a_file_with_another_ending_is_refused(backbone, files):
    with pytest.raises(TrainerError) as refused:
        load_backbone(backbone, "vgg16", str(files / "text.txt"))
    expected = f"weights {files}/text.txt: expected a Keras weights file, .weights.h5 or .h5; {WEIGHTS_HINT}"
    assert str(refused.value) == expected


def test_imagenet_without_a_network_is_one_line_with_a_hint_and_prints_nothing(backbone, monkeypatch, capsys):
    def fails(*_, **__):
        print("Downloading data from https://host/vgg16.h5")
        raise Exception("URL fetch failure on https://host/vgg16.h5: None -- [Errno -2] Name or\nservice not known")

    monkeypatch.setattr(keras.applications, "VGG16", fails)
    with pytest.raises(TrainerError) as refused:
        load_backbone(backbone, "vgg16", "imagenet")
    reason = "URL fetch failure on https://host/vgg16.h5: None -- [Errno -2] Name or service not known"
    assert str(refused.value) == f"cannot download the ImageNet weights of VGG-16 ({reason}); {WEIGHTS_HINT}"
    assert capsys.readouterr().out == ""


def test_imagenet_weights_are_those_of_keras_without_the_top(backbone, vgg16, monkeypatch):
    calls = []
    monkeypatch.setattr(keras.applications, "VGG16", lambda **options: calls.append(options) or vgg16)
    load_backbone(backbone, "vgg16", "imagenet")
    assert same(backbone.get_weights(), vgg16.get_weights())
    assert calls == [{"include_top": False, "weights": "imagenet", "input_shape": SIDE, "pooling": "avg"}]


def test_none_keeps_the_random_weights_of_the_seed(backbone):
    before = backbone.get_weights()
    load_backbone(backbone, "vgg16", "none")
    assert same(backbone.get_weights(), before)


@pytest.mark.parametrize("weights", ["imagenet", "some.h5"])
def test_the_small_backbone_has_no_weights_to_load(weights):
    _, full_model = small()
    with pytest.raises(TrainerError) as refused:
        load_backbone(full_model.get_layer("frames").backbone, "small", weights)
    assert str(refused.value).startswith(f"weights {weights!r} with backbone small")


# -- of a run ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    _, full_model = small()
    path = tmp_path_factory.mktemp("model") / "model.keras"
    full_model.save(path)
    return path


def other_weights():
    return build_model(SMALL.replace(seed=9), CLIP, 2)


def test_a_runs_weights_load_to_the_bit(model_file):
    model = other_weights()
    load_model(model, model_file)
    assert same(model.get_weights(), small()[1].get_weights())


def refused_in_one_line(model, path):
    with pytest.raises(TrainerError) as refused:
        load_model(model, path)
    assert str(refused.value).startswith(f"{path} does not hold this run's weights (")
    assert str(refused.value).endswith("); restore it from a copy, or train again")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("left", [0, 1, 100, 0.5, 0.999, -1])
def test_a_truncated_file_is_refused(left, model_file, tmp_path):
    raw = model_file.read_bytes()
    path = tmp_path / "model.keras"
    path.write_bytes(raw[: int(left * len(raw)) if isinstance(left, float) else left])
    refused_in_one_line(other_weights(), path)


def test_no_flipped_bit_becomes_a_wrong_weight(model_file, tmp_path):
    raw, path = model_file.read_bytes(), tmp_path / "model.keras"
    model, generator = other_weights(), np.random.default_rng(0)
    for place in (*generator.integers(len(raw), size=30), *range(len(raw) - 20, len(raw))):
        broken = bytearray(raw)
        broken[place] ^= 1 << generator.integers(8)
        path.write_bytes(broken)
        try:
            load_model(model, path)
        except TrainerError:
            continue
        assert same(model.get_weights(), small()[1].get_weights())


def test_the_weights_of_another_model_are_refused(model_file, tmp_path):
    _, full_model = plain()
    full_model.save(tmp_path / "model.keras")
    refused_in_one_line(other_weights(), tmp_path / "model.keras")
    refused_in_one_line(build_model(SMALL, CLIP, 3), model_file)
    refused_in_one_line(build_model(SMALL.replace(rnn="gru"), CLIP, 2), model_file)
    refused_in_one_line(build_model(FINETUNE.replace(weights="none"), (4, 32, 32), 2), model_file)


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
    refused_in_one_line(other_weights(), tmp_path / "gone.keras")
    (tmp_path / "model.keras").mkdir()
    refused_in_one_line(other_weights(), tmp_path / "model.keras")


# -- code in files -----------------------------------------------------------------------------------------------------


def with_config(model_file, path, config):
    """A copy of the weights file of a run, with another `config` in it."""
    with zipfile.ZipFile(model_file) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, config if name == "config.json" else source.read(name))


def test_code_in_a_model_file_is_not_run(model_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the trap writes into the current folder
    trap = tmp_path / "sprung"
    spring = keras.layers.Lambda(lambda x: (open("sprung", "w").close(), x)[1])  # noqa: PTH123
    bait = keras.Sequential([keras.Input((2,)), spring])
    bait.save(tmp_path / "bait.keras")
    trap.unlink()
    keras.saving.load_model(tmp_path / "bait.keras", safe_mode=False)
    assert trap.exists()  # the trap works where Keras trusts the file
    trap.unlink()
    with zipfile.ZipFile(tmp_path / "bait.keras") as archive:
        config = archive.read("config.json")
    with_config(model_file, tmp_path / "model.keras", config)
    model = other_weights()
    load_model(model, tmp_path / "model.keras")
    refused_in_one_line(model, tmp_path / "bait.keras")
    assert same(model.get_weights(), small()[1].get_weights())
    assert not trap.exists()


@pytest.mark.parametrize(
    "config", ["", "{", "[]", '{"module": "os", "class_name": "system", "config": {"command": "false"}}']
)
def test_the_network_description_in_a_model_file_is_not_read(config, model_file, tmp_path):
    with_config(model_file, tmp_path / "model.keras", config)
    model = other_weights()
    load_model(model, tmp_path / "model.keras")
    assert same(model.get_weights(), small()[1].get_weights())


# -- from one run to the next ------------------------------------------------------------------------------------------


def test_all_layers_but_the_last_are_copied_from_another_run():
    parent, child = other_weights(), build_model(SMALL, CLIP, 5)
    own = child.get_layer("classes").get_weights()
    copy_weights(child, parent)
    assert same(child.get_weights()[:-2], parent.get_weights()[:-2])
    assert same(child.get_layer("classes").get_weights(), own)
    assert len(child.get_weights()) == len(parent.get_weights())
