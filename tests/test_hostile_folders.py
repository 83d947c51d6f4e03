"""Whatever stands in CACHE or FEATURES, every command ends soon, in little memory, with one line where it fails."""

import json
import zlib
from functools import cache, partial

import pytest
from numcodecs.checksum32 import CRC32C

from tests.helpers.archives import changed_folder, command_words, extract, fresh_copy
from tests.helpers.caches import make_cache
from tests.helpers.hostile import (
    REPLACEMENTS,
    check,
    compressed,
    server,
)

__all__ = ["changed_folder", "server"]  # fixtures

LEDGER, SNAPSHOT, ATTRIBUTES = "ledger/entries.jsonl", "ledger/snapshot.jsonl", ("zarr.json", "ledger/zarr.json")
FILES = [
    "zarr.json", "ledger/zarr.json", LEDGER, SNAPSHOT, "ledger/digests.json", "ledger/lock", "ledger/lock.owner",
    "ledger/partial-lock.owner", "ledger/readers", "ledger/unpublished", "label/zarr.json", "label/c/0",
    "sample_id/zarr.json", "sample_id/c/0", "group/zarr.json", "group/c/0", "volume/zarr.json", "volume/c/0/0/0/0",
]  # fmt: skip
FOLDERS = ["ledger", "ledger/partial", "ledger/aside", "label", "label/c", "sample_id/c", "volume", "volume/c"]


# -- how to make things hostile ----------------------------------------------------------------------------------------


FOR_FOLDERS = ("a link to /dev/zero as", "a pipe as", "a link to itself as")


def zstd(size, blocks, states_size=True):
    """A Zstandard frame, with its CRC-32C, of `blocks` of 128 KB of zeros each that says it holds `size` bytes."""
    header = b"\x28\xb5\x2f\xfd" + (b"\xe0" + size.to_bytes(8, "little") if states_size else b"\x00\x88")
    repeated, last = 0b010 | 1 << 20, 0b011 | 1 << 20  # type of block, and its size above
    frame = header + (repeated.to_bytes(3, "little") + b"\0") * (blocks - 1) + last.to_bytes(3, "little") + b"\0"
    return bytes(CRC32C(location="end").encode(frame))


def strings(*values):
    """What numcodecs' vlen-utf8 makes of 4096 strings, the first ones `values`."""
    some = [*values, *[b""] * (4096 - len(values))]
    return (4096).to_bytes(4, "little") + b"".join(len(value).to_bytes(4, "little") + value for value in some)


def write_column(root, name, data, chunks=1):
    for number in range(chunks):
        (root / name / "c" / str(number)).write_bytes(data)


