"""A folder → records: what there is to do.

Names and `stat` are looked at, and the first bytes of files whose names do not tell (`lookalikes`). Everything below
SOURCE that looks like an input gets a record or an exclusion; nothing is dropped.
"""

import errno
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from cache.oserrors import ABSENT, reason
from cache.schema import UNLABELLED, Entry, Source, composed
from cache.text import listed, shown
from pipeline.errors import PipelineError
from pipeline.sources.contents import ANNEX
from pipeline.sources.lookalikes import lookalikes
from pipeline.sources.walk import is_folder, walk

SCAN_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img", ".hdr.gz", ".img.gz")
CLIP_ENDINGS: tuple[str, ...] = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".asf")
CLIP_ENDINGS += (".ts", ".m2ts", ".mts", ".3gp", ".flv", ".ogv")
ENDINGS = {"ct": SCAN_ENDINGS, "video": CLIP_ENDINGS}
CLIP_NAME = re.compile(r"v_.+_(g\d+)_c\d+", re.IGNORECASE)
NO_CLASS = ("it lies in no class folder", "SOURCE/Class/v_Class_gNN_cMM.avi", "put it into the folder of its class")
NO_SCENE = "its name has no _gNN_cMM: it is a group of its own"
# The paper's ten of UCF50's classes, in its label order (ViPTT-Net §2.3).
PAPER_CLASSES: tuple[str, ...] = ("Mixing", "TennisSwing", "HorseRiding", "JumpRope", "JumpingJack")
PAPER_CLASSES += ("BaseballPitch", "Rowing", "SkateBoarding", "WalkingWithDog", "Skijet")
TUBERCULOSIS_TYPES = ("Infiltrative", "Focal", "Tuberculoma", "Miliary", "Fibro-cavernous")


@dataclass(frozen=True, slots=True)
class Record:
    """One input: its id, its files as they are now, its label, and what must stay together with it in a split.

    `note` is for the sample's record; `refusal` is why it cannot become a sample, as for `InvalidInput`, where its
    path shows that already. `claimed` is the id that it would have if no other file would get the same one.
    `unreadable` says why the system does not tell whether its files are there; "" where it does.
    """

    id: str
    source: Source
    label: int = UNLABELLED
    group: str = ""
    note: str = ""
    refusal: tuple[str, str, str] | None = None
    claimed: str = ""
    unreadable: str = ""


@dataclass
class Inputs:
    """What a SOURCE holds. `excluded` maps the path of each file or folder that is not read to the reason.

    `class_names` are those that the records' labels count in, where SOURCE itself says what its files show; `others`
    counts the files that are neither inputs nor look like one, by their endings.
    """

    records: list[Record] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    others: Counter[str] = field(default_factory=Counter)


def find_scans(
    root: Path,
    skip: Path | None = None,
    class_names: Sequence[str] | None = None,
    known: Sequence[str] = (),
    most: int | None = None,
) -> Inputs:
    """Every `.nii`, `.nii.gz` and `.hdr`/`.img` pair below `root`, any depth and case, in the order of their ids.

    Either half of a pair may be compressed (`.hdr.gz`, `.img.gz`); a lone half is a record too, to be quarantined with
    its reason. `skip` (the cache) is not entered. Classes are none of its business: a labels CSV says them. Raises
    PipelineError where `root` is not a folder, or has more than `most` files and folders.
    """
    found = walk(root, lookalikes("ct", ENDINGS), skip, most)
    files: dict[str, list[str]] = defaultdict(list)
    for file in found.files:
        files[split_ending(file, SCAN_ENDINGS)[0]].append(file)
    records = [record(root, stem, unit) for stem, several in files.items() for unit in _units(several)]
    return Inputs(_one_an_id(records), found.excluded, others=found.others)


def _units(files: list[str]) -> list[tuple[str, ...]]:
    """`files`, alike but for their endings, as inputs: a header and its voxels are one, if there are no others."""
    if len(files) == 1:
        return [(files[0],)]
    headers, voxels = ([file for file in files if _is_half(file, half)] for half in (".hdr", ".img"))
    if len(headers) == len(voxels) == 1:
        pair = (headers[0], voxels[0])
        return [pair, *((file,) for file in files if file not in pair)]
    return [(file,) for file in files]


def _is_half(file: str, half: str) -> bool:
    """True for the files of a pair that hold the header, for `half` ".hdr", or the voxels, ".img"."""
    return file.lower().endswith((half, f"{half}.gz"))


def find_clips(
    root: Path,
    skip: Path | None = None,
    class_names: Sequence[str] | None = None,
    known: Sequence[str] = (),
    most: int | None = None,
) -> Inputs:
    """Every clip of a `Class/v_Class_gNN_cMM.avi` tree at any depth below `root`, in the order of their ids.

    The label is the folder, whatever the file's own name says; the group is `Class/gNN` by the file's name, or the
    clip itself with a note. `class_names` says which classes and in which order, by default all, sorted; clips of
    other classes are excluded. Raises PipelineError like `find_scans`, and where a class is neither there nor `known`.
    """
    found = walk(root, lookalikes("video", ENDINGS), skip, most)
    paths = [PurePosixPath(file) for file in found.files]
    there = {composed(path.parent.name) for path in paths} - {""}
    names = tuple(map(composed, class_names or sorted(there)))
    if unknown := [name for name in names if name not in there and name not in known]:
        raise PipelineError(
            f"no clips of class {listed(unknown)} below {root}; expected classes among {listed(sorted(there))}"
        )
    wanted = {name: label for label, name in enumerate(names)} | {"": UNLABELLED}
    clips = [path for path in paths if composed(path.parent.name) in wanted]
    others = [path for path in paths if composed(path.parent.name) not in wanted]
    found.excluded |= {str(path): f"class {path.parent.name} is not asked for" for path in others}
    records = _one_an_id([_clip(root, path, wanted[composed(path.parent.name)]) for path in clips])
    return Inputs(records, found.excluded, names, found.others)


