"""A file name as a sheet has it → the scan it means."""

import re
from collections import defaultdict
from collections.abc import Iterable

from cache.schema import composed
from pipeline.sources import SCAN_ENDINGS, Record, split_ending


class ScanNames:
    """Which scans a name in a sheet may mean.

    A name is a path below SOURCE, an id, or the end of either: `sub/a.nii.gz`, `a.nii.gz`, `a`. As paths come from
    other machines, backslashes, folders above SOURCE and another letter case are understood too, where one scan fits
    best.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._by_file: dict[str, list[str]] = defaultdict(list)
        self._by_id: dict[str, list[str]] = defaultdict(list)
        self._by_last: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
        for item in records:
            self._by_id[composed(item.id)].append(item.id)
            for file in map(composed, item.source.files):
                self._by_file[file].append(item.id)
            for name in map(composed, (*item.source.files, item.id)):
                path = tuple(name.split("/"))
                self._by_last[path[-1].casefold()].append((path, item.id))

    def of(self, name: str) -> list[str]:
        """The ids of the scans that `name` may mean; one where it is clear."""
        name = composed(name)
        stem = split_ending(name, SCAN_ENDINGS)[0]
        for table, each in ((self._by_file, name), (self._by_id, name), (self._by_id, stem)):
            if each in table:
                return table[each]
        return self._nearly(name) or self._nearly(stem)

    def _nearly(self, name: str) -> list[str]:
        """The scans whose path ends as `name` does, or ends it, and is most like it; of an absolute one, the last part
        is enough."""
        parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
        candidates = self._by_last.get(parts[-1].casefold(), []) if parts else []
        likeness = {(path, owner): _likeness(path, parts) for path, owner in candidates}
        best = max(likeness.values(), default=NOT_ALIKE)
        if best == NOT_ALIKE and not re.match(r"[/\\]|[a-z]:", name, re.IGNORECASE):
            return []
        return sorted({owner for (_, owner), value in likeness.items() if value == best})


Likeness = tuple[bool, bool, int, bool]
NOT_ALIKE: Likeness = (False, False, 0, False)


def _likeness(path: tuple[str, ...], name: tuple[str, ...]) -> Likeness:
    """How well a path fits a name: whether they are equal, equal but for letter case, and how many parts they share
    where one is the end of the other."""
    size = min(len(path), len(name))
    ends = path[-size:], name[-size:]
    folded = [tuple(map(str.casefold, end)) for end in ends]
    if folded[0] != folded[1]:
        return NOT_ALIKE
    return path == name, len(path) == len(name), size, ends[0] == ends[1]
