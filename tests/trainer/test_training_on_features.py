"""Training on cached features saves the full network and can be resumed; unsuitable features are rejected."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache import open_cache, write_features
from cache.feature_writer import extractor_path
from cache.progress import Callback
from tests.helpers.caches import make_cache, tiny_attributes, volume
from tests.helpers.feature_caches import CHANNELS, SHAPE, WEIGHTS, clips, make_features
from trainer.errors import TrainerError
from trainer.evaluation.evaluate import evaluate
from trainer.features.extract import Extraction, extract
from trainer.model.networks import trained_model
from trainer.runs.plan import Request
from trainer.runs.run import read_run
from trainer.training.train import train


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with a cache of clips and its features."""
    return make_features(tmp_path_factory.mktemp("features"))


@pytest.fixture
def folder(shared, tmp_path):
    return Path(shutil.copytree(shared, tmp_path / "own"))


def test_a_run_on_features_saves_the_full_network(folder):
    request = Request(
        "pretrain", folder / "clips.zarr", folder / "run", {"epochs": 2}, features=folder / "features.zarr"
    )
    metrics = train(request, Callback())
    run = read_run(folder / "run")
    assert (run.kind, run.shape) == ("video", SHAPE)
    volumes, features = open_cache(folder / "clips.zarr"), open_cache(folder / "features.zarr")
    model = trained_model(folder / "run", run)
    from_volumes = evaluate(folder / "run", folder / "clips.zarr")
    from_features = evaluate(folder / "run", folder / "clips.zarr", features=folder / "features.zarr")
    assert from_volumes["confusion"] == from_features["confusion"] == metrics["confusion"]
    assert abs(from_volumes["loss"] - from_features["loss"]) < 1e-3
    np.testing.assert_allclose(
        np.asarray(model.get_layer("frames")(volumes["s1"][None]))[0], features["s1"], rtol=2e-3, atol=1e-5
    )


def test_a_run_on_features_resumes_to_the_same_weights(folder):
    def request(name, epochs, resume=False):
        options = {"epochs": epochs}
        return Request(
            "pretrain", folder / "clips.zarr", folder / name, options, resume=resume, features=folder / "features.zarr"
        )

    train(request("uninterrupted", 3), Callback())
    train(request("resumed", 1), Callback())
    train(request("resumed", 3, resume=True), Callback())
    assert (folder / "uninterrupted/history.csv").read_bytes() == (folder / "resumed/history.csv").read_bytes()
    weights = [
        trained_model(folder / name, read_run(folder / name)).get_weights() for name in ("uninterrupted", "resumed")
    ]
    for expected, actual in zip(*weights, strict=True):
        np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize(
    "with_checkpoint",
    [
        pytest.param(True, id="with a checkpoint"),
        pytest.param(False, id="killed before the first checkpoint", marks=pytest.mark.slow),
    ],
)
def test_a_run_resumes_only_on_the_features_or_volumes_it_started_with(with_checkpoint, folder):
    options, feature_cache = {"backbone": "small", "epochs": 1}, folder / "features.zarr"
    for name, cache, features, other_features, reason in (
        ("cached", "clips.zarr", feature_cache, None, "was started with --features; add it to --resume"),
        (
            "streamed",
            "clips.zarr",
            None,
            feature_cache,
            f"--features {feature_cache} with --resume, but {folder}/streamed was started without",
        ),
        (
            "alone",
            "features.zarr",
            None,
            feature_cache,
            f"--features {feature_cache} with --resume, but {folder}/alone was started without",
        ),
    ):
        train(Request("pretrain", folder / cache, folder / name, options, features=features), Callback())
        if not with_checkpoint:
            (folder / name / "checkpoint.npz").unlink()
        before = (folder / name / "model.keras").read_bytes()
        with pytest.raises(TrainerError, match=reason):
            train(
                Request("pretrain", folder / cache, folder / name, {}, resume=True, features=other_features), Callback()
            )
        assert (folder / name / "model.keras").read_bytes() == before


def test_a_run_can_be_trained_on_a_feature_cache_alone(folder):
    train(Request("pretrain", folder / "features.zarr", folder / "run", {"epochs": 1}), Callback())
    run = read_run(folder / "run")
    assert (run.kind, run.shape) == ("features", (5, CHANNELS))
    assert evaluate(folder / "run", folder / "features.zarr")["part"] == "validation"


