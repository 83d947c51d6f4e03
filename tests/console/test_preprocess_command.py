"""`preprocess`: printed output, and the options --dry-run and --stop-on-error."""

import json

import pytest

from tests.helpers.commands import cli, ct, error, info_json, mentions, tree, usage
from tests.helpers.scans import INVALID, write_invalid, write_scan


def test_preprocess_prints_the_number_of_samples_and_the_state_of_every_input(scans, cache, labels):
    write_invalid(scans / "bad.nii")
    (scans / ".DS_Store").touch()
    result = ct(scans, cache, "--labels", labels("a.nii,1", "b.nii.gz,7", "bad.nii,2", "no.nii,1"))
    assert result.exit_code == 3
    assert result.stderr == ""
    assert result.stdout == (
        f"3 made, 0 already present, in {cache}\n"
        "1 without a row in the labels, cached without a label: sub/c.nii\n"
        "5 discovered = 3 complete + 1 quarantined + 1 excluded\n"
        "Labels: column TypeOfTB; file names: FileName; patients: no column, each scan is its own group\n"
        "Label rejected: labels.csv line 3: 'b.nii.gz': label '7', expected 1 to 5 or a class name\n"
        "Label rejected: 1 row that names no scan: 'no.nii' (line 5)\n"
        f"Quarantined:\n  bad.nii: {INVALID}\n"
    )


def test_json_output_of_preprocess_and_info_has_the_documented_keys(scans, cache, labels):
    write_invalid(scans / "bad.nii")
    run = json.loads(ct(scans, cache, "--labels", labels("a.nii,2", "x.nii,1"), "--json").stdout)
    info = info_json(cache)
    assert {key: run[key] for key in info} == info
    assert (info["kind"], info["shape"]) == ("ct", [8, 16, 16])
    assert info["recipe"]["order"] == 3
    assert info["labels"] == {
        "Infiltrative": 0, "Focal": 1, "Tuberculoma": 0, "Miliary": 0, "Fibro-cavernous": 0, "null": 2
    }  # fmt: skip
    assert (info["discovered"], info["complete"], info["quarantined"], info["excluded"]) == (4, 3, 1, 0)
    assert info["reasons"] == {"quarantined": {"bad.nii": INVALID}, "excluded": {}}
    assert run["made"] == 3
    assert run["wrong_labels"] == ["labels.csv line 3: 'x.nii': no scan has this name"]
    assert run["unlabelled"] == ["b.nii.gz", "bad.nii", "sub/c.nii"]


def test_class_names_allow_labels_of_another_dataset(scans, cache, labels):
    path = labels("a.nii,1", "b.nii.gz,2", header="scan,finding")
    assert ct(scans, cache, "--class-names", "normal, ill", "--labels", path).exit_code == 0
    assert info_json(cache)["labels"] == {"normal": 1, "ill": 1, "null": 1}
    assert ct(scans, cache).exit_code == 0
    assert info_json(cache)["labels"] == {"normal": 1, "ill": 1, "null": 1}


@pytest.mark.parametrize("names", ["", "a,,b", "a,a", " a,a "])
def test_class_names_must_differ(scans, cache, names):
    message = usage(ct(scans, cache, "--class-names", names))
    assert "--class-names" in message
    assert f"{names!r}: expected different names" in message


def test_too_few_class_names_for_existing_labels_leave_the_cache_usable(scans, cache, labels):
    ct(scans, cache, "--labels", labels("a.nii,5"))
    error(ct(scans, cache, "--class-names", "normal,ill"))
    assert cli("info", cache).exit_code == 0


def test_unreadable_labels_stop_the_run_before_any_work(scans, cache, tmp_path):
    mentions(error(ct(scans, cache, "--labels", tmp_path)), tmp_path, "FileName", "TypeOfTB")
    assert not cache.exists()


def test_a_dry_run_writes_nothing_and_reports_the_plan(scans, cache, labels):
    write_invalid(scans / "bad.nii")
    (scans / ".h").touch()
    before = tree(scans.parent)
    result = ct(scans, cache, "--dry-run")
    first, second, third = result.stdout.splitlines()
    assert result.exit_code == 0
    assert third.startswith("No labels: add them with `label ")
    assert first == "4 to make, 0 already present, 1 excluded; nothing is written"
    assert second.startswith("About ")
    assert " s with --workers 1, " in second
    assert tree(scans.parent) == before

    path = labels("a.nii,9")
    result = ct(scans, cache, "--dry-run", "--json", "--labels", path)
    figures = json.loads(result.stdout)
    assert result.exit_code == 3
    assert (figures["to_make"], figures["already_there"], figures["excluded"]) == (4, 0, 1)
    assert figures["wrong_labels"] == ["labels.csv line 2: 'a.nii': label '9', expected 1 to 5 or a class name"]
    assert figures["worker_memory_bytes"] > 0
    assert not cache.exists()


def test_a_dry_run_leaves_an_existing_cache_unchanged(scans, cache, labels):
    ct(scans, cache)
    write_scan(scans / "new.nii", 9)
    before = tree(scans.parent)
    result = ct(scans, cache, "--dry-run")
    assert result.stdout.startswith("1 to make, 3 already present, 0 excluded; nothing is written\n")
    assert tree(scans.parent) == before


def test_stop_on_error_stops_at_the_first_bad_input_and_keeps_finished_samples(scans, cache):
    bad = write_invalid(scans / "b0.nii")
    mentions(error(ct(scans, cache, "--stop-on-error")), bad, INVALID)
    data = info_json(cache)
    assert (data["complete"], data["quarantined"]) == (2, 1)
    assert cli("verify", cache).exit_code == 0
    bad.unlink()
    assert ct(scans, cache, "--stop-on-error").stdout.startswith("1 made, 2 already present")
