"""What a user of `evaluate` and `predict` meets: which samples count, errors word for word, nothing written but OUT."""

import csv
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from cache import catalog, open_cache
from cache.schema import Source
from cache.store import chunk_path
from cache.writer import open_writer
from tests.helpers.caches import make_cache, tiny_attributes, volume, write_sample
from tests.helpers.commands import cli, contents, edit_json, error, read_json
from tests.helpers.runs import SHAPE, make_clips, make_scans, trained
from trainer import backend

backend.start()

from trainer.model.networks import trained_model  # noqa: E402 - after `start`, which keeps TensorFlow's chatter away
from trainer.runs.run import read_run  # noqa: E402
from trainer.runs.samples import changed_labels  # noqa: E402

NOT_ITS_WEIGHTS = "restore it from a copy, or train again\n"


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return trained(tmp_path_factory.getbasetemp())[0]


@pytest.fixture
def clips(made):
    return made / "clips.zarr"


@pytest.fixture
def scans(made):
    return made / "ct.zarr"


@pytest.fixture
def pretrained(made):
    return made / "pretrained"


@pytest.fixture
def tuned(made):
    return made / "tuned"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.csv"


@pytest.fixture
def copy(tmp_path):
    return lambda folder: shutil.copytree(folder, tmp_path / folder.name)


@pytest.fixture(autouse=True)
def nothing_of_others_is_written(made):
    before = {name: contents(made / name) for name in ("clips.zarr", "ct.zarr", "pretrained", "tuned")}
    yield
    assert {name: contents(made / name) for name in before} == before


def evaluate(run, cache, *options):
    return cli("evaluate", run, cache, *options)


def predict(run, cache, out, *options):
    return cli("predict", run, cache, out, *options)


def scores(*arguments):
    """`evaluate --json`, of which stdout is JSON alone."""
    result = evaluate(*arguments, "--json", "--quiet")  # no progress, however slow the machine
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return json.loads(result.stdout)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def other_scans(root, **options):
    """A cache of other scans than those a run was trained on."""
    values = [1 - volume(row, SHAPE) for row in range(12)]
    return make_scans(root, values, **({"source": Source("", ())} | options))


# Which samples count


def test_on_its_own_cache_a_run_has_the_metrics_of_its_validation_ids(made, clips, scans):
    for run, cache in (("pretrained", clips), ("tuned", scans)):
        metrics = read_json(made / run / "metrics.json")
        wanted = metrics | {"part": "validation", "labels_changed": 0}
        assert scores(made / run, cache) == wanted
        assert scores(made / run, cache, "--part", "validation") == wanted


def test_any_subset_of_the_split_can_be_scored(scans, tuned):
    for part, n in (("train", 6), ("validation", 3), ("test", 3)):
        found = scores(tuned, scans, "--part", part)
        assert (found["part"], found["n"]) == (part, n)


def test_a_missing_subset_is_a_one_line_error(clips, pretrained):
    assert error(evaluate(pretrained, clips, "--part", "test")) == (
        f"Error: {clips} has no sample to score; expected labelled samples of the split's part 'test'\n"
    )


def test_all_labelled_samples_of_another_cache_are_scored(tmp_path, tuned):
    other = other_scans(tmp_path / "other.zarr", labels=[-1, *[number % 3 for number in range(11)]])
    found = scores(tuned, other)
    assert (found["part"], found["n"]) == ("all", 11)
    assert error(evaluate(tuned, other, "--part", "train")) == (
        f"Error: --part train with {other}, which {tuned} was not trained on; leave it out to score all of that cache\n"
    )


def test_training_samples_under_another_name_are_not_scored(tmp_path, scans, tuned):
    trained_on = {"s0", "s1", "s2", "s4", "s5", "s6"}
    names = [f"again/s{row}" for row in range(12)]
    again = make_cache(tmp_path / "again.zarr", 12, open_cache(scans).attributes, names, [row % 3 for row in range(12)])
    assert error(evaluate(tuned, again)) == (
        f"Error: {again} has 6 samples to score that {tuned} was trained on under another name, the first is "
        f"'again/s0'; give a cache without them\n"
    )
    rest = [row for row in range(12) if f"s{row}" not in trained_on]
    others = make_cache(
        tmp_path / "others.zarr",
        [volume(row, SHAPE) for row in rest],
        open_cache(scans).attributes,
        [names[row] for row in rest],
        [row % 3 for row in rest],
        source=Source("", ()),
    )
    assert scores(tuned, others)["n"] == 6


