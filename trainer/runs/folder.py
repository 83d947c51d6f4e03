"""The folder of a run: what is in it, and who may write it.

RUN/
  config.json      how it trains; the kind, shape, classes and recipe of the cache it trains on
  split.json       which ids it trains on, and which it validates on
  samples.json     what each of those samples is known by, and with them the cache that the run was trained on
  model.keras      the weights of the best epoch so far
  checkpoint.npz   all that `--resume` needs (`checkpoint.py`)
  history.csv      one line an epoch; timings.csv beside it has what depends on the machine
  curves.png       the same as a picture
  metrics.json     how well the best weights do on the validation ids; confusion.png is the same as a picture
  validation.csv   what they predict for each of those
  manifest.json    the digests of those above that are read again (see `manifest.py`)
  logs/            for TensorBoard
  lock, lock.owner held by the one process that trains, and which that is (see `cache/lock.py`)
"""

import csv
import io
import math
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache import Cache
from cache.catalog import has_attributes
from cache.confined import check_inside
from cache.durable import make_folder
from cache.lock import LOCK_FILES, LockHeld, exclusive
from cache.schema import MAX_CLASSES, MAX_SAMPLE_BYTES, composed, layout_of
from trainer.config import Config
from trainer.data.splits.split import Split, split_of_run
from trainer.errors import TrainerError
from trainer.runs import files, manifest

