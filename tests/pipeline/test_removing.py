"""`remove` deletes every trace of samples from CACHE, and changes no other sample."""

import json
import os
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from cache import UnknownSample, open_cache, write_features
from cache.removal import remove
from cache.verify import verify
from cli import main
from tests.helpers.caches import make_cache
from tests.helpers.commands import SMALL, arrays, cli, error, info_json, tree, usage
from tests.helpers.interruptions import killed_at_each_call, traces
from tests.helpers.scans import write_scan

NAMES = ("alpha", "withdrawn_person", "omega")
ELSEWHERE = (
    "Not touched: caches of features (run `remove` on them, too), runs with their splits and predictions, label "
    "sheets, and sources\n"
)


@pytest.fixture
def cache(tmp_path):
    """A CT cache of three scans with labels and patients, and a quarantined scan."""
    for number, name in enumerate(NAMES):
        write_scan(tmp_path / f"s/{name}.nii", number)
    (tmp_path / "s/broken_secret.nii").write_bytes(b"nothing")
    rows = [f"{name},{number + 1},patient of {name}" for number, name in enumerate(NAMES)]
    (tmp_path / "l.csv").write_text("\n".join(("FileName,TypeOfTB,Patient", *rows)))
    cli("preprocess", "ct", tmp_path / "s", tmp_path / "c", *SMALL, "--labels", tmp_path / "l.csv")
    assert traces(tmp_path / "c", "patient of withdrawn")
    return tmp_path / "c"


def test_removed_samples_leave_no_trace_and_the_others_are_unchanged(cache, tmp_path):
    others = {path: state for path, state in arrays(cache).items() if "/c/3/" not in path}
    result = cli("remove", cache, "withdrawn_person", "broken_secret", "--yes")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"2 inputs removed from {cache}: withdrawn_person, broken_secret\n{ELSEWHERE}"
        "The source of withdrawn_person, broken_secret still exists: move it out of SOURCE, or the next `preprocess` "
        "caches it again\n"
    )
    for text in ("withdrawn_person", "broken_secret"):
        assert traces(cache, text) == []
        assert not [path for path in cache.rglob("*") if text in path.name]
    assert arrays(cache) == others
    assert verify(cache).sound
    assert open_cache(cache).ids == ["alpha", "omega"]
    assert open_cache(cache).labels.tolist() == [0, 2]
    assert info_json(cache)["discovered"] == 2


def test_the_next_run_caches_a_removed_sample_again_if_its_source_exists(cache, tmp_path):
    before = open_cache(cache)["withdrawn_person"]
    cli("remove", cache, "withdrawn_person", "--yes")
    assert "1 made, 3 already present" in cli("preprocess", "ct", tmp_path / "s", cache, *SMALL).stdout
    np.testing.assert_array_equal(open_cache(cache)["withdrawn_person"], before)
    assert open_cache(cache).record("withdrawn_person")["label"] == -1
    (tmp_path / "s/withdrawn_person.nii").unlink()
    assert "still exists" not in cli("remove", cache, "withdrawn_person", "--yes").stdout
    assert "0 made, 3 already present" in cli("preprocess", "ct", tmp_path / "s", cache, *SMALL).stdout
    assert traces(cache, "withdrawn_person") == []


def test_a_killed_removal_is_finished_by_the_same_command(cache, tmp_path):
    for root in killed_at_each_call(cache, lambda root: remove(root, ["withdrawn_person"]), tmp_path):
        result = cli("remove", root, "withdrawn_person", "--yes")
        if result.exit_code:  # the killed command had finished
            assert "no input withdrawn_person" in error(result)
        assert traces(root, "withdrawn_person") == []
        assert open_cache(root).ids == ["alpha", "omega"]
        assert verify(root).sound
        assert "no input withdrawn_person" in error(cli("remove", root, "withdrawn_person", "--yes"))


def test_an_unknown_id_removes_nothing_and_the_nearest_id_is_named(cache):
    before = tree(cache)
    line = error(cli("remove", cache, "alpha", "withdrawn-person", "--yes"))
    assert f"no input withdrawn-person in {cache}" in line
    assert "'withdrawn_person'" in line
    assert len(error(cli("remove", cache, "x" * 5_000_000, "--yes"))) < 500 + len(str(cache))
    assert tree(cache) == before


