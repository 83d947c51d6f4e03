"""`verify` and `repair`: faults are named and repaired."""

import json
from pathlib import Path

import pytest

from cache import catalog
from tests.helpers.commands import arrays, cli, ct, error, mentions, tree
from tests.helpers.scans import write_scan


def test_verify_names_each_fault_and_repair_repairs_it(scans, cache):
    ct(scans, cache)
    intact = cli("verify", cache)
    assert (intact.exit_code, intact.stdout) == (0, "3 intact, 0 damaged, 0 missing, 0 stale\n")

    before = arrays(cache)
    damaged, missing, _ = (Path(path) for path in sorted(before))
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    missing.unlink()
    write_scan(scans / "sub/c.nii", 99)
    result = cli("verify", cache, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["ok"] == 0
    assert [list(report[fault]) for fault in ("damaged", "missing", "stale")] == [["a"], ["b"], ["sub/c"]]

    result = cli("repair", cache, "--workers", "0", "--json")
    assert result.exit_code == 0
    assert sorted(json.loads(result.stdout)["healed"]) == ["a", "b", "sub/c"]
    assert cli("verify", cache, "--quiet").exit_code == 0
    assert arrays(cache)[str(damaged)][2] == before[str(damaged)][2]


def test_samples_that_cannot_be_repaired_are_named_and_the_command_fails(scans, cache):
    ct(scans, cache)
    chunk = Path(min(arrays(cache)))
    chunk.unlink()
    (scans / "a.nii").unlink()
    result = cli("repair", cache, "--workers", "0", "--quiet")
    assert result.exit_code == 1
    assert result.stdout == (
        f"Not repaired:\n  a: its chunk {chunk} does not exist; run `repair`; "
        f"but its source {scans / 'a.nii'} is gone: restore it\n0 repaired, 1 not repaired\n"
    )


def test_repair_dry_run_reports_the_repair_and_writes_nothing(scans, cache):
    ct(scans, cache)
    assert cli("repair", cache, "--dry-run").stdout == (
        "0 to make again, 0 to restore, 0 cannot be repaired; nothing is written\n"
    )
    chunk_of_a, chunk_of_b = (cache / f"volume/c/{row}/0/0/0" for row in (0, 1))
    chunk_of_a.unlink()
    chunk_of_b.write_bytes(b"damaged")
    (cache / "label/c/0").write_bytes(b"")
    (scans / "b.nii.gz").unlink()
    before = tree(cache) | arrays(cache)
    result = cli("repair", cache, "--dry-run")
    assert result.exit_code == 1
    assert result.stdout == (
        "Cannot be repaired:\n"
        f"  b: chunk {chunk_of_b} has 7 bytes, recorded {catalog.read_entries(cache)['b'].nbytes}; run `repair` to "
        f"rebuild it from its source; but its source {scans / 'b.nii.gz'} is gone: restore it\n"
        "1 to make again from their sources: a\n"
        "1 to restore from other parts of the cache: label/c/0\n"
        "1 to make again, 1 to restore, 1 cannot be repaired; nothing is written\n"
    )
    plan = json.loads(cli("repair", cache, "--dry-run", "--json").stdout)
    assert (plan["to_make"], plan["to_restore"], list(plan["failed"])) == (["a"], ["label/c/0"], ["b"])
    assert tree(cache) | arrays(cache) == before
    done = json.loads(cli("repair", cache, "--workers", 0, "--json").stdout)
    assert (sorted(done["healed"]), list(done["failed"])) == (["a", "label/c/0"], ["b"])
    assert cli("repair", cache, "--dry-run", "--quiet").exit_code == 1


@pytest.mark.parametrize("file", ["entries.jsonl", "snapshot.jsonl", "digests.json", "zarr.json"])
def test_repair_dry_run_of_a_damaged_ledger_writes_nothing(scans, cache, file):
    ct(scans, cache)
    (cache / "ledger" / file).write_bytes(b"damaged\n")
    before = tree(cache)
    result = cli("repair", cache, "--dry-run", "--json")
    assert tree(cache) == before
    plan = json.loads(result.stdout)
    assert (plan["to_make"], plan["failed"]) == ([], {})
    assert f"ledger/{file}" in plan["to_restore"]
    assert json.loads(cli("repair", cache, "--workers", 0, "--json").stdout)["healed"] == plan["to_restore"]


def test_info_verify_and_repair_reject_a_folder_that_is_not_a_cache(tmp_path):
    for command in ("info", "verify", "repair"):
        mentions(error(cli(command, tmp_path)), tmp_path, "`preprocess`")