FORMAT_VERSION = 1
SAME = ("window", "orientation")  # of a recipe: what changes the meaning of a value or an axis
ABOUT = {"format_version": int, "kind": str, "shape": list, "class_names": list, "recipe": dict, "from": str}
MOST_SIZE = 1 << 16  # of an axis of a sample: a network is built for it
BEGUN = (*LOCK_FILES, "split.json", "samples.json", manifest.NAME)  # what a run killed before its config.json leaves
READ_AGAIN = (
    "samples.json", "split.json", "config.json", "model.keras", "checkpoint.npz", "history.csv", "timings.csv",
    "metrics.json", "validation.csv",
)  # fmt: skip
OWN = (
    *BEGUN, "config.json", "model.keras", "checkpoint.npz", "history.csv", "timings.csv", "curves.png",
    "metrics.json", "confusion.png", "validation.csv", "logs",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a run's config.json says. `shape` is that of a sample, `recipe` that of the cache it trained on."""

    config: Config
    kind: str
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    recipe: Mapping[str, Any]
    parent: str = ""

    def to_json(self) -> dict[str, Any]:
        about = {"format_version": FORMAT_VERSION, "kind": self.kind, "shape": list(self.shape)}
        about |= {"class_names": list(self.class_names), "recipe": dict(self.recipe), "from": self.parent}
        return self.config.to_json() | about


def read_run(root: Path) -> Run:
    """The run in `root`. Raises TrainerError where there is none that this version can read."""
    data = manifest.read_json(root / "config.json", "the config.json of a run, as `train` writes it")
    if data.get("format_version") != FORMAT_VERSION:
        raise TrainerError(
            f"{root}/config.json has format_version {data.get('format_version')!r:.200}, expected {FORMAT_VERSION}"
        )
    try:
        about = {name: _typed(name, data.pop(name), kind) for name, kind in ABOUT.items()}
        kind, shape, recipe = about["kind"], about["shape"], about["recipe"]
        _check_shape(kind, shape)
        names = _names(about["class_names"])
        return Run(Config.from_json(data), kind, tuple(shape), names, recipe, about["from"])
    except KeyError as error:
        raise TrainerError(f"{root}/config.json has no key {error}; restore it, or train again") from error
    except (ValueError, TrainerError) as error:
        raise TrainerError(f"{root}/config.json is not that of a run: {error}; restore it, or train again") from error


def _typed(name: str, value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{name} {reprlib.repr(value)}, expected {kind.__name__}")
    return value


def _check_shape(kind: str, shape: list[Any]) -> None:
    """Raises ValueError for what is no shape of samples of `kind`, or one that no machine holds."""
    axes = layout_of(kind).axes
    if len(shape) != len(axes) or not all(type(size) is int and 0 < size <= MOST_SIZE for size in shape):
        raise ValueError(f"shape {reprlib.repr(shape)}, expected {len(axes)} integers from 1 to {MOST_SIZE}")
    if math.prod(shape) > MAX_SAMPLE_BYTES:
        raise ValueError(f"shape {reprlib.repr(shape)}, expected at most {MAX_SAMPLE_BYTES} values")


def _names(value: Any) -> tuple[str, ...]:
    """Class names in Unicode's NFC, as those of a cache are; earlier versions wrote them as they were given."""
    if type(value) is list and len(value) <= MAX_CLASSES and all(map(_is_name, value)):
        names = tuple(map(composed, value))
        if len(names) == len({*names}) > 1:
            return names
    raise ValueError(f"class_names {reprlib.repr(value)}, expected a list of different names, at most {MAX_CLASSES}")


def _is_name(value: object) -> bool:
    """True for text that any file can hold: a lone surrogate, as JSON allows it, is none."""
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


Known = tuple[str, str, int]  # of a sample: the digests of its chunk and of its source, and its label


def known(cache: Cache, ids: Iterable[str]) -> dict[str, Known]:
    """What a run remembers its samples by."""
    entries = {name: cache.entry(name) for name in ids}
    return {name: (entry.digest, entry.source.digest, entry.label) for name, entry in entries.items()}


def read_samples(root: Path) -> dict[str, Known]:
    """What the run in `root` remembers of each sample it trains or validates on. Raises TrainerError."""
    path = root / "samples.json"
    recorded = manifest.read_json(path, "samples.json of a run")
    for name, value in recorded.items():
        if not (type(value) is list and [type(part) for part in value] == [str, str, int]):
            raise TrainerError(f"{path} has {reprlib.repr(value)} for {name!r}; restore it, or train again")
    return {name: tuple(value) for name, value in recorded.items()}


def check_samples(root: Path, cache: Cache) -> None:
    """Raises TrainerError where a sample, or its label, is no longer the one that the run in `root` began with."""
    recorded = read_samples(root)
    now = known(cache, (name for name in recorded if name in cache))
    for name, begun in recorded.items():
        if name not in now or now[name][0] != begun[0]:
            raise TrainerError(
                f"sample {name!r} of {cache.path} is not the one {root} began with; give that cache, "
                "or train into another RUN"
            )
        if now[name][2] != begun[2]:
            raise TrainerError(
                f"sample {name!r} of {cache.path} has label {now[name][2]}, {root} began with label {begun[2]}; "
                "train into another RUN"
            )


def changed_labels(root: Path, run: Run, cache: Cache) -> tuple[int, int]:
    """How many samples that the run in `root` began with are in `cache` with another label, of how many in all.

    Labels are compared by the names of their classes, so neither a new order of classes nor how accents are encoded
    makes a difference.
    """
    recorded = read_samples(root)
    now = known(cache, (name for name in recorded if name in cache))
    pairs = [(recorded[name][2], some[2]) for name, some in now.items() if _is_same(some, recorded[name])]
    before, after = (_class_names(names) for names in (run.class_names, cache.class_names))
    return sum(before.get(old) != after.get(new) for old, new in pairs), len(pairs)


def _class_names(names: Sequence[str]) -> dict[int, str]:
    return {number: composed(name) for number, name in enumerate(names)}


def is_trained_on(root: Path, cache: Cache) -> bool:
    """True where a sample that the run in `root` trained on is in `cache`, be it of another dtype. Raises TrainerError.

    The same sample has the same id, and the bytes of its chunk or of its source are the same.
    """
    recorded, split = read_samples(root), split_of_run(root)
    for name in (*split.train, *split.validation):
        if name not in recorded:
            raise TrainerError(f"{root}/samples.json lacks {name!r} of split.json; restore both, or train again")
    there = known(cache, (name for name in split.train if name in cache))
    return any(_is_same(there[name], recorded[name]) for name in there)


def trained_on_too(root: Path, cache: Cache, ids: Iterable[str]) -> list[str]:
    """Those of `ids` that the run in `root` trained on by whatever name: the bytes of chunk or source are the same."""
    recorded = read_samples(root)
    learned = [recorded[name] for name in split_of_run(root).train]
    chunks, sources = ({sample[part] for sample in learned} - {""} for part in (0, 1))
    return [name for name, some in known(cache, ids).items() if some[0] in chunks or some[1] in sources]


def _is_same(one: Known, other: Known) -> bool:
    return one[0] == other[0] or (one[1] == other[1] != "")


def check_cache(run: Run, cache: Cache, what: str = "the run") -> None:
    """Raises TrainerError where the samples of `cache` do not mean what those meant that `run` was trained on."""
    expected = {"kind": run.kind, "shape": tuple(run.shape)} | _meaning(run.recipe)
    given = {"kind": cache.kind, "shape": sample_shape(cache)} | _meaning(cache.recipe)
    for key, value in expected.items():
        if given[key] != value:
            raise TrainerError(
                f"{cache.path} has {key} {given[key]}, {what} was trained on {key} {value}; "
                "give a cache built by the same recipe"
            )


def sample_shape(cache: Cache) -> tuple[int, ...]:
    """The shape of what a network sees of a sample: of features, those of one angle."""
    return tuple(cache.shape[-2:] if cache.kind == "features" else cache.shape)


def behind(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe of the volumes that features with this recipe come from; of volumes their own."""
    volumes = recipe.get("source")
    return volumes if isinstance(volumes, Mapping) else recipe


def _meaning(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What of a recipe gives values and axes their meaning."""
    return {key: behind(recipe).get(key) for key in SAME} | {"extractor": recipe.get("extractor")}


@contextmanager
def writing(root: Path, resume: bool) -> Iterator[bool]:
    """Hold RUN for training; yields True where there is a run to go on with.

    Raises TrainerError where RUN holds a run already and `resume` is not asked for, where it holds anything else, or
    while another process trains into it.
    """
    check_folder(root, resume)
    make_folder(root)
    for name in (*LOCK_FILES, "logs"):  # all other files are replaced as a whole
        check_inside(root, root / name)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(root / "lock"))
        except LockHeld as held:
            raise TrainerError(
                f"another process trains into {root}{held.holder}; wait for it to end, or choose another RUN"
                f"{held.way_out}"
            ) from held
        begun = check_folder(root, resume)  # once more: another process may have come first
        for name in OWN:
            files.remove(root / f"{files.PARTIAL}{name}")
        yield begun


def check_folder(root: Path, resume: bool) -> bool:
    """True where RUN holds a run to go on with. Raises TrainerError where it is not for this process to write."""
    begun = (root / "config.json").is_file()
    if begun and not resume:
        raise TrainerError(f"{root} holds a run already; go on with it by --resume, or choose another RUN")
    if (root.exists() or root.is_symlink()) and not root.is_dir():
        raise TrainerError(f"{root} is a file; expected a folder that is new or empty, or a run to --resume")
    if not _is_name(str(root.resolve())):
        raise TrainerError(f"{root} has a path that is not valid UTF-8; choose another RUN")
    if not begun and (cache := inside_cache(root)):
        raise TrainerError(f"{root} is inside the cache {cache}, which holds samples only; choose another RUN")
    foreign = _foreign(root, BEGUN if resume else LOCK_FILES)
    if not begun and "samples.json" in foreign and {*foreign} <= {*BEGUN}:  # a split.json alone may be the user's
        raise TrainerError(
            f"{root} holds {foreign[0]!r}, left by a run that was stopped as it started; start it again with --resume, "
            "or choose another RUN"
        )
    if not begun and foreign:
        raise TrainerError(f"{root} holds {foreign[0]!r} and no run; expected a folder that is new or empty")
    return begun


def _foreign(root: Path, known: Sequence[str]) -> list[str]:
    """The names in `root` that are not `known`, nor are files of a run that were being written."""
    names = [path.name for path in root.iterdir()] if root.exists() else []
    return sorted({*names} - {*known} - {f"{files.PARTIAL}{name}" for name in OWN})


def inside_cache(path: Path) -> Path | None:
    """The cache that `path` is or lies in, the outermost group of its files; None where there is none."""
    place = path.resolve()
    return next((folder for folder in (*reversed(place.parents), place) if has_attributes(folder)), None)


def begin(root: Path, run: Run, split: Split, samples: Mapping[str, Known]) -> None:
    """Write down what the run is; config.json last, for it makes the folder a run, and then their digests."""
    contents = {"samples.json": samples, "split.json": split.to_json(), "config.json": run.to_json()}
    manifest.begin(root, {name: files.dump_json(data) for name, data in contents.items()})


def end(root: Path) -> None:
    """List the digests of all files that anybody reads again: the run is finished."""
    manifest.complete(root, READ_AGAIN)


def check_files(root: Path) -> None:
    """Raise TrainerError where a file of the run in `root` is listed and is not the one that was written."""
    for name in READ_AGAIN:
        manifest.check(root / name)


def is_finished(root: Path) -> bool:
    """True where the run in `root` has ended with its metrics. Raises TrainerError where that cannot be known."""
    return (root / "metrics.json").is_file() and manifest.lists(root, "metrics.json")


@dataclass(frozen=True)
class Predicted:
    """What the best weights of a run predict for its validation samples: `labels` int64 (n,), probabilities (n, k)."""

    ids: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    class_names: tuple[str, ...]


def write_predictions(root: Path, found: Predicted) -> None:
    rows = zip(found.ids, found.labels.tolist(), found.probabilities.astype(float).tolist(), strict=True)
    header = ("id", "label", *found.class_names)
    files.write_rows(root / "validation.csv", [header, *((name, label, *some) for name, label, some in rows)])


def read_predictions(root: Path) -> Predicted:
    """As `write_predictions` left them. Raises TrainerError."""
    path = root / "validation.csv"
    data = manifest.read(path, "validation.csv of a run")
    try:
        header, *rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
        found = _predicted(header, rows)
    except (ValueError, IndexError, csv.Error) as error:
        raise TrainerError(f"{path} is not that of a run ({error}); restore it, or train again") from error
    return found


def _predicted(header: list[str], rows: list[list[str]]) -> Predicted:
    """Raises ValueError, IndexError."""
    names, ids = tuple(header[2:]), tuple(row[0] for row in rows)
    labels = np.array([int(row[1]) for row in rows], np.int64)
    probabilities = np.array([[float(value) for value in row[2:]] for row in rows]).reshape(len(rows), -1)
    if header[:2] != ["id", "label"] or not rows or len({*ids}) != len(ids) or probabilities.shape[1] != len(names):
        raise ValueError("rows of an id, a label and a probability for each class were expected")
    if not (labels.min() >= 0 and labels.max() < len(names) and probabilities.min() >= 0 and probabilities.max() <= 1):
        raise ValueError("a label or a probability is out of range")
    return Predicted(ids, labels, probabilities, names)
