"""Table 1 as one command: the same split and parents for all, and nothing is done twice."""

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


# What it leaves


def test_the_folder_holds_runs_splits_and_the_report(made):
    assert {path.name for path in made.streamed.iterdir()} == {*STARTUP_FILES, *REPORT, "seed0"}
    assert {path.name for path in made.frozen.iterdir()} == {*STARTUP_FILES, *REPORT, "seed0", "seed1", "features"}
    for run in (*made.streamed.glob("seed*/*"), *made.frozen.glob("seed*/*")):
        assert run.name in RUNS
        assert (
            {"metrics.json", "model.keras", "validation.csv"} <= {path.name for path in run.iterdir()} <= set(RUN_FILES)
        )


def test_all_strategies_of_all_seeds_have_one_split_and_a_seeds_have_one_parent(made):
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
        for about in configs.values():
            for key in ("class_weights", "augmentation", "from"):
                del about[key]
        assert configs["pt"] == configs["pt_cw"] == configs["pt_cw_aug"]
        assert {key for key, value in configs["pt"].items() if configs["no_pt"][key] != value} <= {"weights"}


def test_class_weights_and_angles_change_what_is_learned(made):
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


# What the report says


@pytest.mark.parametrize(("root", "seeds"), [("streamed", 1), ("frozen", 2)])
def test_the_report_has_scikit_learns_figures(made, root, seeds):
    folder = getattr(made, root)
    tables = cells((folder / "report.md").read_text().splitlines())
    with (folder / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for strategy, shown_row, row in zip(STRATEGIES, tables[0][2::2], rows, strict=True):
        found = [read_predictions(folder / f"seed{number}" / strategy.folder) for number in range(seeds)]
        pairs = [(one.labels, one.probabilities.argmax(1)) for one in found]
        values = [np.mean([cohen_kappa_score(*pair) for pair in pairs])]
        scores = [f1_score(*pair, labels=range(5), average=None, zero_division=0) for pair in pairs]
        values += list(np.mean(scores, axis=0))
        values.append(np.mean([accuracy_score(*pair) for pair in pairs]))
        assert shown_row[0] == strategy.name == row["strategy"]
        # kappa that is undefined, where all is one class, is 0 here and nan there
        values = np.nan_to_num(values)
        assert [float(cell.split()[0]) for cell in shown_row[1:8]] == pytest.approx(values, abs=0.0051)
        in_csv = [row["kappa"], *(row[f"f1 {name}"] for name in PAPER_TYPES), row["accuracy"]]
        assert [float(value) for value in in_csv] == pytest.approx(values)
        mean = np.mean([one.probabilities for one in found], axis=0).argmax(1)
        assert float(row["ensemble_kappa"]) == pytest.approx(np.nan_to_num(cohen_kappa_score(found[0].labels, mean)))


def test_only_the_report_of_a_frozen_experiment_says_so(made):
    said = [
        "stayed frozen throughout" in (made.folder / root / "report.md").read_text() for root in ("streamed", "frozen")
    ]
    assert said == [False, True]


def test_with_one_seed_the_report_and_the_runs_own_metrics_agree(made):
    with (made.streamed / "table.csv").open(newline="") as file:
        for row, folder in zip(csv.DictReader(file), FOLDERS, strict=True):
            metrics = read_json(made.streamed / "seed0" / folder / "metrics.json")
            assert (float(row["kappa"]), float(row["accuracy"])) == (metrics["kappa"], metrics["accuracy"])
            assert {name: float(row[f"f1 {name}"]) for name in PAPER_TYPES} == metrics["f1"]


def test_the_differences_are_those_of_the_paired_bootstrap(made):
    pairs = cells((made.streamed / "report.md").read_text().splitlines())[1][2:]
    found = {one.name: read_predictions(made.streamed / "seed0" / one.folder) for one in STRATEGIES}
    for before, after, difference, *_ in pairs:
        guesses = [found[name].probabilities.argmax(1) for name in (before, after)]
        expected, *_ = paired_bootstrap(found[before].labels, *guesses, 5)
        assert float(difference) == pytest.approx(expected, abs=0.00051)


def test_the_report_is_printed_with_pretraining(made):
    text = (made.streamed / "report.md").read_text()
    assert text in made.said.stdout
    assert made.said.stdout.endswith(f"\n{made.streamed / 'report.md'} shows this with pictures\n")
    parts = [line for line in made.said.stderr.splitlines() if line.startswith("-- ")]
    assert parts == ["-- seed 0: pretraining", *(f"-- seed 0: {strategy.name}" for strategy in STRATEGIES)]
    metrics = read_json(made.streamed / "seed0/pretrained/metrics.json")
    assert f"| 0 | {kappa_text(metrics)} | " in text


# Going on


def test_ctrl_c_says_to_run_the_same_command_again(made):
    stopped = made.results[0]
    assert (stopped.exit_code, stopped.stdout, stopped.stderr) == (130, "", STOPPED)


def test_more_seeds_add_to_finished_runs(made):
    stopped, one, two = made.states
    assert {Path(name).parent.name for name in stopped if name.endswith("metrics.json")} == {
        "pretrained",
        "no_pt",
        "pt",
    }
    assert stopped.items() <= one.items() <= two.items()
    parts = [[line for line in result.stderr.splitlines() if line.startswith("-- seed")] for result in made.results]
    assert parts[1] == ["-- seed 0: PT+CW", "-- seed 0: PT+CW+AUG"]
    assert parts[2] == [f"-- seed 1: {name}" for name in ("pretraining", *(one.name for one in STRATEGIES))]


def test_a_finished_experiment_only_writes_its_report(made, tmp_path):
    root = shutil.copytree(made.streamed, tmp_path / "own")
    before, report = contents(root), (root / "report.md").read_text()
    (root / "report.md").unlink()
    result = cli("experiment", made.clips, made.scans, root, *SMALL, "--seed", 3, "--pretrain-epochs", 2)
    assert (result.exit_code, "-- " in result.stderr) == (0, False)
    assert (root / "report.md").read_text() == report
    assert contents(root) == before


def test_finished_runs_on_replaced_scans_are_refused(made, tmp_path):
    folder, scans = tmp_path / "own", tmp_path / "ct.zarr"
    shutil.copytree(made.streamed, folder)
    labels = open_cache(made.scans).labels.tolist()
    make_scans(scans, [1 - values for values in open_cache(made.scans)], class_names=PAPER_TYPES, labels=labels)
    begun = folder / "experiment.json"
    begun.write_text(begun.read_text().replace(str(made.scans), str(scans)))
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder / "seed0" / "pt_cw")
    before = contents(folder)
    command = ("experiment", made.clips, scans, folder, *SMALL, "--seed", 3, "--pretrain-epochs", 2, "--quiet")
    message = error(cli(*command))
    assert message.startswith("Error: sample 's")
    assert f"is not the one that {folder / 'seed0' / 'no_pt'} started with" in message
    assert contents(folder) == before


