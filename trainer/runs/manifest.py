"""manifest.json: digests of the files of a run, so that a damaged or replaced file is detected.

    manifest.json   {"files": {name: [digest, …]}, "digest": that of the JSON of "files"}

A file that is about to be replaced is listed with both digests first, so that the files agree with the list after a
kill at any moment. Files that change every epoch are listed once the run has ended; until then only their own
checksums protect them (`.npz` and `.keras` are zip archives). Runs of earlier versions have no manifest: each of their
files is checked separately.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cache.documents import InvalidDocument, Record, convert
from cache.durable import has_content
from cache.fingerprint import digest_bytes, digest_files
from trainer.errors import TrainerError
from trainer.runs import files

NAME = "manifest.json"
MAX_BYTES = 1 << 31  # of a file that is compared with its digest, such as weights of 500 million values
REMEDY = "restore it from a copy, or train again; if you changed it yourself, delete manifest.json"


class Manifest(Record, frozen=True):
    """The contents of manifest.json."""

    files: dict[str, list[str]]
    digest: str


def write_files(root: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files in `contents`, name → bytes, in this order into `root`, and list only these."""
    digests = {name: [digest_bytes(data)] for name, data in contents.items()}
    stale = [name for name, data in contents.items() if not has_content(root / name, data)]
    if present := [name for name in stale if (root / name).is_file()]:
        _write(root, digests | {name: [*digests[name], digest_files([root / name])] for name in present})
    elif (root / NAME).exists():
        _write(root, digests)
    for name in stale:
        files.replace(root / name, contents[name])
    _write(root, digests)


def list_files(root: Path, names: Iterable[str]) -> None:
    """List those of `names` that are files in `root`; they are final."""
    _write(root, {name: [digest_files([root / name])] for name in names if (root / name).is_file()})


def is_listed(root: Path, name: str) -> bool:
    """True where the manifest in `root` has `name`, or where there is no manifest. Raises TrainerError."""
    listed = _listed(root)
    return listed is None or name in listed


def read(path: Path, expected: str) -> bytes:
    """The bytes of `path`, described by `expected`. Raises TrainerError where they differ from the manifest."""
    data = files.read(path, expected)
    _check(path, digest_bytes(data), _listed(path.parent) or {})
    return data


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """The JSON object in `path`, read as by `read`."""
    return files.parse_json(path, read(path, expected), expected)


def check(path: Path) -> None:
    """Raises TrainerError where the file in `path` differs from the manifest, or cannot be read."""
    listed = _listed(path.parent) or {}
    if path.name in listed:
        with files.reading(path, "a file of a run"):
            digest = digest_files([path], MAX_BYTES)
        _check(path, digest, listed)


def _check(path: Path, digest: str, listed: Mapping[str, list[str]]) -> None:
    if digest not in listed.get(path.name, [digest]):
        raise TrainerError(f"{path} is damaged or was changed: its digest differs from that in {NAME}; {REMEDY}")


def _listed(root: Path) -> dict[str, list[str]] | None:
    """Name → digests; None where there is no manifest."""
    path = root / NAME
    if not path.exists() and not path.is_symlink():
        return None
    data = files.read_json(path, "the list of digests of a run")
    try:
        manifest = convert(Manifest, data)
    except InvalidDocument as error:
        raise _damaged(path) from error
    if manifest.digest != _digest(manifest.files):
        raise _damaged(path)
    return manifest.files


def _damaged(path: Path) -> TrainerError:
    return TrainerError(f"{path} is damaged or was changed; restore it from a copy, or delete it to skip these checks")


def _write(root: Path, listed: Mapping[str, list[str]]) -> None:
    data = (json.dumps({"files": listed, "digest": _digest(listed)}, indent=2) + "\n").encode()
    if not has_content(root / NAME, data):
        files.replace(root / NAME, data)


def _digest(listed: Mapping[str, Any]) -> str:
    return digest_bytes(json.dumps(listed, sort_keys=True).encode())