def test_a_copy_of_its_cache_elsewhere_is_still_its_own(copy, scans, tuned):
    assert scores(tuned, copy(scans)) == scores(tuned, scans)


def test_its_cache_with_more_samples_is_still_its_own(tmp_path, clips, pretrained):
    more = make_clips(tmp_path / "clips.zarr", 15)
    assert scores(pretrained, more) == scores(pretrained, clips)


def test_classes_are_matched_by_name(tmp_path, scans, tuned):
    turned = make_scans(
        tmp_path / "ct.zarr", class_names=("c", "x", "b", "a"), labels=[(3, 2, 0)[row % 3] for row in range(12)]
    )
    assert scores(tuned, turned) == scores(tuned, scans)


def relabel(root, labels, class_names=None):
    """Give the samples of a cache other labels, as a corrected CSV does."""
    attributes = catalog.read_attributes(root)
    attributes = attributes.replace(class_names=class_names or attributes.class_names)
    entries = catalog.read_entries(root)
    with open_writer(root, attributes, entries) as writer:
        writer.commit([entry.replace(label=labels[entry.id]) for entry in entries.values()])


def test_labels_corrected_since_training_are_counted_and_noted(copy, scans, tuned):
    changed = copy(scans)
    labels = {f"s{row}": row % 3 for row in range(12)}
    relabel(changed, labels | {"s0": 1, "s3": 2, "s9": 0, "s10": 0})  # the last two are of the test part
    assert scores(tuned, changed)["labels_changed"] == 2
    assert scores(tuned, changed, "--part", "train")["labels_changed"] == 2
    _, told, *_ = evaluate(tuned, changed).stdout.splitlines()
    assert told == "2 of 9 labels differ from those the run was trained with; scored against the cache's labels now"
    relabel(changed, labels | {"s0": -1})
    assert scores(tuned, changed)["labels_changed"] == 1
    assert "differ" not in evaluate(tuned, scans).output


def test_another_order_or_spelling_of_classes_changes_no_label(copy, scans, tuned):
    run, turned = copy(tuned), copy(scans)
    edit_json(run / "config.json", class_names=["a", "b", "\u00e9"])
    relabel(turned, {f"s{row}": (2, 1, 0)[row % 3] for row in range(12)}, ("e\u0301", "b", "a"))
    assert changed_labels(run, read_run(run), open_cache(turned)) == (0, 9)
    relabel(turned, {f"s{row}": row % 3 for row in range(12)}, ("e\u0301", "b", "a"))
    assert changed_labels(run, read_run(run), open_cache(turned)) == (6, 9)


def test_a_run_scored_on_one_class_says_that_kappa_is_undefined(tmp_path, copy, scans, tuned):
    other = other_scans(tmp_path / "other.zarr", labels=[0] * 12)
    run = copy(tuned)
    model = trained_model(run, read_run(run))
    model.get_layer("classes").bias.assign([100, 0, 0])
    model.save(run / "model.keras")
    (run / "manifest.json").unlink()
    found = scores(run, other)
    assert (found["kappa"], found["ci95"]["kappa"], found["accuracy"]) == (None, [None, None], 1)
    lines = evaluate(run, other, "--picture", tmp_path / "confusion.png").stdout.splitlines()
    assert lines[1] == "kappa             undefined   every case is labelled a, and predicted so"
    assert scores(run, scans)["kappa"] == 0
    assert evaluate(run, scans).stdout.splitlines()[1] == "kappa              0.000   predicts a for every case"


def test_a_class_that_the_run_does_not_have_is_refused(tmp_path, tuned):
    other = other_scans(tmp_path / "other.zarr", class_names=("a", "b", "d"))
    assert error(evaluate(tuned, other)) == (
        f"Error: {other} has samples of class 'd', the run has a, b, c; give a cache of the same classes\n"
    )


