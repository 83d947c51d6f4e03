"""Which bytes the files of a run have, in one list that is written last: a damaged or exchanged file is not believed.

    manifest.json   {"files": {name: [digest, …]}, "digest": that of the JSON of "files"}

A file that is about to be replaced is listed with both digests first, so that a kill at any moment leaves files that
the list knows. What a run replaces every epoch is listed once the run has ended; until then the checksums inside those
files must do (`.npz` and `.keras` are zip archives). Folders of earlier versions have no list: what is in them is
checked by itself alone.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cache.durable import holds
from cache.fingerprint import digest_bytes, digest_files
from trainer.errors import TrainerError
from trainer.runs import files

NAME = "manifest.json"
MOST_BYTES = 1 << 31  # of a file that is compared with its digest: weights of 500 million values, say
REMEDY = "restore it from a copy, or train again; if you changed it yourself, delete manifest.json"


def begin(root: Path, contents: Mapping[str, bytes]) -> None:
    """Make the files in `root` what `contents` says, by their names and in that order, and list just these."""
    digests = {name: [digest_bytes(data)] for name, data in contents.items()}
    stale = [name for name, data in contents.items() if not holds(root / name, data)]
    if there := [name for name in stale if (root / name).is_file()]:
        _write(root, digests | {name: [*digests[name], digest_files([root / name])] for name in there})
    elif (root / NAME).exists():
        _write(root, digests)
    for name in stale:
        files.replace(root / name, contents[name])
    _write(root, digests)


def complete(root: Path, names: Iterable[str]) -> None:
    """List those of `names` that are files in `root`, which nobody will replace any more."""
    _write(root, {name: [digest_files([root / name])] for name in names if (root / name).is_file()})


def lists(root: Path, name: str) -> bool:
    """True where the list in `root` has `name`, and where there is no list. Raises TrainerError for a damaged one."""
    listed = _listed(root)
    return listed is None or name in listed


def read(path: Path, what: str) -> bytes:
    """The bytes of `path`, which should be `what`. Raises TrainerError where they are not those that were written."""
    data = files.read(path, what)
    _check(path, digest_bytes(data), _listed(path.parent) or {})
    return data


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in `path`, as `read` finds it."""
    return files.parse_json(path, read(path, what), what)


def check(path: Path) -> None:
    """Raise TrainerError where the file in `path` is not the one that was written, or cannot be read."""
    listed = _listed(path.parent) or {}
    if path.name in listed:
        with files.reading(path, "a file of a run"):
            digest = digest_files([path], MOST_BYTES)
        _check(path, digest, listed)


def _check(path: Path, digest: str, listed: Mapping[str, list[str]]) -> None:
    if digest not in listed.get(path.name, [digest]):
        raise TrainerError(f"{path} is not what was written, its digest is not that in {NAME}; {REMEDY}")


def _listed(root: Path) -> dict[str, list[str]] | None:
    """Name → digests; None where there is no list."""
    path = root / NAME
    if not path.exists() and not path.is_symlink():
        return None
    data = files.read_json(path, "the list of digests of a run")
    listed = data.get("files")
    if data.keys() != {"files", "digest"} or type(listed) is not dict or data["digest"] != _digest(listed):
        raise TrainerError(f"{path} is not what was written; restore it from a copy, or delete it to do without")
    return listed


def _write(root: Path, listed: Mapping[str, list[str]]) -> None:
    data = (json.dumps({"files": listed, "digest": _digest(listed)}, indent=2) + "\n").encode()
    if not holds(root / NAME, data):
        files.replace(root / NAME, data)


def _digest(listed: Mapping[str, Any]) -> str:
    return digest_bytes(json.dumps(listed, sort_keys=True).encode())
