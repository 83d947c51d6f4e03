"""Changed files of every format that is read: scans, clips, label sheets, and those of caches and runs.

A trial takes an intact file of a small corpus, changes it in a few places, and reads it as the commands do. It may be
read or refused with one of our errors; any other error, a decoder crash, too much time or too much memory fails.
Trials run in forked processes, as many in each as none dies.
"""

import gzip
import json
import os
import random
import resource
import shutil
import signal
import struct
import tempfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import world
from tests.faults.method import Method, Outcome, repeat
from tests.faults.server import ROOT, Server, in_parallel
from tests.faults.world import HEAVY, LIGHT

SECONDS, WAITING_SECONDS = 5, 60  # for one trial: of a core, and by the clock
MEMORY_BYTES = 1_000_000_000  # of address space, more than the process has before
MOST_BYTES = 1 << 21  # of a changed file
BATCH = 50  # trials that are asked for at once
REAL = ROOT.parent / "shared" / "data" / "clips"  # where there are real clips, the smallest is in the corpus

Read = Callable[[Path], Any]
Mutate = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


@dataclass(frozen=True)
class Target:
    """One format: its `corpus`, how a file of it is changed, and `read`, which takes the changed file's path.

    `weight` is its share of the trials.
    """

    corpus: list[bytes]
    suffix: str
    mutate: Mutate
    read: Read
    weight: int


# -- in the campaign ---------------------------------------------------------------------------------------------------

WEIGHTS = {
    "nifti": 10, "nifti_gz": 10, "labels": 10, "ledger": 6, "attributes": 6, "config": 10, "split": 10, "avi": 8,
    "mp4": 8, "checkpoint": 6,
}  # fmt: skip
HEAVY_TARGETS = ("checkpoint",)


def run(trials: int, seed: int, only: str) -> Outcome:
    chosen = {only.partition(":")[0]: [only]} if only else choose(trials, seed)
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=world.scratch()) as folder:
        parts = [part for part in (LIGHT, HEAVY) if any((name in HEAVY_TARGETS) == (part == HEAVY) for name in chosen)]

        def work(part: str) -> list[tuple[str, str]]:
            names = [name for name in chosen if (name in HEAVY_TARGETS) == (part == HEAVY)]
            with closing(Server(__name__, Path(folder) / part, ",".join([part, *names]))) as server:
                batches = [
                    f"{seed} {' '.join(chosen[name][start : start + BATCH])}"
                    for name in names
                    for start in range(0, len(chosen[name]), BATCH)
                ]
                return [tuple(pair) for _, failed in server.run(batches) for pair in json.loads(failed)]

        failures = [pair for part in in_parallel(parts, work) for pair in part]
    tried = sum(map(len, chosen.values()))
    return Outcome(tried, tried - len(failures), tuple((repeat(METHOD.name, seed, t), why) for t, why in failures))


