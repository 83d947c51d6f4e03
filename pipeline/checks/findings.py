"""Findings: the flags and notes of all samples of a cache, by id. Pure.

Most are in the records of the samples. Samples with the same array are detected only here.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cache.schema import Entry
from cache.text import cut, shown

TWO_LABELS = "two labels"
SAME_ARRAY = "same array"


@dataclass
class Findings:
    """Flags and notes of the samples that have any.

    Arguments:
        flags: id → texts about implausible values.
        notes: id → texts about unusual but accepted values.
        duplicates: ids of samples with the same array as another one.
        two_labels: pairs of duplicates with different labels; the first is the first labelled sample with that array.
    """

    flags: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)
    two_labels: list[tuple[str, str]] = field(default_factory=list)


def collect_findings(complete: Iterable[Entry], class_names: Mapping[int, str]) -> Findings:
    """The findings about the `complete` entries of one ledger, sorted by id."""
    entries = sorted(complete, key=lambda entry: entry.id)
    findings = Findings(_recorded(entries, "flags"), _recorded(entries, "notes"))
    for group in _same_arrays(entries):
        findings.duplicates += [entry.id for entry in group]
        findings.two_labels += [(group[0].id, entry.id) for entry in group if _contradict(group[0], entry)]
        contradicting = next((entry for entry in group if _contradict(group[0], entry)), group[0])
        for entry in group:
            _add_same_array(findings, entry, group, contradicting, class_names)
    findings.flags, findings.notes = dict(sorted(findings.flags.items())), dict(sorted(findings.notes.items()))
    return findings


def _recorded(entries: Iterable[Entry], key: str) -> dict[str, list[str]]:
    """The texts at `key` in the records; anything else that an untrusted ledger has there is ignored."""
    texts_by_id = {entry.id: entry.details.get(key) for entry in entries}
    return {name: list(map(str, texts)) for name, texts in texts_by_id.items() if texts and isinstance(texts, list)}


def _same_arrays(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Groups of entries with the same stored bytes, labelled entries first."""
    groups: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.digest, entry.nbytes].append(entry)
    return [
        sorted(group, key=lambda entry: entry.label < 0)
        for (digest, _), group in groups.items()
        if digest and len(group) > 1
    ]


def _contradict(one: Entry, other: Entry) -> bool:
    return one.label >= 0 and other.label >= 0 and one.label != other.label


def _add_same_array(
    findings: Findings, entry: Entry, group: list[Entry], contradicting: Entry, class_names: Mapping[int, str]
) -> None:
    """Add the finding that `entry` has the same array as its `group`; `contradicting` has another label, if any does.

    Pairs are not compared, since a large cache of blank clips is one group.
    """
    other = group[0] if _contradict(entry, group[0]) else contradicting
    if _contradict(entry, other):
        findings.flags.setdefault(entry.id, []).append(
            f"{TWO_LABELS}: the same array as {shown(other.id)}, which is labelled "
            f"{cut(class_names.get(other.label))}, not {cut(class_names.get(entry.label))}; correct the labels"
        )
        return
    first = next(other for other in group if other is not entry)
    more = f" and {len(group) - 2} more" if len(group) > 2 else ""
    findings.notes.setdefault(entry.id, []).append(f"{SAME_ARRAY}: {shown(first.id)}{more} in this cache")