def test_remove_asks_for_confirmation(cache):
    before = tree(cache)
    question = f"Permanently remove 1 input from {cache}: alpha? [y/N]: "
    for answer in ("n\n", ""):
        result = CliRunner().invoke(main, ["remove", str(cache), "alpha"], input=answer)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(question)
        assert result.stderr.endswith("Nothing was removed; --yes removes without asking.\n")
        assert tree(cache) == before
    result = CliRunner().invoke(main, ["remove", str(cache), "alpha", "--quiet"], input="y\n")
    assert (result.exit_code, result.stdout) == (0, "")
    assert traces(cache, "alpha") == []


def test_a_dry_run_of_remove_writes_nothing(cache):
    before = tree(cache)
    assert cli("remove", cache, "alpha", "broken_secret", "--dry-run").stdout == (
        "2 inputs to remove permanently; nothing is written\n  alpha: complete\n  broken_secret: quarantined\n"
    )
    result = json.loads(cli("remove", cache, "alpha", "--dry-run", "--json").stdout)
    assert result == {"removed": [], "to_remove": ["alpha"]}
    assert tree(cache) == before
    result = json.loads(cli("remove", cache, "alpha", "--yes", "--json").stdout)
    assert result == {"removed": ["alpha"], "to_remove": []}


def test_ids_are_read_from_a_file(cache, tmp_path):
    file = tmp_path / "ids.txt"
    file.write_text("\ufeffalpha\r\n\r\n omega \n", encoding="utf-8")
    cli("remove", cache, "broken_secret", "--from", file, "--yes")
    assert open_cache(cache).ids == ["withdrawn_person"]
    assert info_json(cache)["discovered"] == 1
    assert "--from FILE" in usage(cli("remove", cache))


FILES = {
    "empty": (lambda path: path.touch(), "holds no id; expected one per line"),
    "no text": (lambda path: path.write_bytes(b"\xff\xfe\0"), "is not text in UTF-8; expected one id per line"),
    "a pipe": (lambda path: os.mkfifo(path), "it is a pipe or a device, not a file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "it is a pipe or a device, not a file"),
    "too large": (lambda path: [path.touch(), os.truncate(path, 8 << 30)], "expected at most 67,108,864"),
    "missing": (lambda path: None, "No such file or directory"),
}


@pytest.mark.parametrize("name", FILES)
def test_an_unreadable_file_of_ids_gives_a_one_line_error(cache, tmp_path, name):
    make, problem = FILES[name]
    make(tmp_path / "ids")
    assert problem in error(cli("remove", cache, "--from", tmp_path / "ids", "--yes"))
    assert info_json(cache)["complete"] == 3


def test_inputs_that_mention_the_same_name_are_listed(tmp_path):
    shutil.copy(write_scan(tmp_path / "s/twin.nii"), tmp_path / "twin.nii")
    cli("preprocess", "ct", tmp_path / "s", tmp_path / "c", *SMALL)
    write_scan(tmp_path / "s/twin.nii.gz")
    cli("preprocess", "ct", tmp_path / "s", tmp_path / "c", *SMALL)
    other = f"{tmp_path}/s/twin.nii.gz"
    result = cli("remove", tmp_path / "c", "twin", "--yes")
    assert f"Still mentioned by other inputs of the same name, remove them too: {other}\n" in result.stdout
    cli("remove", tmp_path / "c", other, "--yes")
    assert traces(tmp_path / "c", "twin") == []


def test_remove_reports_files_in_ledger_aside(cache):
    (cache / "ledger/aside").mkdir()
    (cache / "ledger/aside/0").write_text("withdrawn_person")
    output = cli("remove", cache, "withdrawn_person", "--yes").stdout
    assert f"{cache}/ledger/aside holds 1 file or folder that blocked the cache's files: check" in output


def test_features_are_removed_from_their_own_cache(tmp_path):
    root = tmp_path / "f"
    write_features(root, ["a", "secret"], [0, 0], ["p", "secret"], np.ones((2, 2, 3), np.float32), ["one"], "mean")
    cli("remove", root, "secret", "--yes")
    assert traces(root, "secret") == []
    assert open_cache(root).ids == ["a"]
    assert verify(root).sound


def test_an_interrupted_run_is_finished_before_ids_are_searched(tmp_path):
    root = make_cache(tmp_path / "c")
    (root / "ledger/unpublished").touch()
    remove(root, ["gone already", "s1"])
    assert open_cache(root).ids == ["s0", "s2"]
    with pytest.raises(UnknownSample, match="no input gone already"):
        remove(root, ["gone already"])
