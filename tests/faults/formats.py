"""Caches, features and runs that earlier versions wrote are opened, verified and gone on with."""

import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.faults import world
from tests.faults.method import Method, Outcome, outcome
from tests.faults.server import ROOT, Ended, Server, command
from tests.faults.world import CLIPS, CT, FEATURES, HEAVY, LABELS, SCANS, VIDEO

FOLDER = ROOT / "tests" / "formats"
SAMPLES = {CT: 4, VIDEO: 4, FEATURES: 4}

place = {"folder": Path()}


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    chosen = [only] if only else [f"{path.name.split('.')[0]}:{name}" for path in archives() for name in CHECKS]
    with tempfile.TemporaryDirectory(prefix="formats-") as folder:
        server = Server(__name__, Path(folder), HEAVY)
        try:
            ended = list(server.run(chosen))
        finally:
            server.close()
    return outcome(METHOD.name, seed, ended)


def archives() -> list[Path]:
    return sorted(FOLDER.glob("*.tar.xz"))


# -- in the server -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, part: str) -> list[str]:
    world.load_everything(part)
    place["folder"] = folder
    return list(CHECKS)


def trial(name: str) -> str:
    version, check = name.split(":")
    there = place["folder"] / "there"
    shutil.rmtree(there, ignore_errors=True)
    there.mkdir(parents=True)
    with tarfile.open(FOLDER / f"{version}.tar.xz") as archive:
        archive.extractall(there, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return CHECKS[check](there)


def _open(there: Path) -> str:
    counts = {name: sum(sample.readable for sample in world.samples(there / name).values()) for name in SAMPLES}
    return "" if counts == SAMPLES else f"samples that can be read: {counts}, expected {SAMPLES}"


def _verify(there: Path) -> str:
    return _all_sound(there)


def _preprocess(there: Path) -> str:
    """Nothing is made again, though the sources have another place now; what cannot be read is quarantined again."""
    before = {name: world.samples(there / name) for name in (CT, VIDEO)}
    for kind, source, name, more in (("ct", SCANS, CT, ("--labels", there / LABELS)), ("video", CLIPS, VIDEO, ())):
        size = [word for word in world.SIZE if word != "--quiet"]
        ended = command(("preprocess", kind, there / source, there / name, *more, *size, "--json"))
        told = json.loads(ended.out) if ended.out else {}
        counts = {key: told.get(key) for key in ("made", "complete", "quarantined")}
        if counts != {"made": 0, "complete": 4, "quarantined": kind == "ct"}:  # one scan is none
            return f"{name}: {counts}: {ended.err[-500:]}"
        if world.samples(there / name) != before[name]:
            return f"{name}: its samples have changed"
    return _all_sound(there)


def _repair(there: Path) -> str:
    (there / CT / "volume/c/1/0/0/0").unlink()
    ended = command(("preprocess", "ct", there / SCANS, there / CT, *world.SIZE))  # tells where the sources are now
    return _all_sound(there) or _said(ended, 3)


def _features(there: Path) -> str:
    before = world.samples(there / FEATURES)
    ended = command(("features", there / VIDEO, there / FEATURES, *world.TRAINING))
    if world.samples(there / FEATURES) != before:
        return "its samples have changed"
    return _said(ended, 0) or _all_sound(there)


def _evaluate(there: Path) -> str:
    for run_of, more in (("run", ()), ("head", ("--features", there / FEATURES))):
        ended = command(("evaluate", there / run_of, there / VIDEO, *more, "--json"))
        if why := _said(ended, 0):
            return why
        if json.loads(ended.out)["n"] != 2:
            return f"{run_of}: {ended.out}"
    return _said(command(("predict", there / "run", there / VIDEO, there / "out.csv", "--quiet")), 0)


def _resume(there: Path) -> str:
    for run_of, more in (("run", ()), ("head", ("--features", there / FEATURES))):
        words = ("train", "pretrain", there / VIDEO, there / run_of, *world.TRAINING, *more, "--epochs", 3, "--resume")
        before = (there / run_of / "history.csv").read_text().splitlines()
        if why := _said(command(words), 0):
            return why
        after = (there / run_of / "history.csv").read_text().splitlines()
        if after[:-1] != before:
            return f"{run_of}: its history was {before} and is {after}"
    return ""


def _all_sound(there: Path) -> str:
    for name in SAMPLES:
        ended = command(("verify", there / name, "--json"))
        if ended.code != 0 or json.loads(ended.out)["ok"] != SAMPLES[name]:
            return f"{name} is not sound: {ended.out[-1000:]}{ended.err[-500:]}"
    return ""


def _said(ended: Ended, code: int) -> str:
    return "" if ended.code == code else f"it ended with {ended.code}: {ended.err[-1000:]}"


CHECKS: dict[str, Callable[[Path], str]] = {
    "open": _open,
    "verify": _verify,
    "preprocess": _preprocess,
    "repair": _repair,
    "features": _features,
    "evaluate": _evaluate,
    "resume": _resume,
}

METHOD = Method(
    name="formats",
    title="caches, features and runs of earlier versions",
    short=len(archives()) * len(CHECKS),
    full=len(archives()) * len(CHECKS),
    shows="everything that an earlier version wrote opens and verifies; its samples are not made again, but can "
    "be repaired; its runs evaluate, predict and resume.",
    run=run,
)
