"""With hostile files, folders or chunks in CACHE or FEATURES, every command ends quickly in little memory.

If it fails, it prints one line. `test_hostile_metadata.py` tests hostile ledgers, attributes and digests.
"""

import json
import zlib
from functools import cache, partial

import pytest
from numcodecs.checksum32 import CRC32C

from tests.helpers.archives import changed_folder, command_words, fresh_copy
from tests.helpers.hostile import REPLACEMENTS, check, check_feature_commands, compressed, server

__all__ = ["changed_folder", "server"]  # fixtures

FILES = [
    "zarr.json", "ledger/zarr.json", "ledger/entries.jsonl", "ledger/snapshot.jsonl", "ledger/digests.json",
    "ledger/lock", "ledger/lock.owner", "ledger/partial-lock.owner", "ledger/readers", "ledger/unpublished",
    "label/zarr.json", "label/c/0", "sample_id/zarr.json", "sample_id/c/0", "group/zarr.json", "group/c/0",
    "volume/zarr.json", "volume/c/0/0/0/0",
]  # fmt: skip
FOLDERS = ["ledger", "ledger/partial", "ledger/aside", "label", "label/c", "sample_id/c", "volume", "volume/c"]
FOLDER_ATTACKS = ("a link to /dev/zero as", "a pipe as", "a link to itself as")


# -- attacks -----------------------------------------------------------------------------------------------------------


def zstd(size, blocks, has_size=True):
    """A Zstandard frame with CRC-32C of `blocks` × 128 KB of zeros; its header has the size `size` if `has_size`."""
    header = b"\x28\xb5\x2f\xfd" + (b"\xe0" + size.to_bytes(8, "little") if has_size else b"\x00\x88")
    repeated, last = 0b010 | 1 << 20, 0b011 | 1 << 20  # block type in the low bits, size above
    frame = header + (repeated.to_bytes(3, "little") + b"\0") * (blocks - 1) + last.to_bytes(3, "little") + b"\0"
    return bytes(CRC32C(location="end").encode(frame))


def strings(*values):
    """4096 strings as encoded by vlen-utf8 of numcodecs, the first ones `values`."""
    padded = [*values, *[b""] * (4096 - len(values))]
    return (4096).to_bytes(4, "little") + b"".join(len(value).to_bytes(4, "little") + value for value in padded)


def write_column(root, name, data, chunks=1):
    for number in range(chunks):
        (root / name / "c" / str(number)).write_bytes(data)


@cache
def half_a_gigabyte():
    """Zeros compressed with gzip."""
    compressor = zlib.compressobj(1, wbits=31)
    return b"".join([*(compressor.compress(bytes(1 << 20)) for _ in range(1 << 9)), compressor.flush()])


@cache
def ids_of_4_kb():
    return compressed(strings(*[b"%04096d" % number for number in range(4096)]))


def gzip_bomb(root, name):
    """Write a column of 512 MB as gzip, which its metadata declares."""
    write_column(root, name, half_a_gigabyte())
    path = root / name / "zarr.json"
    metadata = json.loads(path.read_bytes())
    metadata["codecs"] = [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 9}}]
    path.write_text(json.dumps(metadata))


BOMBS = {
    "gzip": gzip_bomb,
    "zstd of 4 GB": lambda root, name: write_column(root, name, zstd(1 << 32, 1 << 15)),
    "zstd of 4 GB that says 100 bytes": lambda root, name: write_column(root, name, zstd(100, 1 << 15)),
    "zstd of 4 GB that does not say": lambda root, name: write_column(root, name, zstd(0, 1 << 15, False)),
    "zstd that says 2 to the 64": lambda root, name: write_column(root, name, zstd((1 << 64) - 1, 1)),
    "zstd of several frames": lambda root, name: write_column(
        root, name, bytes(CRC32C(location="end").encode(zstd(1 << 17, 1)[:-4] * 100))
    ),
    "strings of 4 GB": lambda root, name: write_column(
        root, name, compressed((4096).to_bytes(4, "little") + b"\xff" * (1 << 14))
    ),
    "a string of 5 MB": lambda root, name: write_column(root, name, compressed(strings(b"x" * 5_000_000))),
    "500 chunks of ids of 4 KB": lambda root, name: write_column(root, name, ids_of_4_kb(), 500),
    "5,000 chunks": lambda root, name: write_column(root, name, b"", 5_000),
}


def replacements(places, attacks):
    """Attacks that replace each of `places`, by name."""
    return {
        f"{attack_name} {place}": (lambda root, attack=attack, place=place: attack(root / place))
        for attack_name, attack in attacks.items()
        for place in places
    }


PLACES = replacements(FILES, REPLACEMENTS) | replacements(
    FOLDERS, {name: REPLACEMENTS[name] for name in FOLDER_ATTACKS}
)
CHUNKS = {
    f"{attack_name}, in {column}": partial(attack, name=column)
    for attack_name, attack in BOMBS.items()
    for column in ("label", "sample_id", "group")
}
ATTACKS = PLACES | CHUNKS
QUICK_ATTACKS = ("8 GB of zeros as", "a link to /dev/zero as", "a pipe as")
SELECTED = [name for name in ATTACKS if name not in PLACES or name.startswith(QUICK_ATTACKS)]


# -- tests -------------------------------------------------------------------------------------------------------------

COMMANDS = ("info", "verify", "read", "repair", "preprocess", "label", "remove")


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_accept_a_cache_that_is_not_hostile(server, changed_folder, name):
    fresh_copy(changed_folder)
    assert check(server, *command_words(name, changed_folder)) == (
        1 if name in ("verify", "read") else 0  # a chunk is missing
    )
    check(server, *command_words("repair", changed_folder))
    assert check(server, *command_words(name, changed_folder)) == (1 if name == "remove" else 0)  # already removed


@pytest.mark.parametrize("attack", SELECTED)
def test_repair_of_a_cache_with_hostile_files_ends_quickly_in_little_memory(server, changed_folder, attack):
    root = fresh_copy(changed_folder)
    ATTACKS[attack](root)
    check(server, *command_words("repair", changed_folder))


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_on_hostile_files_ends_quickly_in_little_memory(server, changed_folder, name, attack):
    root = fresh_copy(changed_folder)
    ATTACKS[attack](root)
    check(server, *command_words(name, changed_folder))


def attack_on_features(name):
    """The attack `name` on a cache of features: at the path that corresponds to that in a cache of volumes."""
    if name not in PLACES:
        return ATTACKS[name]
    replacement = next(prefix for prefix in REPLACEMENTS if name.startswith(prefix))
    place = name.removeprefix(f"{replacement} ").replace("volume/c/0/0/0/0", "features/c/0/0/0")
    return lambda root: REPLACEMENTS[replacement](root / place.replace("volume", "features"))


@pytest.mark.parametrize(
    "attack",
    [
        "a pipe as volume/c/0/0/0/0",
        "a link to /dev/zero as zarr.json",
        "zstd of 4 GB, in sample_id",
        pytest.param("", marks=pytest.mark.slow),
    ],
)
def test_commands_on_hostile_feature_files_end_quickly_in_little_memory(server, tmp_path, attack):
    check_feature_commands(server, tmp_path, map(attack_on_features, [attack] if attack else ATTACKS))
