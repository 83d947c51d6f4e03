"""With hostile ledgers, attributes or digests in CACHE or FEATURES, every command ends quickly in little memory.

If it fails, it prints one line. `test_hostile_folders.py` tests hostile files, folders and chunks.
"""

import json
import zlib
from functools import partial

import pytest

from tests.helpers.archives import changed_folder, command_words, fresh_copy
from tests.helpers.hostile import check, check_feature_commands, server

__all__ = ["changed_folder", "server"]  # fixtures

LEDGER, SNAPSHOT, ATTRIBUTES = "ledger/entries.jsonl", "ledger/snapshot.jsonl", ("zarr.json", "ledger/zarr.json")


# -- attacks -----------------------------------------------------------------------------------------------------------


def entry(**fields):
    return {"id": "S01", "state": "complete", "row": 0, "nbytes": 2032, "digest": "0" * 32} | fields


def line(data):
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def write_ledger(root, *lines, snapshot=False):
    """Append these lines to the ledger, or with `snapshot` replace it by a snapshot with only these lines."""
    data = b"".join(map(line, lines))
    if snapshot:
        (root / LEDGER).unlink()
        (root / SNAPSHOT).write_bytes(line({"log_bytes": -1, "log_crc": 0, "lines": len(lines)}) + data)
    else:
        with (root / LEDGER).open("ab") as file:
            file.write(data)


def source(files, root="/", **fields):
    return {"source": {"root": str(root), "files": files, **fields}}


LEDGERS = {
    "a row of 9,999,999": [entry(id="far", row=9_999_999)],
    "rows apart": [entry(id=f"far {n}", row=n * 4096) for n in range(50)],
    "an entry without files": [entry(source={"root": "/", "size": 5})],
    "an entry without a source": [entry()],
    "a quarantined one without files": [entry(state="quarantined", reason="why", row=-1)],
    "an id of 5 MB": [entry(id="x" * 5_000_000)],
    "an id of 900 KB": [entry(id="x" * 900_000)],
    "an id of 900 KB that is quarantined": [entry(id="x" * 900_000, state="quarantined", row=-1)],
    "an id of 4 KB": [entry(id="x" * 4000)],
    "ids of 900 KB, excluded": [entry(id=f"{n}" + "x" * 900_000, state="excluded", row=-1) for n in range(5)],
    "a reason of 900 KB": [entry(id="a", state="quarantined", row=-1, reason="y" * 900_000)],
    "2,000 reasons": [entry(id=f"q{n}", state="quarantined", row=-1, reason=f"y{n}") for n in range(2000)],
    "a note of 900 KB": [entry(details={"notes": ["z" * 900_000]})],
    "100,000 notes": [entry(details={"notes": [f"z{n}" for n in range(100_000)]})],
    "details of other types": [entry(details={"notes": 7, "measured": "no", "shape": {"a": [1]}, "spacing": None})],
    "details of numbers": [entry(details={"measured": {"voxels": 1e308, "distinct": "nan", "least": [[]]}})],
    "nested details": [b'{"id":"S01","state":"complete","row":0,"details":%s}' % (b'{"a":' * 150_000 + b"}" * 150_000)],
    "a number of 100,000 digits": [b'{"id":"S01","state":"complete","row":' + b"9" * 100_000 + b"}"],
    "a chunk of 2 GB": [entry(nbytes=2**31 - 1)],
    "a label of 9,999,999": [entry(label=9_999_999)],
    "a group of 4 KB": [entry(group="g" * 4000)],
    "/dev/zero as a source": [entry(**source(["dev/zero"]))],
    "/dev as a source": [entry(**source(["dev"]))],
    "100,000 source files": [entry(**source([f"nowhere/{n}" for n in range(50_000)]))],
    "a source path of 900 KB": [entry(**source(["x/" * 450_000]))],
    "a source root of 900 KB": [entry(**source(["x"], root="y" * 900_000))],
    "a zero byte in an id": [entry(id="a\0b")],
    "control characters": [entry(id="\x1b[2J\n\r", state="quarantined", row=-1, reason="\x1b[2J\n\r\u202e")],
    "half a pair of surrogates": [b'{"id":"\\ud800","state":"quarantined","reason":"\\udfff"}'],
    "2,000 samples of one row": [entry(id=f"x{n}") for n in range(2_000)],
    "2,000 samples of one array": [
        entry(id=f"x{n}", row=n + 5, details={"notes": ["n" * 900]}) for n in range(2_000)
    ],
    "10,000 versions of one sample": [entry(row=n) for n in range(10_000)],
}  # fmt: skip


def write_attributes(root, both=True, **changes):
    for name in ATTRIBUTES if both else ATTRIBUTES[:1]:
        document = json.loads((root / name).read_bytes())
        document["attributes"] |= changes
        (root / name).write_text(json.dumps(document))


def change_recipe(root, **changes):
    old = json.loads((root / "zarr.json").read_bytes())["attributes"]["recipe"]
    write_attributes(root, recipe=old | changes)


