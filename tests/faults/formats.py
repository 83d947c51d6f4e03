"""Caches, features and runs of earlier versions are opened, verified and continued."""

import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.faults import world
from tests.faults.method import Method, Outcome, outcome
from tests.faults.server import ROOT, CommandResult, Server, command
from tests.faults.world import CLIPS, CT, FEATURES, HEAVY, LABELS, SCANS, VIDEO

FOLDER = ROOT / "tests" / "formats"
SAMPLES = {CT: 4, VIDEO: 4, FEATURES: 4}

folders = {"server": Path()}


# -- in the campaign ---------------------------------------------------------------------------------------------------


def run(trials: int, seed: int, only: str) -> Outcome:
    chosen = [only] if only else [f"{path.name.split('.')[0]}:{name}" for path in archives() for name in CHECKS]
    with (
        tempfile.TemporaryDirectory(prefix="formats-") as folder,
        closing(Server(__name__, Path(folder), HEAVY)) as server,
    ):
        results = list(server.run(chosen))
    return outcome(METHOD.name, seed, results)


def archives() -> list[Path]:
    return sorted(FOLDER.glob("*.tar.xz"))


# -- in the server -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, part: str) -> list[str]:
    world.load_everything(part)
    folders["server"] = folder
    return list(CHECKS)


def trial(name: str) -> str:
    version, check = name.split(":")
    folder = folders["server"] / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    unpack(FOLDER / f"{version}.tar.xz", folder)
    return CHECKS[check](folder)


def unpack(archive: Path, folder: Path) -> None:
    """Extract the archive of a version into `folder`."""
    with tarfile.open(archive) as file:
        file.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def _open(folder: Path) -> str:
    counts = {name: sum(sample.readable for sample in world.samples(folder / name).values()) for name in SAMPLES}
    return "" if counts == SAMPLES else f"readable samples: {counts}, expected {SAMPLES}"


def _preprocess(folder: Path) -> str:
    """Nothing is made again, though the folder of the sources has changed; the unreadable scan is quarantined again."""
    before = {name: world.samples(folder / name) for name in (CT, VIDEO)}
    size = [word for word in world.SIZE if word != "--quiet"]
    for kind, source, name, options in (
        ("ct", SCANS, CT, ("--labels", folder / LABELS)),
        ("video", CLIPS, VIDEO, ()),
    ):
        result = command(("preprocess", kind, folder / source, folder / name, *options, *size, "--json"))
        summary = json.loads(result.out) if result.out else {}
        counts = {key: summary.get(key) for key in ("made", "complete", "quarantined")}
        if counts != {"made": 0, "complete": 4, "quarantined": kind == "ct"}:  # one scan is not readable
            return f"{name}: {counts}: {result.err[-500:]}"
        if world.samples(folder / name) != before[name]:
            return f"{name}: its samples have changed"
    return _verify(folder)


def _repair(folder: Path) -> str:
    (folder / CT / "volume/c/1/0/0/0").unlink()
    result = command(("preprocess", "ct", folder / SCANS, folder / CT, *world.SIZE))  # `repair` expects the old folder
    return _verify(folder) or _check_code(result, 3)


def _features(folder: Path) -> str:
    before = world.samples(folder / FEATURES)
    result = command(("features", folder / VIDEO, folder / FEATURES, *world.TRAINING))
    if world.samples(folder / FEATURES) != before:
        return "its samples have changed"
    return _check_code(result, 0) or _verify(folder)


def _evaluate(folder: Path) -> str:
    for run_name, options in (("run", ()), ("head", ("--features", folder / FEATURES))):
        result = command(("evaluate", folder / run_name, folder / VIDEO, *options, "--json"))
        if reason := _check_code(result, 0):
            return reason
        if json.loads(result.out)["n"] != 2:
            return f"{run_name}: {result.out}"
    return _check_code(command(("predict", folder / "run", folder / VIDEO, folder / "out.csv", "--quiet")), 0)


def _resume(folder: Path) -> str:
    for run_name, options in (("run", ()), ("head", ("--features", folder / FEATURES))):
        root = folder / run_name
        before = (root / "history.csv").read_text().splitlines()
        words = ("train", "pretrain", folder / VIDEO, root, *world.TRAINING, *options, "--epochs", 3, "--resume")
        if reason := _check_code(command(words), 0):
            return reason
        after = (root / "history.csv").read_text().splitlines()
        if after[:-1] != before:
            return f"{run_name}: its history was {before} and is {after}"
    return ""


def _verify(folder: Path) -> str:
    for name in SAMPLES:
        result = command(("verify", folder / name, "--json"))
        if result.code != 0 or json.loads(result.out)["ok"] != SAMPLES[name]:
            return f"{name} is invalid: {result.out[-1000:]}{result.err[-500:]}"
    return ""


def _check_code(result: CommandResult, code: int) -> str:
    return "" if result.code == code else f"exit code {result.code}, expected {code}: {result.err[-1000:]}"


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
