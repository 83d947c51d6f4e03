"""The report of an experiment: Table 1 with the results of the paper, escaped class names, pictures."""

import csv
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.helpers.experiment_results import STRATEGIES, results
from tests.helpers.markdown import cells
from trainer.evaluation.scores.kappa import kappa
from trainer.experiments.report import PAPER, PAPER_TYPES, _differences, kappa_picture, report_lines, write_report
from trainer.experiments.table import Result, rows_of
from trainer.runs.predictions import ValidationPredictions

TABLE_1 = """
No PT	0.17	0.61	0.46	0.0	0.2	0.14
PT	0.35	0.68	0.56	0.09	0.4	0.48
PT+CW	0.30	0.59	0.41	0.37	0.33	0.65
PT+CW+AUG	0.33	0.59	0.47	0.27	0.54	0.61
"""


HOSTILE = (
    "a|b",
    "*x*_y_`z`",
    "![p](http://h)<b>",
    "line\nbreak",
    '"quoted", =1+1 \\',
    "b",
    "b low",
    "$x$ &amp; \u202e",
)


def test_the_results_of_the_paper_equal_its_table_1():
    lines = [line.split("\t") for line in TABLE_1.split("\n") if line]
    assert {name: tuple(map(float, figures)) for name, *figures in lines} == PAPER


def test_the_results_of_the_paper_are_shown_only_for_its_classes():
    text = "\n".join(report_lines(rows_of(results())))
    assert "| *paper* | *0.33* | *0.59* | *0.47* | *0.27* | *0.54* | *0.61* |" in text
    assert "The paper's results, on its own data, are in italics" in text
    other = "\n".join(report_lines(rows_of(results(("gland", "mass")))))
    assert "paper" not in other
    assert (
        "| strategy | kappa | F1 gland | F1 mass | accuracy | balanced accuracy | AUC | ECE | epochs | minutes |"
        in other
    )


def test_every_pair_of_strategies_is_compared_and_every_row_is_complete():
    all_results = results()
    tables = cells(report_lines(rows_of(all_results), all_results[:2]))
    assert [len(table) - 2 for table in tables] == [2 * 4, 6, 4, 2]  # with rows of the paper; pairs; seeds; pretraining
    assert [{len(row) for row in table} for table in tables] == [{13}, {5}, {4}, {4}]
    assert tables[1][2][:2] == ["No PT", "PT"]
    assert tables[1][-1][:2] == ["PT+CW", "PT+CW+AUG"]


def test_with_one_seed_the_report_has_no_ensemble():
    lines = list(report_lines(rows_of(results(seeds=1))))
    assert not any("ensemble" in line.lower() for line in lines)


def test_hostile_class_names_are_escaped():
    (head, _, *rows), *_ = cells(report_lines(rows_of(results(HOSTILE, n=160))))
    assert {len(row) for row in (head, *rows)} == {len(HOSTILE) + 8}
    assert head[2] == "F1 a\1b"
    assert head[3] == "F1 \\*x\\*\\_y\\_\\`z\\`"
    assert head[4] == "F1 \\!\\[p\\](http://h)\\<b\\>"
    assert head[5] == "F1 line\0nbreak"
    assert all(cell.isprintable() for cell in (cell.replace("\0", "").replace("\1", "") for cell in head))


def test_the_csv_table_is_readable_for_any_class_names(tmp_path):
    all_results = results(HOSTILE, n=160)
    write_report(tmp_path, all_results)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["strategy"] for row in rows] == list(STRATEGIES)
    for row, expected in zip(rows, rows_of(all_results), strict=True):
        assert float(row["kappa"]) == expected.kappa
        assert (float(row["kappa_low"]), float(row["kappa_high"])) == expected.intervals["kappa"]
        assert float(row["ensemble_kappa"]) == expected.ensemble["kappa"]
        assert {name: float(row[f"f1 {name}"]) for name in HOSTILE} == expected.scores["f1"]
        assert {
            name: (float(row[f"f1_low {name}"]), float(row[f"f1_high {name}"])) for name in HOSTILE
        } == expected.intervals["f1"]
    assert not any(name.startswith("paper") for name in rows[0])


def test_the_csv_table_has_the_results_of_the_paper(tmp_path):
    write_report(tmp_path, results())
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = {row["strategy"]: row for row in csv.DictReader(file)}
    assert float(rows["PT+CW+AUG"]["paper_kappa"]) == 0.33
    assert float(rows["PT+CW"]["paper_f1 Fibro-cavernous"]) == 0.65


