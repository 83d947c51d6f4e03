"""`experiment` reproduces Table 1 with the same split and parents for all strategies, and can be resumed."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

from cache import open_cache
from tests.helpers.caches import volume
from tests.helpers.commands import STOPPED, cli, contents, error, read_json, refusal
from tests.helpers.experiments import (
    COUNTS,
    FOLDERS,
    REPORT,
    RUNS,
    SMALL,
    by_hand,
    config,
    experiment,
    into,
    made,
    stopped_at,
)
from tests.helpers.markdown import cells
from tests.helpers.runs import make_clips, make_scans
from trainer.evaluation.bootstrap import paired_bootstrap
from trainer.evaluation.report import kappa_text
from trainer.experiments.experiment import STARTUP_FILES, STRATEGIES
from trainer.experiments.report import PAPER_TYPES
from trainer.runs.folder import RUN_FILES
from trainer.runs.predictions import read_predictions

__all__ = ["into", "made"]  # fixtures


# Runs and splits


def test_the_folder_has_runs_splits_and_the_report(made):
    assert {path.name for path in made.streamed.iterdir()} == {*STARTUP_FILES, *REPORT, "seed0"}
    assert {path.name for path in made.frozen.iterdir()} == {*STARTUP_FILES, *REPORT, "seed0", "seed1", "features"}
    for run in (*made.streamed.glob("seed*/*"), *made.frozen.glob("seed*/*")):
        assert run.name in RUNS
        assert (
            {"metrics.json", "model.keras", "validation.csv"} <= {path.name for path in run.iterdir()} <= set(RUN_FILES)
        )


def test_all_runs_share_one_split_and_those_of_a_seed_share_one_parent(made):
    for root in (made.streamed, made.frozen):
        for seed in root.glob("seed*"):
            assert read_json(seed / "pretrained/split.json") == read_json(root / "clips.json")
            for folder in FOLDERS:
                assert read_json(seed / folder / "split.json") == read_json(root / "scans.json")
                expected = "" if folder == "no_pt" else str((seed / "pretrained").resolve())
                assert config(seed / folder)["from"] == expected
    split = read_json(made.streamed / "scans.json")
    assert sorted([*split["train"], *split["validation"]]) == sorted(open_cache(made.scans).ids)


@pytest.mark.parametrize("root", ["streamed", "frozen"])
def test_strategies_differ_only_in_their_settings(made, root):
    for seed in getattr(made, root).glob("seed*"):
        configs = {folder: config(seed / folder) for folder in FOLDERS}
        assert [configs[folder]["class_weights"] for folder in FOLDERS] == [False, False, True, True]
        assert [configs[folder]["augmentation"] for folder in FOLDERS] == [[], [], [], ["rotation"]]
        assert [configs[folder]["freeze_backbone"] for folder in FOLDERS] == [root == "frozen"] * 4
        assert [configs[folder]["cached_features"] for folder in FOLDERS] == [root == "frozen"] * 4
        for settings in configs.values():
            for key in ("class_weights", "augmentation", "from"):
                del settings[key]
        assert configs["pt"] == configs["pt_cw"] == configs["pt_cw_aug"]
        assert {key for key, value in configs["pt"].items() if configs["no_pt"][key] != value} <= {"weights"}


def test_class_weights_and_augmentation_change_the_training_loss(made):
    losses = [(made.streamed / "seed0" / folder / "history.csv").read_text() for folder in FOLDERS]
    assert len(set(losses)) == 4


def test_seeds_and_epochs_are_as_requested(made):
    assert (config(made.streamed / "seed0/pretrained")["epochs"], config(made.streamed / "seed0/pt")["epochs"]) == (
        2,
        1,
    )
    assert {config(run)["seed"] for run in made.streamed.glob("seed0/*")} == {3}
    for number in (0, 1):
        assert {config(run)["seed"] for run in made.frozen.glob(f"seed{number}/*")} == {number}


def test_features_are_extracted_once_and_for_every_angle_of_scans(made):
    clips, scans = (open_cache(made.frozen / "features" / f"{name}.zarr") for name in ("clips", "scans"))
    assert (clips.shape, scans.shape) == ((4, 128), (7, 4, 128))
    assert clips.recipe["extractor"] == scans.recipe["extractor"]
    assert (len(clips), len(scans)) == (12, sum(COUNTS))


# The report


@pytest.mark.parametrize(("root", "seeds"), [("streamed", 1), ("frozen", 2)])
def test_the_metrics_of_the_report_equal_those_of_scikit_learn(made, root, seeds):
    folder = getattr(made, root)
    tables = cells((folder / "report.md").read_text().splitlines())
    with (folder / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for strategy, table_row, row in zip(STRATEGIES, tables[0][2::2], rows, strict=True):
        predictions = [read_predictions(folder / f"seed{number}" / strategy.folder) for number in range(seeds)]
        pairs = [(seed.labels, seed.probabilities.argmax(1)) for seed in predictions]
        values = [np.mean([cohen_kappa_score(*pair) for pair in pairs])]
        scores = [f1_score(*pair, labels=range(5), average=None, zero_division=0) for pair in pairs]
        values += list(np.mean(scores, axis=0))
        values.append(np.mean([accuracy_score(*pair) for pair in pairs]))
        assert table_row[0] == strategy.name == row["strategy"]
        # for a single class kappa is 0 in the report and nan in scikit-learn
        values = np.nan_to_num(values)
        assert [float(cell.split()[0]) for cell in table_row[1:8]] == pytest.approx(values, abs=0.0051)
        in_csv = [row["kappa"], *(row[f"f1 {name}"] for name in PAPER_TYPES), row["accuracy"]]
        assert [float(value) for value in in_csv] == pytest.approx(values)
        mean = np.mean([seed.probabilities for seed in predictions], axis=0).argmax(1)
        assert float(row["ensemble_kappa"]) == pytest.approx(
            np.nan_to_num(cohen_kappa_score(predictions[0].labels, mean))
        )


def test_only_the_report_of_a_frozen_experiment_mentions_the_frozen_backbone(made):
    mentioned = [
        "stayed frozen throughout" in (made.folder / root / "report.md").read_text() for root in ("streamed", "frozen")
    ]
    assert mentioned == [False, True]


def test_with_one_seed_the_report_has_the_metrics_of_the_runs(made):
    with (made.streamed / "table.csv").open(newline="") as file:
        for row, folder in zip(csv.DictReader(file), FOLDERS, strict=True):
            metrics = read_json(made.streamed / "seed0" / folder / "metrics.json")
            assert (float(row["kappa"]), float(row["accuracy"])) == (metrics["kappa"], metrics["accuracy"])
            assert {name: float(row[f"f1 {name}"]) for name in PAPER_TYPES} == metrics["f1"]


def test_differences_in_the_report_equal_those_of_the_paired_bootstrap(made):
    pairs = cells((made.streamed / "report.md").read_text().splitlines())[1][2:]
    predictions = {
        strategy.name: read_predictions(made.streamed / "seed0" / strategy.folder) for strategy in STRATEGIES
    }
    for before, after, difference, *_ in pairs:
        labels = [predictions[name].probabilities.argmax(1) for name in (before, after)]
        expected, *_ = paired_bootstrap(predictions[before].labels, *labels, 5)
        assert float(difference) == pytest.approx(expected, abs=0.00051)


def test_the_report_is_printed_and_includes_pretraining(made):
    text = (made.streamed / "report.md").read_text()
    assert text in made.said.stdout
    assert made.said.stdout.endswith(f"\n{made.streamed / 'report.md'} shows this with pictures\n")
    parts = [line for line in made.said.stderr.splitlines() if line.startswith("-- ")]
    assert parts == ["-- seed 0: pretraining", *(f"-- seed 0: {strategy.name}" for strategy in STRATEGIES)]
    metrics = read_json(made.streamed / "seed0/pretrained/metrics.json")
    assert f"| 0 | {kappa_text(metrics)} | " in text


# Resuming


def test_after_ctrl_c_the_hint_is_to_run_the_same_command_again(made):
    stopped = made.results[0]
    assert (stopped.exit_code, stopped.stdout, stopped.stderr) == (130, "", STOPPED)


def test_more_seeds_add_to_finished_runs(made):
    stopped, one_seed, two_seeds = made.states
    assert {Path(name).parent.name for name in stopped if name.endswith("metrics.json")} == {
        "pretrained",
        "no_pt",
        "pt",
    }
    assert stopped.items() <= one_seed.items() <= two_seeds.items()
    parts = [[line for line in result.stderr.splitlines() if line.startswith("-- seed")] for result in made.results]
    assert parts[1] == ["-- seed 0: PT+CW", "-- seed 0: PT+CW+AUG"]
    assert parts[2] == [f"-- seed 1: {name}" for name in ("pretraining", *(strategy.name for strategy in STRATEGIES))]


def test_a_finished_experiment_only_writes_its_report(made, tmp_path):
    root = shutil.copytree(made.streamed, tmp_path / "own")
    before, report = contents(root), (root / "report.md").read_text()
    (root / "report.md").unlink()
    result = cli("experiment", made.clips, made.scans, root, *SMALL, "--seed", 3, "--pretrain-epochs", 2)
    assert (result.exit_code, "-- " in result.stderr) == (0, False)
    assert (root / "report.md").read_text() == report
    assert contents(root) == before


def test_finished_runs_on_replaced_scans_are_rejected(made, tmp_path):
    folder, scans = tmp_path / "own", tmp_path / "ct.zarr"
    shutil.copytree(made.streamed, folder)
    labels = open_cache(made.scans).labels.tolist()
    make_scans(scans, [1 - values for values in open_cache(made.scans)], class_names=PAPER_TYPES, labels=labels)
    document = folder / "experiment.json"
    document.write_text(document.read_text().replace(str(made.scans), str(scans)))
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder / "seed0" / "pt_cw")
    before = contents(folder)
    command = ("experiment", made.clips, scans, folder, *SMALL, "--seed", 3, "--pretrain-epochs", 2, "--quiet")
    message = error(cli(*command))
    assert message.startswith("Error: sample 's")
    assert f"is not the one that {folder / 'seed0' / 'no_pt'} started with" in message
    assert contents(folder) == before


@pytest.mark.parametrize("kept_files", [(), ("clips.json",), STARTUP_FILES])
def test_an_experiment_killed_before_its_first_run_accepts_other_options(made, into, kept_files):
    result = stopped_at("seed 0: pretraining", "experiment", made.clips, made.scans, into, *SMALL)
    assert result.exit_code == 130
    for name in {*STARTUP_FILES} - {*kept_files}:
        (into / name).unlink()
    (into / "partial-scans.json").write_text("{")
    result = stopped_at("seed 0: pretraining", "experiment", made.clips, made.scans, into, *SMALL, "--rnn", "gru")
    assert result.exit_code == 130
    assert read_json(into / "experiment.json")["given"]["rnn"] == "gru"
    assert {path.name for path in into.iterdir()} == {*STARTUP_FILES}


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--seed", 4), "given.seed 3 → 4"),
        (("--rnn", "gru"), "given.rnn None → gru"),
        (("--pretrain-epochs", 3), "pretraining.epochs 2 → 3"),
        (("--features",), "frozen False → True"),
    ],
)
def test_a_folder_with_other_settings_is_rejected(made, options, difference):
    before = contents(made.streamed)
    first_options = ("--seed", 3, "--pretrain-epochs", 2)
    assert error(experiment(made, made.streamed, *first_options, *options)) == (
        f"Error: {made.streamed} holds an experiment with other settings ({difference}); "
        "give the same, or choose another DIR\n"
    )
    assert contents(made.streamed) == before


def test_a_folder_with_other_caches_or_another_split_is_rejected(made, tmp_path):
    before = contents(made.streamed)
    first_options = ("--seed", 3, "--pretrain-epochs", 2)
    message = error(experiment(made, made.streamed, *first_options, clips=make_clips(tmp_path / "other.zarr")))
    assert f"with other settings (clips {made.clips} → {tmp_path}/other.zarr)" in message
    split = by_hand(tmp_path, "s0", "s1")
    assert error(experiment(made, made.streamed, *first_options, "--split", split)) == (
        f"Error: --split {split} differs from the split in {made.streamed}; leave it out, or choose another DIR\n"
    )
    assert contents(made.streamed) == before


def test_the_split_option_sets_the_split_of_the_scans(made, tmp_path, into):
    split_file = shutil.copy(made.frozen / "scans.json", tmp_path / "split.json")
    command = ("experiment", made.clips, made.scans, into, *SMALL, "--seed", 7, "--split", split_file)
    assert stopped_at("seed 0: pretraining", *command).exit_code == 130
    assert read_json(into / "scans.json") == read_json(split_file)
    assert read_json(into / "clips.json").keys() == {"train", "validation"}


def test_drop_shared_applies_to_the_split_of_an_experiment(made, tmp_path, into):
    values = [volume(number, (4, 16, 16)) for number in (*range(11), 0)]
    scans, clips = make_scans(tmp_path / "twins.zarr", values), made.clips
    split_file = tmp_path / "split.json"
    split_file.write_text(json.dumps({"train": [f"s{n}" for n in range(8)], "validation": ["s8", "s9", "s10", "s11"]}))
    command = ("experiment", clips, scans, into, *SMALL, "--batch-size", 5, "--split", split_file)
    assert "'s0' in 'train' and 's11' in 'validation', which hold the same array" in (
        refusal(cli(*command, "--quiet"), into)
    )
    for _ in range(2):  # the second run is resumed
        assert stopped_at("seed 0: pretraining", *command, "--drop-shared").exit_code == 130
        assert read_json(into / "scans.json")["train"] == [f"s{n}" for n in range(1, 8)]
