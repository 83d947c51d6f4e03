"""A disk that forgets: what may be left of a folder when the power is cut at some point of a traced run.

POSIX promises what was flushed, and nothing else. So of all that a run did to the folder before the cut,

- what was written to a file and flushed by an fsync of that file is there; any other write is there, absent, torn (its
  first bytes are) or zeros, each for itself;
- a name that was made, moved or removed is so once its folder was flushed; any other change of a name is there or not,
  each for itself: a file that was being renamed may have both names, or none.
"""

import os
import random
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

RECORD = struct.Struct("12siiqII")  # as in shim.c
NEVER = 1 << 62
FATES = ("there", "absent", "torn", "zeros")


@dataclass
class Change:
    """To a file: `data` at `offset`, or its new length where `data` is None; to a folder: what `name` is, or None.

    It happened at `time`, a number of the trace, and cannot be lost from `flushed` on.
    """

    time: int
    offset: int = 0
    data: bytes | None = None
    name: str = ""
    target: "Node | None" = None
    flushed: int = NEVER


@dataclass
class Node:
    """A file, folder or link: what it was before the run, and what the run did to it."""

    kind: str
    content: bytes = b""
    names: dict[str, "Node"] = field(default_factory=dict)
    mtime_ns: int = 0
    changes: list[Change] = field(default_factory=list)
    now: dict[str, "Node"] = field(default_factory=dict)  # the names of a folder at this point of the trace

    def flush(self, time: int) -> None:
        for change in self.changes:
            change.flushed = min(change.flushed, time)

    def written(self) -> bytes:
        """What is in a file at this point of the trace."""
        content = bytearray(self.content)
        for change in self.changes:
            _apply(content, change)
        return bytes(content)


@dataclass(frozen=True)
class State:
    """A folder as it may be found: path below it → (bytes, time) of a file, None for a folder, or a link's target."""

    items: dict[str, tuple[bytes, int] | str | None]

    def write(self, root: Path) -> None:
        """Make the empty folder `root` so."""
        for name, item in self.items.items():  # folders come before what is in them
            path = root / name
            if item is None:
                path.mkdir()
            elif isinstance(item, str):
                path.symlink_to(item)
            else:
                path.write_bytes(item[0])
                if item[1]:
                    os.utime(path, ns=(item[1], item[1]))