@cache
def half_a_gigabyte():
    """Zeros as gzip."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(1 << 9)), packer.flush()])


@cache
def ids_of_4_kb():
    return compressed(strings(*[b"%04096d" % number for number in range(4096)]))


def gzip_bomb(root, name):
    """Gzip, where the metadata says so."""
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


def entry(**fields):
    return {"id": "S01", "state": "complete", "row": 0, "nbytes": 2032, "digest": "0" * 32} | fields


def line(data):
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def write_ledger(root, *lines, copy=False):
    """A ledger of these lines after what is there, or where there is a `copy` of just these in its copy."""
    data = b"".join(map(line, lines))
    if copy:
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


def recipe(root, **changes):
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
    "a shape of 10^9": partial(recipe, depth=10**9, height=10**9, width=10**9),
    "a depth of 10^9": partial(recipe, depth=10**9, height=1, width=1),
    "a depth of 1,000 digits": partial(recipe, depth=10**1000),
    "a depth of 1e308": partial(recipe, depth=1e308),
    "a negative depth": partial(recipe, depth=-1),
    "a kind of 5 MB": partial(write_attributes, kind="k" * 5_000_000),
    "a kind of a list": partial(write_attributes, kind=["ct"]),
    "a version of 5 MB": partial(write_attributes, format_version="v" * 5_000_000),
    "a recipe of 5 MB": partial(recipe, more="m" * 5_000_000),
    "a recipe of 100,000 keys": lambda root: recipe(root, **{f"k{n}": n for n in range(100_000)}),
    "an order of 10^9": partial(recipe, order=10**9),
    "a window of text": partial(recipe, window="w" * 100_000),
    "a patient column of 5 MB": partial(write_attributes, patient_column="p" * 5_000_000),
    "features": partial(write_attributes, kind="features"),
}


def digests(data):
    return lambda root: (root / "ledger/digests.json").write_text(json.dumps(data))


DIGESTS = {
    "digests of files elsewhere": digests({"../../../../../../dev/zero": "0", "/dev/zero": "1", "a/../../b": "2"}),
    "digests of 100,000 files": digests({f"label/{n}": "0" for n in range(100_000)}),
    "a digest key of 5 MB": digests({"a" * 5_000_000: "0"}),
    "a digest of 5 MB": digests({"zarr.json": "a" * 5_000_000}),
    "digests of other types": digests({"zarr.json": [1], "label": {}, "": None}),
}


def in_ledger(lines, copy, root):
    write_ledger(root, *lines, copy=copy)


def replacements(places, names):
    """What stands in place of each of `places`, by a name that says so."""
    return {
        f"{how} {name}": (lambda root, attack=attack, name=name: attack(root / name))
        for how, attack in names.items()
        for name in places
    }


PLACES = replacements(FILES, REPLACEMENTS) | replacements(FOLDERS, {how: REPLACEMENTS[how] for how in FOR_FOLDERS})
CHUNKS = {
    f"{how}, in {name}": partial(attack, name=name)
    for how, attack in BOMBS.items()
    for name in ("label", "sample_id", "group")
}
LINES = {
    f"{how}, in the ledger's {'copy' if copy else 'log'}": partial(in_ledger, lines, copy)
    for how, lines in LEDGERS.items()
    for copy in (False, True)
}
ATTACKS = PLACES | CHUNKS | LINES | ATTRIBUTE_ATTACKS | DIGESTS
QUICK = ("8 GB of zeros as", "a link to /dev/zero as", "a pipe as")
SOME = [name for name in ATTACKS if not name.endswith("copy") and (name not in PLACES or name.startswith(QUICK))]


# -- tests -------------------------------------------------------------------------------------------------------------

COMMANDS = ("info", "verify", "read", "repair", "preprocess", "label", "remove")


@pytest.mark.parametrize("name", COMMANDS)
def test_sound_folders_pass(server, changed_folder, name):
    fresh_copy(changed_folder)
    assert check(server, *command_words(name, changed_folder)) == (
        1 if name in ("verify", "read") else 0
    )  # a chunk is lost
    check(server, *command_words("repair", changed_folder))
    assert check(server, *command_words(name, changed_folder)) == (1 if name == "remove" else 0)  # already removed


@pytest.mark.parametrize("attack", SOME)
def test_repair_of_a_hostile_cache_ends_soon_in_little_memory(server, changed_folder, attack):
    root = fresh_copy(changed_folder)
    ATTACKS[attack](root)
    check(server, *command_words("repair", changed_folder))


@pytest.mark.parametrize("attack", [name for name in SOME if name in LINES | ATTRIBUTE_ATTACKS])
def test_what_is_said_of_a_hostile_cache_is_short(server, changed_folder, attack):
    root = fresh_copy(changed_folder)
    ATTACKS[attack](root)
    check(server, *command_words("info", changed_folder))


def test_a_chunk_is_not_read_that_is_larger_than_its_sample_can_be(server, changed_folder):
    root = fresh_copy(changed_folder)
    with (root / "volume/c/0/0/0/0").open("wb") as file:
        file.truncate(2**31 - 1)
    write_ledger(root, entry(nbytes=2**31 - 1))
    check(server, *command_words("read", changed_folder))


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_hostile_cache_ends_every_command_soon_in_little_memory(server, changed_folder, name, attack):
    root = fresh_copy(changed_folder)
    ATTACKS[attack](root)
    check(server, *command_words(name, changed_folder))


def made_features(folder):
    """A volume cache of two samples in `folder`, and the features made of them."""
    make_cache(folder / "volumes", 2)
    extract(folder)
    return folder / "features.zarr"


def in_features(place):
    """The same place in a cache of features."""
    return place.replace("volume/c/0/0/0/0", "features/c/0/0/0").replace("volume", "features")


@pytest.mark.parametrize(
    "attack",
    [
        "a pipe as volume/c/0/0/0/0",
        "a link to /dev/zero as zarr.json",
        "zstd of 4 GB, in sample_id",
        "a shape of 10^9",
        "an entry without files, in the ledger's log",
        pytest.param("", marks=pytest.mark.slow),
    ],
)
def test_hostile_features_end_every_command_soon_in_little_memory(server, tmp_path, attack):
    made_features(tmp_path).rename(tmp_path / "as made")
    for name in [attack] if attack else ATTACKS:
        for words in (
            ("extract", tmp_path),
            ("read", tmp_path / "features.zarr"),
            ("verify", tmp_path / "features.zarr"),
        ):
            root = fresh_copy(tmp_path, "features.zarr")
            if name in PLACES:
                how, place = next((how, name.removeprefix(f"{how} ")) for how in REPLACEMENTS if name.startswith(how))
                REPLACEMENTS[how](root / in_features(place))
            else:
                ATTACKS[name](root)
            check(server, *words)
