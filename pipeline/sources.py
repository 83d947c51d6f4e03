"""A folder → records: what there is to do, before any file is opened.

Only names and `stat` are looked at. Everything below SOURCE that looks like an input gets a record or an exclusion;
nothing is dropped.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

from cache.schema import UNLABELLED, Source, composed
from pipeline.errors import PipelineError

SCAN_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img")
CLIP_ENDINGS = (".avi", ".mp4", ".mov", ".mkv", ".webm")
CLIP_NAME = re.compile(r"v_.+_(g\d+)_c\d+", re.IGNORECASE)
HIDDEN = "hidden or system file"
LINKED = "link to a folder, not followed; give the folder itself as SOURCE"
NO_CLASS = ("it lies in no class folder", "SOURCE/Class/v_Class_gNN_cMM.avi", "put it into the folder of its class")
OS_FILES = {"thumbs.db", "desktop.ini"}
OS_FOLDERS = {"__macosx"}
# The paper's ten of UCF50's classes, in its label order (ViPTT-Net §2.3).
PAPER_CLASSES: tuple[str, ...] = ("Mixing", "TennisSwing", "HorseRiding", "JumpRope", "JumpingJack")
PAPER_CLASSES += ("BaseballPitch", "Rowing", "SkateBoarding", "WalkingWithDog", "Skijet")
TUBERCULOSIS_TYPES = ("Infiltrative", "Focal", "Tuberculoma", "Miliary", "Fibro-cavernous")


@dataclass(frozen=True, slots=True)
class Record:
    """One input: its id, its files as they are now, its label, and what must stay together with it in a split.

    `note` is for the sample's record; `refusal` is why it cannot become a sample, as for `Refused`, where its
    path shows that already.
    """

    id: str
    source: Source
    label: int = UNLABELLED
    group: str = ""
    note: str = ""
    refusal: tuple[str, str, str] | None = None


@dataclass
class Inputs:
    """What a SOURCE holds. `excluded` maps the path of each file left out by request to the reason.

    `class_names` are those that the records' labels count in, where SOURCE itself says what its files show.
    """

    records: list[Record] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()


def find_scans(
    root: Path, skip: Path | None = None, class_names: Sequence[str] | None = None, known: Sequence[str] = ()
) -> Inputs:
    """Every `.nii`, `.nii.gz` and `.hdr`/`.img` pair below `root`, any depth and case, in the order of their ids.

    A lone half of a pair is a record too, to be quarantined with its reason. `skip` (the cache) is not entered.
    Classes are none of its business: a labels CSV says them. Raises PipelineError where `root` is no folder or two
    inputs would get one id.
    """
    found = walk(root, SCAN_ENDINGS, skip)
    pairs: dict[str, dict[str, str]] = defaultdict(dict)
    files: list[tuple[str, tuple[str, ...]]] = []
    for file in found.files:
        stem, ending = split_ending(file, SCAN_ENDINGS)
        if ending in (".hdr", ".img"):
            if ending in pairs[stem]:
                raise _one_id(stem, pairs[stem][ending], file, root)
            pairs[stem][ending] = file
        else:
            files.append((stem, (file,)))
    files += [(stem, tuple(halves[ending] for ending in sorted(halves))) for stem, halves in pairs.items()]
    return Inputs(_sorted((record(root, *item) for item in files), root), found.excluded)


def find_clips(
    root: Path, skip: Path | None = None, class_names: Sequence[str] | None = None, known: Sequence[str] = ()
) -> Inputs:
    """Every clip of a `Class/v_Class_gNN_cMM.avi` tree at any depth below `root`, in the order of their ids.

    The label is the folder, whatever the file's own name says; the group is `Class/gNN` by the file's name, or the
    clip itself with a note. `class_names` says which classes and in which order, by default all, sorted; clips of
    other classes are excluded. Raises PipelineError like `find_scans`, and where a class is neither there nor `known`.
    """
    found = walk(root, CLIP_ENDINGS, skip)
    paths = [PurePosixPath(file) for file in found.files]
    there = {composed(path.parent.name) for path in paths} - {""}
    names = tuple(map(composed, class_names or sorted(there)))
    if unknown := [name for name in names if name not in there and name not in known]:
        raise PipelineError(
            f"no clips of class {', '.join(unknown)} below {root}; expected classes among {', '.join(sorted(there))}"
        )
    wanted = {name: label for label, name in enumerate(names)} | {"": UNLABELLED}
    clips = [path for path in paths if composed(path.parent.name) in wanted]
    others = [path for path in paths if composed(path.parent.name) not in wanted]
    found.excluded |= {str(path): f"class {path.parent.name} is not asked for" for path in others}
    records = _sorted((_clip(root, path, wanted[composed(path.parent.name)]) for path in clips), root)
    return Inputs(records, found.excluded, names)


def _clip(root: Path, path: PurePosixPath, label: int) -> Record:
    name = split_ending(path.name, CLIP_ENDINGS)[0]
    folder = path.parent.name
    if not folder:
        return replace(record(root, name, (str(path),)), refusal=NO_CLASS)
    parts = CLIP_NAME.fullmatch(name)
    group = f"{folder}/{parts[1].lower()}" if parts else ""
    note = "" if parts else "its name has no _gNN_cMM: it is a group of its own"
    return replace(record(root, f"{folder}/{name}", (str(path),), label, group), note=note)


def _sorted(records: Iterable[Record], root: Path) -> list[Record]:
    """`records` in the order of their ids. Raises PipelineError where two have one id."""
    ordered = sorted(records, key=lambda item: item.id)
    for first, second in pairwise(ordered):
        if first.id == second.id:
            raise _one_id(first.id, first.source.files[0], second.source.files[0], root)
    return ordered


@dataclass
class Found:
    """POSIX paths below a folder: `files` that end as inputs do, and what is `excluded`, path → reason."""

    files: list[str] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)


def walk(root: Path, endings: tuple[str, ...], skip: Path | None = None) -> Found:
    """Look through `root`, except below `skip`, for names with one of `endings` in any case.

    Links to files are followed, links to folders are not entered, so that a loop of links ends; they are excluded by
    name, as hidden and system files are. A folder named like an input is listed like one: opening it tells.
    Raises PipelineError where a folder cannot be listed, and where `root` is no folder or lies in `skip`.
    """
    if not root.is_dir():
        raise PipelineError(f"SOURCE {root} is not a folder; give the folder that holds the files")
    if skip and root.is_relative_to(skip):
        raise PipelineError(f"SOURCE {root} lies in CACHE {skip}; give a CACHE outside SOURCE")
    found = Found()
    folders = [""]  # still to be listed; `os.walk` recurses before Python 3.12, and fails a thousand folders deep
    while folders:
        below = folders.pop()
        for item in _listed(root / below, skip):
            file = below + item.name
            if item.is_dir(follow_symlinks=False):
                folders.append(f"{file}/")
            if reason := _left_out(item, file):
                found.excluded[file] = reason
            elif item.name.lower().endswith(endings) and not is_hidden(file):
                found.files.append(file)
    return found


def _left_out(item: os.DirEntry[str], file: str) -> str:
    """Why what is at `file` is excluded; empty for what is not, and for folders, whose files are looked at singly."""
    if item.is_dir(follow_symlinks=False):
        return ""
    if is_hidden(file):
        return HIDDEN
    return LINKED if item.is_symlink() and _is_folder(Path(item.path)) else ""


def _listed(folder: Path, skip: Path | None) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return sorted((item for item in items if item.path != str(skip)), key=lambda item: item.name)
    except OSError as error:
        raise PipelineError(f"cannot list {folder}: {error.strerror}; give a SOURCE that can be read whole") from error


def _is_folder(link: Path) -> bool:
    try:
        return link.is_dir()
    except OSError:  # a link into what may not be looked at
        return False


def is_hidden(file: str) -> bool:
    """True for what users do not mean as input: dot files and files in dot folders, and what systems leave behind."""
    *folders, name = PurePosixPath(file).parts
    hidden = any(part.startswith(".") or part.lower() in OS_FOLDERS for part in (*folders, name))
    return hidden or name.lower() in OS_FILES


def split_ending(file: str, endings: Iterable[str]) -> tuple[str, str]:
    """`file` as (path without ending, ending in lower case); the ending is "" where it is none of `endings`."""
    for ending in endings:
        if file.lower().endswith(ending):
            return file[: -len(ending)], ending
    return file, ""


def record(root: Path, name: str, files: tuple[str, ...], label: int = UNLABELLED, group: str = "") -> Record:
    """The record of the sample `name` made of `files` below `root`, as they are now; 0 bytes where they are gone."""
    return Record(name, observe(Source(str(root), files)), label, group or name)


def observe(source: Source) -> Source:
    """`source` with the present sizes and times of its files; -1 bytes where one cannot be reached."""
    try:
        stats = [os.stat(f"{source.root}/{file}") for file in source.files]  # noqa: PTH116 - for 100,000 files
    except (OSError, ValueError):
        return replace(source, size=-1, mtime_ns=-1)
    return replace(source, size=sum(s.st_size for s in stats), mtime_ns=sum(s.st_mtime_ns for s in stats))


def _one_id(name: str, first: str, second: str, root: Path) -> PipelineError:
    return PipelineError(f"{first!r} and {second!r} below {root} would both get the id {name!r}; rename or remove one")


ENDINGS = {"ct": SCAN_ENDINGS, "video": CLIP_ENDINGS}
FINDERS = {"ct": find_scans, "video": find_clips}
