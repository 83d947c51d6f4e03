"""A file name as a sheet has it → the scan it means."""

import re
from collections import defaultdict
from collections.abc import Iterable

from cache.schema import composed
from pipeline.sources.format import format_of, is_labelled_by_csv, kinds
from pipeline.sources.records import Record, split_ending

MAX_PARTS = 32  # of the end of a path that is looked up: more would be kept for nothing
Table = dict[str, list[tuple[str, str]]]  # text in one letter case → (path, id) of the scans that have it


class ScanNames:
    """Which scans a name in a sheet may mean.

    A name is a path below SOURCE, an id, or the end of either: `sub/a.nii.gz`, `a.nii.gz`, `a`. As paths come from
    other machines, backslashes, folders above SOURCE and another letter case are understood too, where one scan fits
    best.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._by_file: dict[str, list[str]] = defaultdict(list)
        self._by_id: dict[str, list[str]] = defaultdict(list)
        self._whole: Table = defaultdict(list)
        self._ends: Table = defaultdict(list)
        self._found: dict[str, list[str]] = {}
        formats = [format_of(kind) for kind in kinds() if is_labelled_by_csv(kind)]
        self._endings = tuple(ending for each in formats for ending in each.endings)
        claims: dict[str, list[str]] = defaultdict(list)
        for item in records:
            if item.claimed:
                claims[composed(item.claimed)].append(item.id)
            files, name = [composed(file) for file in item.source.files], composed(item.id)
            self._by_id[name].append(item.id)
            for file in files:
                self._by_file[file].append(item.id)
            for path in (*files, name):
                whole, *ends = _ends(path.casefold().split("/"))
                self._whole[whole].append((path, item.id))
                for end in ends:
                    self._ends[end].append((path, item.id))
        for name in claims.keys() - self._by_id.keys():  # files that were refused because they would share an id
            self._by_id[name] = claims[name]

    def of(self, name: str) -> list[str]:
        """The ids of the scans that `name` may mean; one where it is clear."""
        if name not in self._found:
            self._found[name] = self._look_up(composed(name))
        return self._found[name]

    def _look_up(self, name: str) -> list[str]:
        stem = split_ending(name, self._endings)[0]
        for table, each in ((self._by_file, name), (self._by_id, name), (self._by_id, stem)):
            if each in table:
                return table[each]
        return self._nearly(name) or self._nearly(stem)

    def _nearly(self, name: str) -> list[str]:
        """The scans whose path is `name` but for letter case, else ends as it does, else is the longest end of it; for
        an absolute path that leads elsewhere, those with its last part."""
        ends = _ends([part for part in name.replace("\\", "/").split("/") if part not in ("", ".")])
        for end in ends:
            key = end.casefold()
            if found := self._whole.get(key) or (end == ends[0] and self._ends.get(key)):
                return _best(found, end)
        absolute = ends and re.match(r"[/\\]|[a-z]:", name, re.IGNORECASE)
        return _best(self._ends.get(ends[-1].casefold(), []), ends[-1]) if absolute else []


def _ends(parts: list[str]) -> list[str]:
    """The path that `parts` make and every end of it of at most `MAX_PARTS`, the longest first."""
    ends = ["/".join(parts[start:]) for start in range(max(0, len(parts) - MAX_PARTS), len(parts))]
    return ends if len(parts) <= MAX_PARTS else ["/".join(parts), *ends]


def _best(found: list[tuple[str, str]], end: str) -> list[str]:
    """The ids of those whose path has `end` in this very letter case, else of all."""
    exact = {owner for path, owner in found if path.endswith(end)}
    return sorted(exact or {owner for _, owner in found})
