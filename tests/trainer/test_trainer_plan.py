"""The plan of a training run is decided, checked and reported before training starts."""

import re

import pytest

from cache import open_cache
from tests.helpers.caches import make_cache
from tests.helpers.networks import SMALL
from tests.helpers.run_folders import RUN, SPLIT
from trainer.errors import TrainerError
from trainer.features import extract as features
from trainer.runs import plan
from trainer.runs.folder import write_run_files
from trainer.runs.plan import Request
from trainer.runs.samples import SampleFingerprint

LABELS = [0, 1] * 6


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root = tmp_path_factory.mktemp("plan") / "c.zarr"
    return open_cache(make_cache(root, 14, labels=[*LABELS, -1, -1], group=""))


def request(cache, run, **options):
    return Request("finetune", cache.path, run, {}, **options)


def split_note(cache, tmp_path, split=None):
    """The first note on a split."""
    path = None
    if split:
        path = tmp_path / "split.json"
        path.write_text(str(split).replace("'", '"'))
    _, notes = plan.choose_split(request(cache, tmp_path / "run", split=path), cache, SMALL, False)
    return notes[0]


def ids(*numbers):
    return [f"s{number}" for number in numbers]


def test_the_sizes_of_subsets_are_noted(cache, tmp_path):
    match = re.fullmatch(r"(\d+) samples to train on, (\d+) to validate on, 2 in no part \(2 without a label\)",
                         split_note(cache, tmp_path))  # fmt: skip
    assert sum(map(int, match.groups())) == len(LABELS)
    split = {"train": ids(0, 1, 2, 3), "validation": ids(4, 5), "test": ids(6, 7, 8, 9, 10)}
    assert split_note(cache, tmp_path, split) == (
        "4 samples to train on, 2 to validate on, 5 for testing, 3 in no part (2 without a label)"
    )


def test_the_number_of_unused_samples_is_noted_only_if_there_are_some(tmp_path):
    labelled = open_cache(make_cache(tmp_path / "c.zarr", 4, labels=[0, 1, 0, 1], group=""))
    assert split_note(labelled, tmp_path, {"train": ids(0, 1), "validation": ids(2, 3)}) == (
        "2 samples to train on, 2 to validate on"
    )


@pytest.mark.parametrize(
    ("kind", "cached", "with_features", "problem"),
    [
        ("ct", True, True, ""),
        ("ct", False, False, ""),
        ("features", True, False, ""),
        ("features", False, False, ""),
        ("ct", True, False, "was started with --features; add it to --resume"),
        ("ct", False, True, "was started without; leave it out"),
        ("features", True, True, "was started without; leave it out"),
    ],
)
def test_a_run_must_be_resumed_with_features_if_and_only_if_it_started_with_them(
    cache, tmp_path, kind, cached, with_features, problem
):
    shape = (3, 4) if kind == "features" else (3, 4, 5)
    run = RUN.replace(kind=kind, shape=shape, config=RUN.config.replace(cached_features=cached))
    resumed = request(cache, tmp_path, features=tmp_path / "f.zarr" if with_features else None)
    if not problem:
        plan._check_same_features(resumed, run)
        return
    with pytest.raises(TrainerError) as error:
        plan._check_same_features(resumed, run)
    assert str(error.value).endswith(problem)


def test_drop_shared_is_off_by_default(cache, tmp_path):
    assert not request(cache, tmp_path).drop_shared


@pytest.mark.parametrize(("kind", "stage"), [("ct", "finetune"), ("video", "pretrain")])
def test_without_a_run_features_use_the_configuration_of_the_stage_of_their_kind(monkeypatch, kind, stage):
    class Stop(Exception):
        pass

    def stop_with_stage(stage, settings):
        raise Stop(stage)

    monkeypatch.setattr(features, "configure", stop_with_stage)
    volumes = type("Volumes", (), {"kind": kind})
    request = type("Request", (), {"run": None, "settings": {}})
    with pytest.raises(Stop, match=stage):
        features._model_with_backbone(request, volumes)


def test_resuming_with_another_split_is_rejected(cache, tmp_path):
    (tmp_path / "run").mkdir()
    write_run_files(
        tmp_path / "run", RUN, SPLIT, {"s0": SampleFingerprint("d0", "", 0), "s1": SampleFingerprint("d1", "", 1)}
    )
    path = tmp_path / "split.json"
    path.write_text('{"train": ["s1"], "validation": ["s0"]}')
    with pytest.raises(TrainerError, match="has another split; leave it out"):
        plan.choose_split(request(cache, tmp_path / "run", split=path), cache, SMALL, True)