def _clip(root: Path, path: PurePosixPath, label: int) -> Record:
    name = split_ending(path.name, CLIP_ENDINGS)[0]
    folder = path.parent.name
    if not folder:
        return replace(record(root, name, (str(path),)), refusal=NO_CLASS)
    parts = CLIP_NAME.fullmatch(name)
    group = f"{folder}/{parts[1].lower()}" if parts else ""
    note = "" if parts else NO_SCENE
    return replace(record(root, f"{folder}/{name}", (str(path),), label, group), note=note)


def _one_an_id(records: Iterable[Record]) -> list[Record]:
    """`records` in the order of their ids, no two of which are the same.

    Where several would get one id, each is refused and gets its path as its id instead; a whole scan keeps its id
    where the others are lone halves of pairs or folders, which could not become a sample anyway.
    """
    claims: dict[str, list[Record]] = defaultdict(list)
    for item in records:
        claims[item.id].append(item)
    settled = []
    for rivals in claims.values():
        whole = rivals if len(rivals) == 1 else [item for item in rivals if not _is_hopeless(item)]
        settled += [item if [item] == whole else _refused(item, rivals) for item in rivals]
    return sorted(settled, key=lambda item: item.id)


def _is_hopeless(item: Record) -> bool:
    """True for a lone half of a pair and for a folder: neither can become a sample."""
    if len(item.source.files) > 1:
        return False
    return any(_is_half(item.source.files[0], half) for half in (".hdr", ".img")) or is_folder(item.source.paths[0])


def _refused(item: Record, rivals: Sequence[Record]) -> Record:
    number = "two" if len(rivals) == 2 else str(len(rivals))
    names = ", ".join(shown(rival.source.files[0]) for rival in rivals[:5])
    given = f"{number} files would get the id {shown(item.id)} ({names}{', …' * (len(rivals) > 5)})"
    refusal = (given, "one file for each id", "keep one of them, or rename one")
    return replace(_renamed(item, path_id(item.source.root, item.source.files[0])), refusal=refusal, claimed=item.id)


def _renamed(item: Record, name: str) -> Record:
    """`item` under another id, which is its group too where it is a group of its own."""
    return replace(item, id=name, group=name if item.group == item.id else item.group)


def keep_ids(records: Sequence[Record], entries: Mapping[str, Entry]) -> list[Record]:
    """`records`, where the file that a sample of the ledger's `entries` was made of keeps its id.

    So what is in the cache stays there when a second file that would get its id turns up; only that one is refused.
    """
    return [_restored(item) if item.claimed and _made_it(entries.get(item.claimed), item) else item for item in records]


def _made_it(entry: Entry | None, item: Record) -> bool:
    if entry is None or entry.state != "complete":
        return False
    return (entry.source.root, entry.source.files) == (item.source.root, item.source.files)


def _restored(item: Record) -> Record:
    return replace(_renamed(item, item.claimed), refusal=None, claimed="")


def path_id(root: str, file: str) -> str:
    """The ledger's id of a file that gets none of its own: its whole path, which no sample's id can be."""
    return f"{root}/{file}"


def split_ending(file: str, endings: Iterable[str]) -> tuple[str, str]:
    """`file` as (path without ending, ending in lower case); the ending is "" where it is none of `endings`."""
    for ending in endings:
        if file.lower().endswith(ending):
            return file[: -len(ending)], ending
    return file, ""


def record(root: Path, name: str, files: tuple[str, ...], label: int = UNLABELLED, group: str = "") -> Record:
    """The record of the sample `name` made of `files` below `root`, as they are now; -1 bytes where they are gone."""
    source, unreadable = Source(str(root), files), ""
    try:
        source = observe(source)
    except OSError as error:
        source, unreadable = replace(source, size=-1, mtime_ns=-1), reason(error)
    refusal = None if source.size >= 0 or unreadable else _not_fetched(source)
    return Record(name, source, label, group or name, refusal=refusal, unreadable=unreadable)


def _not_fetched(source: Source) -> tuple[str, str, str] | None:
    """Why a link of git-annex leads nowhere; None for other files."""
    for path in source.paths:
        with suppress(OSError):
            if "/annex/objects/" in os.readlink(path):  # noqa: PTH115 - a name, not a path to follow
                return ANNEX.name, "the file itself", ANNEX.remedy
    return None


def observe(source: Source) -> Source:
    """`source` with the present sizes and times of its files; -1 bytes where one is not there.

    Raises OSError where the system cannot tell.
    """
    try:
        return observe_readable(source)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in ABSENT | {errno.ENAMETOOLONG}:
            raise
        return replace(source, size=-1, mtime_ns=-1)


def observe_readable(source: Source) -> Source:
    """As `observe`, but raises OSError or ValueError also where a file is not there."""
    stats = [os.stat(f"{source.root}/{file}") for file in source.files]  # noqa: PTH116 - for 100,000 files
    return replace(source, size=sum(s.st_size for s in stats), mtime_ns=sum(s.st_mtime_ns for s in stats))


FINDERS = {"ct": find_scans, "video": find_clips}
