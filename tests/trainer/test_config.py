"""A configuration is one of two presets with changes; invalid values are rejected in one line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.documents import annotations, choices
from trainer.config import AUGMENTATIONS, FINETUNE, PRETRAIN, Config
from trainer.errors import TrainerError

FROM_ONE = ("batch_size", "epochs", "plateau_patience", "stop_patience")
FROM_ZERO = ("seed", "slices_per_step")
NAMES = Config.__struct_fields__
CHOICES = {
    name: choices(note) for name, note in annotations(Config).items() if choices(note) and name != "augmentation"
}
VALID = [  # valid ones among the values tested below
    ("weights", "other"),
    ("learning_rate", 1.5),
    *((name, True) for name, value in FINETUNE.to_json().items() if type(value) is bool),
]
HUGE = pytest.param(10**400, id="huge")


@st.composite
def configs(sample):
    """Any valid configuration."""
    stage = sample(st.sampled_from([PRETRAIN, FINETUNE]))
    chosen = {name: sample(st.sampled_from(values)) for name, values in CHOICES.items() if name != "stage"}
    numbers = {name: sample(st.integers(1, 2**31 - 1)) for name in (*FROM_ONE, *FROM_ZERO)}
    flags = {name: sample(st.booleans()) for name in ("freeze_backbone", "class_weights", "jit_compile")}
    kinds = sample(st.lists(st.sampled_from(AUGMENTATIONS), unique=True)) if stage == FINETUNE else ()
    rate = sample(st.floats(0, 1e9, exclude_min=True))
    others = {"weights": sample(st.text(max_size=9)), "augmentation": tuple(kinds), "learning_rate": rate}
    return stage.replace(**chosen, **numbers, **flags, **others)


# -- the paper ---------------------------------------------------------------------------------------------------------


def test_both_stages_have_the_settings_of_the_paper():
    for stage in (PRETRAIN, FINETUNE):
        assert (stage.backbone, stage.weights, stage.rnn) == ("vgg16", "imagenet", "lstm")
        assert (stage.optimizer, stage.learning_rate, stage.batch_size) == ("sgd", 0.001, 2)
        assert (stage.plateau_factor, stage.plateau_patience, stage.stop_patience) == (0.1, 5, 8)
        assert (stage.validation_fraction, stage.class_weights, stage.augmentation) == (0.2, False, ())


def test_the_backbone_is_frozen_in_pretraining_only():
    assert (PRETRAIN.freeze_backbone, FINETUNE.freeze_backbone) == (True, False)


def test_pretraining_uses_clips_and_fine_tuning_scans():
    assert (PRETRAIN.kind, FINETUNE.kind) == ("video", "ct")


def test_a_configuration_is_immutable():
    with pytest.raises(AttributeError):
        PRETRAIN.seed = 1


# -- JSON --------------------------------------------------------------------------------------------------------------


@given(configs())
def test_a_configuration_is_unchanged_after_json(config):
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("key", "message"),
    [("class_weighty", "unknown key 'class_weighty'; did you mean 'class_weights'?"), ("zzz", "unknown key 'zzz'")],
)
def test_unknown_keys_are_rejected(key, message):
    data = FINETUNE.to_json() | {key: True}
    del data["class_weights"]
    with pytest.raises(TrainerError) as error:
        Config.from_json(data)
    assert str(error.value) == message


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [None, {}, [1], "other", -1, 1.5, True, float("inf"), float("nan"), HUGE])
def test_invalid_values_are_rejected(name, value):
    data = FINETUNE.to_json() | {name: value}
    if (name, value) in VALID:
        assert Config.from_json(data).to_json() == data
    else:
        with pytest.raises(TrainerError, match=f"^[^\\n]*{name}[^\\n]*$"):
            Config.from_json(data)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "precise_batch_norm"])  # added after runs of v1
def test_every_key_is_required(name):
    data = PRETRAIN.to_json()
    del data[name]
    with pytest.raises(TrainerError, match=f"^no key '{name}'$"):
        Config.from_json(data)


# -- invalid settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHOICES)
def test_an_unknown_choice_is_rejected_with_the_valid_ones(name):
    with pytest.raises(TrainerError) as error:
        FINETUNE.replace(**{name: "other"})
    assert str(error.value) == f"{name} 'other'; expected one of {', '.join(CHOICES[name])}"


@pytest.mark.parametrize("value", [0, -1, 1.0, True, 2**31, "2"])
@pytest.mark.parametrize("name", FROM_ONE)
def test_counts_are_integers_of_at_least_1(name, value):
    with pytest.raises(TrainerError) as error:
        FINETUNE.replace(**{name: value})
    assert str(error.value) == f"{name} {value!r}; expected a whole number, at least 1"


@pytest.mark.parametrize("value", [-1, 0.0, False, 2**31])
@pytest.mark.parametrize("name", FROM_ZERO)
def test_seed_and_slices_per_step_are_integers_of_at_least_0(name, value):
    assert getattr(FINETUNE.replace(**{name: 0}), name) == 0
    with pytest.raises(TrainerError) as error:
        FINETUNE.replace(**{name: value})
    assert str(error.value) == f"{name} {value!r}; expected a whole number, at least 0"


@pytest.mark.parametrize("rate", [0, -0.001, float("nan"), float("inf")])
def test_a_learning_rate_of_0_or_less_is_rejected(rate):
    with pytest.raises(TrainerError) as error:
        FINETUNE.replace(learning_rate=rate)
    assert str(error.value) == f"learning_rate {rate}; expected a number above 0"


@pytest.mark.parametrize("fraction", [0, 1, -0.2, float("nan")])
def test_a_validation_fraction_outside_0_and_1_is_rejected(fraction):
    with pytest.raises(TrainerError) as error:
        FINETUNE.replace(validation_fraction=fraction)
    assert str(error.value) == f"validation_fraction {fraction}; expected a number between 0 and 1"


@pytest.mark.parametrize("factor", [0, 1, 10.0, float("nan")])
def test_a_plateau_factor_that_does_not_lower_the_learning_rate_is_rejected(factor):
    with pytest.raises(TrainerError) as error:
        FINETUNE.replace(plateau_factor=factor)
    assert str(error.value) == f"plateau_factor {factor}; expected a number between 0 and 1"


def test_augmentation_is_rejected_for_clips():
    with pytest.raises(TrainerError) as error:
        PRETRAIN.replace(augmentation=("rotation",))
    assert str(error.value) == "augmentation is for fine-tuning only (ViPTT-Net §2.4); leave it out in pretraining"


def test_an_unknown_augmentation_is_rejected():
    with pytest.raises(TrainerError) as error:
        FINETUNE.replace(augmentation=("rotation", "flip"))
    assert "expected some of rotation, shift, blur" in str(error.value)


def test_the_defaults_of_pretraining_are_as_documented():
    assert PRETRAIN.to_json() == {
        "stage": "pretrain", "freeze_backbone": PRETRAIN.freeze_backbone, "backbone": "vgg16", "weights": "imagenet",
        "input_conv": "imagenet", "rnn": "lstm", "optimizer": "sgd", "learning_rate": 0.001, "batch_size": 2,
        "epochs": 100, "plateau_factor": 0.1, "plateau_patience": 5, "stop_patience": 8, "validation_fraction": 0.2,
        "class_weights": False, "augmentation": [], "seed": 0, "slices_per_step": 0, "precision": "float32",
        "jit_compile": False, "cached_features": False, "precise_batch_norm": False,
    }  # fmt: skip


def test_old_keys_and_values_of_config_json_are_read():
    data = FINETUNE.replace(input_conv="random", slices_per_step=3).to_json()
    old = {{"input_conv": "input_map", "slices_per_step": "frame_block"}.get(name, name): data[name] for name in data}
    assert Config.from_json(old | {"input_map": "glorot"}) == Config.from_json(data)
