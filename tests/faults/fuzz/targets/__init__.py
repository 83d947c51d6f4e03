"""The formats to fuzz, by name."""

from tests.faults.fuzz.target import Format
from tests.faults.fuzz.targets import caches, clips, labels, runs, scans
from tests.faults.world import HEAVY, LIGHT

FORMATS = {
    "nifti": Format(10, LIGHT, scans.nifti),
    "nifti_gz": Format(10, LIGHT, scans.nifti_gz),
    "labels": Format(10, LIGHT, labels.labels),
    "ledger": Format(6, LIGHT, caches.ledger),
    "attributes": Format(6, LIGHT, caches.attributes),
    "config": Format(10, LIGHT, runs.config),
    "split": Format(10, LIGHT, runs.split),
    "avi": Format(8, LIGHT, clips.avi),
    "mp4": Format(8, LIGHT, clips.mp4),
    "checkpoint": Format(6, HEAVY, runs.checkpoint),
}