def test_without_labels_there_is_nothing_to_score(tmp_path, tuned):
    for number, samples in enumerate([0, [1 - volume(0, SHAPE)]]):
        other = make_scans(tmp_path / f"{number}.zarr", samples, labels=[-1], source=Source("", ()))
        assert error(evaluate(tuned, other)) == (f"Error: {other} has no sample to score; expected labelled samples\n")


# What is said


def test_evaluate_prints_lines_or_nothing(scans, tuned):
    first, kappa, *_ = evaluate(tuned, scans).stdout.splitlines()
    assert first == f"{tuned} on {scans}, part validation"
    assert kappa.startswith("kappa ")
    result = evaluate(tuned, scans, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_the_picture_is_a_png_at_the_given_path(tmp_path, scans, tuned):
    picture = tmp_path / "confusion.png"
    assert evaluate(tuned, scans, "--quiet", "--picture", picture).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


# A cache that is not for this run


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda root: make_scans(root, shape=(4, 16, 17)),
            "shape (4, 16, 17), the run was trained on shape (4, 16, 16)",
        ),
        (lambda root: make_clips(root), "kind video, the run was trained on kind ct"),
        (
            lambda root: make_scans(root, recipe={"window": [-500.0, 400.0]}),
            "window [-500.0, 400.0], the run was trained on window [-1000.0, 400.0]",
        ),
        (
            lambda root: make_scans(root, recipe={"orientation": "file"}),
            "orientation file, the run was trained on orientation SPL",
        ),
    ],
    ids=["shape", "kind", "window", "orientation"],
)
def test_a_cache_with_another_recipe_is_refused(tmp_path, tuned, out, make, reason):
    cache = make(tmp_path / "other.zarr")
    for result in (evaluate(tuned, cache), predict(tuned, cache, out)):
        assert error(result) == f"Error: {cache} has {reason}; give a cache built by the same recipe\n"
    assert not out.exists()


def test_a_missing_cache_or_run_is_refused(tmp_path, scans, tuned, out):
    lost = tmp_path / "lost"
    for result in (evaluate(tuned, lost), predict(tuned, lost, out)):
        assert error(result) == (
            f"Error: {lost} is not a cache: it has no readable zarr.json; build one with `preprocess`\n"
        )
    for result in (evaluate(lost, scans), predict(lost, scans, out)):
        assert error(result) == (
            f"Error: {lost}/config.json: No such file or directory; "
            "expected the config.json of a run, as `train` writes it\n"
        )
    assert not out.exists()


def test_a_damaged_sample_is_named_and_nothing_is_written(copy, scans, tuned, out):
    harmed = copy(scans)
    path = chunk_path(harmed, open_cache(harmed).entry("s7").row)
    path.write_bytes(path.read_bytes()[:-1])
    for result in (evaluate(tuned, harmed), predict(tuned, harmed, out)):
        assert error(result).startswith(f"Error: s7: chunk {path} has ")
    assert not out.exists()


# A run that is not sound


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"shape": [10**9] * 3}, "is not that of a run: shape [1000000000, 1000000000, 1000000000]; expected"),
        ({"epochs": "many"}, "is not that of a run: epochs 'many'; expected a whole number, at least 1"),
        ({"learning_rate": float("nan")}, "is not that of a run: learning_rate nan; expected a number above 0"),
        ({"class_names": ["a", "b", "c", "d"]}, "model.keras does not hold this run's weights"),
        ({"rnn": "gru"}, "model.keras does not hold this run's weights"),
        ({"recipe": [["window"]]}, "is not that of a run: "),
    ],
)
def test_a_manipulated_config_is_refused(copy, scans, tuned, out, fields, reason):
    run = copy(tuned)
    edit_json(run / "config.json", **fields)
    for result in (evaluate(run, scans), predict(run, scans, out)):
        assert reason in error(result)
    assert not out.exists()