def choose(trials: int, seed: int) -> dict[str, list[str]]:
    """Target → its trials; the first ones are the corpus itself. In the short form only what needs no TensorFlow."""
    names = [name for name in WEIGHTS if trials > METHOD.short or name not in HEAVY_TARGETS]
    whole = sum(WEIGHTS[name] for name in names)
    return {name: [f"{name}:{number}" for number in range(max(1, trials * WEIGHTS[name] // whole))] for name in names}


# -- in the server -----------------------------------------------------------------------------------------------------

targets: dict[str, Target] = {}
place = {"folder": Path()}


def prepare(folder: Path, part: str) -> str:
    kind, *names = part.split(",")
    world.load_everything(kind)
    folder.mkdir(parents=True)
    place["folder"] = folder
    targets.update({name: TARGETS[name](folder / name) for name in names})
    return ""


def trial(batch: str) -> str:
    """Run the trials that `batch` names after the seed; JSON of those that failed, each with the reason."""
    seed, *names = batch.split(" ")
    failures: list[tuple[str, str]] = []
    while names:
        ended, signalled, said = forked(lambda write, left=tuple(names): several(left, seed, write))
        failures += [tuple(pair) for pair in said if pair[1]]
        names = names[len(said) :]
        if names and (ended or signalled):
            late = signalled in (signal.SIGALRM, signal.SIGPROF)
            why = f"it took more than {SECONDS} s" if late else f"signal {signalled}, exit {ended}"
            failures.append((names.pop(0), why))
    return json.dumps(failures)


def forked(work: Callable[[int], None]) -> tuple[int, int, list[list[str]]]:
    """(exit code, signal, lines of JSON) of `work` in a child, which writes to the descriptor that it gets."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            work(writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        lines = [json.loads(line) for line in file.read().splitlines()]
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status), os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, lines


def several(names: Sequence[str], seed: str, write: int) -> None:
    import psutil

    most = psutil.Process().memory_info().vms + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for limit in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(limit, signal.SIG_DFL)
    for name in names:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(WAITING_SECONDS)
        why = one(name, seed)
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.write(write, json.dumps([name, why]).encode() + b"\n")


def one(name: str, seed: str) -> str:
    """Why a trial failed, "" where it did not."""
    from cache.errors import CacheError
    from pipeline.errors import PipelineError
    from trainer.errors import TrainerError

    target_name, number = name.split(":")
    target, rng = targets[target_name], random.Random(f"{seed} {name}")
    sound = int(number) < len(target.corpus)
    data = target.corpus[int(number)] if sound else target.mutate(rng.choice(target.corpus), rng, target.corpus)
    path = place["folder"] / f"{target_name}-file{target.suffix}"
    path.write_bytes(data[:MOST_BYTES])
    try:
        target.read(path)
    except (CacheError, PipelineError, TrainerError) as error:
        return f"an intact file is refused: {error}" if sound else ""
    except Exception as error:  # noqa: BLE001 - whatever else it is, users would see it
        return f"{type(error).__name__}: {error}"
    return ""


# -- changes -----------------------------------------------------------------------------------------------------------

INTEGERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-40, 1e38, -1e38, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "x" * 10_000, "\0", "\ud800", "../../..", "/", "é", "e\u0301", "\u202e", "1e999", "NaN", "-1", '"', "%s%n")
ROWS = 10_000  # of a table, at most
HEAD = 400  # bytes, in which most formats say what follows: half of all changes are there


def change_bytes(data: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not changed:
            break
        rng.choice(BYTE_CHANGES)(changed, rng, corpus)
    return bytes(changed)


def somewhere(data: bytes | bytearray, rng: random.Random) -> int:
    return rng.randrange(min(len(data), HEAD) if rng.random() < 0.5 else len(data))


def flip(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    data[somewhere(data, rng)] ^= 1 << rng.randrange(8)


def put_number(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    value = rng.choice(INTEGERS) % (1 << 8 * size)
    start = somewhere(data, rng)
    start -= start % size if rng.random() < 0.7 else 0
    data[start : start + size] = value.to_bytes(size, order)


def put_float(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    start = somewhere(data, rng) & ~3
    data[start : start + 4] = struct.pack(rng.choice("<>") + "f", rng.choice(FLOATS))


def cut(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    del data[somewhere(data, rng) :]


def drop(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    start = somewhere(data, rng)
    del data[start : start + rng.choice((1, 4, 64, 1000))]


def double(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    start, size = somewhere(data, rng), rng.choice((1, 4, 64, 1000))
    data[start:start] = data[start : start + size] * rng.choice((1, 2, 50))


def blank(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    start = somewhere(data, rng)
    size = min(rng.choice((1, 4, 64, 1000)), len(data) - start)
    data[start : start + size] = bytes([rng.choice((0, 255))]) * size


def insert(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    start = somewhere(data, rng)
    data[start:start] = rng.randbytes(rng.choice((1, 4, 64, 1000)))


def splice(data: bytearray, rng: random.Random, corpus: Sequence[bytes]) -> None:
    other = rng.choice(corpus)
    data[somewhere(data, rng) :] = other[somewhere(other, rng) :]


BYTE_CHANGES = (flip, flip, put_number, put_number, put_number, put_float, cut, drop, double, blank, insert, splice)


def change_zipped(data: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Mostly what is inside of gzip is changed, or else nothing but its checksum would be tried."""
    if rng.random() < 0.3:
        return change_bytes(data, rng, corpus)
    return gzip.compress(change_bytes(gzip.decompress(data), rng, [gzip.decompress(other) for other in corpus]), 1)


def change_json(data: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Values become others, keys go or get new names; sometimes just bytes change."""
    try:
        value = json.loads(data)
    except ValueError:  # it was changed before
        return change_bytes(data, rng, corpus)
    if rng.random() < 0.2:
        return change_bytes(data, rng, corpus)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = change_value(value, rng)
    return json.dumps(value).encode()


def change_value(value: Any, rng: random.Random) -> Any:
    """`value` with one place in it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        what = rng.random()
        if what < 0.1:
            return rest
        if what < 0.2:
            return rest | {rng.choice([*TEXTS, *map(str, value)]): value[key]}
        return value | {key: change_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        number = rng.randrange(len(value))
        return [*value[:number], change_value(value[number], rng), *value[number + rng.choice((0, 1, 1, 1)) :]]
    return strange(value, rng)


def strange(value: Any, rng: random.Random) -> Any:
    simple = (None, True, False, *INTEGERS, 2**64, 10**400, 0.5, *FLOATS, *TEXTS)
    many = 1000 if len(repr(value)) < 1000 else 2
    return rng.choice(
        (rng.choice(simple), [], {}, [value], {"a": value}, [value] * many, str(value), rng.choice(simple))
    )


def change_lines(data: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Lines of a ledger: their values, with checksums that fit, their order and number; sometimes just bytes."""
    if rng.random() < 0.2:
        return change_bytes(data, rng, corpus)
    lines = data.splitlines(keepends=True)
    for _ in range(rng.choice((1, 1, 2, 4))):
        number = rng.randrange(len(lines))
        text = change_json(lines[number][9:-1], rng, [line[9:-1] for line in lines])
        changed = b"%08x %s\n" % (zlib.crc32(text), text)
        lines[number : number + rng.choice((0, 1, 1))] = [changed] * rng.choice((1, 1, 1, 30))
        if rng.random() < 0.2:
            rng.shuffle(lines)
    return b"".join(lines)


def change_table(data: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Cells, separators, quotes, line ends and encodings."""
    if rng.random() < 0.4:
        return change_bytes(data, rng, corpus)
    rows = [line.split(",") for line in data.decode().splitlines()]
    for _ in range(rng.choice((1, 2, 8))):
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice(
            (*TEXTS, *map(str, INTEGERS), rng.choice(rows)[0], '"a,b"', '"', "a\nb")
        )
        if rng.random() < 0.3:
            rows.insert(rng.randrange(len(rows)), list(rng.choice(rows)) * rng.choice((1, 1, 2, 50)))
        if rng.random() < 0.1:
            rows = (rows * rng.choice((2, 100)))[:ROWS]
    separator, end = rng.choice((",", ",", ";", "\t", "|", "")), rng.choice(("\n", "\n", "\r\n", "\r", "\n\n"))
    text = end.join(map(separator.join, rows))
    encoding = rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "cp037"))
    return text.encode(encoding, errors="surrogatepass" if encoding.startswith("utf") else "replace")


# -- the formats -------------------------------------------------------------------------------------------------------


def nifti(folder: Path) -> Target:
    return Target([data for data, _ in scans(folder)], ".nii", change_bytes, read_scan, WEIGHTS["nifti"])


def nifti_gz(folder: Path) -> Target:
    return Target([data for _, data in scans(folder)], ".nii.gz", change_zipped, read_scan, WEIGHTS["nifti_gz"])


def scans(folder: Path) -> list[tuple[bytes, bytes]]:
    """A scan in each of several dtypes and byte orders, plain and as gzip."""
    import nibabel as nib
    import numpy as np

    folder.mkdir()
    found = []
    affine = np.array([[-2.0, 0, 0, 5], [0, 0, 3.0, 6], [0, -4.0, 0, 7], [0, 0, 0, 1]])
    for number, dtype in enumerate(("<i2", ">i2", "<f4", "u1", ">f8")):
        values = np.random.default_rng(number).integers(0, 200, (4, 5, 6)).astype(dtype)
        kind = nib.Nifti2Image if number == 2 else nib.Nifti1Image
        header = kind.header_class(endianness=dtype[0] if dtype[0] in "<>" else "<")
        header.set_data_dtype(dtype)
        data = kind(values, affine, header).to_bytes()
        found.append((data, gzip.compress(data, 1)))
    return found


def read_scan(path: Path) -> Any:
    from pipeline.transforms.ct import ct_volume

    return ct_volume((path,), depth=2, height=3, width=4, order=1)


def labels(folder: Path) -> Target:
    from cache.schema import Source
    from pipeline.labels.apply import apply_labels
    from pipeline.labels.columns import ColumnChoice
    from pipeline.sources.formats.ct import TUBERCULOSIS_TYPES
    from pipeline.sources.records import Record

    folder.mkdir()
    names = [f"S{number:02d}.nii.gz" for number in range(1, 9)]
    records = [Record(name.removesuffix(".nii.gz"), Source("/scans", (name,))) for name in names]
    world.write_labels(folder / "labels.csv", names)
    plain = (folder / "labels.csv").read_bytes()
    named = b"id,class,subject id,age\n" + b"".join(
        b"%s,Miliary,P%d,40\n" % (n.encode(), i) for i, n in enumerate(names)
    )

    def read(path: Path) -> Any:
        return apply_labels(records, path, TUBERCULOSIS_TYPES, ColumnChoice())

    return Target([plain, named], ".csv", change_table, read, WEIGHTS["labels"])


def ledger(folder: Path) -> Target:
    root = small_cache(folder)
    corpus = [(root / "ledger" / name).read_bytes() for name in ("entries.jsonl", "snapshot.jsonl")]

    def read(path: Path) -> Any:
        for name in ("entries.jsonl", "snapshot.jsonl"):
            shutil.copyfile(path, root / "ledger" / name)
            look_after(root)

    return Target(corpus, ".jsonl", change_lines, read, WEIGHTS["ledger"])


def attributes(folder: Path) -> Target:
    root = small_cache(folder)

    def read(path: Path) -> Any:
        for name in ("zarr.json", "ledger/zarr.json"):
            shutil.copyfile(path, root / name)
        look_after(root)

    return Target([(root / "zarr.json").read_bytes()], ".json", change_attributes, read, WEIGHTS["attributes"])


def change_attributes(data: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Mostly the attributes of the group: of the rest nothing is read."""
    if rng.random() < 0.2:
        return change_json(data, rng, corpus)
    document = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        document["attributes"] = change_value(document["attributes"], rng)
    return json.dumps(document).encode()


def small_cache(folder: Path) -> Path:
    from tests.faults.rot import make_cache

    folder.mkdir()
    return make_cache(folder)


def look_after(root: Path) -> None:
    """What `info`, `verify`, and whoever trains do with a cache; each goes on where another has refused it."""
    from cache import catalog, open_cache
    from cache.errors import CacheError
    from cache.verify import verify
    from pipeline.jobs import repair, report
    from pipeline.jobs.summary import summarise

    with suppress(CacheError):
        cache = open_cache(root)
        for number in range(len(cache)):
            with suppress(CacheError):
                cache[number]
        cache.inputs()
    with suppress(CacheError):
        list(report.verify_lines(verify(root)))
    known = catalog.read_attributes(root)
    summary = summarise(known, catalog.read_entries(root))
    json.dumps(report.cache_json(summary, known))
    list(report.cache_lines("cache", summary, known, False))
    if known.kind != "features":
        repair.prepare(root)


def config(folder: Path) -> Target:
    from trainer.runs.run import read_run

    folder.mkdir()
    corpus = [data for name, data in kept_runs(folder) if name == "config.json"]

    def read(path: Path) -> Any:
        root = path.with_suffix("")
        root.mkdir(exist_ok=True)
        path.replace(root / "config.json")
        return json.dumps(read_run(root).to_json())

    return Target(corpus, ".json", change_json, read, WEIGHTS["config"])


def split(folder: Path) -> Target:
    import numpy as np

    from trainer.data.splits.check import check
    from trainer.data.splits.groups import without_shared
    from trainer.data.splits.split import Samples, read_split

    folder.mkdir()
    corpus = [data for name, data in kept_runs(folder) if name == "split.json"]
    ids = [name for part in json.loads(corpus[0]).values() for name in part]

    def read(path: Path) -> Any:
        given, count = read_split(path), len(ids)
        groups, digests = ([f"{letter}{n}" for n in range(count)] for letter in "gd")
        samples = Samples(ids, np.arange(count) % 2, groups, digests, ("one", "two"))
        check(given, samples)
        return without_shared(given, samples)

    return Target(corpus, ".json", change_json, read, WEIGHTS["split"])


def kept_runs(folder: Path) -> list[tuple[str, bytes]]:
    """(name, bytes) of the files of runs that are kept of earlier versions."""
    from tests.faults.rot import unpack

    unpack(folder / "kept")
    return [(path.name, path.read_bytes()) for path in sorted((folder / "kept").rglob("*.json"))]


def avi(folder: Path) -> Target:
    from pipeline.demo import phantom_clips

    for kind in (0, 1):
        phantom_clips._write(folder / f"{kind}.avi", phantom_clips.clip(kind, 1, 1, 0, 6, (24, 32)))
    paths = sorted(folder.glob("*.avi")) + sorted(REAL.rglob("*.avi"), key=lambda path: path.stat().st_size)[:1]
    return Target([path.read_bytes() for path in paths], ".avi", change_bytes, read_clip, WEIGHTS["avi"])


def mp4(folder: Path) -> Target:
    import cv2
    import numpy as np

    from pipeline.demo import phantom_clips

    folder.mkdir()
    for codec in ("mp4v", "mjpg"):
        writer = cv2.VideoWriter(
            str(folder / f"{codec}.mp4"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25, (32, 24)
        )
        for frame in phantom_clips.clip(1, 1, 1, 0, 6, (24, 32)):
            writer.write(np.repeat(frame[..., None], 3, 2))
        writer.release()
    paths = sorted(folder.glob("*.mp4")) + sorted(REAL.rglob("*.mp4"), key=lambda path: path.stat().st_size)[:1]
    return Target([path.read_bytes() for path in paths], ".mp4", change_bytes, read_clip, WEIGHTS["mp4"])


def read_clip(path: Path) -> Any:
    from pipeline.transforms.video import video_clip

    for sampling in ("head", "spline"):
        video_clip(path, depth=4, height=8, width=8, sampling=sampling)


def checkpoint(folder: Path) -> Target:
    import keras

    from trainer.config import PRETRAIN
    from trainer.training.checkpoint import State, restore, save
    from trainer.training.fit import compile_for

    folder.mkdir()
    volume = keras.Input((2, 3, 4))
    model = keras.Model(volume, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(volume)))
    compile_for(model, PRETRAIN)
    history = [{"epoch": float(number), "loss": 0.5, "val_loss": 0.25} for number in range(3)]
    save(folder / "checkpoint.npz", State(1, 2, 4, 0.5, 3.0, {"stop": {"wait": 1}}, history, history), model)

    def read(path: Path) -> Any:
        return restore(path, model)

    return Target([(folder / "checkpoint.npz").read_bytes()], ".npz", change_bytes, read, WEIGHTS["checkpoint"])


TARGETS: dict[str, Callable[[Path], Target]] = {
    each.__name__: each for each in (nifti, nifti_gz, labels, ledger, attributes, config, split, avi, mp4, checkpoint)
}

METHOD = Method(
    name="fuzz",
    title="changed input files of every format",
    short=200,
    full=60_000,
    shows=f"headers, fields, values and blocks of scans (NIfTI, plain and gzip), clips (AVI, MP4), label sheets, "
    f"ledgers, attributes, checkpoints, configurations and splits are changed in many ways. Each file is "
    f"read, or refused with one of our errors, within {SECONDS} s and 1 GB; no decoder crashes.",
    run=run,
)