ATTRIBUTE_ATTACKS = {
    "a million class names": partial(write_attributes, class_names=["a"] * 1_000_000),
    "10,000 class names": partial(write_attributes, class_names=[f"class {n}" for n in range(10_000)]),
    "a class name of 200 KB": partial(write_attributes, class_names=["a" * 200_000, "b"]),
    "a class name of 5 MB": partial(write_attributes, class_names=["a" * 5_000_000, "b"]),
    "class names of other types": partial(write_attributes, class_names=[1, None, {}]),
    "class names as an object": partial(write_attributes, class_names={"a": 1}),
    "the same class name twice": partial(write_attributes, class_names=["a", "a"]),
    "sources: /": partial(write_attributes, sources=["/"]),
    "10,000 sources": partial(write_attributes, sources=[f"/nowhere/{n}" for n in range(10_000)]),
    "a million sources": partial(write_attributes, sources=["/a"] * 1_000_000),
    "a source of 5 MB": partial(write_attributes, sources=["/" + "a" * 5_000_000]),
    "a source of /dev": partial(write_attributes, sources=["/dev"]),
    "a source of /proc": partial(write_attributes, sources=["/proc"]),
    "a shape of 10^9": partial(change_recipe, depth=10**9, height=10**9, width=10**9),
    "a depth of 10^9": partial(change_recipe, depth=10**9, height=1, width=1),
    "a depth of 1,000 digits": partial(change_recipe, depth=10**1000),
    "a depth of 1e308": partial(change_recipe, depth=1e308),
    "a negative depth": partial(change_recipe, depth=-1),
    "a kind of 5 MB": partial(write_attributes, kind="k" * 5_000_000),
    "a kind of a list": partial(write_attributes, kind=["ct"]),
    "a version of 5 MB": partial(write_attributes, format_version="v" * 5_000_000),
    "a recipe of 5 MB": partial(change_recipe, more="m" * 5_000_000),
    "a recipe of 100,000 keys": lambda root: change_recipe(root, **{f"k{n}": n for n in range(100_000)}),
    "an order of 10^9": partial(change_recipe, order=10**9),
    "a window of text": partial(change_recipe, window="w" * 100_000),
    "a patient column of 5 MB": partial(write_attributes, patient_column="p" * 5_000_000),
    "features": partial(write_attributes, kind="features"),
}


def write_digests(data):
    return lambda root: (root / "ledger/digests.json").write_text(json.dumps(data))


DIGESTS = {
    "digests of files elsewhere": write_digests(
        {"../../../../../../dev/zero": "0", "/dev/zero": "1", "a/../../b": "2"}
    ),
    "digests of 100,000 files": write_digests({f"label/{n}": "0" for n in range(100_000)}),
    "a digest key of 5 MB": write_digests({"a" * 5_000_000: "0"}),
    "a digest of 5 MB": write_digests({"zarr.json": "a" * 5_000_000}),
    "digests of other types": write_digests({"zarr.json": [1], "label": {}, "": None}),
}


def attack_ledger(lines, snapshot, root):
    write_ledger(root, *lines, snapshot=snapshot)


LINES = {
    f"{name}, in the ledger's {'snapshot' if snapshot else 'log'}": partial(attack_ledger, lines, snapshot)
    for name, lines in LEDGERS.items()
    for snapshot in (False, True)
}
ATTACKS = LINES | ATTRIBUTE_ATTACKS | DIGESTS
SELECTED = [name for name in ATTACKS if not name.endswith("snapshot")]


# -- tests -------------------------------------------------------------------------------------------------------------

COMMANDS = ("info", "verify", "read", "repair", "preprocess", "label", "remove")


@pytest.mark.parametrize("attack", SELECTED)
def test_repair_of_a_cache_with_hostile_metadata_ends_quickly_in_little_memory(server, changed_folder, attack):
    root = fresh_copy(changed_folder)
    ATTACKS[attack](root)
    check(server, *command_words("repair", changed_folder))


@pytest.mark.parametrize("attack", [name for name in SELECTED if name not in DIGESTS])
def test_info_on_hostile_metadata_prints_only_short_lines(server, changed_folder, attack):
    root = fresh_copy(changed_folder)
    ATTACKS[attack](root)
    check(server, *command_words("info", changed_folder))


def test_a_chunk_larger_than_its_sample_can_be_is_not_read(server, changed_folder):
    root = fresh_copy(changed_folder)
    with (root / "volume/c/0/0/0/0").open("wb") as file:
        file.truncate(2**31 - 1)
    write_ledger(root, entry(nbytes=2**31 - 1))
    check(server, *command_words("read", changed_folder))


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_on_hostile_metadata_ends_quickly_in_little_memory(server, changed_folder, name, attack):
    root = fresh_copy(changed_folder)
    ATTACKS[attack](root)
    check(server, *command_words(name, changed_folder))


@pytest.mark.parametrize(
    "attack",
    [
        "a shape of 10^9",
        "an entry without files, in the ledger's log",
        pytest.param("", marks=pytest.mark.slow),
    ],
)
def test_commands_on_hostile_feature_metadata_end_quickly_in_little_memory(server, tmp_path, attack):
    check_feature_commands(server, tmp_path, [ATTACKS[attack]] if attack else ATTACKS.values())
