"""A checkpoint restores a run exactly or is rejected without side effects; code in it is never run."""

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


def all_equal(actual, expected):
    return all(np.array_equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.fixture
def model():
    """A network after two steps, so that the state of Adam is not 0."""
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


# -- restoring ---------------------------------------------------------------------------------------------------------


def test_every_variable_of_model_and_optimizer_is_restored_exactly(model, path):
    expected = variables(model)
    names = [variable.path for variable in model.optimizer.variables]
    assert {"iteration", "learning_rate"} <= {name.rpartition("/")[2] for name in names}
    assert sum("momentum" in name or "velocity" in name for name in names) == 2 * len(model.trainable_weights)
    assert len(expected) == len(model.weights) + len(names)
    scramble(model)
    assert restore(path, model) == STATE
    assert all_equal(variables(model), expected)


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
    assert all_equal(variables(model), expected)


def test_the_full_network_is_restored(tmp_path):
    model, _ = small()
    step(model, 1)
    expected = variables(model)
    save(tmp_path / "c.npz", STATE, model)
    scramble(model)
    assert restore(tmp_path / "c.npz", model) == STATE
    assert all_equal(variables(model), expected)


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
    expected = variables(model)
    save(path, State(epoch=9), model)
    scramble(model)
    assert restore(path, model).epoch == 9
    assert all_equal(variables(model), expected)
    assert list(path.parent.iterdir()) == [path]


# -- rejecting ---------------------------------------------------------------------------------------------------------


def rejection(path, model):
    """The error message for a rejected checkpoint; asserts that it is one line and no variable has changed."""
    before = variables(model)
    with pytest.raises(TrainerError) as error:
        restore(path, model)
    assert str(error.value).startswith(f"{path} is not a checkpoint of this run (")
    assert str(error.value).endswith("); restore it, or start another run")
    assert "\n" not in str(error.value)
    assert all_equal(variables(model), before)
    return str(error.value)


@pytest.mark.parametrize("kept_bytes", [0, 1, 100, 0.3, 0.9, -1])
def test_a_truncated_checkpoint_is_rejected(kept_bytes, model, path):
    raw = path.read_bytes()
    path.write_bytes(raw[: int(kept_bytes * len(raw)) if isinstance(kept_bytes, float) else kept_bytes])
    rejection(path, model)


def test_a_flipped_bit_in_a_checkpoint_never_changes_a_value(model, path):
    raw, expected = path.read_bytes(), variables(model)
    generator = np.random.default_rng(0)
    for position in generator.integers(len(raw), size=150):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        try:
            restored = restore(path, model)
        except TrainerError:
            continue
        assert restored == STATE
        assert all_equal(variables(model), expected)


@pytest.mark.parametrize("raw", [b"not a checkpoint", b"PK\x03\x04", b"\x93NUMPY\x01\x00", pickle.dumps([1])])
def test_a_checkpoint_of_another_format_is_rejected(raw, model, path):
    path.write_bytes(raw)
    rejection(path, model)


def test_a_model_file_or_folder_is_rejected_as_a_checkpoint(model, tmp_path):
    _, full_model = plain()
    full_model.save(tmp_path / "model.keras")
    rejection(tmp_path / "model.keras", model)
    rejection(tmp_path, model)


def test_the_checkpoint_of_another_network_is_rejected(path, tmp_path):
    model, _ = small()
    assert "it holds other arrays" in rejection(path, model)


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
def test_a_checkpoint_with_other_members_is_rejected(change, model, path):
    changed = {name: array for name, array in (members(path) | change).items() if array is not None}
    np.savez(path, **changed)
    rejection(path, model)


class Trap:
    """Runs code when it is unpickled."""

    triggered = False

    def __reduce__(self):
        return setattr, (Trap, "triggered", True)


@pytest.mark.parametrize("name", ["state", "v0", "more"])
def test_a_pickle_in_a_checkpoint_is_never_loaded(name, model, path):
    Trap.triggered = False
    pickle.loads(pickle.dumps(Trap()))
    assert Trap.triggered  # the trap works
    Trap.triggered = False
    np.savez(path, allow_pickle=True, **members(path) | {name: np.array([Trap()], object)})
    assert ("it holds other arrays" if name == "more" else "allow_pickle=False") in rejection(path, model)
    raw = io.BytesIO()
    pickle.dump(Trap(), raw)
    path.write_bytes(raw.getvalue())
    rejection(path, model)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.npy", raw.getvalue())
    rejection(path, model)
    assert not Trap.triggered
