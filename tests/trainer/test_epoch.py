"""Steps of an epoch: each starts before the loss of the previous step is read, except before a checkpoint."""

import pytest

from tests.helpers.networks import SMALL, Recorder, make_clips, training_data
from trainer.errors import TrainerError
from trainer.model.predict import one_late
from trainer.training.checkpoint import State
from trainer.training.epoch import train_epoch


class Runner:
    """Steps with the losses 1, 2, 3 …; records its calls in `events`."""

    def __init__(self, losses=range(1, 100)):
        self.losses, self.events, self.started = iter(losses), [], 0

    def __call__(self, values, labels, weights):
        self.started += 1
        self.events.append(f"start {self.started}")
        return self.started

    def read(self, number):
        self.events.append(f"read {number}")
        return float(next(self.losses)), 0.5

    def synchronize(self):
        self.events.append("synchronize")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return training_data(make_clips(tmp_path_factory.mktemp("epoch") / "clips.zarr"), 6)


def run(runner, data, save_seconds=1e9, state=None):
    recorder = Recorder()
    saved = lambda: runner.events.append("save")  # noqa: E731
    train_epoch(runner, SMALL, data, state or State(), recorder, saved, save_seconds)
    return recorder


def test_a_loss_is_read_after_the_next_step_has_started(data):
    runner = Runner()
    recorder = run(runner, data)
    assert runner.events == ["start 1", "start 2", "read 1", "start 3", "read 2", "read 3", "synchronize"]
    assert [(done, total, loss) for _, done, total, loss in recorder.steps] == [(1, 3, 1.0), (2, 3, 1.5), (3, 3, 2.0)]


def test_every_started_step_is_finished_before_a_checkpoint(data):
    runner = Runner()
    run(runner, data, save_seconds=0)
    assert runner.events[:4] == ["start 1", "read 1", "synchronize", "save"]
    assert runner.events == [
        event for n in (1, 2, 3) for event in (f"start {n}", f"read {n}", "synchronize", "save")
    ] + ["synchronize"]


def test_a_loss_that_is_not_finite_is_reported_with_its_step(data):
    runner = Runner([1.0, float("nan"), 3.0])
    with pytest.raises(TrainerError, match=r"the loss became nan in epoch 1, step 2;"):
        run(runner, data)
    assert runner.events[-1] == "synchronize"


def test_a_resumed_epoch_has_the_remaining_steps(data):
    runner = Runner()
    recorder = run(runner, data, state=State(step=2, seen=4, losses=4.0))
    assert runner.events == ["start 1", "read 1", "synchronize"]
    assert recorder.steps == [(0, 3, 3, pytest.approx(1.0))]


def test_one_late_yields_all_items_in_order():
    events = []

    def items():
        for number in range(3):
            events.append(f"start {number}")
            yield number

    for number in one_late(items()):
        events.append(f"read {number}")
    assert events == ["start 0", "start 1", "read 0", "start 2", "read 1", "read 2"]
    assert list(one_late([])) == []
