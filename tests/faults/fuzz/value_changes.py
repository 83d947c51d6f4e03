"""Random changes of the values in a document: JSON, a ledger, or a table."""

import json
import random
import zlib
from collections.abc import Sequence
from typing import Any

from tests.faults.fuzz.byte_changes import FLOATS, INTEGERS, change_bytes

TEXTS = ("", "x" * 10_000, "\0", "\ud800", "../../..", "/", "é", "e\u0301", "\u202e", "1e999", "NaN", "-1", '"', "%s%n")
MAX_ROWS = 10_000  # of a table


def change_json(data: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Change values, delete or rename keys; sometimes change bytes."""
    try:
        value = json.loads(data)
    except ValueError:  # an earlier change made it invalid
        return change_bytes(data, rng, corpus)
    if rng.random() < 0.2:
        return change_bytes(data, rng, corpus)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = change_value(value, rng)
    return json.dumps(value).encode()


def change_attributes(data: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Change the attributes of a group's zarr.json, as little else in it is read; sometimes change anything."""
    if rng.random() < 0.2:
        return change_json(data, rng, corpus)
    document = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        document["attributes"] = change_value(document["attributes"], rng)
    return json.dumps(document).encode()


def change_value(value: Any, rng: random.Random) -> Any:
    """`value` with a change in one place."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        others = {name: item for name, item in value.items() if name != key}
        probability = rng.random()
        if probability < 0.1:
            return others
        if probability < 0.2:
            return others | {rng.choice([*TEXTS, *map(str, value)]): value[key]}
        return value | {key: change_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        number = rng.randrange(len(value))
        return [*value[:number], change_value(value[number], rng), *value[number + rng.choice((0, 1, 1, 1)) :]]
    return _unusual(value, rng)


def _unusual(value: Any, rng: random.Random) -> Any:
    """A value of any type, or `value` in an unexpected container."""
    simple = (None, True, False, *INTEGERS, 2**64, 10**400, 0.5, *FLOATS, *TEXTS)
    repeats = 1000 if len(repr(value)) < 1000 else 2
    return rng.choice(
        (rng.choice(simple), [], {}, [value], {"a": value}, [value] * repeats, str(value), rng.choice(simple))
    )


def change_ledger(data: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Change the lines of a ledger: values (with matching checksums), order and number; sometimes change bytes."""
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
    """Change cells, separators, quotes, line ends and the encoding of a CSV file; sometimes change bytes."""
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
            rows = (rows * rng.choice((2, 100)))[:MAX_ROWS]
    separator, end = rng.choice((",", ",", ";", "\t", "|", "")), rng.choice(("\n", "\n", "\r\n", "\r", "\n\n"))
    text = end.join(map(separator.join, rows))
    encoding = rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "cp037"))
    return text.encode(encoding, errors="surrogatepass" if encoding.startswith("utf") else "replace")
