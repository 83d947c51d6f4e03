"""Which backend Keras runs on, whatever the user's own keras.json asks for; and that no word of a crash is lost."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import cli, error
from trainer import backend
from trainer.errors import TrainerError

ROOT = Path(__file__).resolve().parents[2]
ASKED = """
from trainer import backend

print(backend.start().split()[0])
import keras
from trainer.config import PRETRAIN
from trainer.model.viptt_net import build_model

print(keras.backend.backend(), keras.config.image_data_format(), keras.config.floatx())
import logging

print(logging.getLogger("tensorflow").isEnabledFor(logging.WARNING))
print(build_model(PRETRAIN, (2, 32, 32), 10).count_params())
import sys

print("matplotlib" in sys.modules)
"""


def test_the_settings_of_other_programs_decide_nothing_and_tensorflow_keeps_its_advice(tmp_path):
    settings = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 1e-7}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    ended = subprocess.run(
        [sys.executable, "-c", ASKED],
        cwd=ROOT,
        env=environment | {"KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert ended.stdout.splitlines() == ["TensorFlow", "tensorflow channels_last float32", "False", "15775568", "False"]


def test_gpus_are_told_before_anything_else_is_done_with_tensorflow(monkeypatch):
    import keras
    import tensorflow as tf

    backend.start()
    calls = []
    config = tf.config
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: calls.append("list") or ["gpu 0", "gpu 1"])
    monkeypatch.setattr(config, "list_logical_devices", lambda kind=None: calls.append("start"))
    monkeypatch.setattr(config.experimental, "set_memory_growth", lambda card, grow: calls.append((card, grow)))
    monkeypatch.setattr(keras.utils, "set_random_seed", lambda seed: calls.append("seed"))
    monkeypatch.setattr(tf, "constant", lambda value: calls.append("compute") or value)
    assert backend.start().endswith(" on 2 GPU")
    assert calls == ["list", ("gpu 0", True), ("gpu 1", True), "seed", "compute"]


@pytest.mark.parametrize("reason", [RuntimeError, ValueError])
def test_where_a_notebook_has_started_tensorflow_gpus_stay_as_they_are(monkeypatch, reason):
    import tensorflow as tf

    def too_late(card, grow):
        raise reason("cannot be modified after being initialized")

    backend.start()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", too_late)
    assert backend.start().endswith(" on 1 GPU")


# What native libraries say

LOADING = """
import ctypes, os, sys
from trainer import backend

with backend.quiet_stderr("Nonsense"):
    os.write(2, b"from the library\\n")
    {}
print("loaded")
"""
SAID = "Nonsense failed to load. Its own messages:\nfrom the library\n"


def python(code, **options):
    given = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 60} | options
    return subprocess.run([sys.executable, "-c", code], check=False, **given)


@pytest.mark.parametrize(
    ("death", "code"),
    [
        ("ctypes.CDLL(None).exit(7)", 7),
        ("os._exit(1)", 1),
        ("ctypes.CDLL(None).abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), 11)", -signal.SIGSEGV),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
    ],
)
def test_what_a_library_says_as_the_process_dies_reaches_the_user(death, code):
    ended = python(LOADING.format(death))
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", SAID)


def test_what_a_library_says_before_an_exception_reaches_the_user():
    ended = python(LOADING.format("raise SystemExit('so it ends')"))
    assert (ended.returncode, ended.stderr) == (1, f"{SAID}so it ends\n")


def test_what_a_library_says_is_no_concern_where_all_is_well_or_the_user_stopped():
    assert (python(LOADING.format("pass")).stderr, python(LOADING.format("pass")).stdout) == ("", "loaded\n")
    stopped = python(LOADING.format("os.kill(os.getpid(), 2)"))
    assert "from the library" not in stopped.stderr


def test_without_stderr_or_the_helper_nothing_is_held_back(monkeypatch, capfd):
    closed = python(f"import os; os.close(2)\n{LOADING.format('pass')}".replace("os.write", "(lambda *_: 0)"))
    assert (closed.returncode, closed.stdout) == (0, "loaded\n")
    monkeypatch.setenv("PATH", "/nowhere")
    with backend.quiet_stderr("Nonsense"):
        os.write(2, b"from the library\n")
    assert capfd.readouterr().err == "from the library\n"


def test_a_flag_that_tensorflow_refuses_is_said_in_its_own_words(tmp_path):
    command = [sys.executable, "cli.py", "train", "pretrain", tmp_path / "clips.zarr", tmp_path / "run"]
    environment = os.environ | {"TF_XLA_FLAGS": "--nonsense", "KERAS_BACKEND": "tensorflow"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250)
    assert ended.returncode not in (0, 2)
    assert "Unknown flag in TF_XLA_FLAGS: --nonsense" in ended.stderr
    assert not (tmp_path / "run").exists()


# KERAS_BACKEND


@pytest.mark.parametrize("name", ["torch", "numpy", "tensrflow", "TensorFlow"])
def test_a_backend_that_this_project_does_not_run_on_is_refused_before_run_is_touched(tmp_path, monkeypatch, name):
    monkeypatch.setenv("KERAS_BACKEND", name)
    assert error(cli("train", "pretrain", tmp_path / "clips.zarr", tmp_path / "run")) == (
        f"Error: KERAS_BACKEND is {name!r}; expected tensorflow or jax; set it to one of the two, or unset it\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(TrainerError, match=r"^jax is not installed, .* install it with `pip install jax`, or set"):
        backend.start()


def test_an_empty_backend_is_as_good_as_none():
    code = "from trainer import backend; print(backend.with_tensorflow)"
    assert python(code, env=os.environ | {"KERAS_BACKEND": ""}).stdout == "True\n"


def test_ctrl_c_while_tensorflow_loads_is_handled_once_it_has(monkeypatch):
    """TensorFlow may crash where an exception ends its import."""
    loaded = []

    def cards():
        signal.raise_signal(signal.SIGINT)
        loaded.append(True)
        return []

    monkeypatch.setattr(backend, "_cards", cards)
    with pytest.raises(KeyboardInterrupt):
        backend.start()
    assert loaded == [True]
