"""What a user of `train` meets: what a run leaves, errors word for word, and a RUN and a CACHE that are left alone."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import cache as once

import pytest
from test_cli import cli, error, usage

from cache import open_cache
from cache.store import chunk_path
from tests.helpers.caches import make_cache, tiny_attributes, volume
from trainer.runs.folder import OWN

SHAPE = (4, 16, 16)
SMALL = ("--backbone", "small", "--epochs", 1, "--batch-size", 4, "--quiet")
STOPPED = "Stopped. What was committed is kept: run the same command again, with --resume, to go on.\n"
PROMISED = {"config.json", "history.csv", "model.keras", "split.json", "metrics.json"}


def make_clips(root, samples=12, shape=SHAPE, class_names=("one", "two"), **fields):
    return make_cache(root, samples, tiny_attributes("uint8", shape, "video", class_names), **fields)


def make_scans(root, samples=12, shape=SHAPE, class_names=("a", "b", "c"), recipe=(), **fields):
    recipe = {"window": [-1000.0, 400.0], "orientation": "SPL"} | dict(recipe)
    labels = fields.pop("labels", [number % len(class_names) for number in range(12)])
    return make_cache(
        root, samples, tiny_attributes("uint16", shape, "ct", class_names, **recipe), None, labels, **fields
    )


@once
def trained(base):
    """Two caches, a run on each, and what the commands said; trained once, for all who only read them."""
    folder = base / "trained"
    folder.mkdir()
    clips, scans = make_clips(folder / "clips.zarr"), make_scans(folder / "ct.zarr")
    parts = {"train": [0, 1, 2, 4, 5, 6], "validation": [3, 7, 8], "test": [9, 10, 11]}
    by_hand = folder / "by_hand.json"
    by_hand.write_text(json.dumps({part: [f"s{number}" for number in numbers] for part, numbers in parts.items()}))
    pretrain = cli("train", "pretrain", clips, folder / "pretrained", *SMALL[:-1], "--json")
    assert pretrain.exit_code == 0, pretrain.output
    options = ("--from", folder / "pretrained", "--split", by_hand, "--epochs", 1, "--batch-size", 4)
    finetune = cli("train", "finetune", scans, folder / "tuned", *options)
    assert finetune.exit_code == 0, finetune.output
    return folder, pretrain, finetune


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
def copy(tmp_path):
    """A copy of a run or a cache, to be harmed."""
    return lambda folder: shutil.copytree(folder, tmp_path / folder.name)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def signals():
    """The handlers are put back: after Ctrl-C the command line ignores further ones, as a process that ends may."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def pretrain(clips, run, *options):
    return cli("train", "pretrain", clips, run, *SMALL, *options)


def finetune(scans, run, *options):
    return cli("train", "finetune", scans, run, *SMALL, *options)


