"""Scan names: the scan that a file name in a labels CSV refers to."""

import re
from collections import defaultdict
from collections.abc import Iterable

from cache.schema import composed
from pipeline.sources.format import format_of, is_labelled_by_csv, kinds
from pipeline.sources.records import Record, split_ending

MAX_PARTS = 32  # of a path; longer ends of paths are not looked up
Table = dict[str, list[tuple[str, str]]]  # case-folded text → (path, id) of the scans that have it


class ScanNames:
    """Finds the scans that a name in a labels CSV may refer to.

    A name is a path below SOURCE, an id, or the end of either: `sub/a.nii.gz`, `a.nii.gz`, `a`. Paths may come from
    other machines, so backslashes, folders above SOURCE and a different letter case are accepted if one scan fits best.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._by_file: dict[str, list[str]] = defaultdict(list)
        self._by_id: dict[str, list[str]] = defaultdict(list)
        self._full_paths: Table = defaultdict(list)
        self._ends: Table = defaultdict(list)
        self._cached: dict[str, list[str]] = {}
        formats = [format_of(kind) for kind in kinds() if is_labelled_by_csv(kind)]
        self._endings = tuple(ending for each in formats for ending in each.endings)
        claims: dict[str, list[str]] = defaultdict(list)
        for record in records:
            if record.claimed:
                claims[composed(record.claimed)].append(record.id)
            files, name = [composed(file) for file in record.source.files], composed(record.id)
            self._by_id[name].append(record.id)
            for file in files:
                self._by_file[file].append(record.id)
            for path in (*files, name):
                full, *ends = _ends(path.casefold().split("/"))
                self._full_paths[full].append((path, record.id))
                for end in ends:
                    self._ends[end].append((path, record.id))
        for name in claims.keys() - self._by_id.keys():  # files that were rejected because they share an id
            self._by_id[name] = claims[name]

    def of(self, name: str) -> list[str]:
        """The ids of the scans that `name` may refer to; exactly one where it is unambiguous."""
        if name not in self._cached:
            self._cached[name] = self._look_up(composed(name))
        return self._cached[name]

    def _look_up(self, name: str) -> list[str]:
        stem = split_ending(name, self._endings)[0]
        for table, key in ((self._by_file, name), (self._by_id, name), (self._by_id, stem)):
            if key in table:
                return table[key]
        return self._similar(name) or self._similar(stem)

    def _similar(self, name: str) -> list[str]:
        """The scans whose path is equal to `name` except for letter case; else ends with `name`; else is its longest
        possible end. For an absolute path to somewhere else, the scans with the same file name."""
        ends = _ends([part for part in name.replace("\\", "/").split("/") if part not in ("", ".")])
        for end in ends:
            key = end.casefold()
            if matches := self._full_paths.get(key) or (end == ends[0] and self._ends.get(key)):
                return _best(matches, end)
        absolute = ends and re.match(r"[/\\]|[a-z]:", name, re.IGNORECASE)
        return _best(self._ends.get(ends[-1].casefold(), []), ends[-1]) if absolute else []


def _ends(parts: list[str]) -> list[str]:
    """The path made of `parts`, and every end of it with at most `MAX_PARTS` parts, the longest first."""
    ends = ["/".join(parts[start:]) for start in range(max(0, len(parts) - MAX_PARTS), len(parts))]
    return ends if len(parts) <= MAX_PARTS else ["/".join(parts), *ends]


def _best(matches: list[tuple[str, str]], end: str) -> list[str]:
    """The ids of `matches` whose path ends with `end` in the same letter case; else the ids of all of them."""
    exact = {scan for path, scan in matches if path.endswith(end)}
    return sorted(exact or {scan for _, scan in matches})
