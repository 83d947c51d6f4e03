"""`train` on cached features."""

import json

from tests.helpers.caches import make_cache, tiny_attributes
from tests.helpers.commands import cli, mentions, refusal
from tests.helpers.runs import SHAPE
from trainer.runs.folder import RUN_FILES

SMALL = ("--backbone", "small", "--weights", "none")
TRAIN = ("--epochs", 1, "--batch-size", 4, "--quiet")


def test_training_on_features_alone_gives_a_complete_run_on_the_given_split(runs):
    assert (
        {"metrics.json", "model.keras", "split.json"}
        <= {path.name for path in (runs / "alone").iterdir()}
        <= set(RUN_FILES)
    )
    assert json.loads((runs / "alone/split.json").read_text()) == json.loads((runs / "by_hand.json").read_text())


def test_train_rejects_the_features_of_another_cache(tmp_path, runs, clips, features):
    run = tmp_path / "run"
    scans = runs / "ct.zarr"
    frozen = ("--freeze-backbone", *TRAIN)
    mentions(refusal(cli("train", "finetune", scans, run, "--features", features, *frozen), run), features, scans)
    mentions(
        refusal(cli("train", "finetune", scans, run, "--features", features, *TRAIN), run),
        features,
        "--freeze-backbone",
    )
    mentions(
        refusal(cli("train", "pretrain", clips, run, "--features", scans, *TRAIN), run),
        "--features",
        scans,
        clips,
    )
    more = make_cache(tmp_path / "more.zarr", 13, tiny_attributes("uint8", SHAPE, "video"))
    mentions(
        refusal(cli("train", "pretrain", more, run, "--features", features, *TRAIN), run),
        features,
        more,
        "'s12'",
    )
