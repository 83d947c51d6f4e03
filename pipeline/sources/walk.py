"""A folder → the files in it and below, each by its name: an input, excluded for a reason, or something else."""

import errno
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cache.oserrors import reason, remedy
from pipeline.errors import PipelineError
from pipeline.sources.lookalikes import PER_FOLDER, Lookalikes

HIDDEN = "hidden or system file"
HIDDEN_FOLDER = "hidden or system folder, not searched"
LINKED = "link to a folder, not followed; give the folder itself as SOURCE"
TOO_DEEP = "folder nested too deep for this system, not searched; move what it holds further up"
OS_FILES = {"thumbs.db", "desktop.ini"}
OS_FOLDERS = {"__macosx", "$recycle.bin", "system volume information", "lost+found", "@eadir", "#recycle"}


@dataclass
class Found:
    """POSIX paths below a folder: `files` that end as inputs do; what is `excluded`, path → reason; and how many
    `others` there are, ending → number."""

    files: list[str] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def walk(root: Path, looks: Lookalikes, skip: Path | None = None, max_files: int | None = None) -> Found:
    """Look through `root`, except below `skip`, for names that end as `looks` says, in any case.

    Links to files are followed. Excluded by name, and not entered, are links to folders, so that a loop of links ends,
    and hidden and system folders; hidden and system files are excluded too, and so is what only looks like an input:
    DICOM files or images together, as their folder. A folder named like an input is a folder where anything is listed
    below it, and else listed like an input: opening it tells.
    Raises PipelineError where a folder cannot be listed, where `root` is not a folder or lies in `skip`, and where
    there are more than `max_files` files and folders.
    """
    if not root.is_dir():
        raise PipelineError(f"SOURCE {root} is not a folder; give the folder that holds the files")
    if skip and root.is_relative_to(skip):
        raise PipelineError(f"SOURCE {root} lies in CACHE {skip}; give a CACHE outside SOURCE")
    found, seen = Found(), 0
    folders = [""]  # still to be listed; `os.walk` recurses before Python 3.12, and fails a thousand folders deep
    while folders:
        below = folders.pop()
        items = _listed(root / below, skip)
        if items is None:
            found.excluded[below.rstrip("/")] = TOO_DEEP
            continue
        seen += len(items)
        if max_files is not None and seen > max_files:
            raise PipelineError(
                f"{root} has more than {max_files:,} files and folders; give the folder that holds the files"
            )
        excluded = {item.name: reason for item in items if (reason := _left_out(item))}
        found.excluded |= {below + name: reason for name, reason in excluded.items()}
        rest = [item for item in items if item.name not in excluded]
        folders += [f"{below}{item.name}/" for item in rest if item.is_dir(follow_symlinks=False)]
        inputs = {item.name for item in rest if item.name.lower().endswith(looks.endings)}
        found.files += [below + item.name for item in rest if item.name in inputs]
        _look_at_others([item for item in rest if item.name not in inputs], below, looks, found)
    told = [path for path, reason in found.excluded.items() if reason not in (HIDDEN, HIDDEN_FOLDER)]
    folders_of_inputs = _folders_of([*found.files, *told]).union(told)
    found.files = [file for file in found.files if file not in folders_of_inputs]
    return found


def _folders_of(paths: list[str]) -> set[str]:
    """Every folder that one of `paths` lies in; like `PurePosixPath.parents`, quick for 100,000 of them."""
    folders: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in folders:
            folders.add(path)
    return folders


def _look_at_others(items: list[os.DirEntry[str]], below: str, looks: Lookalikes, found: Found) -> None:
    """Exclude those of the other `items` of one folder that look like inputs, and count the rest."""
    several: Counter[str] = Counter()
    for item in items:
        if item.is_dir(follow_symlinks=False):
            continue
        reason = looks.reason(item)
        if reason in PER_FOLDER:
            several[reason] += 1
        elif reason:
            found.excluded[below + item.name] = reason
        else:
            found.others[PurePosixPath(item.name).suffix.lower()] += 1
    for reason, number in several.items():
        found.excluded[below.rstrip("/") or "."] = reason.format(number)


def _left_out(item: os.DirEntry[str]) -> str:
    """Why an item is excluded by its name or as a link to a folder; empty for all others."""
    name = item.name.lower()
    if item.is_dir(follow_symlinks=False):
        return HIDDEN_FOLDER if name.startswith(".") or name in OS_FOLDERS else ""
    if name.startswith(".") or name in OS_FILES:
        return HIDDEN
    return LINKED if item.is_symlink() and is_folder(Path(item.path)) else ""


def _listed(folder: Path, skip: Path | None) -> list[os.DirEntry[str]] | None:
    """What is in `folder`, by name; None where its path is too long. Raises PipelineError where it cannot be listed."""
    try:
        with os.scandir(folder) as items:
            return sorted((item for item in items if item.path != str(skip)), key=lambda item: item.name)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        todo = remedy(error, "give a SOURCE that can be read whole")
        raise PipelineError(f"cannot list {folder}: {reason(error)}; {todo}") from error


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder, or a link to one, as far as can be seen."""
    try:
        return path.is_dir()
    except OSError:  # a link into what may not be looked at
        return False
