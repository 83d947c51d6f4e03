"""Two source folders in one cache."""

import pytest

from cache import open_cache
from tests.helpers.commands import ct, error, info_json, mentions
from tests.helpers.scans import write_scan


@pytest.fixture
def other(tmp_path):
    write_scan(tmp_path / "other/x.nii", 50)
    return tmp_path / "other"


def test_a_second_source_adds_its_samples(scans, other, cache):
    ct(scans, cache)
    assert ct(other, cache).exit_code == 0
    assert open_cache(cache).ids == ["a", "b", "sub/c", "x"]
    assert ct(scans, cache).stdout.startswith("0 made, 3 already present")


def test_an_id_that_another_source_has_is_rejected(scans, other, cache):
    write_scan(other / "a.nii", 51)
    ct(scans, cache)
    mentions(error(ct(other, cache)), other / "a.nii", scans / "a.nii", "'a'")


def test_exclusions_of_two_sources_are_counted_separately(scans, other, cache):
    (scans / ".h").touch()
    (other / ".h").touch()
    ct(scans, cache)
    ct(other, cache)
    assert info_json(cache)["excluded"] == 2
