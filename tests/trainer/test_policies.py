"""Every command works with each number format, RNN and backend."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cache import open_cache
from tests.helpers.caches import make_cache, tiny_attributes
from tests.helpers.commands import cli
from tests.helpers.networks import make_clips

ROOT = Path(__file__).resolve().parents[2]
SIZE = ("--epochs", 1, "--backbone", "small", "--batch-size", 4, "--quiet")
SHAPE = (4, 16, 16)


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")
    return make_clips(folder / "clips.zarr"), make_cache(folder / "ct.zarr", 12, tiny_attributes("uint16", SHAPE, "ct"))


def succeed(*words):
    result = cli(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("rnn", ["lstm", "gru"])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_every_command_works(precision, rnn, caches, tmp_path):
    clips, scans = caches
    options = ("--precision", precision, *SIZE)
    succeed("train", "pretrain", clips, tmp_path / "pretrained", "--rnn", rnn, *options)
    tuned = ("--epochs", 1, "--batch-size", 4, "--precision", precision, "--augment", "--class-weights", "--quiet")
    succeed("train", "finetune", scans, tmp_path / "tuned", "--from", tmp_path / "pretrained", *tuned)
    succeed("features", scans, tmp_path / "features.zarr", "--from", tmp_path / "tuned", "--quiet")
    assert np.isfinite(open_cache(tmp_path / "features.zarr")["s0"]).all()
    head = ("train", "finetune", scans, tmp_path / "head", "--from", tmp_path / "tuned")
    succeed(*head, "--features", tmp_path / "features.zarr", "--freeze-backbone", "--epochs", 1, "--quiet")
    scores = json.loads(succeed("evaluate", tmp_path / "tuned", scans, "--json"))
    assert scores["n"] > 0
    succeed("predict", tmp_path / "head", scans, tmp_path / "out.csv", "--probabilities")
    rows = (tmp_path / "out.csv").read_text().splitlines()
    assert len(rows) == 12


@pytest.mark.parametrize("case", ["mixed_bfloat16-lstm", pytest.param("", marks=pytest.mark.slow)])
def test_every_command_works_on_jax(case):
    pytest.importorskip("jax")
    if os.environ.get("KERAS_BACKEND") == "jax":
        pytest.skip("the tests already run on JAX")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
    command += [
        "-k",
        f"test_every_command_works and not on_jax and {case or 'test'}",
        "-W",
        "ignore::DeprecationWarning",
    ]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stdout[-3000:]
    assert f"{1 if case else 4} passed" in result.stdout