@pytest.mark.parametrize("name", ["split.json", "samples.json"])
@pytest.mark.parametrize("text", [None, "", "[]", "{", "[" * 1_000_000, '{"train": [NaN], "validation": {}}', "{}"])
def test_without_samples_json_nothing_is_scored(copy, scans, tuned, name, text):
    run = copy(tuned)
    if text is None:
        (run / name).unlink()
    else:
        (run / name).write_text(text)
    assert f"{run}/{name}" in error(evaluate(run, scans))


def corrupt(path, kind):
    """Make model.keras what it should not be."""
    sound = path.read_bytes()
    if kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("config.json", '{"class_name": "Lambda", "module": "os", "config": {"function": "system"}}')
    else:
        path.write_bytes({"empty": b"", "text": b"weights", "truncated": sound[:-100], "zeros": bytes(10_000)}[kind])


@pytest.mark.parametrize("kind", ["folder", "zip", "empty", "text", "truncated", "zeros"])
def test_invalid_weights_are_a_one_line_error(copy, scans, tuned, out, kind):
    run = copy(tuned)
    corrupt(run / "model.keras", kind)
    for result in (evaluate(run, scans), predict(run, scans, out)):
        assert error(result).startswith(f"Error: {run}")
    assert not out.exists()


def test_weights_of_another_network_are_refused(copy, made, scans, tuned, out):
    run = copy(tuned)
    shutil.copy(made / "pretrained" / "model.keras", run)  # of two classes, not of three
    message = error(predict(run, scans, out))
    assert message == (
        f"Error: {run}/model.keras is damaged or was changed: its digest differs from that in manifest.json; "
        "restore it from a copy, or train again; if you changed it yourself, delete manifest.json\n"
    )
    (run / "manifest.json").unlink()
    message = error(predict(run, scans, out))
    assert message.startswith(f"Error: {run}/model.keras does not hold this run's weights (")
    assert message.endswith(NOT_ITS_WEIGHTS)


def test_a_prediction_that_is_not_finite_is_an_error(copy, scans, tuned, out):
    run = copy(tuned)
    model = trained_model(run, read_run(run))
    model.get_layer("classes").bias.assign([np.nan, 0, 0])
    model.save(run / "model.keras")
    (run / "manifest.json").unlink()
    for result in (evaluate(run, scans, "--part", "train"), predict(run, scans, out)):
        assert "the prediction for 's0' is not a finite number" in error(result)
    assert not out.exists()


# predict


def test_a_submission_has_a_line_for_each_file_its_class_counted_from_1_and_no_header(tmp_path, scans, tuned, out):
    result = predict(tuned, scans, out, "--probabilities")
    assert (result.exit_code, result.stdout) == (0, f"{out}: 12 samples\n")
    assert result.stderr == (
        "12 of 12 names are not ImageCLEF's TST_NNNN.nii.gz, the first is '0.nii'; to submit there, give the names it "
        "expects by --ids FILE\n"
    )
    header, *probabilities = rows(tmp_path / "out.probabilities.csv")
    assert header == ["FileName", "a", "b", "c"]
    assert [row[0] for row in probabilities] == [f"{number}.nii" for number in range(12)]
    values = np.array([row[1:] for row in probabilities], float)
    assert values.sum(1) == pytest.approx(1, abs=1e-4)
    assert rows(out) == [[row[0], str(best + 1)] for row, best in zip(probabilities, values.argmax(1), strict=True)]


def test_predictions_and_metrics_agree(tmp_path, scans, tuned, out):
    predict(tuned, scans, out)
    validation = read_json(tuned / "split.json")["validation"]
    said = {name.removesuffix(".nii"): int(number) - 1 for name, number in rows(out)}
    cache = open_cache(scans)
    confusion = np.zeros((3, 3), int)
    for name in validation:
        confusion[cache.entry(f"s{name[1:]}").label, said[name[1:]]] += 1
    assert confusion.tolist() == read_json(tuned / "metrics.json")["confusion"]


