"""Which backend Keras runs on, whatever the user's own keras.json asks for."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASKED = """
from trainer import backend

print(backend.start().split()[0])
import keras
from trainer.config import PRETRAIN
from trainer.model import build_model

print(keras.backend.backend(), keras.config.image_data_format(), keras.config.floatx())
import logging

print(logging.getLogger("tensorflow").isEnabledFor(logging.WARNING))
print(build_model(PRETRAIN, (2, 32, 32), 10).count_params())
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
        timeout=120,
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert ended.stdout.splitlines() == ["TensorFlow", "tensorflow channels_last float32", "False", "15775568"]
