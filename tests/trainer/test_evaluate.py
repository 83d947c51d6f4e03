"""`evaluate` scores samples that a run was not trained on, and prints the metrics."""

from cache import catalog, open_cache
from cache.schema import Source
from cache.writer import open_writer
from tests.helpers.caches import make_cache, volume
from tests.helpers.commands import edit_json, error, read_json
from tests.helpers.evaluation import (
    clips,
    copy,
    evaluate,
    made,
    other_scans,
    out,
    pretrained,
    scans,
    scores,
    shared_files_are_unchanged,
    tuned,
)
from tests.helpers.runs import SHAPE, make_clips, make_scans
from trainer.model.networks import trained_model
from trainer.runs.run import read_run
from trainer.runs.samples import changed_labels

__all__ = ["clips", "copy", "made", "out", "pretrained", "scans", "shared_files_are_unchanged", "tuned"]  # fixtures


def test_on_its_own_cache_a_run_is_scored_on_its_validation_samples(made, clips, scans):
    for run, cache in (("pretrained", clips), ("tuned", scans)):
        metrics = read_json(made / run / "metrics.json")
        expected = metrics | {"part": "validation", "labels_changed": 0}
        assert scores(made / run, cache) == expected
        assert scores(made / run, cache, "--part", "validation") == expected


def test_any_subset_of_the_split_can_be_scored(scans, tuned):
    for subset, n in (("train", 6), ("validation", 3), ("test", 3)):
        metrics = scores(tuned, scans, "--part", subset)
        assert (metrics["part"], metrics["n"]) == (subset, n)


def test_a_missing_subset_is_a_one_line_error(clips, pretrained):
    assert error(evaluate(pretrained, clips, "--part", "test")) == (
        f"Error: {clips} has no sample to score; expected labelled samples of the split's part 'test'\n"
    )


def test_all_labelled_samples_of_another_cache_are_scored(tmp_path, tuned):
    other = other_scans(tmp_path / "other.zarr", labels=[-1, *[number % 3 for number in range(11)]])
    metrics = scores(tuned, other)
    assert (metrics["part"], metrics["n"]) == ("all", 11)
    assert error(evaluate(tuned, other, "--part", "train")) == (
        f"Error: --part train with {other}, which {tuned} was not trained on; leave it out to score all of that cache\n"
    )


def test_training_samples_under_another_name_are_not_scored(tmp_path, scans, tuned):
    trained_on = {"s0", "s1", "s2", "s4", "s5", "s6"}
    names = [f"renamed/s{row}" for row in range(12)]
    renamed = make_cache(
        tmp_path / "renamed.zarr", 12, open_cache(scans).attributes, names, [row % 3 for row in range(12)]
    )
    assert error(evaluate(tuned, renamed)) == (
        f"Error: {renamed} has 6 samples to score that {tuned} was trained on under another name, the first is "
        f"'renamed/s0'; give a cache without them\n"
    )
    not_trained_on = [row for row in range(12) if f"s{row}" not in trained_on]
    others = make_cache(
        tmp_path / "others.zarr",
        [volume(row, SHAPE) for row in not_trained_on],
        open_cache(scans).attributes,
        [names[row] for row in not_trained_on],
        [row % 3 for row in not_trained_on],
        source=Source("", ()),
    )
    assert scores(tuned, others)["n"] == 6


def test_a_copy_of_the_cache_of_a_run_counts_as_the_same_cache(copy, scans, tuned):
    assert scores(tuned, copy(scans)) == scores(tuned, scans)


def test_the_cache_of_a_run_with_additional_samples_counts_as_the_same_cache(tmp_path, clips, pretrained):
    more = make_clips(tmp_path / "clips.zarr", 15)
    assert scores(pretrained, more) == scores(pretrained, clips)


def test_classes_are_matched_by_name(tmp_path, scans, tuned):
    reordered = make_scans(
        tmp_path / "ct.zarr", class_names=("c", "x", "b", "a"), labels=[(3, 2, 0)[row % 3] for row in range(12)]
    )
    assert scores(tuned, reordered) == scores(tuned, scans)