def test_a_run_starts_only_from_a_run_of_the_same_kind(folder):
    train(Request("pretrain", folder / "features.zarr", folder / "alone", {"epochs": 1}), Callback())
    scans = clips(folder / "ct.zarr", kind="ct")
    options = {"epochs": 1, "freeze_backbone": True}
    with pytest.raises(TrainerError, match="has kind ct, the run of --from was trained on kind features; after a run"):
        train(Request("finetune", scans, folder / "run", options, parent=folder / "alone"), Callback())
    assert not (folder / "run").exists()


def test_a_run_can_be_trained_on_features_of_any_extractor(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    array = rng.normal(size=(40, 6, 9)).astype(np.float32) + labels[:, None, None]
    path = tmp_path / "features.zarr"
    names = [f"clip {number}" for number in range(40)]
    write_features(path, names, labels, [f"g{n // 4}" for n in range(40)], array, ["a", "b"], "by hand")
    options = {"epochs": 8, "learning_rate": 0.1}
    metrics = train(Request("pretrain", path, tmp_path / "run", options), Callback())
    assert metrics["kappa"] > 0.8
    split = json.loads((tmp_path / "run/split.json").read_text())
    group = {name: n // 4 for n, name in enumerate(names)}
    assert not {group[name] for name in split["train"]} & {group[name] for name in split["validation"]}


def test_training_on_features_uses_the_same_random_angles_as_on_volumes(tmp_path):
    root = clips(tmp_path / "ct.zarr", 12, "uint16", "ct")
    extract(Extraction(root, tmp_path / "features.zarr", WEIGHTS, augment=True), Callback())
    options = {"epochs": 2, "augmentation": ("rotation",), "freeze_backbone": True, "input_conv": "imagenet", **WEIGHTS}
    cached = Request("finetune", root, tmp_path / "cached", options, features=tmp_path / "features.zarr")
    train(cached, Callback())
    # The runs differ by float16, and by the input convolution, which only training on volumes changes.
    train(Request("finetune", root, tmp_path / "streamed", options), Callback())
    on_features, on_volumes = (
        np.genfromtxt(tmp_path / name / "history.csv", delimiter=",", names=True) for name in ("cached", "streamed")
    )
    np.testing.assert_allclose(on_features["loss"], on_volumes["loss"], rtol=0.05)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: replace_clips(folder), "volumes that were replaced since: 12 of 12, the first is 's0'"),
        (lambda folder: extractor_path(folder / "features.zarr").unlink(), "does not hold the weights that"),
        (lambda folder: extractor_path(folder / "features.zarr").write_bytes(b"PK"), "does not hold the weights that"),
    ],
    ids=["other volumes", "no extractor", "broken extractor"],
)
def test_features_of_other_volumes_or_without_extractor_are_rejected(damage, message, folder):
    damage(folder)
    request = Request("pretrain", folder / "clips.zarr", folder / "run", {}, features=folder / "features.zarr")
    with pytest.raises(TrainerError, match=message):
        train(request, Callback())
    assert not (folder / "run").exists()


def replace_clips(folder):
    """Replace the clips by other clips with the same ids."""
    shutil.rmtree(folder / "clips.zarr")
    attributes = tiny_attributes("uint8", SHAPE, "video", order=3)
    make_cache(folder / "clips.zarr", [volume(100 + number, SHAPE) for number in range(12)], attributes)


@pytest.mark.parametrize(
    ("stage", "options", "message"),
    [
        ("pretrain", {"freeze_backbone": False}, "a backbone that cannot be trained on them"),
        ("pretrain", {"backbone": "vgg16"}, "has features of small"),
        ("pretrain", {"weights": "nowhere.h5"}, "with backbone small"),
        ("finetune", {}, "cannot be trained on them; add --freeze-backbone"),
    ],
)
def test_options_that_features_do_not_support_are_rejected(stage, options, message, folder):
    request = Request(stage, folder / "clips.zarr", folder / "run", options, features=folder / "features.zarr")
    with pytest.raises(TrainerError, match=message):
        train(request, Callback())
    assert not (folder / "run").exists()


def test_augmentation_needs_features_for_each_angle(tmp_path):
    root = clips(tmp_path / "ct.zarr", 12, "uint16", "ct")
    extract(Extraction(root, tmp_path / "features.zarr", WEIGHTS), Callback())
    options = {"augmentation": ("rotation",), "freeze_backbone": True}
    with pytest.raises(TrainerError, match="run `features --augment`"):
        train(Request("finetune", root, tmp_path / "run", options, features=tmp_path / "features.zarr"), Callback())
