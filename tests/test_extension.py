"""One new backbone, source format, executor, metric, depth selection, sampling or command is one new file.

Each test puts one file into a folder that its registry also searches, and uses it through the command line.
"""

import importlib
import json
import sys
import textwrap

import numpy as np
import pytest

import pipeline.sources.format
from cache import open_cache
from tests.helpers.clips import write_xvid
from tests.helpers.commands import SMALL, cli, info_json, read_json
from tests.helpers.runs import make_clips
from tests.helpers.scans import write_scan

BACKBONE = '''
"""A convolution and a mean."""

from trainer.model.backbone import Backbone


def build(shape, weights):
    import keras

    image = keras.Input(shape)
    features = keras.layers.Conv2D(4, 3, activation="relu")(image)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(features))


BACKBONE = Backbone(
    title="dummy",
    build=build,
    input_scale=(1.0, 1.0, 1.0),
    input_offset=(0.0, 0.0, 0.0),
    channels=4,
    min_side=3,
    has_imagenet_weights=False,
    defaults={"weights": "none", "freeze_backbone": False},
)
'''

FORMAT = '''
"""Volumes in `.npy` files: float arrays (depth, height, width) in [0, 1]."""

from typing import Annotated, ClassVar

from msgspec import Meta

from cache.fingerprint import digest_files
from pipeline.errors import InvalidInput
from pipeline.recipes.base import VERSION, Dtype, Recipe, Sample
from pipeline.sources.format import Format
from pipeline.sources.ids import with_unique_ids
from pipeline.sources.lookalikes import lookalikes
from pipeline.sources.records import Inputs, make_record, split_ending
from pipeline.sources.walk import walk

ENDINGS = (".npy",)


class NpyRecipe(Recipe, frozen=True):
    """Arrays as they are stored, optionally inverted."""

    kind: ClassVar[str] = "npy"
    invert: Annotated[bool, Meta(description="Store 1 - value.")] = False
    dtype: Annotated[Dtype, Meta(description="How values are stored.")] = "uint16"

    def to_json(self):
        return {"kind": self.kind, "version": VERSION} | {name: getattr(self, name) for name in self.__struct_fields__}

    @classmethod
    def from_json(cls, data):
        return cls(**{name: data[name] for name in cls.__struct_fields__})

    def make(self, paths):
        import numpy as np

        values = np.load(paths[0], allow_pickle=False)
        shape = (self.depth, self.height, self.width)
        if values.shape != shape:
            raise InvalidInput(f"an array of shape {values.shape}", f"{shape}", "resample it")
        values = np.float32(1 - values if self.invert else values)
        return Sample(values, digest_files(paths), {"notes": [], "flags": []})


def find(root, skip=None, class_names=None, cached_classes=(), max_files=None):
    found = walk(root, lookalikes("npy"), skip, max_files)
    records = [make_record(root, split_ending(file, ENDINGS)[0], (file,)) for file in found.files]
    return Inputs(with_unique_ids(records), found.excluded, others=found.others)


FORMAT = Format(
    kind="npy",
    noun="array",
    endings=ENDINGS,
    find=find,
    recipe=NpyRecipe,
    summary="Store every .npy volume below SOURCE in CACHE.",
    example="preprocess npy ARRAYS arrays.zarr",
    class_names=("one", "two"),
)
'''

EXECUTOR = '''
"""Tasks in reverse order, in this process."""

from contextlib import nullcontext


def backwards(work, tasks):
    for task in reversed(list(tasks)):
        yield [(task, work(task))]


def EXECUTOR(settings):
    return nullcontext(backwards)
'''

METRIC = '''
"""The error rate."""

from trainer.evaluation.metric import Metric
from trainer.evaluation.tally import ratio, tally_of


def error_rate(confusion):
    tally = tally_of(confusion)
    return ratio(tally.total - tally.total_correct, tally.total)


METRIC = Metric("error rate", 9, of_tally=error_rate)
'''

DEPTH = '''
"""The lowest slices of a scan."""

import numpy as np


def DEPTH(n_in, n_out, order, mode):
    return np.eye(n_out, n_in)
'''

SAMPLING = '''
"""The first frame, again and again."""

from pipeline.transforms.frames import Sampling, pick_frames


def _fill(clip, _count, frames):
    pick_frames(clip, [0], frames[:1], stop=1)
    frames[1:] = frames[0]
    return len(frames)


SAMPLING = Sampling(_fill, reads_to_end=False)
'''

COMMAND = '''
"""`count`: the number of samples in a cache."""

from pathlib import Path

import click


@click.command()
@click.argument("cache", type=Path)
def count(cache):
    """Print the number of samples in CACHE."""
    from cache import open_cache

    click.echo(len(open_cache(cache)))


COMMAND = count
'''


