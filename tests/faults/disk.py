"""A simulated disk: the possible states of a folder after a power cut at some point of a traced run.

POSIX guarantees only flushed changes. So of all changes that a run made to the folder before the power cut,

- data written to a file and flushed by an fsync of that file is complete; any other write is complete, missing, torn
  (only its first bytes) or zeros, independently of the others;
- a created, renamed or removed name is permanent once its folder was flushed; any other change of a name took place or
  not, independently of the others: a file that was being renamed may have both names, or neither.
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
FATES = ("complete", "missing", "torn", "zeros")  # of a write that was not flushed


@dataclass
class Change:
    """A change of a file or a folder.

    A file gets `data` at `offset`, or the length `offset` if `data` is None. A folder gets the node `target` as `name`,
    or loses that name if `target` is None. `time` is the number of the change in the trace; from `flushed` on, the
    change is permanent.
    """

    time: int
    offset: int = 0
    data: bytes | None = None
    name: str = ""
    target: "Node | None" = None
    flushed: int = NEVER


@dataclass
class Node:
    """A file, folder or link: its content before the run, and the changes that the run made."""

    kind: str
    content: bytes = b""
    names: dict[str, "Node"] = field(default_factory=dict)
    mtime_ns: int = 0
    changes: list[Change] = field(default_factory=list)
    current: dict[str, "Node"] = field(default_factory=dict)  # the names in a folder at this point of the trace

    def flush(self, time: int) -> None:
        for change in self.changes:
            change.flushed = min(change.flushed, time)

    def current_content(self) -> bytes:
        """The content of a file at this point of the trace."""
        content = bytearray(self.content)
        for change in self.changes:
            _apply(content, change)
        return bytes(content)


@dataclass(frozen=True)
class State:
    """A possible state of the root: relative path → (bytes, mtime) of a file, None for a folder, or a link's target."""

    items: dict[str, tuple[bytes, int] | str | None]

    def write(self, root: Path) -> None:
        """Write this state to the empty folder `root`."""
        for name, item in self.items.items():  # a folder comes before its content
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
    """The folder `root`, a copy of `before` when the run started, and the changes that the run made."""

    def __init__(self, root: Path, before: Path) -> None:
        self.root, self.time = root, 0
        self._top = self._load(before)
        self._open: dict[int, Node] = {}
        self.flushed: list[tuple[int, str, bytes]] = []  # (time, path, content) of each flushed file

    def _load(self, path: Path) -> Node:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return Node("link", os.fsencode(path.readlink()))
        if not stat.S_ISDIR(status.st_mode):
            return Node("file", path.read_bytes(), mtime_ns=status.st_mtime_ns)
        folder = Node("folder")
        folder.names = {item.name: self._load(item) for item in sorted(path.iterdir())}
        folder.current = dict(folder.names)
        return folder

    # -- the trace -----------------------------------------------------------------------------------------------------

    def replay(self, trace: bytes) -> None:
        """Apply the changes in a trace of the shim."""
        position = 0
        while position < len(trace):
            kind, descriptor, flags, offset, first_size, second_size = RECORD.unpack_from(trace, position)
            middle = position + RECORD.size + first_size
            first, second = trace[position + RECORD.size : middle], trace[middle : middle + second_size]
            position = middle + second_size
            self.time += 1
            getattr(self, "_on_" + kind.rstrip(b"\0").decode())(descriptor, flags, offset, first, second)

    def _find(self, path: bytes | str) -> tuple[Node, str, Node | None]:
        """The folder of `path`, its name in that folder, and its node at this point of the trace, if any."""
        parts = Path(os.fsdecode(path)).relative_to(self.root).parts
        folder = self._top
        for part in parts[:-1]:
            folder = folder.current[part]
        return (folder, parts[-1], folder.current.get(parts[-1])) if parts else (self._top, "", self._top)

    def _set(self, path: bytes, node: Node | None) -> None:
        folder, name, _ = self._find(path)
        folder.changes.append(Change(self.time, name=name, target=node))
        if node is None:
            folder.current.pop(name)
        else:
            folder.current[name] = node

    def _on_open(self, descriptor: int, flags: int, _offset: int, path: bytes, _second: bytes) -> None:
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

    def _on_write(self, descriptor: int, _flags: int, offset: int, data: bytes, _second: bytes) -> None:
        self._open[descriptor].changes.append(Change(self.time, offset, data))

    def _on_ftruncate(self, descriptor: int, _flags: int, length: int, *_: object) -> None:
        self._open[descriptor].changes.append(Change(self.time, length))

    def _on_truncate(self, _descriptor: int, length: int, _offset: int, path: bytes, _second: bytes) -> None:
        node = self._find(path)[2]
        assert node is not None
        node.changes.append(Change(self.time, length))

    def _on_fsync(self, descriptor: int, *_: object) -> None:
        node = self._open[descriptor]
        node.flush(self.time)
        if node.kind == "file":
            self.flushed.append((self.time, self._name(node), node.current_content()))

    def _on_mkdir(self, _descriptor: int, _flags: int, _offset: int, path: bytes, _second: bytes) -> None:
        self._set(path, Node("folder"))

    def _on_unlink(self, _descriptor: int, _flags: int, _offset: int, path: bytes, _second: bytes) -> None:
        self._set(path, None)

    _on_rmdir = _on_unlink

    def _on_rename(self, _descriptor: int, _flags: int, _offset: int, source: bytes, target: bytes) -> None:
        node = self._find(source)[2]
        self._set(source, None)
        self._set(target, node)

    def _on_link(self, _descriptor: int, _flags: int, _offset: int, source: bytes, target: bytes) -> None:
        self._set(target, self._find(source)[2])

    def _on_symlink(self, _descriptor: int, _flags: int, _offset: int, target: bytes, path: bytes) -> None:
        self._set(path, Node("link", target))

    def _name(self, node: Node) -> str:
        """The path of `node` below the root at this point of the trace."""
        return next((path for path, other in _walk(self._top) if other is node), "")

    # -- after a cut ---------------------------------------------------------------------------------------------------

    def state(self, cut: int, rng: random.Random) -> State:
        """A possible state after a power cut before change or flush number `cut`."""
        fates = rng.choices(FATES, [rng.random() ** 3 for _ in FATES], k=len(FATES))
        probability = rng.random()
        items: dict[str, tuple[bytes, int] | str | None] = {}

        def add(node: Node, path: str) -> None:
            if node.kind == "file":
                items[path] = _content(node, cut, rng, fates)
            elif node.kind == "link":
                items[path] = os.fsdecode(node.content)
            else:
                if path:
                    items[path] = None
                for name, child in sorted(_names(node, cut, rng, probability).items()):
                    add(child, f"{path}/{name}".lstrip("/"))

        add(self._top, "")
        return State(items)