def test_ids_decide_which_samples_in_which_order(tmp_path, scans, tuned, out):
    ids = tmp_path / "ids.txt"
    ids.write_bytes(b"\xef\xbb\xbfFileName,Whatever\r\ns11.nii.gz,1\r\n\r\ns0,\r\ns3.nii\r\n")
    result = predict(tuned, scans, out, "--ids", ids)
    assert result.stdout == f"{out}: 3 samples; 9 others in {scans} were not requested\n"
    assert result.stderr == ""
    assert [name for name, _ in rows(out)] == ["s11.nii.gz", "s0", "s3.nii"]
    assert predict(tuned, scans, out, "--ids", ids, "--quiet").output == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s1\ns2\ns1\n", "{ids} has 's1' more than once; expected each id once"),
        ("s1\ns2\ns1.nii.gz\n", "'s1' and 's1.nii.gz' both mean sample 's1' of {cache}; expected each once"),
        ("", "{ids} holds no id; expected one a line"),
        ("FileName\n\n", "{ids} holds no id; expected one a line"),
        (
            "s1\nno\n../s2\n",
            "2 of 3 samples are not in {cache}, the first is 'no'; `info` lists the inputs that were set aside",
        ),
    ],
)
def test_missing_and_repeated_ids_are_refused(tmp_path, scans, tuned, out, text, reason):
    ids = tmp_path / "ids.txt"
    ids.write_text(text)
    assert error(predict(tuned, scans, out, "--ids", ids)) == f"Error: {reason.format(ids=ids, cache=scans)}\n"
    assert not out.exists()
    assert ids.read_text() == text


def test_an_empty_cache_gives_no_submission(tmp_path, tuned, out):
    empty = make_scans(tmp_path / "empty.zarr", 0)
    assert error(predict(tuned, empty, out)) == f"Error: {empty} holds no sample; expected at least one\n"
    assert not out.exists()


def test_unlabelled_samples_are_predicted_too(tmp_path, tuned, out):
    other = other_scans(tmp_path / "other.zarr", labels=[-1] * 12, class_names=("x",))
    assert predict(tuned, other, out).exit_code == 0
    assert len(rows(out)) == 12


def test_names_with_commas_and_line_breaks_stay_one_field(tmp_path, tuned, out):
    names = ["a,b.nii", 'say "x".nii', "two\nlines.nii", "é\u2028.nii"]
    sources = [Source("/scans", (name,)) for name in names]
    other = tmp_path / "other.zarr"
    attributes = tiny_attributes("uint16", SHAPE, "ct", ("a", "b"), window=[-1000.0, 400.0], orientation="SPL")
    with open_writer(other, attributes, {}) as writer:
        for row, source in enumerate(sources):
            name = source.files[0].removesuffix(".nii")
            writer.commit([write_sample(other, attributes, row, volume(row, SHAPE), name, source=source)])
    run = tmp_path / "tuned"
    shutil.copytree(tuned, run)
    edit_json(run / "config.json", class_names=["x,y", "two\nlines", 'say "z"'])
    assert predict(run, other, out, "--probabilities", "--quiet").exit_code == 0
    assert [name for name, _ in rows(out)] == names
    header, *probabilities = rows(tmp_path / "out.probabilities.csv")
    assert header == ["FileName", "x,y", "two\nlines", 'say "z"']
    assert [row[0] for row in probabilities] == names
    again = tmp_path / "again.csv"
    assert predict(run, other, again, "--ids", out, "--quiet").exit_code == 0
    assert again.read_bytes() == out.read_bytes()


# Where OUT may be


