"""Keras runs on the chosen backend regardless of the user's keras.json; messages of a crash are shown."""

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
PROGRAM = """
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


def test_the_users_keras_json_is_ignored_and_tensorflow_prints_no_warnings(tmp_path):
    settings = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float16", "epsilon": 1e-7}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=environment | {"KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert (result.stderr, result.returncode) == ("", 0)
    assert result.stdout.splitlines() == [
        "TensorFlow",
        "tensorflow channels_last float32",
        "False",
        "15775568",
        "False",
    ]


def test_gpus_are_configured_before_any_other_tensorflow_call(monkeypatch):
    import keras
    import tensorflow as tf

    backend.start()
    calls = []
    config = tf.config
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: calls.append("list") or ["gpu 0", "gpu 1"])
    monkeypatch.setattr(config, "list_logical_devices", lambda kind=None: calls.append("start"))
    monkeypatch.setattr(config.experimental, "set_memory_growth", lambda gpu, grow: calls.append((gpu, grow)))
    monkeypatch.setattr(keras.utils, "set_random_seed", lambda seed: calls.append("seed"))
    monkeypatch.setattr(tf, "constant", lambda value: calls.append("compute") or value)
    assert backend.start().endswith(" on 2 × GPU")
    assert calls[:5] == ["list", ("gpu 0", True), ("gpu 1", True), "seed", "compute"]


@pytest.mark.parametrize("reason", [RuntimeError, ValueError])
def test_gpus_are_not_configured_if_a_notebook_has_started_tensorflow(monkeypatch, reason):
    import tensorflow as tf

    def fail(gpu, grow):
        raise reason("cannot be modified after being initialized")

    backend.start()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", fail)
    assert backend.start().endswith(" on GPU")


# Output of native libraries

LOADING = """
import ctypes, os, sys
from trainer import backend

with backend.quiet_stderr("Nonsense"):
    os.write(2, b"from the library\\n")
    {}
print("loaded")
"""
MESSAGE = "Nonsense failed to load. Its own messages:\nfrom the library\n"


def python(code, **options):
    arguments = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 60} | options
    return subprocess.run([sys.executable, "-c", code], check=False, **arguments)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("ctypes.CDLL(None).exit(7)", 7),
        ("os._exit(1)", 1),
        ("ctypes.CDLL(None).abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), 11)", -signal.SIGSEGV),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
    ],
)
def test_output_of_a_library_is_shown_if_the_process_dies(statement, code):
    result = python(LOADING.format(statement))
    assert (result.returncode, result.stdout, result.stderr) == (code, "", MESSAGE)


def test_output_of_a_library_is_shown_after_an_exception():
    result = python(LOADING.format("raise SystemExit('an error')"))
    assert (result.returncode, result.stderr) == (1, f"{MESSAGE}an error\n")


def test_output_of_a_library_is_hidden_after_success_and_ctrl_c():
    assert (python(LOADING.format("pass")).stderr, python(LOADING.format("pass")).stdout) == ("", "loaded\n")
    stopped = python(LOADING.format("os.kill(os.getpid(), 2)"))
    assert "from the library" not in stopped.stderr


def test_without_stderr_or_tail_no_output_is_hidden(monkeypatch, capfd):
    closed = python(f"import os; os.close(2)\n{LOADING.format('pass')}".replace("os.write", "(lambda *_: 0)"))
    assert (closed.returncode, closed.stdout) == (0, "loaded\n")
    monkeypatch.setenv("PATH", "/nowhere")
    with backend.quiet_stderr("Nonsense"):
        os.write(2, b"from the library\n")
    assert capfd.readouterr().err == "from the library\n"


def test_the_message_of_tensorflow_about_a_wrong_flag_is_shown(tmp_path):
    command = [sys.executable, "cli.py", "train", "pretrain", tmp_path / "clips.zarr", tmp_path / "run"]
    environment = os.environ | {"TF_XLA_FLAGS": "--nonsense", "KERAS_BACKEND": "tensorflow"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250)
    assert result.returncode not in (0, 2)
    assert "Unknown flag in TF_XLA_FLAGS: --nonsense" in result.stderr
    assert not (tmp_path / "run").exists()


# KERAS_BACKEND


@pytest.mark.parametrize("name", ["torch", "numpy", "tensrflow", "TensorFlow"])
def test_an_unsupported_backend_is_rejected_before_anything_is_written(tmp_path, monkeypatch, name):
    monkeypatch.setenv("KERAS_BACKEND", name)
    assert error(cli("train", "pretrain", tmp_path / "clips.zarr", tmp_path / "run")) == (
        f"Error: KERAS_BACKEND is {name!r}; expected tensorflow or jax; set it to one of the two, or unset it\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_is_not_installed_is_an_error_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(TrainerError, match=r"^jax is not installed, .* install it with `pip install jax`, or set"):
        backend.start()


def test_an_empty_keras_backend_means_tensorflow():
    code = "from trainer import backend; print(backend.with_tensorflow)"
    assert python(code, env=os.environ | {"KERAS_BACKEND": ""}).stdout == "True\n"


def test_ctrl_c_while_tensorflow_loads_is_handled_afterwards(monkeypatch):
    """TensorFlow may crash if an exception interrupts its import."""
    loaded = []

    def prepare(deterministic):
        signal.raise_signal(signal.SIGINT)
        loaded.append(True)

    monkeypatch.setattr(backend.library(), "prepare", prepare)
    with pytest.raises(KeyboardInterrupt):
        backend.start()
    assert loaded == [True]
