"""Whatever stands in RUN, or in weights from elsewhere, every command ends soon, in little memory, with one line."""

import json
import shutil
import struct
import zipfile
import zlib
from functools import cache

import pytest

from tests.faults import world
from tests.helpers.hostile import REPLACEMENTS, check, limited, with_zeros_appended

ZEROS, BLOCK = 6 << 30, 1 << 24  # bytes
FILES = [
    "config.json", "split.json", "samples.json", "model.keras", "checkpoint.npz", "history.csv", "timings.csv",
    "metrics.json", "validation.csv", "manifest.json", "lock", "lock.owner", "logs", "curves.png", "confusion.png",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Runs commands that need TensorFlow, with as little time and memory as those on caches."""
    with limited(tmp_path_factory.mktemp("server"), world.HEAVY) as server:
        yield server


@pytest.fixture(scope="module")
def made(tmp_path_factory, server):
    """A folder of clips, the cache made of them, and a run."""
    root = tmp_path_factory.mktemp("made")
    world.sources_video(root)
    for words in (world._preprocess_video(root), world._pretrain(root)):
        assert check(server, *words) == 0
    return root


@pytest.fixture
def here(made, tmp_path):
    """The same, to spoil; the cache has the place that the run knows."""
    shutil.copytree(made / "run", tmp_path / "run")
    (tmp_path / world.VIDEO).symlink_to(made / world.VIDEO)
    return tmp_path


def command_words(name, here):
    return {
        "resume": (*world._pretrain(here)[:-3], "--epochs", 2, "--resume"),
        "evaluate": ("evaluate", here / "run", here / world.VIDEO, "--quiet"),
        "predict": world._predict(here),
    }[name]


COMMANDS = ("resume", "predict")


# -- how to make things hostile ----------------------------------------------------------------------------------------


def unlisted(attack):
    """The attack on a run without its list of digests, as earlier versions wrote them."""

    def spoil(run):
        (run / "manifest.json").unlink(missing_ok=True)
        attack(run)

    return spoil


@cache
def packed_zeros():
    """6 GB of zeros, deflated: one block again and again."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (ZEROS // BLOCK) + packer.flush()


def large_member(name, member, said=ZEROS):
    """A zip with 6 GB of zeros as `member`, which has `said` bytes, as it says."""

    def spoil(run):
        info = zipfile.ZipInfo(member)
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, said
        info.compress_size, info.CRC = len(packed_zeros()), 0
        with zipfile.ZipFile(run / name, "a") as archive:
            info.header_offset = archive.start_dir
            archive.fp.seek(archive.start_dir)
            archive.fp.write(info.FileHeader(zip64=True) + packed_zeros())
            archive.start_dir = archive.fp.tell()
            archive.filelist.append(info)
            archive._didModify = True

    return spoil


def many_members(name):
    def spoil(run):
        with zipfile.ZipFile(run / name, "w") as archive:
            for number in range(60_000):
                archive.writestr(f"v{number}.npy", b"")

    return spoil


def array_that_says(shape):
    """A checkpoint whose first array is of `shape`, and has no values."""

    def spoil(run):
        path = run / "checkpoint.npz"
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
        header += b" " * (-(len(header) + 11) % 64) + b"\n"
        members["v0.npy"] = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)

    return spoil


def in_json(name, **changes):
    def spoil(run):
        document = json.loads((run / name).read_bytes())
        (run / name).write_text(json.dumps(document | changes))

    return spoil


CONFIGS = {
    "a million class names": in_json("config.json", class_names=[f"c{n}" for n in range(1_000_000)]),
    "a class name of 5 MB": in_json("config.json", class_names=["a" * 5_000_000, "b"]),
    "a shape of 10^9": in_json("config.json", shape=[10**9, 10**9, 10**9]),
    "a shape of 65,536": in_json("config.json", shape=[65536, 65536, 65536]),
    "an id of 5 MB": in_json("split.json", train=["x" * 5_000_000]),
    "a million ids": in_json("split.json", train=[f"x{n}" for n in range(1_000_000)]),
    "a parent of 5 MB": in_json("config.json", **{"from": "p" * 5_000_000}),
    "a recipe of 5 MB": in_json("config.json", recipe={"r": "p" * 5_000_000}),
    "a version of 5 MB": in_json("config.json", format_version="p" * 5_000_000),
    "a seed of 100,000 digits": lambda run: (run / "config.json").write_bytes(
        (run / "config.json").read_bytes().replace(b'"seed": 0', b'"seed": 1' + b"0" * 100_000)
    ),
    "10^9 units": in_json("config.json", rnn_units=10**9),
}
ARCHIVES = {
    "6 GB in checkpoint.npz": large_member("checkpoint.npz", "v999.npy"),
    "6 GB in checkpoint.npz that say 100 bytes": large_member("checkpoint.npz", "v999.npy", 100),
    "6 GB in model.keras": large_member("model.keras", "more.h5"),
    "6 GB in model.keras that say 100 bytes": large_member("model.keras", "more.h5", 100),
    "60,000 members of checkpoint.npz": many_members("checkpoint.npz"),
    "60,000 members of model.keras": many_members("model.keras"),
    "an array of 10^12 values": array_that_says((10**6, 10**6)),
    "an array of 10^30 values": array_that_says((10**30,)),
}
PLACES = {
    f"{how} {name}": (lambda run, attack=attack, name=name: attack(run / name))
    for how, attack in REPLACEMENTS.items()
    for name in FILES
    if name != "logs" or attack is not with_zeros_appended
}
UNLISTED = {f"{name}, without a list": unlisted(attack) for name, attack in (CONFIGS | ARCHIVES | PLACES).items()}
ATTACKS = CONFIGS | ARCHIVES | PLACES | UNLISTED
QUICK = ("8 GB of zeros as", "a link to /dev/zero as", "a pipe as")
READ = ("config.json", "split.json", "samples.json", "model.keras", "checkpoint.npz", "manifest.json")
SOME = [
    *(f"{name}, without a list" for name in CONFIGS | ARCHIVES),
    *(f"{how} {name}, without a list" for how in QUICK for name in READ),
    *(f"8 GB of zeros as {name}" for name in READ),
]


# -- tests -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resume", "evaluate", "predict"])
def test_valid_runs_pass(server, here, name):
    assert check(server, *command_words(name, here)) == 0


@pytest.mark.parametrize("attack", SOME)
def test_a_hostile_run_is_refused_quickly_in_little_memory(server, here, attack):
    ATTACKS[attack](here / "run")
    check(server, *command_words("predict" if "model" in attack or "config" in attack else "resume", here))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resume", "evaluate", "predict"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_command_refuses_a_hostile_run_quickly_in_little_memory(server, here, name, attack):
    ATTACKS[attack](here / "run")
    check(server, *command_words(name, here))