def places(folder, scans, tuned):
    """Options of predict that name a place where nothing may be written → what is said."""
    (folder / "folder").mkdir()
    (folder / "ids.txt").write_text("s1\n")
    (folder / "link").symlink_to(tuned / "config.json")
    (folder / "labels.csv").write_text("TRN_0001.nii.gz,3\n")
    (folder / "labels_link").symlink_to("labels.csv")
    (folder / "scan.nii.gz").write_bytes(b"\x1f\x8b")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    os.mkfifo(folder / "pipe")
    inside = f"is inside the cache {scans.resolve()}, which holds samples only; choose another place"
    needed = "would replace a file that this command reads or writes; choose another place"
    theirs = (
        "exists and was not written by this command, or was changed since; delete it yourself, or choose another name"
    )
    return [
        ((folder / "folder",), f"{folder}/folder is a folder; expected a file to write"),
        ((folder / "no/out.csv",), f"{folder}/no is not a folder; make it first, or choose another place for out.csv"),
        ((folder / "pipe",), f"{folder}/pipe is not a regular file; expected a file to write"),
        ((Path("/dev/null"),), "/dev/null is not a regular file; expected a file to write"),
        ((scans / "out.csv",), f"{scans}/out.csv {inside}"),
        ((scans / "zarr.json",), f"{scans}/zarr.json {inside}"),
        ((scans / "volume/out.csv",), f"{scans}/volume/out.csv {inside}"),
        ((tuned / "history.csv",), f"{tuned}/history.csv {needed}"),
        ((folder / "link",), f"{folder}/link {needed}"),
        ((folder / "ids.txt", "--ids", folder / "ids.txt"), f"{folder}/ids.txt {needed}"),
        ((folder / "a.csv", "--probabilities", folder / "a.csv"), f"{folder}/a.csv {needed}"),
        ((folder / "a.csv", "--probabilities", scans / "p.csv"), f"{scans}/p.csv {inside}"),
        ((folder / "labels.csv",), f"{folder}/labels.csv {theirs}"),
        ((folder / "labels_link",), f"{folder}/labels_link {theirs}"),
        ((folder / "scan.nii.gz",), f"{folder}/scan.nii.gz {theirs}"),
        ((folder / "picture.png",), f"{folder}/picture.png {theirs}"),
        ((folder / "a.csv", "--probabilities", folder / "labels.csv"), f"{folder}/labels.csv {theirs}"),
    ]


def test_an_invalid_output_path_is_refused_before_prediction(tmp_path, scans, tuned, monkeypatch):
    wrong = places(tmp_path, scans, tuned)
    kept = [path for path in tmp_path.iterdir() if path.is_file()]
    before = contents(tmp_path / "folder"), [path.read_bytes() for path in kept]
    monkeypatch.setattr("trainer.evaluation.evaluate.predictions", None)
    for options, message in wrong:
        assert error(predict(tuned, scans, *options)) == f"Error: {message}\n"
    assert (contents(tmp_path / "folder"), [path.read_bytes() for path in kept]) == before
    assert not (tmp_path / "a.csv").exists()
    assert Path("/dev/null").is_char_device()


def test_an_invalid_picture_path_is_refused(tmp_path, scans, tuned, monkeypatch):
    monkeypatch.setattr("trainer.evaluation.evaluate.evaluate", None)
    for path in (tuned / "confusion.png", scans / "picture.png", tmp_path, tmp_path / "no" / "picture.png"):
        assert error(evaluate(tuned, scans, "--picture", path)).startswith("Error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_replaces_only_an_earlier_one(tmp_path, scans, tuned, out):
    picture, link = tmp_path / "confusion.png", tmp_path / "link.png"
    link.symlink_to(picture.name)
    for path in (picture, picture, link):
        assert evaluate(tuned, scans, "--quiet", "--picture", path).exit_code == 0
    assert link.is_symlink()
    assert predict(tuned, scans, out, "--quiet").exit_code == 0
    photo = tmp_path / "photo.png"
    Figure().savefig(photo)
    for path in (photo, out, tuned / "validation.csv"):
        before = path.read_bytes()
        assert error(evaluate(tuned, scans, "--picture", path)).startswith(f"Error: {path} ")
        assert path.read_bytes() == before
    assert "was not written by this command" in error(predict(tuned, scans, picture))


def test_predicting_twice_replaces_the_first_and_leaves_no_other_file(tmp_path, scans, made, tuned, out):
    for _ in range(2):
        assert predict(tuned, scans, out, "--quiet", "--probabilities").exit_code == 0
    shown_files = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert shown_files == {"out.csv", "out.probabilities.csv"}


def test_an_output_may_be_in_the_run_folder_or_a_link(copy, tmp_path, scans, tuned):
    run = copy(tuned)
    (tmp_path / "real.csv").touch()
    (tmp_path / "link.csv").symlink_to("real.csv")
    for path in (run / "submission.csv", tmp_path / "link.csv"):
        assert predict(run, scans, path, "--quiet").exit_code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_bytes() == (run / "submission.csv").read_bytes()
