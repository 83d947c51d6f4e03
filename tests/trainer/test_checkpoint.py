"""A checkpoint restores a run to the bit, or is refused completely; no code in it is ever run."""

import dataclasses
import io
import json
import pickle
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.networks import CLIP, assign, plain, small, variables
from trainer.errors import TrainerError
from trainer.training.checkpoint import State, restore, save

COUNTERS = {"plateau": {"best": 0.1 + 0.2, "wait": 3}, "stop": {"best": 1e-300, "wait": 0, "best_epoch": 2}}
STATE = State(3, 2, 4, 0.1 + 0.2, 3.0, COUNTERS, [{"epoch": 1, "loss": 1 / 3}], [{"epoch": 1, "seconds": 0.5}], "")
CHANGES = ("epoch", "step", "seen", "losses", "correct", "counters", "history", "timings", "stopped")


def step(model, number):
    """One training step on clips generated from `number`."""
    generator = np.random.default_rng(number)
    values = generator.integers(0, 256, (2, *CLIP), np.uint8)
    model.reset_metrics()
    return model.train_on_batch(values, np.array([0, 1], np.int32), np.array([1.5, 0.5], np.float32))


def scramble(model):
    assign(model, [np.full_like(values, 7) for values in variables(model)])


def same(actual, expected):
    return all(np.array_equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.fixture
def model():
    """A network after two steps: no state of Adam is 0."""
    model, _ = plain()
    step(model, 1)
    step(model, 2)
    return model


@pytest.fixture
def path(model, tmp_path):
    save(tmp_path / "checkpoint.npz", STATE, model)
    return tmp_path / "checkpoint.npz"


def members(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def test_a_checkpoint_of_an_earlier_version_gives_the_same_state(model, path):
    arrays = members(path)
    state = json.loads(arrays["state"].tobytes())
    state["hits"] = state.pop("correct")
    state["timings"] = [{"epoch": 1, "seconds": 0.5, "stalled": 0.25}]
    np.savez(path, **arrays | {"state": np.frombuffer(json.dumps(state).encode(), np.uint8)})
    restored = restore(path, model)
    assert restored.timings == [{"epoch": 1, "seconds": 0.5, "data_wait": 0.25}]
    assert dataclasses.replace(restored, timings=STATE.timings) == STATE


# -- restored ----------------------------------------------------------------------------------------------------------


def test_every_variable_of_model_and_optimizer_is_restored_to_the_bit(model, path):
    expected = variables(model)
    names = [variable.path for variable in model.optimizer.variables]
    assert {"iteration", "learning_rate"} <= {name.rpartition("/")[2] for name in names}
    assert sum("momentum" in name or "velocity" in name for name in names) == 2 * len(model.trainable_weights)
    assert len(expected) == len(model.weights) + len(names)
    scramble(model)
    assert restore(path, model) == STATE
    assert same(variables(model), expected)


def test_a_lowered_learning_rate_is_restored(model, tmp_path):
    model.optimizer.learning_rate = 1e-5
    save(tmp_path / "c.npz", State(), model)
    model.optimizer.learning_rate = 1e-3
    restore(tmp_path / "c.npz", model)
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == np.float32(1e-5)


def test_training_continues_as_if_it_had_not_stopped(model, path):
    losses = [step(model, 3), step(model, 4)]
    expected = variables(model)
    scramble(model)
    restore(path, model)
    assert [step(model, 3), step(model, 4)] == losses
    assert same(variables(model), expected)


def test_the_full_network_is_restored(tmp_path):
    model, _ = small()
    step(model, 1)
    expected = variables(model)
    save(tmp_path / "c.npz", STATE, model)
    scramble(model)
    assert restore(tmp_path / "c.npz", model) == STATE
    assert same(variables(model), expected)


rows = st.lists(st.dictionaries(st.sampled_from(["epoch", "loss"]), st.floats(allow_nan=False)), max_size=3)


@settings(max_examples=30)
@given(
    st.builds(State, *[st.integers(0, 2**40)] * 3, *[st.floats(allow_nan=False)] * 2, history=rows, stopped=st.text())
)
def test_any_state_is_restored(tmp_path, state):
    model, _ = plain()
    save(tmp_path / "c.npz", state, model)
    assert restore(tmp_path / "c.npz", model) == state


def test_saving_again_replaces_the_file(model, path):
    step(model, 3)
    later = variables(model)
    save(path, State(epoch=9), model)
    scramble(model)
    assert restore(path, model).epoch == 9
    assert same(variables(model), later)
    assert list(path.parent.iterdir()) == [path]


# -- refused -----------------------------------------------------------------------------------------------------------


def refused(path, model):
    """The error of a refusal: one line, and no variable has changed."""
    before = variables(model)
    with pytest.raises(TrainerError) as error:
        restore(path, model)
    assert str(error.value).startswith(f"{path} is not a checkpoint of this run (")
    assert str(error.value).endswith("); restore it, or start another run")
    assert "\n" not in str(error.value)
    assert same(variables(model), before)
    return str(error.value)


@pytest.mark.parametrize("left", [0, 1, 100, 0.3, 0.9, -1])
def test_a_truncated_file_is_refused(left, model, path):
    raw = path.read_bytes()
    path.write_bytes(raw[: int(left * len(raw)) if isinstance(left, float) else left])
    refused(path, model)


def test_no_flipped_bit_changes_a_value(model, path):
    raw, expected = path.read_bytes(), variables(model)
    generator = np.random.default_rng(0)
    for place in generator.integers(len(raw), size=150):
        broken = bytearray(raw)
        broken[place] ^= 1 << generator.integers(8)
        path.write_bytes(broken)
        try:
            restored = restore(path, model)
        except TrainerError:
            continue
        assert restored == STATE
        assert same(variables(model), expected)


@pytest.mark.parametrize("raw", [b"not a checkpoint", b"PK\x03\x04", b"\x93NUMPY\x01\x00", pickle.dumps([1])])
def test_a_file_of_another_format_is_refused(raw, model, path):
    path.write_bytes(raw)
    refused(path, model)


def test_a_model_file_and_a_folder_are_refused(model, tmp_path):
    _, full_model = plain()
    full_model.save(tmp_path / "model.keras")
    refused(tmp_path / "model.keras", model)
    refused(tmp_path, model)


def test_the_checkpoint_of_another_network_is_refused(path, tmp_path):
    model, _ = small()
    assert "it holds other arrays" in refused(path, model)


@pytest.mark.parametrize(
    "change",
    [
        {"v0": None},
        {"v0": np.zeros(3, np.float32)},
        {"v99": np.zeros(3, np.float32)},
        {"v2": np.array("text")},
        {"v0": np.zeros((1024, 2), "U3")},
        {"v0": np.zeros((1024, 2), complex)},
        {"state": None},
        {"state": np.frombuffer(b"{", np.uint8)},
        {"state": np.frombuffer(b"[]", np.uint8)},
        {"state": np.frombuffer(b'{"unknown": 1}', np.uint8)},
        *({"state": np.frombuffer(json.dumps({name: [[]]}).encode(), np.uint8)} for name in CHANGES[:6]),
        {"state": np.frombuffer(b'{"stopped": 1}', np.uint8)},
    ],
)
def test_a_checkpoint_with_other_members_is_refused(change, model, path):
    changed = {name: array for name, array in (members(path) | change).items() if array is not None}
    np.savez(path, **changed)
    refused(path, model)


class Trap:
    """Runs code when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


@pytest.mark.parametrize("name", ["state", "v0", "more"])
def test_a_pickle_in_a_checkpoint_is_never_loaded(name, model, path):
    Trap.sprung = False
    pickle.loads(pickle.dumps(Trap()))
    assert Trap.sprung  # the trap works
    Trap.sprung = False
    np.savez(path, allow_pickle=True, **members(path) | {name: np.array([Trap()], object)})
    assert ("it holds other arrays" if name == "more" else "allow_pickle=False") in refused(path, model)
    raw = io.BytesIO()
    pickle.dump(Trap(), raw)
    path.write_bytes(raw.getvalue())
    refused(path, model)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.npy", raw.getvalue())
    refused(path, model)
    assert not Trap.sprung
