"""Errors of `preprocess`: wrong paths, wrong options, another recipe."""

import pytest

from tests.helpers.commands import SIZE, cli, ct, error, info_json, mentions, tree, usage
from tests.helpers.scans import write_scan


@pytest.mark.parametrize("name", ["full", "file"])
def test_an_existing_path_that_is_not_a_cache_is_rejected_and_unchanged(scans, tmp_path, name):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("more")
    before = tree(tmp_path)
    mentions(error(ct(scans, tmp_path / name)), tmp_path / name, "choose", "exists")
    assert tree(tmp_path) == before


def test_source_as_cache_is_rejected_and_unchanged(scans, tmp_path):
    before = tree(scans)
    mentions(error(ct(scans, scans)), scans, "choose", "exists")
    empty = tmp_path / "empty"
    empty.mkdir()
    mentions(error(ct(empty, empty)), empty, "outside", "SOURCE")
    assert tree(scans) == before
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("hidden", [False, True])
def test_a_source_without_scans_is_rejected(tmp_path, cache, hidden):
    source = tmp_path / "scans"
    source.mkdir()
    (source / "slice.dcm").touch()
    (source / "link").symlink_to("/")
    if hidden:
        (source / "._x.nii").touch()
    mentions(error(ct(source, cache)), source, "followed", "dcm2niix")
    assert not cache.exists()


def test_preprocess_rejects_a_source_that_is_not_a_folder(scans, cache):
    for source in (scans / "missing", scans / "a.nii"):
        mentions(error(ct(source, cache)), source, "SOURCE", "folder")
    assert not cache.exists()


def test_two_inputs_with_one_id_are_quarantined_and_do_not_stop_the_run(scans, cache):
    write_scan(scans / "a.nii.gz")
    result = ct(scans, cache)
    assert result.exit_code == 3
    reason = (
        "two files would get the id 'a' ('a.nii', 'a.nii.gz'); expected one file for each id; "
        "keep one of them, or rename one"
    )
    assert f"Quarantined:\n  a.nii: {reason}\n  a.nii.gz: {reason}\n" in result.stdout
    data = info_json(cache)
    assert (data["discovered"], data["complete"], data["quarantined"]) == (4, 2, 2)


def test_another_recipe_is_rejected_with_the_difference_and_a_remedy(scans, cache):
    ct(scans, cache)
    before = tree(cache)
    mentions(error(ct(scans, cache, "--order", 1, "--window", -500, 400)), cache, "another", "options")
    assert tree(cache) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depth", 0], "0 is not in the range 2<=x<=4096"),
        (["--depth", -5], "-5 is not in the range 2<=x<=4096"),
        (["--depth", 100_000], "100000 is not in the range 2<=x<=4096"),
        (["--depth", "x"], "'x' is not a valid integer"),
        (["--order", 9], "9 is not in the range 0<=x<=5"),
        (["--window", 400, -1000], "window 400 -1000; expected two numbers in HU, the lower first"),
        (["--window", "nan", 1], "nan is not a finite number"),
        (["--preset", "original", "--order", 3],
         "order 3 with preset original; that code used order 1, leave --order out"),
        (["--workers", -1], "-1 is not in the range x>=0"),
        (["--scheduler", "tcp://127.0.0.1:1"],
         "--workers starts local processes, --scheduler uses existing ones"),
    ],
    ids=str,
)  # fmt: skip
def test_impossible_option_values_are_usage_errors(scans, cache, options, message):
    assert message in usage(ct(scans, cache, *options))
    assert not cache.exists()


def test_an_empty_path_does_not_mean_the_current_folder(scans, cache, monkeypatch):
    monkeypatch.chdir(scans)
    mentions(usage(ct("", cache)), "'SOURCE'", "Invalid", "SOURCE")
    mentions(usage(ct(scans, "")), "'CACHE'", "Invalid", "empty")


@pytest.mark.parametrize(
    "address", ["", "garbage", "tcp://", "http://127.0.0.1:1", "tcp://host:port", "host", "inproc://a/1/1", "a b:1"]
)
def test_a_malformed_scheduler_address_gives_a_one_line_error(scans, cache, address):
    result = cli("preprocess", "ct", scans, cache, *SIZE, "--scheduler", address)
    message = error(result)
    assert f"scheduler {address!r}" in message
    assert "expected one such as tcp://host:8786" in message
    assert not cache.exists()


def test_a_scheduler_that_does_not_answer_gives_a_one_line_error_and_a_valid_cache(scans, cache, monkeypatch):
    ct(scans, cache)
    write_scan(scans / "new.nii", 9)
    monkeypatch.setattr("pipeline.workers.executors.dask_cluster.CONNECT_SECONDS", 0.5)
    result = cli("preprocess", "ct", scans, cache, *SIZE, "--json", "--scheduler", "tcp://127.0.0.1:1")
    mentions(error(result), "`dask scheduler`", "scheduler", "answers")
    assert cli("verify", cache).stdout == "3 intact, 0 damaged, 0 missing, 0 stale\n"
