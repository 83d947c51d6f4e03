"""Sample names in a user's file: paths, ids or bare file names, with or without extension."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cache import Cache
from cache.schema import composed
from trainer.errors import TrainerError

SCANS = (".nii.gz", ".nii", ".hdr", ".img", ".hdr.gz", ".img.gz")
CLIPS = ".avi .mp4 .m4v .mov .mkv .webm .mpg .mpeg .wmv .asf .ts .m2ts .mts .3gp .flv .ogv"
ENDINGS = (*SCANS, *CLIPS.split())
HEADERS = ("filename", "id", "ids")
SEPARATORS = ",;\t"


def read_ids(path: Path) -> list[str]:
    """The names in `path` exactly as written, one per line or in the first column of a CSV.

    Raises TrainerError where there is none, or where one is repeated.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # with unchanged line breaks: a quoted name may contain one
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text)))
    except OSError as error:
        raise TrainerError(f"{path}: {error.strerror}; expected a file with one id per line") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainerError(f"{path} is not a text file ({error}); expected a file with one id per line") from error
    names = [row[0].strip() for row in rows if row and row[0].strip()]
    if names and _is_header(names[0]):
        del names[0]
    if not names:
        raise TrainerError(f"{path} holds no id; expected one per line")
    seen: set[str] = set()
    for name in map(composed, names):
        if name in seen:
            raise TrainerError(f"{path} has {name!r} more than once; expected each id once")
        seen.add(name)
    return names


def _separator(text: str) -> str:
    """The separator after the first cell of a header; a comma without a header."""
    first = text.lstrip().partition("\n")[0]
    return next((sign for sign in SEPARATORS if _is_header(first.partition(sign)[0])), ",")


def _is_header(cell: str) -> bool:
    return re.sub(r"[\s_-]", "", cell).lower() in HEADERS


def samples_named(cache: Cache, names: Sequence[str]) -> list[str]:
    """The id of the sample in `cache` for each of `names`, in their order.

    A name is a path below SOURCE, an id, or a bare file name that only one sample has. Its extension may be missing,
    and accents may be composed or not. Raises TrainerError for a name that no sample or several samples have, and
    where two names mean the same sample.
    """
    index = _Index(cache)
    candidates = [index.find(name) for name in names]
    missing = [name for name, ids in zip(names, candidates, strict=True) if not ids]
    if missing:
        raise TrainerError(
            f"{len(missing)} of {len(names)} samples are not in {cache.path}, the first is {missing[0]!r}; "
            "`info` lists quarantined inputs"
        )
    name_of: dict[str, str] = {}
    for name, ids in zip(names, candidates, strict=True):
        if len(ids) > 1:
            raise TrainerError(
                f"{name!r} is the name of {len(ids)} samples of {cache.path}, such as {ids[0]!r} and {ids[1]!r}; "
                "give the path below SOURCE"
            )
        if name_of.setdefault(ids[0], name) != name:
            raise TrainerError(
                f"{name_of[ids[0]]!r} and {name!r} both mean sample {ids[0]!r} of {cache.path}; expected each once"
            )
    return [ids[0] for ids in candidates]


class _Index:
    """Samples by path with and without extension, and by bare file name."""

    def __init__(self, cache: Cache) -> None:
        self._paths: dict[str, list[str]] = defaultdict(list)
        self._ids: dict[str, list[str]] = defaultdict(list)
        self._bare: dict[str, list[str]] = defaultdict(list)
        for entry in cache.samples:
            paths = {*map(composed, entry.source.files)} if cache.kind != "features" else set()
            name = composed(entry.id)
            self._ids[name].append(entry.id)
            for path in paths:
                self._paths[path].append(entry.id)
            for bare in {PurePosixPath(path).name for path in {*paths, name}}:
                self._bare[bare].append(entry.id)

    def find(self, name: str) -> list[str]:
        """The ids that `name` matches by the first rule that any sample matches."""
        name = composed(name).removeprefix("./")
        rules = [(self._paths, name), (self._ids, name), (self._ids, without_ending(name))]
        if "/" not in name:
            rules += [(self._bare, name), (self._bare, without_ending(name))]
        return next((table[key] for table, key in rules if key in table), [])


def without_ending(name: str) -> str:
    """`name` without the extension of a scan or clip."""
    return next((name[: -len(ending)] for ending in ENDINGS if name.lower().endswith(ending)), name)
