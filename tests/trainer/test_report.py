"""Pictures and printed lines for any history and any class names."""

import json
import warnings

import matplotlib.image
import numpy as np
import pytest

from tests.helpers.scores import TYPES, history, metrics
from trainer.errors import TrainerError
from trainer.evaluation.metrics import score
from trainer.evaluation.pictures import confusion_picture, curves_picture, write_picture
from trainer.evaluation.report import epoch_line, kappa_text, metrics_lines, stall_advice

LONG = tuple(f"a class with a very long name that is much too long for the axes of a picture, number {n}" for n in "12")
ODD = ("$\\frac{", "two\nlines", "日本", "\ud800", "\x1b[31m", "a,b")


def pixels(path, figure):
    """The pixels (rows, columns, 4) of `figure`, which is written without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_picture(path, figure)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(path)


def texts_fit(figure):
    """Whether every visible text of `figure` is within its margins."""
    figure.canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    texts = [text for axes in figure.axes for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), axes.title)]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return all(box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1 for box in boxes)


@pytest.mark.parametrize("epochs", [1, 2, 7, 100])
def test_the_curves_picture_has_the_same_size_for_any_number_of_epochs(tmp_path, epochs):
    figure = curves_picture(history(epochs))
    rows, columns, _ = pixels(tmp_path / "curves.png", figure).shape
    assert (rows, columns) == (380, 900)
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert all(tick == int(tick) for tick in axes.get_xticks() if low <= tick <= high)
        assert (low, high) == (0.5, epochs + 0.5)


def test_curves_show_all_values_and_the_best_epoch():
    figure = curves_picture(history(7))
    loss, agreement = figure.axes
    assert {line.get_label() for line in loss.lines} == {"loss", "val_loss", "lowest val_loss, epoch 4"}
    low, high = agreement.get_ylim()
    assert all(low <= value <= high for line in agreement.lines[:3] for value in line.get_ydata())


@pytest.mark.parametrize("values", [(np.nan, np.nan), (np.nan, -0.5), (0.5, np.nan)])
def test_an_undefined_kappa_is_a_gap_in_the_curves(tmp_path, values):
    rows = [row | {"val_kappa": value} for row, value in zip(history(2), values, strict=True)]
    figure = curves_picture(rows)
    pixels(tmp_path / "curves.png", figure)
    assert figure.axes[1].get_ylim()[0] == pytest.approx(np.nanmin([0, *values]) - 0.04)
    assert "val_kappa undefined  " in epoch_line(rows[int(np.isnan(values[1]))], {"seconds": 1, "data_wait": 0}, 2)


@pytest.mark.parametrize("names", [("a", "b"), TYPES, LONG, ODD, tuple(f"class {n}" for n in range(60))])
def test_a_confusion_matrix_of_any_classes_has_a_bounded_size(tmp_path, names):
    figure = confusion_picture(metrics(names))
    rows, columns, _ = pixels(tmp_path / "confusion.png", figure).shape
    assert 250 <= rows <= 1500
    assert 250 <= columns <= 1500
    assert columns < 2 * rows
    assert texts_fit(figure)


def test_cells_show_the_counts_and_shortened_names_stay_distinct(tmp_path):
    scores = metrics(LONG)
    figure = confusion_picture(scores)
    axes = figure.axes[0]
    assert [int(text.get_text()) for text in axes.texts] == np.ravel(scores["confusion"]).tolist()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(set(labels)) == 2
    assert all(len(name) <= 24 for name in labels)


def test_a_class_without_samples_has_an_empty_row(tmp_path):
    scores = score(np.array([0, 0, 1]), np.eye(3)[[0, 1, 1]], ("a", "b", "c"))
    pixels(tmp_path / "confusion.png", confusion_picture(scores))
    assert list(metrics_lines(scores))[-1].split() == ["c", "0.00", "0", "0", "0"]


def test_after_a_failed_write_the_earlier_picture_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"before")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(TrainerError, match=r"cannot write .*curves\.png: No space left on device; .* free some space"):
        write_picture(path, curves_picture(history(2)))
    assert path.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def kappa_texts(confusion, names=("one", "two")):
    """(first line, title of the picture, short text) of the kappa for a confusion matrix."""
    truth, predicted = (np.repeat(labels.ravel(), np.ravel(confusion)) for labels in np.indices(np.shape(confusion)))
    scores = json.loads(json.dumps(score(truth, np.eye(len(names))[predicted], names)))
    title = confusion_picture(scores).axes[0].get_title()
    return next(metrics_lines(scores)), title, kappa_text(scores)


def test_a_constant_prediction_is_reported_instead_of_an_interval():
    assert kappa_texts([[5, 0], [3, 0]]) == (
        "kappa              0.000   predicts one for every case",
        "kappa 0.00, n = 8\npredicts one for every case",
        "0.00 (predicts one for every case)",
    )
    assert kappa_texts([[5, 3], [0, 0]]) == (
        "kappa              0.000   every case is labelled one",
        "kappa 0.00, n = 8\nevery case is labelled one",
        "0.00 (every case is labelled one)",
    )


def test_an_undefined_kappa_is_shown_with_the_reason():
    assert kappa_texts([[0, 0], [0, 4]]) == (
        "kappa             undefined   every case is labelled and predicted as two",
        "kappa undefined, n = 4\nevery case is labelled and predicted as two",
        "undefined (every case is labelled and predicted as two)",
    )


def test_completely_right_or_wrong_predictions_have_no_interval():
    assert kappa_texts([[3, 0], [0, 2]]) == (
        "kappa              1.000   every case is right",
        "kappa 1.00, n = 5\nevery case is right",
        "1.00 (every case is right)",
    )
    for confusion in ([[0, 3], [2, 0]], [[0, 3], [0, 0]]):
        truth, predicted = (np.repeat(labels.ravel(), np.ravel(confusion)) for labels in np.indices((2, 2)))
        lines = list(metrics_lines(score(truth, np.eye(2)[predicted], ("one", "two"))))
        assert lines[1] == "accuracy           0.000   no case is right"
        assert not any("0.000 to 0.000" in line for line in lines)


def test_a_kappa_that_varies_between_resamples_has_an_interval():
    line, title, text = kappa_texts([[5, 1], [1, 5]])
    assert line.startswith("kappa              0.667   95 % interval 0.")
    assert title == f"kappa {text}, n = 12"
    assert text.startswith("0.67 [0.")


@pytest.mark.parametrize("names", [("a", "b"), LONG, ODD])
@pytest.mark.parametrize("confusion", [[[5, 0], [3, 0]], [[4, 0], [0, 0]]])
def test_the_reason_for_a_missing_interval_fits_into_the_picture(tmp_path, names, confusion):
    counts = np.zeros((len(names), len(names)), int)
    counts[:2, :2] = confusion
    truth, predicted = (np.repeat(labels.ravel(), counts.ravel()) for labels in np.indices(counts.shape))
    figure = confusion_picture(score(truth, np.eye(len(names))[predicted], names))
    pixels(tmp_path / "confusion.png", figure)
    assert texts_fit(figure)


def test_metrics_are_printed_in_lines():
    scores = score(np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]]), ("one", "two"))
    assert list(metrics_lines(json.loads(json.dumps(scores)))) == [
        "kappa              0.500   95 % interval {:.3f} to {:.3f}".format(*scores["ci95"]["kappa"]),
        "accuracy           0.750   95 % interval {:.3f} to {:.3f}".format(*scores["ci95"]["accuracy"]),
        "balanced accuracy  0.750   95 % interval {:.3f} to {:.3f}".format(*scores["ci95"]["balanced_accuracy"]),
        "AUC                0.750",
        "ECE                0.350",
        "n                      4",
        "",
        "labelled     F1   predicted one, two",
        "one        0.80      2    0",
        "two        0.67      1    1",
    ]


def test_an_undefined_auc_has_no_line():
    scores = score(np.array([0, 0]), np.eye(2)[[0, 0]], ("one", "two"))
    assert not any(line.startswith("AUC") for line in metrics_lines(scores))


def test_an_epoch_is_one_line():
    timing = {"seconds": 12.34, "data_wait": 0.256}
    assert epoch_line(history(1)[0], timing, 100) == (
        "epoch 1/100  loss 2.0000  accuracy 0.000  val_loss 2.1000  val_accuracy 0.000  val_kappa -1.000  "
        "12.3 s, 26% waiting for data"
    )


def test_more_readers_are_advised_only_after_waiting_for_data():
    assert stall_advice({"data_wait": 0.05}) == ""
    assert "raise --readers" in stall_advice({"data_wait": 0.06})