@pytest.fixture
def add(tmp_path, monkeypatch):
    """A function that adds the one file `name`.py with this text to the registry `package`."""

    def add_file(package, name, text):
        folder = tmp_path / "extension"
        folder.mkdir()
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
        module = importlib.import_module(package)
        monkeypatch.setattr(module, "__path__", [*module.__path__, str(folder)])
        importlib.invalidate_caches()
        monkeypatch.setitem(sys.modules, f"{package}.{name}", None)  # restored when the test ends
        del sys.modules[f"{package}.{name}"]

    return add_file


def test_a_backbone_is_one_new_file(add, tmp_path):
    add("trainer.model.backbones", "dummy", BACKBONE)
    clips, run = make_clips(tmp_path / "clips.zarr"), tmp_path / "run"
    result = cli("train", "pretrain", clips, run, "--backbone", "dummy", "--epochs", 1, "--batch-size", 4)
    assert result.exit_code == 0, result.output
    assert read_json(run / "config.json")["backbone"] == "dummy"
    assert cli("evaluate", run, clips).exit_code == 0
    assert cli("features", clips, tmp_path / "features.zarr", "--from", run).exit_code == 0
    assert open_cache(tmp_path / "features.zarr").shape == (4, 4)


def test_a_source_format_is_one_new_file(add, tmp_path):
    add(pipeline.sources.format.FORMATS, "npy", FORMAT)
    source, cache = tmp_path / "arrays", tmp_path / "arrays.zarr"
    source.mkdir()
    values = np.random.default_rng(0).random((8, 16, 16))
    np.save(source / "good.npy", values)
    np.save(source / "small.npy", values[:3])
    (tmp_path / "labels.csv").write_text("FileName,Label\ngood.npy,two\n")
    words = ("preprocess", "npy", source, cache, *SMALL, "--invert", "--labels", tmp_path / "labels.csv")
    result = cli(*words)
    assert result.exit_code == 3, result.output
    assert "resample it" in result.output
    stored = open_cache(cache)
    assert (stored.kind, stored.ids, stored.labels.tolist()) == ("npy", ["good"], [1])
    np.testing.assert_allclose(stored["good"], 1 - values, atol=1e-5)
    assert info_json(cache)["quarantined"] == 1
    assert cli("verify", cache).exit_code == 0
    assert "--array-timeout" in cli("preprocess", "npy", "--help").output


def test_an_executor_is_one_new_file(add, tmp_path):
    add("pipeline.workers.executors", "backwards", EXECUTOR)
    for number in range(3):
        write_scan(tmp_path / f"scans/s{number}.nii", number)
    result = cli("preprocess", "ct", tmp_path / "scans", tmp_path / "ct.zarr", *SMALL[:-2], "--executor", "backwards")
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "ct.zarr/ledger/entries.jsonl").read_text().splitlines()
    assert [json.loads(line[9:])["id"] for line in lines] == ["s2", "s1", "s0"]


def test_a_metric_is_one_new_file(add, tmp_path):
    add("trainer.evaluation.scores", "error_rate", METRIC)
    clips, run = make_clips(tmp_path / "clips.zarr"), tmp_path / "run"
    words = ("--backbone", "small", "--epochs", 1, "--batch-size", 4)
    assert cli("train", "pretrain", clips, run, *words).exit_code == 0
    metrics = read_json(run / "metrics.json")
    assert metrics["error_rate"] == pytest.approx(1 - metrics["accuracy"])
    assert len(metrics["ci95"]["error_rate"]) == 2
    assert "error rate" in cli("evaluate", run, clips).stdout


def test_a_depth_selection_is_one_new_file(add, tmp_path):
    add("pipeline.transforms.depth", "lowest", DEPTH)
    write_scan(tmp_path / "scans/s.nii")
    for method in ("siz", "lowest"):
        words = (tmp_path / "scans", tmp_path / f"{method}.zarr", *SMALL, "--depth-method", method)
        assert cli("preprocess", "ct", *words).exit_code == 0
    siz, lowest = (open_cache(tmp_path / f"{method}.zarr") for method in ("siz", "lowest"))
    assert lowest.recipe["depth_method"] == "lowest"
    assert not np.array_equal(siz["s"], lowest["s"])


def test_a_clip_sampling_is_one_new_file(add, tmp_path):
    pytest.importorskip("cv2")
    add("pipeline.transforms.sampling", "frozen", SAMPLING)
    (tmp_path / "clips/One").mkdir(parents=True)
    write_xvid(tmp_path / "clips/One/v_One_g01_c01.avi", 12)
    words = (tmp_path / "clips", tmp_path / "clips.zarr", *SMALL, "--sampling", "frozen")
    assert cli("preprocess", "video", *words).exit_code == 0
    (clip,) = open_cache(tmp_path / "clips.zarr")
    assert np.ptp(clip, axis=0).max() == 0


def test_a_command_is_one_new_file(add, shared_tiny):
    add("console.commands", "count", COMMAND)
    assert "count" in cli("--help").stdout
    assert cli("count", shared_tiny).stdout == "3\n"
