"""Lines of a report that list inputs, grouped by the reason they share. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from cache.text import MAX_NAMES, MAX_REASON, cut, listed
from pipeline.checks.findings import SAME_ARRAY, TWO_LABELS, Findings

NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


def reason_lines(title: str, reasons: Mapping[str, str]) -> Iterator[str]:
    """A line for each input with its reason, under `title`; nothing where there are none."""
    if reasons:
        yield f"{title}:"
        yield from (f"  {cut(name)}: {cut(reason, MAX_REASON)}" for name, reason in sorted(reasons.items()))


def count_line(text: str, names: list[str], indent: int = 0) -> Iterator[str]:
    """How many `names` there are, `text`, and the first names; nothing where there are none."""
    if names:
        yield f"{' ' * indent}{len(names)} {text}: {listed(names)}"


def finding_lines(findings: Findings) -> Iterator[str]:
    """Flags and notes; texts that differ only in numbers are shown once, with the first ids."""
    pairs = [f"{one} = {other}" for one, other in findings.two_labels]
    yield from _grouped("Flagged (cached anyway; check their sources)", findings.flags, skip=TWO_LABELS)
    subject = "pair of samples holds" if len(pairs) == 1 else "pairs of samples hold"
    yield from count_line(f"{subject} the same array under two labels, correct the labels", pairs)
    yield from count_line("samples hold the same array as another; a split keeps them together", findings.duplicates)
    yield from _grouped("Noted", findings.notes, skip=SAME_ARRAY)


def _grouped(title: str, texts: Mapping[str, list[str]], skip: str) -> Iterator[str]:
    """`texts` by id, grouped by their wording; those that begin with `skip` are reported elsewhere."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, own_texts in texts.items():
        for text in own_texts:
            if not text.startswith(skip):
                groups.setdefault(NUMBER.sub("#", text), []).append((name, text))
    if groups:
        yield f"{title}:"
    for group in groups.values():
        names, first = [name for name, _ in group], group[0][1]
        differing = ", figures of the first" if any(text != first for _, text in group) else ""
        yield f"  {cut(first, MAX_REASON)}"
        yield from count_line(f"sample{'s' if len(names) > 1 else ''}{differing}", names, 4)


def visible_exclusions(excluded: Mapping[str, str]) -> dict[str, str]:
    """The excluded files that the user may have meant to include, without hidden and system files."""
    return {name: reason for name, reason in excluded.items() if not reason.startswith("hidden or system")}


def exclusion_lines(excluded: Mapping[str, str]) -> Iterator[str]:
    """One line for each excluded file, or for each reason where there are many files."""
    if len(excluded) <= MAX_NAMES:
        yield from reason_lines("Excluded", excluded)
        return
    yield "Excluded:"
    yield from (f"  {line}" for line in by_reason(excluded))


def by_reason(excluded: Mapping[str, str]) -> Iterator[str]:
    """One line for each reason: how many files it has, and the first names. Numbers and class names are ignored."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, reason in sorted(excluded.items()):
        general = re.sub(r"^class .* was not chosen$", "class was not chosen", reason)
        groups[re.sub(r"\b\d+\b", "…", general)].append(name)
    for reason, names in sorted(groups.items()):
        yield (
            f"{len(names)} × {cut(reason)}: {listed(names)}"
            if len(names) > 1
            else f"{cut(names[0])}: {cut(excluded[names[0]])}"
        )