class Disk:
    """The folder `root`, which was as `before` is, and all that a run did there."""

    def __init__(self, root: Path, before: Path) -> None:
        self.root, self.time = root, 0
        self._top = self._load(before)
        self._open: dict[int, Node] = {}
        self.flushed: list[tuple[int, str, bytes]] = []  # when which file was flushed, and what was in it

    def _load(self, path: Path) -> Node:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return Node("link", os.fsencode(path.readlink()))
        if not stat.S_ISDIR(found.st_mode):
            return Node("file", path.read_bytes(), mtime_ns=found.st_mtime_ns)
        folder = Node("folder")
        folder.names = {item.name: self._load(item) for item in sorted(path.iterdir())}
        folder.now = dict(folder.names)
        return folder

    # -- the trace -----------------------------------------------------------------------------------------------------

    def replay(self, trace: bytes) -> None:
        """Take in what the shim has traced."""
        place = 0
        while place < len(trace):
            kind, descriptor, flags, offset, first, second = RECORD.unpack_from(trace, place)
            place += RECORD.size
            data, more = trace[place : place + first], trace[place + first : place + first + second]
            place += first + second
            self.time += 1
            getattr(self, "_on_" + kind.rstrip(b"\0").decode())(descriptor, flags, offset, data, more)

    def _find(self, path: bytes | str) -> tuple[Node, str, Node | None]:
        """The folder of `path`, its name there, and what it is now."""
        parts = Path(os.fsdecode(path)).relative_to(self.root).parts
        folder = self._top
        for part in parts[:-1]:
            folder = folder.now[part]
        return (folder, parts[-1], folder.now.get(parts[-1])) if parts else (self._top, "", self._top)

    def _set(self, path: bytes, node: Node | None) -> None:
        folder, name, _ = self._find(path)
        folder.changes.append(Change(self.time, name=name, target=node))
        if node is None:
            folder.now.pop(name)
        else:
            folder.now[name] = node

    def _on_open(self, descriptor: int, flags: int, _offset: int, path: bytes, _more: bytes) -> None:
        node = self._find(path)[2]
        if node is None:
            node = Node("file")
            self._set(path, node)
        elif flags & os.O_TRUNC:
            node.changes.append(Change(self.time, 0))
        self._open[descriptor] = node

    def _on_dup(self, descriptor: int, source: int, *_: object) -> None:
        self._open[descriptor] = self._open[source]

    def _on_close(self, descriptor: int, *_: object) -> None:
        self._open.pop(descriptor, None)

    def _on_write(self, descriptor: int, _flags: int, offset: int, data: bytes, _more: bytes) -> None:
        self._open[descriptor].changes.append(Change(self.time, offset, data))

    def _on_ftruncate(self, descriptor: int, _flags: int, length: int, *_: object) -> None:
        self._open[descriptor].changes.append(Change(self.time, length))

    def _on_truncate(self, _descriptor: int, length: int, _offset: int, path: bytes, _more: bytes) -> None:
        node = self._find(path)[2]
        assert node is not None
        node.changes.append(Change(self.time, length))

    def _on_fsync(self, descriptor: int, *_: object) -> None:
        node = self._open[descriptor]
        node.flush(self.time)
        if node.kind == "file":
            self.flushed.append((self.time, self._name(node), node.written()))

    def _on_mkdir(self, _descriptor: int, _flags: int, _offset: int, path: bytes, _more: bytes) -> None:
        self._set(path, Node("folder"))

    def _on_unlink(self, _descriptor: int, _flags: int, _offset: int, path: bytes, _more: bytes) -> None:
        self._set(path, None)

    _on_rmdir = _on_unlink

    def _on_rename(self, _descriptor: int, _flags: int, _offset: int, source: bytes, place: bytes) -> None:
        node = self._find(source)[2]
        self._set(source, None)
        self._set(place, node)

    def _on_link(self, _descriptor: int, _flags: int, _offset: int, source: bytes, place: bytes) -> None:
        self._set(place, self._find(source)[2])

    def _on_symlink(self, _descriptor: int, _flags: int, _offset: int, target: bytes, place: bytes) -> None:
        self._set(place, Node("link", target))

    def _name(self, node: Node) -> str:
        """Where `node` is now, below the root."""
        return next((path for path, found in _walk(self._top) if found is node), "")

    # -- what is left --------------------------------------------------------------------------------------------------

    def state(self, cut: int, rng: random.Random) -> State:
        """What may be there when the power is cut before the `cut`-th of all changes and flushes."""
        fates = rng.choices(FATES, [rng.random() ** 3 for _ in FATES], k=len(FATES))
        odds = rng.random()
        items: dict[str, tuple[bytes, int] | str | None] = {}

        def add(node: Node, path: str) -> None:
            if node.kind == "file":
                items[path] = _content(node, cut, rng, fates)
            elif node.kind == "link":
                items[path] = os.fsdecode(node.content)
            else:
                if path:
                    items[path] = None
                for name, child in sorted(_names(node, cut, rng, odds).items()):
                    add(child, f"{path}/{name}".lstrip("/"))

        add(self._top, "")
        return State(items)


def _walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    yield path, node
    for name, child in node.now.items():
        yield from _walk(child, f"{path}/{name}".lstrip("/"))


def _names(node: Node, cut: int, rng: random.Random, odds: float) -> dict[str, Node]:
    names = dict(node.names)
    for change in node.changes:
        if change.time < cut and (change.flushed < cut or rng.random() < odds):
            if change.target is None:
                names.pop(change.name, None)
            else:
                names[change.name] = change.target
    return names


def _content(node: Node, cut: int, rng: random.Random, fates: list[str]) -> tuple[bytes, int]:
    content = bytearray(node.content)
    for change in node.changes:
        if change.time < cut:
            fate = "there" if change.flushed < cut else rng.choice(fates)
            if fate != "absent":
                _apply(content, change, fate, rng.random())
    return bytes(content), node.mtime_ns if content == node.content else 0


def _apply(content: bytearray, change: Change, fate: str = "there", share: float = 1.0) -> None:
    """Make `change` to `content`; where that is torn, only the first `share` of its bytes."""
    if change.data is None:
        content[:] = content[: change.offset].ljust(change.offset, b"\0")
        return
    data = bytes(len(change.data)) if fate == "zeros" else change.data
    if fate == "torn":
        data = data[: int(share * len(data))]
    end = change.offset + len(data)
    content.extend(bytes(max(0, end - len(content))))
    content[change.offset : end] = data
