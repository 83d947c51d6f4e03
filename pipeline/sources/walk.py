"""Walk through a folder: every file below it is an input, excluded with a reason, or something else."""

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
TOO_DEEP = "folder nested too deep for this system, not searched; move its contents further up"
OS_FILES = {"thumbs.db", "desktop.ini"}
OS_FOLDERS = {"__macosx", "$recycle.bin", "system volume information", "lost+found", "@eadir", "#recycle"}


@dataclass
class Listing:
    """The files below a folder, as POSIX paths.

    Arguments:
        files: those with the ending of an input.
        excluded: path → reason.
        others: files of other types, ending → number.
    """

    files: list[str] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def walk(root: Path, lookalikes: Lookalikes, skip: Path | None = None, max_files: int | None = None) -> Listing:
    """Find the files below `root` with one of the endings of `lookalikes`, in any case; `skip` is not entered.

    Links to files are followed. Links to folders, which may form loops, and hidden and system folders are excluded and
    not entered. Hidden and system files are excluded, too, as are files that only look like inputs; for DICOM files and
    images, their folder is excluded. A folder named like an input is a folder if it holds an input or an excluded file;
    otherwise it is listed as an input, to be rejected when it is opened.
    Raises PipelineError where a folder cannot be listed, where `root` is not a folder or is in `skip`, and where
    there are more than `max_files` files and folders.
    """
    if not root.is_dir():
        raise PipelineError(f"SOURCE {root} is not a folder; give the folder that holds the files")
    if skip and root.is_relative_to(skip):
        raise PipelineError(f"SOURCE {root} is in CACHE {skip}; give a CACHE outside SOURCE")
    listing, count = Listing(), 0
    folders = [""]  # to be listed; `os.walk` recurses before Python 3.12 and fails a thousand folders deep
    while folders:
        below = folders.pop()
        entries = _listed(root / below, skip)
        if entries is None:
            listing.excluded[below.rstrip("/")] = TOO_DEEP
            continue
        count += len(entries)
        if max_files is not None and count > max_files:
            raise PipelineError(
                f"{root} has more than {max_files:,} files and folders; give the folder that holds the files"
            )
        excluded = {entry.name: reason for entry in entries if (reason := _exclusion(entry))}
        listing.excluded |= {below + name: reason for name, reason in excluded.items()}
        rest = [entry for entry in entries if entry.name not in excluded]
        folders += [f"{below}{entry.name}/" for entry in rest if entry.is_dir(follow_symlinks=False)]
        inputs = {entry.name for entry in rest if entry.name.lower().endswith(lookalikes.endings)}
        listing.files += [below + entry.name for entry in rest if entry.name in inputs]
        _sort_others([entry for entry in rest if entry.name not in inputs], below, lookalikes, listing)
    visible = [path for path, reason in listing.excluded.items() if reason not in (HIDDEN, HIDDEN_FOLDER)]
    used_folders = _folders_of([*listing.files, *visible]).union(visible)
    listing.files = [file for file in listing.files if file not in used_folders]
    return listing


def _folders_of(paths: list[str]) -> set[str]:
    """All folders that contain one of `paths`; like `PurePosixPath.parents`, but fast for 100,000 of them."""
    folders: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in folders:
            folders.add(path)
    return folders


def _sort_others(entries: list[os.DirEntry[str]], below: str, lookalikes: Lookalikes, listing: Listing) -> None:
    """Exclude the `entries` of one folder that look like inputs, and count the others."""
    per_folder: Counter[str] = Counter()
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            continue
        reason = lookalikes.reason(entry)
        if reason in PER_FOLDER:
            per_folder[reason] += 1
        elif reason:
            listing.excluded[below + entry.name] = reason
        else:
            listing.others[PurePosixPath(entry.name).suffix.lower()] += 1
    for reason, number in per_folder.items():
        listing.excluded[below.rstrip("/") or "."] = reason.format(number)


def _exclusion(entry: os.DirEntry[str]) -> str:
    """Why an entry is excluded by its name or as a link to a folder; empty for others."""
    name = entry.name.lower()
    if entry.is_dir(follow_symlinks=False):
        return HIDDEN_FOLDER if name.startswith(".") or name in OS_FOLDERS else ""
    if name.startswith(".") or name in OS_FILES:
        return HIDDEN
    return LINKED if entry.is_symlink() and is_folder(Path(entry.path)) else ""


def _listed(folder: Path, skip: Path | None) -> list[os.DirEntry[str]] | None:
    """The entries in `folder`, by name; None if its path is too long. Raises PipelineError if it is unreadable."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if entry.path != str(skip)), key=lambda entry: entry.name)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        advice = remedy(error, "give a SOURCE whose folders can all be read")
        raise PipelineError(f"cannot list {folder}: {reason(error)}; {advice}") from error


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder or a link to one; False where that is not visible."""
    try:
        return path.is_dir()
    except OSError:  # a link into a folder without permission
        return False