def relabel(root, labels, class_names=None):
    """Give the samples of a cache other labels, as with a corrected CSV."""
    attributes = catalog.read_attributes(root)
    attributes = attributes.replace(class_names=class_names or attributes.class_names)
    entries = catalog.read_entries(root)
    with open_writer(root, attributes, entries) as writer:
        writer.commit([entry.replace(label=labels[entry.id]) for entry in entries.values()])


def test_labels_corrected_since_training_are_counted_and_noted(copy, scans, tuned):
    changed = copy(scans)
    labels = {f"s{row}": row % 3 for row in range(12)}
    relabel(changed, labels | {"s0": 1, "s3": 2, "s9": 0, "s10": 0})  # the last two are in the test subset
    assert scores(tuned, changed)["labels_changed"] == 2
    assert scores(tuned, changed, "--part", "train")["labels_changed"] == 2
    _, note, *_ = evaluate(tuned, changed).stdout.splitlines()
    assert note == "2 of 9 labels differ from those the run was trained with; scored against the cache's labels now"
    relabel(changed, labels | {"s0": -1})
    assert scores(tuned, changed)["labels_changed"] == 1
    assert "differ" not in evaluate(tuned, scans).output


def test_another_order_or_spelling_of_classes_changes_no_label(copy, scans, tuned):
    run, reordered = copy(tuned), copy(scans)
    edit_json(run / "config.json", class_names=["a", "b", "\u00e9"])
    relabel(reordered, {f"s{row}": (2, 1, 0)[row % 3] for row in range(12)}, ("e\u0301", "b", "a"))
    assert changed_labels(run, read_run(run), open_cache(reordered)) == (0, 9)
    relabel(reordered, {f"s{row}": row % 3 for row in range(12)}, ("e\u0301", "b", "a"))
    assert changed_labels(run, read_run(run), open_cache(reordered)) == (6, 9)


def test_kappa_is_undefined_for_a_run_scored_on_one_class(tmp_path, copy, scans, tuned):
    other = other_scans(tmp_path / "other.zarr", labels=[0] * 12)
    run = copy(tuned)
    model = trained_model(run, read_run(run))
    model.get_layer("classes").bias.assign([100, 0, 0])
    model.save(run / "model.keras")
    (run / "manifest.json").unlink()
    metrics = scores(run, other)
    assert (metrics["kappa"], metrics["ci95"]["kappa"], metrics["accuracy"]) == (None, [None, None], 1)
    lines = evaluate(run, other, "--picture", tmp_path / "confusion.png").stdout.splitlines()
    assert lines[1] == "kappa             undefined   every case is labelled and predicted as a"
    assert scores(run, scans)["kappa"] == 0
    assert evaluate(run, scans).stdout.splitlines()[1] == "kappa              0.000   predicts a for every case"


def test_a_cache_with_a_class_unknown_to_the_run_is_rejected(tmp_path, tuned):
    other = other_scans(tmp_path / "other.zarr", class_names=("a", "b", "d"))
    assert error(evaluate(tuned, other)) == (
        f"Error: {other} has samples of class 'd', the run has a, b, c; give a cache of the same classes\n"
    )


def test_a_cache_without_labels_cannot_be_scored(tmp_path, tuned):
    for number, samples in enumerate([0, [1 - volume(0, SHAPE)]]):
        other = make_scans(tmp_path / f"{number}.zarr", samples, labels=[-1], source=Source("", ()))
        assert error(evaluate(tuned, other)) == (f"Error: {other} has no sample to score; expected labelled samples\n")


def test_evaluate_prints_the_metrics_and_nothing_with_quiet(scans, tuned):
    first, kappa, *_ = evaluate(tuned, scans).stdout.splitlines()
    assert first == f"{tuned} on {scans}, part validation"
    assert kappa.startswith("kappa ")
    result = evaluate(tuned, scans, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_evaluate_writes_a_png_to_the_picture_path(tmp_path, scans, tuned):
    picture = tmp_path / "confusion.png"
    assert evaluate(tuned, scans, "--quiet", "--picture", picture).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
