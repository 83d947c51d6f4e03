"""A cache over many changes and faults, compared with a model of its samples: a Hypothesis state machine.

Sources in two folders are added, changed, made invalid, renamed and deleted; labels change; runs and repairs are killed
at any system call; files of the cache are flipped, cut, deleted or replaced by links; features are computed. The model
has the value and the label that each sample must have, or the possible ones after a kill.
"""

import os
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import seed as with_seed
from hypothesis.stateful import run_state_machine_as_test

from pipeline.jobs import repair
from tests.faults.machine.cache import CacheMachine
from tests.faults.machine.model import RECIPE
from tests.faults.method import Method, Outcome

STEPS, SHORT_STEPS = 50, 20


def run(trials: int, seed: int, only: str) -> Outcome:
    options = settings(
        max_examples=trials, stateful_step_count=SHORT_STEPS if trials <= METHOD.short else STEPS, deadline=None,
        database=None, derandomize=False, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet, print_blob=False,
    )  # fmt: skip
    machine = with_seed(seed)(CacheMachine)
    with patch.object(os, "fsync", lambda descriptor: None), patch.object(repair, "recipe_from_json", lambda _: RECIPE):
        try:
            run_state_machine_as_test(machine, settings=options)
        except Exception as error:  # noqa: BLE001 - any error is a failure of the trial
            command = f"python -m tests.faults {METHOD.name} --seed {seed} --trials {trials}"
            steps = "\n  ".join(getattr(error, "__notes__", []))
            return Outcome(trials, trials - 1, ((command, f"{type(error).__name__}: {error}\n  {steps}"),))
    return Outcome(trials, trials)


METHOD = Method(
    name="machine",
    title=f"{STEPS} random changes, commands and faults in a row, compared with a model",
    short=50,
    full=2000,
    shows="sources in two folders are added, changed, damaged, renamed and deleted; samples are relabelled and "
    "removed; runs and repairs are killed at any call; files of the cache are flipped, cut, deleted and "
    "replaced by links; features are computed. Every input is complete, quarantined or excluded; a read "
    "gives the right value and label, or raises; after a repair the cache is intact except for the "
    "samples that the repair names; the same run again makes nothing.",
    run=run,
)