def _walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    yield path, node
    for name, child in node.current.items():
        yield from _walk(child, f"{path}/{name}".lstrip("/"))


def _names(node: Node, cut: int, rng: random.Random, probability: float) -> dict[str, Node]:
    names = dict(node.names)
    for change in node.changes:
        if change.time < cut and (change.flushed < cut or rng.random() < probability):
            if change.target is None:
                names.pop(change.name, None)
            else:
                names[change.name] = change.target
    return names


def _content(node: Node, cut: int, rng: random.Random, fates: list[str]) -> tuple[bytes, int]:
    content = bytearray(node.content)
    for change in node.changes:
        if change.time < cut:
            fate = "complete" if change.flushed < cut else rng.choice(fates)
            if fate != "missing":
                _apply(content, change, fate, rng.random())
    return bytes(content), node.mtime_ns if content == node.content else 0


def _apply(content: bytearray, change: Change, fate: str = "complete", share: float = 1.0) -> None:
    """Apply `change` to `content`; if it is torn, only the first `share` of its bytes."""
    if change.data is None:
        content[:] = content[: change.offset].ljust(change.offset, b"\0")
        return
    data = bytes(len(change.data)) if fate == "zeros" else change.data
    if fate == "torn":
        data = data[: int(share * len(data))]
    end = change.offset + len(data)
    content.extend(bytes(max(0, end - len(content))))
    content[change.offset : end] = data
