"""Tiny sources, commands on them, and the comparison of their results, as needed by most methods."""

from tests.faults.world.commands import CT, FEATURES, SIZE, TRAINING, VIDEO, make, predict, preprocess_video, pretrain
from tests.faults.world.facts import Sample, differences, samples
from tests.faults.world.preload import HEAVY, LIGHT, load_everything, scratch
from tests.faults.world.scenarios import SCENARIOS, Scenario, scenarios
from tests.faults.world.sources import CLIPS, LABELS, SCANS, write_clips, write_labels, write_scans
from tests.faults.world.states import sources_video
from tests.faults.world.template import DONE, FAILED, QUARANTINED, Template

__all__ = [
    "CLIPS", "CT", "DONE", "FAILED", "FEATURES", "HEAVY", "LABELS", "LIGHT", "QUARANTINED", "SCANS", "SCENARIOS",
    "SIZE", "TRAINING", "VIDEO", "Sample", "Scenario", "Template", "differences", "load_everything", "make", "predict",
    "preprocess_video", "pretrain", "samples", "scenarios", "scratch", "sources_video", "write_clips", "write_labels",
    "write_scans",
]  # fmt: skip