@pytest.mark.parametrize("left", [(), ("clips.json",), STARTUP_FILES])
def test_an_experiment_killed_before_its_first_run_takes_other_options(made, into, left):
    result = stopped_at("seed 0: pretraining", "experiment", made.clips, made.scans, into, *SMALL)
    assert result.exit_code == 130
    for name in {*STARTUP_FILES} - {*left}:
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
def test_a_folder_with_other_settings_is_refused(made, options, difference):
    before = contents(made.streamed)
    same = ("--seed", 3, "--pretrain-epochs", 2)
    assert error(experiment(made, made.streamed, *same, *options)) == (
        f"Error: {made.streamed} holds an experiment with other settings ({difference}); "
        "give the same, or choose another DIR\n"
    )
    assert contents(made.streamed) == before


def test_a_folder_with_other_caches_or_another_split_is_refused(made, tmp_path):
    before = contents(made.streamed)
    same = ("--seed", 3, "--pretrain-epochs", 2)
    message = error(experiment(made, made.streamed, *same, clips=make_clips(tmp_path / "other.zarr")))
    assert f"with other settings (clips {made.clips} → {tmp_path}/other.zarr)" in message
    split = by_hand(tmp_path, "s0", "s1")
    assert error(experiment(made, made.streamed, *same, "--split", split)) == (
        f"Error: --split {split} differs from the split in {made.streamed}; leave it out, or choose another DIR\n"
    )
    assert contents(made.streamed) == before


def test_a_given_split_is_that_of_the_scans(made, tmp_path, into):
    given = shutil.copy(made.frozen / "scans.json", tmp_path / "given.json")
    command = ("experiment", made.clips, made.scans, into, *SMALL, "--seed", 7, "--split", given)
    assert stopped_at("seed 0: pretraining", *command).exit_code == 130
    assert read_json(into / "scans.json") == read_json(given)
    assert read_json(into / "clips.json").keys() == {"train", "validation"}


def test_a_given_split_can_drop_shared_samples(made, tmp_path, into):
    values = [volume(number, (4, 16, 16)) for number in (*range(11), 0)]
    scans, clips = make_scans(tmp_path / "twins.zarr", values), made.clips
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"train": [f"s{n}" for n in range(8)], "validation": ["s8", "s9", "s10", "s11"]}))
    command = ("experiment", clips, scans, into, *SMALL, "--batch-size", 5, "--split", given)
    assert "'s0' in 'train' and 's11' in 'validation', which hold the same array" in (
        refusal(cli(*command, "--quiet"), into)
    )
    for _ in range(2):  # the second is resumed
        assert stopped_at("seed 0: pretraining", *command, "--drop-shared").exit_code == 130
        assert read_json(into / "scans.json")["train"] == [f"s{n}" for n in range(1, 8)]
