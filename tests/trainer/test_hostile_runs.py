"""With any contents of RUN, every command ends quickly in little memory, with one line if it fails."""

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
    """A server for commands that need TensorFlow, with the limits of time and memory for commands on caches."""
    with limited(tmp_path_factory.mktemp("server"), world.HEAVY) as server:
        yield server


@pytest.fixture(scope="module")
def original(tmp_path_factory, server):
    """A folder of clips with their cache and a run."""
    root = tmp_path_factory.mktemp("original")
    world.sources_video(root)
    for words in (world.preprocess_video(root), world.pretrain(root)):
        assert check(server, *words) == 0
    return root


@pytest.fixture
def copied(original, tmp_path):
    """A copy of the run that a test may damage, with a link to its cache."""
    shutil.copytree(original / "run", tmp_path / "run")
    (tmp_path / world.VIDEO).symlink_to(original / world.VIDEO)
    return tmp_path


def command_words(name, copied):
    return {
        "resume": (*world.pretrain(copied)[:-3], "--epochs", 2, "--resume"),
        "evaluate": ("evaluate", copied / "run", copied / world.VIDEO, "--quiet"),
        "predict": world.predict(copied),
    }[name]


COMMANDS = ("resume", "predict")


# -- attacks -----------------------------------------------------------------------------------------------------------


def without_manifest(attack):
    """`attack` on a run without a list of digests, as earlier versions wrote it."""

    def damage(run):
        (run / "manifest.json").unlink(missing_ok=True)
        attack(run)

    return damage


@cache
def packed_zeros():
    """6 GB of zeros as repeated deflated blocks."""
    compressor = zlib.compressobj(9, wbits=-15)
    block = compressor.compress(bytes(BLOCK)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return block * (ZEROS // BLOCK) + compressor.flush()


def large_member(name, member, recorded=ZEROS):
    """An attack that adds 6 GB of zeros to a ZIP file as `member`, whose size is recorded as `recorded` bytes."""

    def damage(run):
        info = zipfile.ZipInfo(member)
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, recorded
        info.compress_size, info.CRC = len(packed_zeros()), 0
        with zipfile.ZipFile(run / name, "a") as archive:
            info.header_offset = archive.start_dir
            archive.fp.seek(archive.start_dir)
            archive.fp.write(info.FileHeader(zip64=True) + packed_zeros())
            archive.start_dir = archive.fp.tell()
            archive.filelist.append(info)
            archive._didModify = True

    return damage


def many_members(name):
    def damage(run):
        with zipfile.ZipFile(run / name, "w") as archive:
            for number in range(60_000):
                archive.writestr(f"v{number}.npy", b"")

    return damage


def array_with_shape(shape):
    """An attack that gives the first array of the checkpoint the shape `shape` and no values."""

    def damage(run):
        path = run / "checkpoint.npz"
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
        header += b" " * (-(len(header) + 11) % 64) + b"\n"
        members["v0.npy"] = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)

    return damage


def json_with(name, **changes):
    def damage(run):
        document = json.loads((run / name).read_bytes())
        (run / name).write_text(json.dumps(document | changes))

    return damage


CONFIGS = {
    "a million class names": json_with("config.json", class_names=[f"c{n}" for n in range(1_000_000)]),
    "a class name of 5 MB": json_with("config.json", class_names=["a" * 5_000_000, "b"]),
    "a shape of 10^9": json_with("config.json", shape=[10**9, 10**9, 10**9]),
    "a shape of 65,536": json_with("config.json", shape=[65536, 65536, 65536]),
    "an id of 5 MB": json_with("split.json", train=["x" * 5_000_000]),
    "a million ids": json_with("split.json", train=[f"x{n}" for n in range(1_000_000)]),
    "a parent of 5 MB": json_with("config.json", **{"from": "p" * 5_000_000}),
    "a recipe of 5 MB": json_with("config.json", recipe={"r": "p" * 5_000_000}),
    "a version of 5 MB": json_with("config.json", format_version="p" * 5_000_000),
    "a seed of 100,000 digits": lambda run: (run / "config.json").write_bytes(
        (run / "config.json").read_bytes().replace(b'"seed": 0', b'"seed": 1' + b"0" * 100_000)
    ),
    "10^9 units": json_with("config.json", rnn_units=10**9),
}
ARCHIVES = {
    "6 GB in checkpoint.npz": large_member("checkpoint.npz", "v999.npy"),
    "6 GB in checkpoint.npz that say 100 bytes": large_member("checkpoint.npz", "v999.npy", 100),
    "6 GB in model.keras": large_member("model.keras", "more.h5"),
    "6 GB in model.keras that say 100 bytes": large_member("model.keras", "more.h5", 100),
    "60,000 members of checkpoint.npz": many_members("checkpoint.npz"),
    "60,000 members of model.keras": many_members("model.keras"),
    "an array of 10^12 values": array_with_shape((10**6, 10**6)),
    "an array of 10^30 values": array_with_shape((10**30,)),
}
PLACES = {
    f"{attack_name} {name}": (lambda run, attack=attack, name=name: attack(run / name))
    for attack_name, attack in REPLACEMENTS.items()
    for name in FILES
    if name != "logs" or attack is not with_zeros_appended
}
WITHOUT_MANIFEST = {
    f"{name}, without a manifest": without_manifest(attack) for name, attack in (CONFIGS | ARCHIVES | PLACES).items()
}
ATTACKS = CONFIGS | ARCHIVES | PLACES | WITHOUT_MANIFEST
QUICK_ATTACKS = ("8 GB of zeros as", "a link to /dev/zero as", "a pipe as")
READ_FILES = ("config.json", "split.json", "samples.json", "model.keras", "checkpoint.npz", "manifest.json")
SELECTED = [
    *(f"{name}, without a manifest" for name in CONFIGS | ARCHIVES),
    *(f"{attack_name} {name}, without a manifest" for attack_name in QUICK_ATTACKS for name in READ_FILES),
    *(f"8 GB of zeros as {name}" for name in READ_FILES),
]


# -- tests -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resume", "evaluate", "predict"])
def test_commands_accept_a_valid_run(server, copied, name):
    assert check(server, *command_words(name, copied)) == 0


@pytest.mark.parametrize("attack", SELECTED)
def test_a_hostile_run_is_rejected_quickly_in_little_memory(server, copied, attack):
    ATTACKS[attack](copied / "run")
    check(server, *command_words("predict" if "model" in attack or "config" in attack else "resume", copied))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resume", "evaluate", "predict"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_command_rejects_a_hostile_run_quickly_in_little_memory(server, copied, name, attack):
    ATTACKS[attack](copied / "run")
    check(server, *command_words(name, copied))
