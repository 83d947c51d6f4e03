"""The ledger of a cache in figures: inputs that are complete, quarantined or excluded, their labels and flags."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cache.schema import Attributes, Entry
from pipeline.checks.findings import Findings, collect_findings
from pipeline.sources.format import is_labelled_by_csv


@dataclass
class Summary:
    """The ledger of a cache in figures, and the changes by the run that has just ended.

    `complete` counts samples. `quarantined` and `excluded` map the path of each input to the reason: its path below
    SOURCE, or its full path where the cache was made from several SOURCEs. `labels` counts samples by class name, None
    standing for unlabelled ones; `findings` are the flags and notes of complete samples; `patients` counts those that a
    labels CSV named.

    `made` and `kept` count samples. A sample is also kept where its source is `vanished`, or `unreadable` for the
    listed reason, so that it cannot be compared. `wrong_labels` are rows of the labels CSV that could not be used, and
    `unlabelled` files without a row.
    """

    complete: int
    quarantined: dict[str, str]
    excluded: dict[str, str]
    labels: dict[str | None, int]
    findings: Findings = field(default_factory=Findings)
    made: int = 0
    kept: int = 0
    vanished: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    wrong_labels: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    patients: int = 0

    @property
    def flags(self) -> dict[str, list[str]]:
        """The flags of complete samples (implausible values): id → texts, only samples that have any."""
        return self.findings.flags

    @property
    def notes(self) -> dict[str, list[str]]:
        """The notes on complete samples (unusual but accepted): id → texts, only samples that have any."""
        return self.findings.notes

    @property
    def discovered(self) -> int:
        """The number of inputs ever found; each is complete, quarantined or excluded."""
        return self.complete + len(self.quarantined) + len(self.excluded)


def summarise(attributes: Attributes, entries: Mapping[str, Entry]) -> Summary:
    """Count the ledger's `entries`, each of which is in one of the three states."""
    by_state: dict[str, list[Entry]] = {"complete": [], "quarantined": [], "excluded": []}
    for entry in entries.values():
        by_state[entry.state].append(entry)
    names = dict(enumerate(attributes.class_names))
    labels: dict[str | None, int] = dict.fromkeys((*attributes.class_names, None), 0)
    for entry in by_state["complete"]:
        labels[names.get(entry.label)] += 1
    several_sources = len({entry.source.root for entry in entries.values()}) > 1
    reasons = {
        state: {_displayed_path(entry, several_sources): entry.reason for entry in by_state[state]}
        for state in ("quarantined", "excluded")
    }
    findings = collect_findings(by_state["complete"], names)
    summary = Summary(len(by_state["complete"]), reasons["quarantined"], reasons["excluded"], labels, findings)
    if is_labelled_by_csv(attributes.kind):  # the groups of clips are scenes, not patients
        summary.patients = len({entry.group for entry in by_state["complete"] if entry.group != entry.id})
    return summary


def _displayed_path(entry: Entry, full: bool) -> str:
    return entry.file if full or not entry.source.files else entry.source.files[0]
