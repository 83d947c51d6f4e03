"""Training for many epochs leaks no memory, objects or threads."""

import gc
import threading

import psutil
import pytest

from tests.helpers.networks import SMALL, Recorder, make_clips, plain, training_data
from trainer.training.fit import fit

NO_EARLY_STOP = {"plateau_patience": 10**6, "stop_patience": 10**6}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("memory") / "clips.zarr")


def train_and_measure(clips, folder, epochs, measured_epochs):
    """Train `epochs` epochs; return memory, objects and threads after the epochs in `measured_epochs`."""
    measured = {}

    def measure(row):
        if row["epoch"] in measured_epochs:
            gc.collect()
            memory = psutil.Process().memory_info().rss / 2**20
            measured[row["epoch"]] = (memory, len(gc.get_objects()), threading.active_count())

    model, full_model = plain()
    fit(
        model,
        full_model,
        SMALL.replace(epochs=epochs, **NO_EARLY_STOP),
        training_data(clips),
        folder,
        Recorder(epoch=measure),
    )
    return measured


def test_training_leaks_no_objects_or_threads(clips, tmp_path):
    measured = train_and_measure(clips, tmp_path, 60, (20, 60))
    (_, objects, threads), (_, more_objects, more_threads) = measured.values()
    assert more_threads == threads
    assert more_objects - objects < 40 * 10  # a row of history and of timings per epoch


@pytest.mark.slow
def test_memory_is_constant_over_a_thousand_epochs(clips, tmp_path):
    measured = train_and_measure(clips, tmp_path, 1000, (10, 200, 600, 1000))
    for epoch, (memory, objects, threads) in measured.items():
        print(f"epoch {epoch:4}: {memory:.1f} MiB, {objects} objects, {threads} threads")
    assert measured[1000][0] - measured[200][0] < 10
    assert measured[1000][2] == measured[200][2]