@pytest.mark.parametrize(("names", "seeds"), [(PAPER_TYPES, 2), (HOSTILE, 1), (("x" * 300, "y"), 5)])
def test_a_report_is_complete_with_pictures_of_bounded_size(tmp_path, names, seeds):
    lines = write_report(tmp_path, results(names, seeds, n=160))
    pictures = {"kappa.png", *(f"confusion_{name}.png" for name in ("no_pt", "pt", "pt_cw", "pt_cw_aug"))}
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "table.csv", *pictures}
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text == "\n".join(lines) + "\n"
    for name in pictures:
        data = (tmp_path / name).read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert all(200 <= int.from_bytes(data[start : start + 4], "big") <= 2000 for start in (16, 20))
        assert f"]({name})" in text


def test_the_picture_shows_seeds_their_mean_and_the_results_of_the_paper():
    def labels(*args, **options):
        return kappa_picture(rows_of(results(*args, **options))).axes[0].get_legend_handles_labels()[1]

    assert sorted(labels()) == ["each seed", "mean, 95 % interval", "paper, its own data"]
    assert labels(("a", "b"), seeds=1) == ["mean, 95 % interval"]


def test_equal_and_constant_runs_have_a_report(tmp_path):
    names, truth = ("a", "b"), np.array([0, 1, 0])
    always_first = ValidationPredictions(("x", "y", "z"), truth, np.tile([0.9, 0.1], (3, 1)), names)
    correct = ValidationPredictions(("x", "y", "z"), truth, np.eye(2)[truth], names)
    all_results = [Result(name, 0, correct if name == "PT" else always_first, 0.0, 1) for name in STRATEGIES]
    text = "\n".join(write_report(tmp_path, all_results))
    assert "nan" not in text
    assert "| PT+CW | PT+CW+AUG | +0.000 | all resamples equal | 1.000 |" in text
    assert "| PT+CW | 0.00 (predicts a for every case) | 0.80 | 0.00 |" in text
    assert {row.kappa for row in rows_of(all_results)} == {0.0, float(kappa(np.diag([2, 1])))}


def constant(guesses, truth=(0, 1, 0), names=HOSTILE[:2]):
    """Results of one strategy, a seed for each of `guesses`, the class that it always predicts."""
    ids, truth = tuple(f"s{number}" for number in range(len(truth))), np.array(truth)
    for seed, guess in enumerate(guesses):
        yield Result(
            "PT", seed, ValidationPredictions(ids, truth, np.tile(np.eye(2)[guess], (len(truth), 1)), names), 0.0, 1
        )


def test_a_constant_prediction_is_reported_for_each_seed():
    all_results = [*constant([0, 1])]
    table, _, seeds, pretraining = cells(report_lines(rows_of(all_results), all_results))
    assert table[2][:2] == ["PT", "0.00"]
    assert seeds[2][1:3] == [
        "0.000 (predicts a\1b for every case)",
        "0.000 (predicts \\*x\\*\\_y\\_\\`z\\` for every case)",
    ]
    assert pretraining[2][1] == "0.00 (predicts a\1b for every case)"


def test_an_undefined_kappa_is_reported_as_undefined_everywhere(tmp_path):
    all_results = [
        *constant([0, 1], truth=(0, 0)),
        *(replace(result, strategy="No PT") for result in constant([0, 0], (0, 0))),
    ]
    text = "\n".join(write_report(tmp_path, all_results, all_results))
    assert "nan" not in text.lower()
    first, second = rows_of(all_results)
    assert first.kappas[1] == 0
    assert np.isnan([first.kappa, *first.intervals["kappa"], second.kappa, *second.kappas]).all()
    table, differences, seeds, _ = cells(report_lines(rows_of(all_results), all_results))
    assert [row[1] for row in table[2:]] == ["undefined", "undefined (every case is labelled and predicted as a\1b)"]
    assert differences[2][2:] == ["undefined", "", "undefined"]
    assert seeds[2][2].startswith("0.000 (predicts ")
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(np.isnan(float(rows[1][name])) for name in ("kappa", "kappa_low", "ensemble_kappa"))
    assert float(rows[1]["accuracy"]) == 1


def test_the_difference_to_a_better_strategy_is_positive():
    rows = [
        SimpleNamespace(strategy=name, kappa=kappa, resamples=kappa + np.linspace(-0.1, 0.1, 50) * spread)
        for name, kappa, spread in (("No PT", 0.25, 1), ("PT", 0.5, 2))
    ]
    line = [line for line in _differences(rows) if line.startswith("| No PT | PT |")]
    assert line[0].split(" | ")[2] == "+0.250"