def contents(folder):
    """Every file below `folder` byte for byte; of a folder its name."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in [folder, *folder.rglob("*")]}


def refused(result, run):
    """The error of a command that was refused before it touched the new RUN."""
    message = error(result)
    assert not run.exists()
    return message


def shown(path):
    return json.loads(path.read_text())


def edit(path, **changes):
    """Change what the file says, in a run of an earlier version, which had no list of digests."""
    path.with_name("manifest.json").unlink()
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# What a run leaves, and says


def test_a_run_leaves_what_the_contract_names(made, clips, pretrained):
    assert PROMISED <= {path.name for path in pretrained.iterdir()} <= set(OWN)
    config, split, metrics = (shown(pretrained / f"{name}.json") for name in ("config", "split", "metrics"))
    opened = open_cache(clips)
    assert config["recipe"] == opened.recipe
    assert (config["shape"], config["class_names"], config["kind"]) == ([4, 16, 16], ["one", "two"], "video")
    assert sorted([*split["train"], *split["validation"]]) == sorted(opened.ids)
    assert set(split) == {"train", "validation"}
    assert {"kappa", "accuracy", "ci95", "f1", "confusion", "n"} <= set(metrics)
    assert (set(metrics["ci95"]) >= {"kappa", "accuracy"}, list(metrics["f1"])) == (True, ["one", "two"])
    assert metrics["n"] == len(split["validation"]) == sum(map(sum, metrics["confusion"]))
    header, *rows = (pretrained / "history.csv").read_text().splitlines()
    assert header == "epoch,loss,accuracy,val_loss,val_accuracy,val_kappa,learning_rate"
    assert len(rows) == 1


def test_with_json_stdout_is_the_metrics_alone(tmp_path_factory, pretrained):
    _, result, _ = trained(tmp_path_factory.getbasetemp())
    assert json.loads(result.stdout) == shown(pretrained / "metrics.json")
    assert result.stderr == ""


def test_a_run_says_how_it_goes_on_stdout_and_on_what_on_stderr(tmp_path_factory, made):
    _, _, result = trained(tmp_path_factory.getbasetemp())
    device, split, *_ = result.stderr.splitlines()
    assert device.startswith("TensorFlow ")
    assert split == "6 samples to train on, 3 to validate on, 3 for testing"
    first, blank, head, kappa, *_ = result.stdout.splitlines()
    assert first.startswith("epoch 1/1  loss ")
    assert (blank, head) == ("", f"{made / 'tuned'}: the best epoch on 3 validation samples")
    assert kappa.startswith("kappa ")


def test_fine_tuning_takes_the_backbone_and_the_head_of_its_parent(made):
    config = shown(made / "tuned/config.json")
    assert (config["backbone"], config["weights"]) == ("small", "none")
    assert config["from"] == str((made / "pretrained").resolve())
    assert shown(made / "tuned/split.json") == shown(made / "by_hand.json")


@pytest.mark.parametrize("name", ["curves.png", "confusion.png"])
def test_pictures_are_png_of_a_sane_size(pretrained, name):
    data = (pretrained / name).read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert all(200 <= int.from_bytes(data[start : start + 4], "big") <= 2000 for start in (16, 20))


# A cache that cannot be trained on


def test_no_such_cache(tmp_path, run):
    assert refused(pretrain(tmp_path / "no.zarr", run), run) == (
        f"Error: {tmp_path}/no.zarr is not a cache: it has no readable zarr.json; build one with `preprocess`\n"
    )


def test_a_cache_of_the_wrong_kind(clips, scans, run):
    assert refused(pretrain(scans, run), run) == (
        f"Error: {scans} holds ct samples, `train pretrain` takes video; build a cache by `preprocess video`\n"
    )
    assert refused(finetune(clips, run), run) == (
        f"Error: {clips} holds video samples, `train finetune` takes ct; build a cache by `preprocess ct`\n"
    )


def test_an_empty_cache(tmp_path, run):
    assert refused(pretrain(make_clips(tmp_path / "clips.zarr", 0), run), run) == (
        "Error: none of the 0 samples has a label; expected two classes or more; label them in the cache\n"
    )


def test_an_unlabelled_cache(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 3, labels=[-1] * 3)
    assert refused(pretrain(clips, run), run) == (
        "Error: none of the 3 samples has a label; expected two classes or more; label them in the cache\n"
    )


def test_one_class_alone(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 3, labels=[1] * 3)
    assert refused(pretrain(clips, run), run) == (
        "Error: all 3 labelled samples are of class 'two'; expected two classes or more; add samples of another\n"
    )


def test_a_class_with_one_sample(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 4, labels=[0, 0, 0, 1])
    assert refused(pretrain(clips, run), run) == (
        "Error: class 'two' has 1 sample in 1 group; a split needs at least two groups of each class; "
        "add samples, or leave the class out\n"
    )


def test_a_class_of_one_patient(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr", 4, group="p")
    assert refused(pretrain(clips, run), run) == (
        "Error: class 'one' has 2 samples in 1 group; a split needs at least two groups of each class; "
        "add samples, or leave the class out\n"
    )


def test_slices_too_small_for_the_backbone(tmp_path, clips, run):
    small = make_clips(tmp_path / "clips.zarr", shape=(4, 8, 16))
    assert refused(pretrain(small, run), run) == (
        f"Error: {small} has slices of 8×16 px, backbone small takes 16×16 or more; "
        "preprocess to a larger --height --width\n"
    )
    assert "backbone vgg16 takes 32×32 or more" in refused(pretrain(clips, run, "--backbone", "vgg16"), run)


def test_a_batch_larger_than_the_split(clips, run):
    assert refused(pretrain(clips, run, "--batch-size", 11), run) == (
        "Error: batch_size 11, but there are 10 samples to train on; lower it\n"
    )


# Options that make no sense


@pytest.mark.parametrize("option", [("--epochs", 0), ("--batch-size", 0), ("--seed", -1), ("--learning-rate", 0)])
def test_values_out_of_range(clips, run, option):
    assert f"Invalid value for '{option[0]}'" in usage(pretrain(clips, run, *option))
    assert not run.exists()


def test_a_learning_rate_that_is_no_number(clips, run):
    assert "learning_rate nan" in refused(pretrain(clips, run, "--learning-rate", "nan"), run)


def test_old_option_names_work_with_a_note(clips, run):
    result = pretrain(clips, run, "--epochs", 1, "--frame-block", 2, "--input-map=glorot")
    assert result.exit_code == 0
    assert "--frame-block is now --slices-per-step" in result.stderr
    assert "--input-map is now --input-conv" in result.stderr
    config = json.loads((run / "config.json").read_text())
    assert (config["slices_per_step"], config["input_conv"]) == (2, "random")


def test_weights_that_are_not_there_or_not_for_this_backbone(tmp_path, clips, run):
    message = refused(pretrain(clips, run, "--weights", "imagenet"), run)
    assert all(word in message for word in ("'imagenet'", "backbone small", "--weights none"))
    large = make_clips(tmp_path / "clips.zarr", shape=(4, 32, 32))
    lost = tmp_path / "lost.weights.h5"
    message = refused(pretrain(large, run, "--backbone", "vgg16", "--weights", lost), run)
    assert all(word in message for word in (f"weights {lost}: no such file", "--weights PATH", "--weights none"))


def test_weights_that_cannot_be_fetched_name_the_way_out(tmp_path, run, monkeypatch):
    import keras

    sound = keras.applications.VGG16

    def offline(*args, weights, **options):
        if weights is None:
            return sound(*args, weights=None, **options)
        raise Exception("URL fetch failure on https://example.org/vgg16.h5:\nName or service not known")

    monkeypatch.setattr(keras.applications, "VGG16", offline)
    large = make_clips(tmp_path / "clips.zarr", shape=(4, 32, 32))
    message = refused(pretrain(large, run, "--backbone", "vgg16"), run)
    reason = "URL fetch failure on https://example.org/vgg16.h5: Name or service not known"
    assert all(word in message for word in ("ImageNet weights of VGG-16", reason, "--weights PATH"))


def test_augmentation_is_for_scans_and_named_only_where_wanted(clips, scans, run):
    assert refused(pretrain(clips, run, "--augment"), run) == (
        "Error: augmentation is for fine-tuning only (ViPTT-Net §2.4); leave it out in pretraining\n"
    )
    for more in ((), ("--no-augment",)):
        assert usage(finetune(scans, run, "--augment-by", "blur", *more)) == (
            "Error: --augment-by says what --augment does; expected --augment too"
        )
    assert refused(finetune(scans, run, "--augment", "--augment-by", "mirror"), run) == (
        "Error: augmentation ('mirror',); expected some of rotation, shift, blur\n"
    )


# --from


def test_a_parent_that_is_not_there(tmp_path, scans, run):
    assert refused(finetune(scans, run, "--from", tmp_path / "no"), run) == (
        f"Error: {tmp_path}/no/config.json: No such file or directory; "
        "expected the config.json of a run, as `train` writes it\n"
    )


def test_a_parent_of_another_shape(tmp_path, pretrained, run):
    scans = make_scans(tmp_path / "ct.zarr", shape=(5, 16, 16))
    assert refused(finetune(scans, run, "--from", pretrained), run) == (
        f"Error: {scans} has shape (5, 16, 16), the run of --from was trained on (4, 16, 16); "
        "preprocess both to the same --depth --height --width\n"
    )


@pytest.mark.parametrize(
    ("option", "given", "parent"),
    [("backbone", "vgg16", "small"), ("rnn", "gru", "lstm"), ("input-conv", "random", "imagenet")],
)
def test_a_parent_of_another_network(scans, pretrained, run, option, given, parent):
    assert refused(finetune(scans, run, "--from", pretrained, f"--{option}", given), run) == (
        f"Error: {option.replace('-', '_')} {given} with a run of --from that has {parent}; expected the same in both\n"
    )


def test_weights_beside_a_parent(scans, pretrained, run):
    assert refused(finetune(scans, run, "--from", pretrained, "--weights", "imagenet"), run) == (
        "Error: weights imagenet with --from, whose run has its own; leave one of them out\n"
    )


@pytest.mark.parametrize(
    ("recipe", "key", "given"),
    [({"window": [-500.0, 400.0]}, "window", [-500.0, 400.0]), ({"orientation": "file"}, "orientation", "file")],
)
def test_a_parent_on_scans_of_another_meaning(tmp_path, made, run, recipe, key, given):
    scans = make_scans(tmp_path / "ct.zarr", recipe=recipe)
    expected = {"window": [-1000.0, 400.0], "orientation": "SPL"}[key]
    assert refused(finetune(scans, run, "--from", made / "tuned"), run) == (
        f"Error: {scans} has {key} {given}, the run of --from was trained on {key} {expected}; "
        "give a cache built by the same recipe\n"
    )


def test_a_parent_without_an_epoch_behind_it(scans, copy, pretrained, run):
    parent = copy(pretrained)
    (parent / "model.keras").unlink()
    before = contents(parent)
    message = refused(finetune(scans, run, "--from", parent), run)
    assert f"{parent} has no model.keras" in message
    assert "--resume" in message
    assert contents(parent) == before


# --split


def by_hand(folder, **parts):
    path = folder / "split.json"
    path.write_text(json.dumps(parts))
    return path


def test_a_split_that_is_none(tmp_path, clips, run):
    lost = tmp_path / "lost.json"
    layout = '{"train": [ids], "validation": [ids]}'
    assert refused(pretrain(clips, run, "--split", lost), run) == (
        f"Error: {lost}: No such file or directory; expected a split such as {layout}\n"
    )
    path = by_hand(tmp_path, train=["s0", "s1"], validation="s2")
    assert refused(pretrain(clips, run, "--split", path), run) == (
        f"Error: {path}: split has 's2' as 'validation'; expected a list of ids\n"
    )
    path = by_hand(tmp_path, train=["s0", "s1"], validation=["s1"])
    assert refused(pretrain(clips, run, "--split", path), run) == (
        f"Error: {path}: split has 's1' in 'train' and in 'validation'; expected each id once\n"
    )
    path.write_text("[" * 1_000_000)
    assert "is not readable as JSON" in refused(pretrain(clips, run, "--split", path), run)


def test_a_split_of_ids_that_no_cache_has(tmp_path, clips, run):
    path = by_hand(tmp_path, train=["s0", "../../etc/passwd"], validation=["s1\n"])
    assert refused(pretrain(clips, run, "--split", path), run) == (
        "Error: split names 2 ids not in the cache ('../../etc/passwd', 's1\\n'); "
        "remove them, or give the cache that the split was made for\n"
    )


def test_a_split_that_leaks(tmp_path, run):
    shared = make_clips(tmp_path / "group.zarr", 4, group="g01")
    for part in ("validation", "test"):
        parts = {"train": ["s0"], "validation": ["s2"]} | {part: ["s1"]}
        message = refused(pretrain(shared, run, "--split", by_hand(tmp_path, **parts)), run)
        assert "are of one group" in message
        assert "'g01'" in message
    sample = open_cache(shared)[0]
    twins = make_clips(tmp_path / "twins.zarr", [sample, sample, 1 - sample])
    path = by_hand(tmp_path, train=["s0", "s2"], validation=["s1"])
    message = refused(pretrain(twins, run, "--split", path), run)
    assert "'s0' in 'train' and 's1' in 'validation', which hold the same array" in message
    assert "add --drop-shared" in message


@pytest.fixture
def twins(tmp_path):
    """Clips of which s4 holds the array of s0, and a split with them in different parts."""
    values = [volume(number, SHAPE) for number in (0, 1, 2, 3, 0, 5)]
    split = by_hand(tmp_path, train=["s0", "s1", "s2"], validation=["s3", "s4"], test=["s5"])
    return make_clips(tmp_path / "twins.zarr", values), split


def test_a_split_by_hand_can_be_had_without_what_it_shares_and_resumed(twins, run):
    (clips, split), kept = twins, {"train": ["s1", "s2"], "validation": ["s3", "s4"], "test": ["s5"]}
    command = ("train", "pretrain", clips, run, *SMALL[:-1], "--batch-size", 2, "--split", split)
    first = cli(*command, "--drop-shared")
    assert first.exit_code == 0, first.output
    assert "--drop-shared leaves 1 sample ('s0') out of training: validation or test hold the same arrays" in (
        first.stderr.splitlines()
    )
    assert shown(run / "split.json") == kept
    resumed = cli(*command, "--drop-shared", "--resume", "--epochs", 2)
    assert resumed.exit_code == 0, resumed.output
    assert shown(run / "split.json") == kept
    without = cli(*command, "--resume", "--epochs", 2)
    assert without.exit_code == 1
    assert "has another split; leave it out" in without.stderr


def test_dropping_what_is_shared_needs_a_split_and_leaves_every_class(tmp_path, twins, run):
    clips, split = twins
    assert usage(pretrain(clips, run, "--drop-shared")) == (
        "Error: --drop-shared is about the samples of --split; expected --split FILE too"
    )
    split = by_hand(tmp_path, train=["s0", "s1"], validation=["s3", "s4"])
    assert "--drop-shared leaves no sample of class 'one' to train on" in (
        refused(pretrain(clips, run, "--drop-shared", "--split", split), run)
    )


# Results come before decoration


@pytest.mark.parametrize("options", [(), pytest.param(("--json",), marks=pytest.mark.slow)])
def test_a_picture_that_fails_costs_no_result(clips, run, monkeypatch, options):
    def fails(*args, **options):
        raise RuntimeError("latex could not be found")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fails)
    result = cli("train", "pretrain", clips, run, *SMALL[:-1], *options)
    assert result.exit_code == 0, result.output
    names = {path.name for path in run.iterdir()}
    assert {"metrics.json", "validation.csv"} < names
    assert not any(name.endswith(".png") for name in names)
    said = [line for line in result.stderr.splitlines() if line.startswith("no picture: ")]
    why = "(RuntimeError: latex could not be found); the numbers are not affected"
    drawn = () if options else ("curves.png", "confusion.png")
    assert said == [f"no picture: cannot draw {run / name} {why}" for name in drawn]
    evaluated = cli("evaluate", run, clips, "--picture", run.parent / "confusion.png", *options)
    assert evaluated.exit_code == 1
    assert evaluated.stdout.startswith("{" if options else f"{run} on {clips}, part validation\nkappa")
    assert evaluated.stderr.splitlines()[-1] == f"Error: cannot draw {run.parent / 'confusion.png'} {why}"


def test_logs_that_cannot_be_written_cost_no_result_and_show_no_traceback(clips, run, monkeypatch):
    def full(record):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", lambda self, data: full(data))
    result = cli("train", "pretrain", clips, run, *SMALL[:-1], "--epochs", 2)
    assert result.exit_code == 0, result.output
    assert (run / "metrics.json").is_file()
    assert [line for line in result.stderr.splitlines() if "TensorBoard" in line] == [
        f"cannot write TensorBoard's files into {run / 'logs'} (No space left on device); training continues without "
        "them, history.csv has the same figures"
    ]
    assert "Traceback" not in result.output


def test_tensorboard_reads_the_figures_of_every_epoch(pretrained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(pretrained / "logs"))
    events.Reload()
    header, row = (line.split(",") for line in (pretrained / "history.csv").read_text().splitlines())
    assert {*header[1:], "seconds"} <= {*events.Tags()["tensors"]}
    for name, value in zip(header[1:], row[1:], strict=True):
        (event,) = events.Tensors(name)
        assert (event.step, float(make_ndarray(event.tensor_proto))) == (1, pytest.approx(float(value)))


# RUN


def test_a_run_that_exists_is_left_alone(clips, copy, pretrained):
    run = copy(pretrained)
    before = contents(run)
    assert error(pretrain(clips, run)) == (
        f"Error: {run} holds a run already; go on with it by --resume, or choose another RUN\n"
    )
    assert contents(run) == before


@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_a_run_that_is_something_else_is_left_alone(tmp_path, clips, run, options):
    run.write_text("mine")
    nowhere = tmp_path / "nowhere"
    nowhere.symlink_to(tmp_path / "gone")
    for path in (run, nowhere):
        assert error(pretrain(clips, path, *options)) == (
            f"Error: {path} is a file; expected a folder that is new or empty, or a run to --resume\n"
        )
    assert (run.read_text(), nowhere.is_symlink()) == ("mine", True)
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("mine")
    (folder / "partial-results.csv").write_text("mine")
    before = contents(folder)
    assert error(pretrain(clips, folder, *options)) == (
        f"Error: {folder} holds 'chapter.tex' and no run; expected a folder that is new or empty\n"
    )
    assert contents(folder) == before


def test_a_cache_is_no_place_for_a_run(clips, scans):
    before = contents(clips), contents(scans)
    for cache in (clips, scans):
        for path in (cache, cache / "run", cache / "ledger" / "deep" / "run"):
            assert error(pretrain(clips, path)) == (
                f"Error: {path} is inside the cache {cache.resolve()}, which holds samples only; choose another RUN\n"
            )
    assert (contents(clips), contents(scans)) == before


def test_while_a_process_trains_into_a_run_no_other_may(clips, copy, pretrained):
    run = copy(pretrained)
    hold = "import fcntl, sys\nfcntl.flock(file := open(sys.argv[1], 'a'), fcntl.LOCK_EX)\nprint(flush=True), input()"
    command = [sys.executable, "-c", hold, run / "lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        before = contents(run)
        message = error(pretrain(clips, run, "--resume"))
        other.communicate(b"\n")
    assert message == f"Error: another process trains into {run}; wait for it to end, or choose another RUN\n"
    assert contents(run) == before


def test_a_run_that_another_process_began_meanwhile_is_left_alone(clips, pretrained, run, monkeypatch):
    from trainer.training import train

    def first_model(*_):
        shutil.copytree(pretrained, run)

    monkeypatch.setattr(train, "starting_model", first_model)
    assert error(pretrain(clips, run)) == (
        f"Error: {run} holds a run already; go on with it by --resume, or choose another RUN\n"
    )
    assert {path.name: path.read_bytes() for path in run.glob("*.*")} == {
        path.name: path.read_bytes() for path in pretrained.glob("*.*")
    }
    shutil.rmtree(run)
    assert error(pretrain(clips, run, "--resume")) == (
        f"Error: another process has trained into {run} meanwhile; run the same command again\n"
    )


# --resume


def test_a_finished_run_that_is_resumed_stays_as_it_is(clips, copy, pretrained):
    run = copy(pretrained)
    before = contents(run)
    result = cli("train", "pretrain", clips, run, "--resume", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == shown(run / "metrics.json")
    assert contents(run) == before


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--batch-size", 2), "batch_size 2 with --resume, but {run} has 4"),
        (("--learning-rate", 0.5), "learning_rate 0.5 with --resume, but {run} has 0.001"),
        (("--seed", 7), "seed 7 with --resume, but {run} has 0"),
        (("--class-weights",), "class_weights True with --resume, but {run} has False"),
        (("--rnn", "gru"), "rnn gru with --resume, but {run} has lstm"),
        (("--backbone", "vgg16"), "backbone vgg16 with --resume, but {run} has small"),
    ],
)
def test_only_epochs_may_change_when_a_run_is_resumed(clips, copy, pretrained, option, message):
    run = copy(pretrained)
    before = contents(run)
    assert error(pretrain(clips, run, "--resume", *option)) == (
        f"Error: {message.format(run=run)}; leave it out, or train into another RUN\n"
    )
    assert contents(run) == before


def test_a_run_is_resumed_by_its_own_command_parent_and_split(tmp_path, clips, scans, copy, made):
    run = copy(made / "tuned")
    before = contents(run)
    assert error(pretrain(clips, run, "--resume")) == (
        f"Error: {run} is a run of `train finetune`; resume it by that command\n"
    )
    assert error(finetune(scans, run, "--resume", "--from", run)) == (
        f"Error: --from {run} with --resume, but {run} began from {(made / 'pretrained').resolve()}\n"
    )
    split = by_hand(tmp_path, train=["s0", "s1"], validation=["s2"])
    assert error(finetune(scans, run, "--resume", "--split", split)) == (
        f"Error: --split {split} with --resume, but {run} has another split; leave it out\n"
    )
    assert contents(run) == before
    assert finetune(scans, run, "--resume", "--split", made / "by_hand.json").exit_code == 0
    assert contents(run) == before


def test_a_run_goes_on_to_more_epochs_never_to_fewer_and_needs_its_parent_no_more(copy, made):
    run, parent = copy(made / "tuned"), copy(made / "pretrained")
    edit(run / "config.json", **{"from": str(parent)})
    shutil.rmtree(parent)
    first = (run / "history.csv").read_text()
    result = cli("train", "finetune", made / "ct.zarr", run, "--resume", "--epochs", 3)
    assert result.exit_code == 0
    assert [line.partition("  ")[0] for line in result.stdout.splitlines()[:2]] == ["epoch 2/3", "epoch 3/3"]
    assert (run / "history.csv").read_text().startswith(first)
    assert (run / "history.csv").read_text().count("\n") == 4
    assert shown(run / "config.json")["epochs"] == 3
    before = contents(run)
    assert error(finetune(made / "ct.zarr", run, "--resume", "--epochs", 2)) == (
        f"Error: epochs 2 with --resume, but {run} has 3; only more can be given\n"
    )
    assert contents(run) == before


def test_a_run_is_resumed_on_the_samples_it_began_with(tmp_path, copy, pretrained):
    run = copy(pretrained)
    before = contents(run)
    other = make_clips(tmp_path / "other.zarr", [1 - volume(row, SHAPE) for row in range(12)])
    message = error(pretrain(other, run, "--resume"))
    assert message.endswith(
        f" of {other} is not the one {run} began with; give that cache, or train into another RUN\n"
    )
    fewer = make_clips(tmp_path / "fewer.zarr", 11)
    assert error(pretrain(fewer, run, "--resume")) == (
        "Error: split names 1 id not in the cache ('s11'); remove them, or give the cache that the split was made for\n"
    )
    unlabelled = make_clips(tmp_path / "unlabelled.zarr", labels=[-1] + [0, 1] * 5 + [0])
    assert "has no label in the cache" in error(pretrain(unlabelled, run, "--resume"))
    renamed = make_clips(tmp_path / "renamed.zarr", class_names=("two", "one"))
    assert error(pretrain(renamed, run, "--resume")) == (
        f"Error: {renamed} has classes ['two', 'one'], {run} ['one', 'two']; give its own cache\n"
    )
    assert contents(run) == before


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminated"])
def test_a_stopped_run_says_how_to_go_on_and_does(clips, pretrained, run, monkeypatch, signals, sent, code):
    stop = lambda self, epoch, done, *_: done == 2 and os.kill(os.getpid(), sent)  # noqa: E731
    monkeypatch.setattr("console.progress.Training.at_step", stop)
    monkeypatch.setattr(sys, "argv", ["cli.py", "train"])
    result = pretrain(clips, run)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", STOPPED)
    assert {path.name for path in run.iterdir()} <= set(OWN) - {"model.keras", "metrics.json"}
    monkeypatch.undo()
    assert "has no model.keras" in error(cli("evaluate", run, clips, "--quiet"))
    if sent == signal.SIGINT:
        assert pretrain(clips, run, "--resume").exit_code == 0
        for name in ("history.csv", "metrics.json", "split.json", "config.json"):
            assert (run / name).read_bytes() == (pretrained / name).read_bytes()


def test_resume_begins_a_run_where_there_is_none_and_a_damaged_sample_stops_it_by_name(tmp_path, run):
    clips = make_clips(tmp_path / "clips.zarr")
    path = chunk_path(clips, open_cache(clips).entry("s3").row)
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    before = contents(clips)
    assert error(pretrain(clips, run, "--resume")) == (
        f"Error: s3: chunk {path} is not what was written, its digest differs; "
        "run `repair` to rebuild it from its source\n"
    )
    assert not (run / "model.keras").exists()
    assert contents(clips) == before
    path.write_bytes(sound)
    assert pretrain(clips, run, "--resume").exit_code == 0
    assert (run / "metrics.json").is_file()


# The disk


@pytest.fixture
def disk(tmp_path):
    """Makes a disk of so many bytes of our own, and says where."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        made = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"no disk of our own can be mounted here: {made.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", folder], capture_output=True)


def test_a_full_disk_is_one_clear_line_and_the_last_good_weights_stay(clips, copy, pretrained, disk):
    size = sum(path.stat().st_size for path in pretrained.rglob("*") if path.is_file())
    run = shutil.copytree(pretrained, disk("-o", f"size={size + 1_000_000}") / "run")
    before = contents(run)
    message = error(pretrain(clips, run, "--resume", "--epochs", 2))
    assert "No space left on device; what was saved before is kept; free some space" in message
    after = contents(run)
    assert after[str(run / "model.keras")] == before[str(run / "model.keras")]
    assert not list(run.glob("partial-*"))
    assert cli("evaluate", run, clips, "--quiet").exit_code == 0
    subprocess.run(["mount", "-o", f"remount,size={3 * size}", run.parent], check=True)
    assert pretrain(clips, run, "--resume", "--epochs", 2).exit_code == 0
    assert (run / "history.csv").read_text().count("\n") == 3


def test_a_run_that_may_not_be_written_is_one_clear_line(clips, disk):
    folder = disk("-o", "ro")
    message = error(pretrain(clips, folder / "run"))
    assert message == (f"Error: {folder}/run: Read-only file system; mount it for writing, or choose another path\n")
