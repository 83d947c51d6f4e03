"""What a user meets on the command line: output, exit codes, errors word for word, and a cache that is left alone."""

import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from cache import catalog, open_cache
from cli import main
from console.groups import all_commands
from pipeline.demo import phantom_clips
from tests.helpers.caches import without_progress

ROOT = Path(__file__).resolve().parents[2]
SIZE = ("--depth", "8", "--height", "16", "--width", "16")
SMALL = (*SIZE, "--workers", "0")
STOPPED = "Stopped. What was committed is kept: run the same command again to go on.\n"
RECIPE = (
    "recipe: kind ct, version 1, depth 8, height 16, width 16, order 3, window [-1000.0, 400.0], "
    "orientation SPL, preset paper, dtype uint16\n"
)
JUNK = "gzip data without .gz in its name; expected plain NIfTI; rename it so that it ends in .gz"  # what `junk` is


def cli(*arguments):
    """Run the command line in this process; whatever happens, there is no traceback."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def shell(*arguments, **options):
    """Run the command line as a process of its own."""
    command = [sys.executable, ROOT / "cli.py", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=250, **options)
    ended.stderr = without_progress(ended.stderr)
    return ended


def ct(source, cache, *options):
    return cli("preprocess", "ct", source, cache, *SMALL, *options)


def error(result, code=1):
    """The one line on stderr of a command that failed."""
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def usage(result):
    """What was wrong with the arguments, without the reminder of the usage."""
    assert result.exit_code == 2
    assert result.stdout == ""
    first, second, blank, *last = result.stderr.splitlines()
    assert first.startswith("Usage: ")
    assert second.endswith("--help' for help.")
    assert blank == ""
    return "\n".join(last)


def write(path, number=0, shape=(6, 7, 20)):
    data = np.random.default_rng(number).integers(-1000, 400, shape, np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([-40.0, -40.0, 5.0, 1.0])), path)
    return path


def junk(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x1f\x8bnothing")
    return path


def facts(cache):
    """`info --json`, the ledger found balanced."""
    data = json.loads(cli("info", cache, "--json").stdout)
    assert data["discovered"] == data["complete"] + data["quarantined"] + data["excluded"]
    return data


def arrays(cache):
    """Each chunk file by its path: inode, time and bytes, so that a file written anew shows."""
    files = (path for path in (cache / "volume" / "c").rglob("*") if path.is_file())
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def tree(folder):
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in [folder, *folder.rglob("*")]}


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    for number, name in enumerate(("a.nii", "b.nii.gz", "sub/c.nii")):
        write(folder / name, number)
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "ct.zarr"


@pytest.fixture
def labels(tmp_path):
    def labels(*rows, header="FileName,TypeOfTB"):
        path = tmp_path / "labels.csv"
        path.write_text("\n".join((header, *rows, "")))
        return path

    return labels


# What is said


def test_a_run_says_what_it_made_and_how_every_input_ended(scans, cache, labels):
    junk(scans / "bad.nii")
    (scans / ".DS_Store").touch()
    result = ct(scans, cache, "--labels", labels("a.nii,1", "b.nii.gz,7", "bad.nii,2", "no.nii,1"))
    assert result.exit_code == 3
    assert result.stderr == ""
    assert result.stdout == (
        f"3 made, 0 already there, in {cache}\n"
        "1 without a row in the labels, cached without a label: sub/c.nii\n"
        "5 discovered = 3 complete + 1 quarantined + 1 excluded\n"
        "Labels: column TypeOfTB; file names: FileName; patients: no column, each scan is a group of its own\n"
        "Label refused: labels.csv line 3: 'b.nii.gz': label '7', expected 1 to 5 or a class name\n"
        "Label refused: 1 row that names no scan: 'no.nii' (line 5)\n"
        f"Quarantined:\n  bad.nii: {JUNK}\n"
    )


def test_info_says_what_is_in_the_cache(scans, cache, labels):
    junk(scans / "bad.nii")
    (scans / "link").symlink_to("sub")
    ct(scans, cache, "--labels", labels("a.nii,1", "b.nii.gz,5"))
    result = cli("info", cache)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{cache}: ct, 3 samples of 8×16×16\n{RECIPE}"
        "  Infiltrative: 1\n  Focal: 0\n  Tuberculoma: 0\n  Miliary: 0\n  Fibro-cavernous: 1\n  unlabelled: 1\n"
        "patients: unknown, each scan is its own group\n"
        "5 discovered = 3 complete + 1 quarantined + 1 excluded\n"
        "Excluded:\n  link: link to a folder, not followed; give the folder itself as SOURCE\n"
        f"Quarantined:\n  bad.nii: {JUNK}\n"
    )


def test_the_json_of_a_run_and_of_info_are_as_promised(scans, cache, labels):
    junk(scans / "bad.nii")
    run = json.loads(ct(scans, cache, "--labels", labels("a.nii,2", "x.nii,1"), "--json").stdout)
    info = facts(cache)
    assert {key: run[key] for key in info} == info
    assert (info["kind"], info["shape"]) == ("ct", [8, 16, 16])
    assert info["recipe"]["order"] == 3
    assert info["labels"] == {
        "Infiltrative": 0, "Focal": 1, "Tuberculoma": 0, "Miliary": 0, "Fibro-cavernous": 0, "null": 2
    }  # fmt: skip
    assert (info["discovered"], info["complete"], info["quarantined"], info["excluded"]) == (4, 3, 1, 0)
    assert info["reasons"] == {"quarantined": {"bad.nii": JUNK}, "excluded": {}}
    assert run["made"] == 3
    assert run["wrong_labels"] == ["labels.csv line 3: 'x.nii': no scan has this name"]
    assert run["unlabelled"] == ["b.nii.gz", "bad.nii", "sub/c.nii"]


def test_verify_and_repair_name_each_fault_and_heal_it(scans, cache):
    ct(scans, cache)
    sound = cli("verify", cache)
    assert (sound.exit_code, sound.stdout) == (0, "3 intact, 0 damaged, 0 missing, 0 stale\n")

    before = arrays(cache)
    damaged, missing, _ = (Path(path) for path in sorted(before))
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    missing.unlink()
    write(scans / "sub/c.nii", 99)
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


def test_what_cannot_be_healed_is_named_and_fails(scans, cache):
    ct(scans, cache)
    chunk = Path(min(arrays(cache)))
    chunk.unlink()
    (scans / "a.nii").unlink()
    result = cli("repair", cache, "--workers", "0", "--quiet")
    assert result.exit_code == 1
    assert result.stdout == (
        f"Not repaired:\n  a: its chunk {chunk} is gone; run `repair`; "
        f"but its source {scans / 'a.nii'} is gone: put it back\n0 repaired, 1 not repaired\n"
    )


def test_names_are_printed_so_that_no_terminal_obeys_them(tmp_path, cache):
    for name in ("\x1b[31mred\n.nii", "\u202eevil.nii"):
        junk(tmp_path / "scans" / name)
    junk(Path(os.fsdecode(os.fsencode(tmp_path / "scans") + b"/bad\xff.nii")))
    result = ct(tmp_path / "scans", cache)
    assert result.exit_code == 3
    unread = "its name is not valid UTF-8; expected a name that every system can read; rename it"
    assert result.stdout.splitlines()[3:] == [
        f"  \\x1b[31mred\\n.nii: {JUNK}",
        f"  bad\\udcff.nii: {unread}",
        f"  \\u202eevil.nii: {JUNK}",
    ]
    assert facts(cache)["quarantined"] == 3


def test_a_terminal_without_our_signs_gets_them_escaped(scans, cache):
    ct(scans, cache)
    result = shell("info", cache, env=os.environ | {"PYTHONIOENCODING": "cp866"})
    assert result.returncode == 0
    assert result.stdout.startswith(f"{cache}: ct, 3 samples of 8\\xd716\\xd716\n")


def test_quiet_runs_are_silent_whatever_their_end(scans, cache):
    for command in (
        ("preprocess", "ct", scans, cache, *SMALL, "--dry-run"),
        ("preprocess", "ct", scans, cache, *SMALL),
        ("verify", cache),
        ("repair", cache, "--workers", "0"),
    ):
        result = cli(*command, "--quiet")
        assert (result.exit_code, result.output) == (0, "")
    junk(scans / "bad.nii")
    result = ct(scans, cache, "--quiet")
    assert (result.exit_code, result.output) == (3, "")


def test_progress_is_plain_lines_on_stderr_where_there_is_no_terminal(scans, cache, monkeypatch):
    junk(scans / "bad.nii")
    monkeypatch.setattr("console.progress.LINE_SECONDS", 0)
    result = ct(scans, cache, "--json")
    lines = result.stderr.splitlines()
    assert len(lines) == 4
    assert [line.split(" done, ")[0] for line in lines] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]
    assert lines[3].endswith("/s, 0 s left, 1 quarantined")
    json.loads(result.stdout)
    (line,) = cli("verify", cache).stderr.splitlines()
    assert line.startswith("3 of 3 checked, ")
    assert line.endswith("/s, 0 s left")


# Going on with a cache


def test_a_second_run_makes_nothing_and_touches_no_array(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    result = ct(scans, cache)
    assert result.stdout == (
        f"0 made, 3 already there, in {cache}\n3 discovered = 3 complete + 0 quarantined + 0 excluded\n"
        f"No labels: add them with `label {cache} LABELS.csv`, or repeat the command with --labels LABELS.csv\n"
    )
    assert arrays(cache) == before


def test_corrected_labels_touch_no_array(scans, cache, labels):
    ct(scans, cache, "--labels", labels("a.nii,1", "b.nii.gz,2"))
    before = arrays(cache)
    result = ct(scans, cache, "--labels", labels("a.nii,3", "c.nii,4,P1", header="FileName,TypeOfTB,Patient"))
    assert result.exit_code == 0
    assert result.stdout == (
        f"0 made, 3 already there, in {cache}\n3 labels updated\n"
        "1 without a row in the labels, cached without a label: b.nii.gz\n"
        "3 discovered = 3 complete + 0 quarantined + 0 excluded\n"
        "Labels: column TypeOfTB; file names: FileName; patients: Patient (1 patient)\n"
    )
    assert arrays(cache) == before
    opened = open_cache(cache)
    assert (opened.ids, opened.labels.tolist()) == (["a", "b", "sub/c"], [2, -1, 3])
    assert opened.entry("sub/c").group == "P1"


def test_labels_are_kept_where_a_later_run_names_none(scans, cache, labels):
    ct(scans, cache, "--labels", labels("a.nii,1", "b.nii.gz,2", "c.nii,3"))
    write(scans / "0new.nii", 9)
    write(scans / "b.nii.gz", 8)
    assert ct(scans, cache).exit_code == 0
    opened = open_cache(cache)
    assert dict(zip(opened.ids, opened.labels.tolist(), strict=True)) == {"a": 0, "b": 1, "sub/c": 2, "0new": -1}


def test_new_scans_are_appended_and_rows_stay(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    write(scans / "0first.nii", 7)
    assert "1 made, 3 already there" in ct(scans, cache).stdout
    after = arrays(cache)
    assert {path: after[path] for path in before} == before
    assert open_cache(cache).ids == ["a", "b", "sub/c", "0first"]


def test_a_changed_scan_is_made_again_and_its_neighbours_are_not(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    write(scans / "a.nii", 77)
    assert "1 made, 2 already there" in ct(scans, cache).stdout
    after = arrays(cache)
    assert before.items() - after.items() == {(min(before), before[min(before)])}
    assert len(after) == len(before)
    assert cli("verify", cache).exit_code == 0


def test_a_scan_that_only_looks_changed_is_not_made_again(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    for path in scans.rglob("*.nii*"):
        os.utime(path, (1, 1))
    for _ in range(2):
        assert "0 made, 3 already there" in ct(scans, cache).stdout
        assert arrays(cache) == before


def test_a_sample_whose_source_is_gone_is_kept_and_reported(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    (scans / "a.nii").unlink()
    result = ct(scans, cache)
    assert result.exit_code == 0
    assert "1 kept although their source is gone: a\n" in result.stdout
    assert arrays(cache) == before
    result = cli("verify", cache)
    assert result.exit_code == 0
    assert "1 intact samples whose source is gone: they can be used, but not repaired.\n" in result.stdout


def test_a_quarantined_file_is_read_again_only_once_it_changed(scans, cache):
    path = junk(scans / "bad.nii")
    stat = path.stat()
    assert ct(scans, cache).exit_code == 3
    good = write(scans.parent / "good.nii", 5).read_bytes()
    path.write_bytes(good[: stat.st_size])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as if unchanged: were it read, the reason would differ
    result = ct(scans, cache)
    assert result.exit_code == 3
    assert f"  bad.nii: {JUNK}\n" in result.stdout
    path.write_bytes(good)
    result = ct(scans, cache)
    assert result.exit_code == 0
    assert "1 made, 3 already there" in result.stdout
    assert facts(cache)["quarantined"] == 0


def test_a_quarantined_file_that_is_gone_leaves_the_ledger(scans, cache):
    path = junk(scans / "bad.nii")
    (scans / ".hidden").touch()
    ct(scans, cache)
    path.unlink()
    (scans / ".hidden").unlink()
    assert ct(scans, cache).exit_code == 0
    assert facts(cache)["discovered"] == 3


def test_paths_may_be_relative_linked_or_end_in_a_slash(scans, cache, monkeypatch):
    ct(scans, cache)
    before = arrays(cache)
    (scans.parent / "link").symlink_to("scans")
    monkeypatch.chdir(scans.parent)
    for source, target in (("scans", "ct.zarr"), ("link", "ct.zarr/"), ("link/../scans/", f"{cache}/")):
        result = ct(source, target)
        assert result.stdout.startswith(f"0 made, 3 already there, in {cache}\n")
    assert arrays(cache) == before


def test_a_moved_source_is_recognised_by_its_bytes(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    moved = scans.rename(scans.parent / "moved")
    assert ct(moved, cache).exit_code == 0
    assert arrays(cache) == before
    assert cli("verify", cache, "--quiet").exit_code == 0


def test_an_exclusion_named_like_a_sample_does_not_push_it_out(scans, cache):
    (scans / "a").symlink_to("sub")
    write(scans / "Thumbs.db.nii")
    (scans / "Thumbs.db").touch()
    for _ in range(2):
        assert ct(scans, cache).exit_code == 0
        data = facts(cache)
        assert (data["discovered"], data["complete"], data["excluded"]) == (6, 4, 2)


def test_a_cache_inside_source_is_no_input(scans):
    for _ in range(2):
        assert ct(scans, scans / "ct.nii").exit_code == 0
    assert facts(scans / "ct.nii")["discovered"] == 3


# Two sources in one cache


@pytest.fixture
def other(tmp_path):
    write(tmp_path / "other/x.nii", 50)
    return tmp_path / "other"


def test_a_second_source_adds_its_samples(scans, other, cache):
    ct(scans, cache)
    assert ct(other, cache).exit_code == 0
    assert open_cache(cache).ids == ["a", "b", "sub/c", "x"]
    assert ct(scans, cache).stdout.startswith("0 made, 3 already there")


def test_an_id_that_another_source_has_is_refused(scans, other, cache):
    write(other / "a.nii", 51)
    ct(scans, cache)
    assert error(ct(other, cache)) == (
        f"Error: {other / 'a.nii'} and {scans / 'a.nii'} would both get the id 'a'; rename one, or use another CACHE\n"
    )


def test_exclusions_of_two_sources_are_counted_apart(scans, other, cache):
    (scans / ".h").touch()
    (other / ".h").touch()
    ct(scans, cache)
    ct(other, cache)
    assert facts(cache)["excluded"] == 2


# Labels on the command line


def test_another_labelled_set_names_its_classes(scans, cache, labels):
    path = labels("a.nii,1", "b.nii.gz,2", header="scan,finding")
    assert ct(scans, cache, "--class-names", "normal, ill", "--labels", path).exit_code == 0
    assert facts(cache)["labels"] == {"normal": 1, "ill": 1, "null": 1}
    assert ct(scans, cache).exit_code == 0
    assert facts(cache)["labels"] == {"normal": 1, "ill": 1, "null": 1}


@pytest.mark.parametrize("names", ["", "a,,b", "a,a", " a,a "])
def test_class_names_must_differ(scans, cache, names):
    message = usage(ct(scans, cache, "--class-names", names))
    assert "--class-names" in message
    assert f"{names!r}: expected different names" in message


def test_class_names_too_few_for_the_labels_there_leave_the_cache_usable(scans, cache, labels):
    ct(scans, cache, "--labels", labels("a.nii,5"))
    error(ct(scans, cache, "--class-names", "normal,ill"))
    assert cli("info", cache).exit_code == 0


def test_labels_that_cannot_be_read_stop_the_run_before_any_work(scans, cache, tmp_path):
    assert error(ct(scans, cache, "--labels", tmp_path)) == (
        f"Error: cannot read labels {tmp_path}: it is a folder, not a file; "
        "give a CSV with columns such as FileName,TypeOfTB\n"
    )
    assert not cache.exists()


# What is refused


@pytest.mark.parametrize("name", ["full", "file"])
def test_a_path_that_is_something_else_is_refused_as_cache_and_untouched(scans, tmp_path, name):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("more")
    before = tree(tmp_path)
    assert error(ct(scans, tmp_path / name)) == (
        f"Error: {tmp_path / name} exists and is not a cache; choose a path that is not there yet\n"
    )
    assert tree(tmp_path) == before


def test_source_as_cache_is_refused_and_untouched(scans, tmp_path):
    before = tree(scans)
    assert error(ct(scans, scans)) == (
        f"Error: {scans} exists and is not a cache; choose a path that is not there yet\n"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert error(ct(empty, empty)) == f"Error: SOURCE {empty} is in CACHE {empty}; give a CACHE outside SOURCE\n"
    assert tree(scans) == before
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("hidden", [False, True])
def test_a_source_without_any_scan_is_most_likely_the_wrong_folder(tmp_path, cache, hidden):
    source = tmp_path / "scans"
    source.mkdir()
    (source / "slice.dcm").touch()
    (source / "link").symlink_to("/")
    if hidden:
        (source / "._x.nii").touch()
    assert error(ct(source, cache)) == (
        f"Error: SOURCE {source} holds no input; expected files that end in .nii.gz, .nii, .hdr, .img, .hdr.gz, "
        ".img.gz, in it or in folders below it; found instead: .: DICOM files (1), not read; convert each series to "
        "NIfTI, e.g. with dcm2niix · link: link to a folder, not followed; give the folder itself as SOURCE\n"
    )
    assert not cache.exists()


def test_a_source_that_is_no_folder_is_refused(scans, cache):
    for source in (scans / "missing", scans / "a.nii"):
        assert error(ct(source, cache)) == (
            f"Error: SOURCE {source} is not a folder; give the folder that holds the files\n"
        )
    assert not cache.exists()


def test_two_inputs_of_one_id_are_quarantined_and_do_not_stop_the_run(scans, cache):
    write(scans / "a.nii.gz")
    result = ct(scans, cache)
    assert result.exit_code == 3
    reason = (
        "two files would get the id 'a' ('a.nii', 'a.nii.gz'); expected one file for each id; "
        "keep one of them, or rename one"
    )
    assert f"Quarantined:\n  a.nii: {reason}\n  a.nii.gz: {reason}\n" in result.stdout
    data = facts(cache)
    assert (data["discovered"], data["complete"], data["quarantined"]) == (4, 2, 2)


def test_another_recipe_is_refused_with_the_difference_and_the_way_out(scans, cache):
    ct(scans, cache)
    before = tree(cache)
    assert error(ct(scans, cache, "--order", 1, "--window", -500, 400)) == (
        f"Error: {cache} was built by another recipe (order 3 → 1, window [-1000.0, 400.0] → [-500.0, 400.0]); "
        "give the same options, or another path\n"
    )
    assert tree(cache) == before


def test_a_dry_repair_says_what_a_repair_would_do_and_writes_nothing(scans, cache):
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
    dry = cli("repair", cache, "--dry-run")
    assert dry.exit_code == 1
    assert dry.stdout == (
        "Cannot be repaired:\n"
        f"  b: chunk {chunk_of_b} has 7 bytes, recorded {catalog.read_entries(cache)['b'].nbytes}; run `repair` to "
        f"rebuild it from its source; but its source {scans / 'b.nii.gz'} is gone: put it back\n"
        "1 to make again from their sources: a\n"
        "1 to restore from other parts of the cache: label/c/0\n"
        "1 to make again, 1 to restore, 1 cannot be repaired; nothing is written\n"
    )
    told = json.loads(cli("repair", cache, "--dry-run", "--json").stdout)
    assert (told["to_make"], told["to_restore"], list(told["failed"])) == (["a"], ["label/c/0"], ["b"])
    assert tree(cache) | arrays(cache) == before
    done = json.loads(cli("repair", cache, "--workers", 0, "--json").stdout)
    assert (sorted(done["healed"]), list(done["failed"])) == (["a", "label/c/0"], ["b"])
    assert cli("repair", cache, "--dry-run", "--quiet").exit_code == 1


@pytest.mark.parametrize("file", ["entries.jsonl", "snapshot.jsonl", "digests.json", "zarr.json"])
def test_a_dry_repair_of_a_damaged_ledger_writes_nothing(scans, cache, file):
    ct(scans, cache)
    (cache / "ledger" / file).write_bytes(b"damaged\n")
    before = tree(cache)
    dry = cli("repair", cache, "--dry-run", "--json")
    assert tree(cache) == before
    plan = json.loads(dry.stdout)
    assert (plan["to_make"], plan["failed"]) == ([], {})
    assert f"ledger/{file}" in plan["to_restore"]
    assert json.loads(cli("repair", cache, "--workers", 0, "--json").stdout)["healed"] == plan["to_restore"]


def test_the_recipe_of_a_second_run_is_that_of_the_cache(scans, cache):
    odd = ("--depth", 5, "--height", 6, "--width", 7, "--window", -500, 300, "--dtype", "uint8", "--order", 2)
    cli("preprocess", "ct", scans, cache, *odd, "--workers", 0)
    recipe, before = facts(cache)["recipe"], arrays(cache)
    write(scans / "d.nii", 4)
    assert "1 made, 3 already there" in cli("preprocess", "ct", scans, cache, "--workers", 0).stdout
    assert "0 made, 4 already" in cli("preprocess", "ct", scans, cache, "--workers", 0, *odd[:4]).stdout
    assert facts(cache)["recipe"] == recipe
    assert arrays(cache).items() > before.items()
    for options, difference in {
        ("--depth", 8): "depth 5 → 8",
        ("--order", 3): "order 2 → 3",
        (
            "--dtype",
            "uint16",
            "--window",
            -1000,
            400,
        ): "window [-500.0, 300.0] → [-1000.0, 400.0], dtype uint8 → uint16",
        ("--preset", "original"): "order 2 → 1, orientation SPL → file, preset paper → original",
    }.items():
        assert error(cli("preprocess", "ct", scans, cache, "--workers", 0, *options)) == (
            f"Error: {cache} was built by another recipe ({difference}); give the same options, or another path\n"
        )
    assert facts(cache)["recipe"] == recipe


def test_the_preset_of_a_second_run_is_that_of_the_cache(scans, cache):
    ct(scans, cache, "--preset", "original")
    write(scans / "d.nii", 4)
    for options in ((), ("--preset", "original"), ("--order", 1)):
        assert " already there" in ct(scans, cache, *options).stdout
    assert facts(cache)["complete"] == 4
    message = error(ct(scans, cache, "--order", 3))
    assert "(order 1 → 3, orientation file → SPL, preset original → paper)" in message


def test_clips_too_are_sampled_as_those_of_the_cache(tmp_path):
    phantom_clips.write_clips(tmp_path / "s", groups=1, clips=1)
    size = ("--depth", 4, "--height", 8, "--width", 8)
    cli("preprocess", "video", tmp_path / "s", tmp_path / "c", *size, "--sampling", "uniform", "--short", "loop")
    again = cli("preprocess", "video", tmp_path / "s", tmp_path / "c")
    assert "0 made" in again.stdout
    other = error(cli("preprocess", "video", tmp_path / "s", tmp_path / "c", "--sampling", "head"))
    assert "(sampling uniform → head)" in other


def test_what_is_no_cache_is_refused_by_every_command(tmp_path):
    for command in ("info", "verify", "repair"):
        assert error(cli(command, tmp_path)) == (
            f"Error: {tmp_path} is not a cache: it has no readable zarr.json; build one with `preprocess`\n"
        )


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
def test_options_that_cannot_be_meant_are_usage_errors(scans, cache, options, message):
    assert message in usage(ct(scans, cache, *options))
    assert not cache.exists()


def test_an_empty_path_is_not_taken_for_the_current_folder(scans, cache, monkeypatch):
    monkeypatch.chdir(scans)
    assert usage(ct("", cache)) == "Error: Invalid value for 'SOURCE': it is empty; expected a path"
    assert usage(ct(scans, "")) == "Error: Invalid value for 'CACHE': it is empty; expected a path"


@pytest.mark.parametrize(
    "address", ["", "garbage", "tcp://", "http://127.0.0.1:1", "tcp://host:port", "host", "inproc://a/1/1", "a b:1"]
)
def test_what_is_no_scheduler_address_is_one_clear_line(scans, cache, address):
    result = cli("preprocess", "ct", scans, cache, *SIZE, "--scheduler", address)
    message = error(result)
    assert f"scheduler {address!r}" in message
    assert "expected one such as tcp://host:8786" in message
    assert not cache.exists()


def test_a_scheduler_that_does_not_answer_is_one_clear_line_and_the_cache_verifies(scans, cache, monkeypatch):
    ct(scans, cache)
    write(scans / "new.nii", 9)
    monkeypatch.setattr("pipeline.workers.executors.dask_cluster.CONNECT_SECONDS", 0.5)
    result = cli("preprocess", "ct", scans, cache, *SIZE, "--json", "--scheduler", "tcp://127.0.0.1:1")
    assert error(result) == (
        "Error: no Dask scheduler answers at tcp://127.0.0.1:1 (OSError); "
        "expected an address such as tcp://host:8786; start one with `dask scheduler`\n"
    )
    assert cli("verify", cache).stdout == "3 intact, 0 damaged, 0 missing, 0 stale\n"


def test_an_error_nobody_foresaw_is_one_line_that_asks_for_a_report(scans, cache, monkeypatch):
    def broken(*_):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("pipeline.jobs.preprocess.prepare", broken)
    assert error(ct(scans, cache)) == (
        "Error: RuntimeError: two\\nlines; this is not expected, please report it with the command you ran\n"
    )


def test_an_error_of_the_system_names_the_path(scans, cache, monkeypatch):
    def broken(*_):
        raise PermissionError(13, "Permission denied", str(cache))

    monkeypatch.setattr("pipeline.jobs.preprocess.prepare", broken)
    assert error(ct(scans, cache)) == (f"Error: {cache}: Permission denied; change the permissions\n")


# Dry run, stop on error


def test_a_dry_run_writes_nothing_and_says_what_it_would_do(scans, cache, labels):
    junk(scans / "bad.nii")
    (scans / ".h").touch()
    before = tree(scans.parent)
    result = ct(scans, cache, "--dry-run")
    first, second, third = result.stdout.splitlines()
    assert result.exit_code == 0
    assert third.startswith("No labels: add them with `label ")
    assert first == "4 to make, 0 already there, 1 excluded; nothing is written"
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


def test_a_dry_run_on_a_cache_leaves_it_alone(scans, cache, labels):
    ct(scans, cache)
    write(scans / "new.nii", 9)
    before = tree(scans.parent)
    result = ct(scans, cache, "--dry-run")
    assert result.stdout.startswith("1 to make, 3 already there, 0 excluded; nothing is written\n")
    assert tree(scans.parent) == before


def test_stop_on_error_stops_at_the_first_bad_input_and_keeps_what_was_done(scans, cache):
    bad = junk(scans / "b0.nii")
    assert error(ct(scans, cache, "--stop-on-error")) == f"Error: {bad}: {JUNK}\n"
    data = facts(cache)
    assert (data["complete"], data["quarantined"]) == (2, 1)
    assert cli("verify", cache).exit_code == 0
    bad.unlink()
    assert ct(scans, cache, "--stop-on-error").stdout.startswith("1 made, 2 already there")


# Processes: start-up, pipes, signals, disks


def commands():
    return [words for words, _ in all_commands(main)]


def test_every_command_has_help_with_an_example():
    for name in commands():
        result = cli(*name, "--help")
        assert result.exit_code == 0
        assert f"Example:\n    python cli.py {' '.join(name)} " in result.stdout


@pytest.mark.parametrize("name", [(), ("preprocess",), *commands()], ids=" ".join)
def test_help_imports_nothing_heavy(name):
    """Which is what makes it answer at once; `benchmarks/startup.py` says how fast."""
    code = (
        "import sys, cli\ntry: cli.main()\nfinally:"
        " sys.exit(sorted({'numpy', 'dask', 'zarr', 'nibabel', 'pipeline.jobs'} & {*sys.modules}) or 0)"
    )
    command = [sys.executable, "-c", code, *name, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_reader_that_leaves_early_sees_no_traceback(scans, cache):
    for number in range(2000):
        (scans / f".{number}").touch()
    ct(scans, cache)
    with subprocess.Popen(
        [sys.executable, ROOT / "cli.py", "info", cache], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith(str(cache))
        process.stdout.close()
        assert process.stderr.read() == ""
        process.wait(timeout=250)


def test_without_any_output_channel_a_run_still_works(scans, cache):
    command = f"exec {sys.executable} {ROOT / 'cli.py'} preprocess ct {scans} {cache} {' '.join(SMALL)} >&- 2>&-"
    assert subprocess.run(command, shell=True, timeout=250).returncode == 0
    assert cli("verify", cache).exit_code == 0


@contextmanager
def running(source, cache, *options):
    """A run that has committed something and has much left to do."""
    command = [sys.executable, ROOT / "cli.py", "preprocess", "ct", source, cache, *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        ledger, limit = cache / "ledger" / "entries.jsonl", time.monotonic() + 240
        while not (ledger.exists() and ledger.read_bytes().count(b"\n") > 2):
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.01)
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on_and_keeps_what_was_committed(tmp_path, cache, workers, sent, code):
    first = write(tmp_path / "scans/0.nii", shape=(60, 60, 60))
    for number in range(1, 300):
        os.link(first, first.with_name(f"{number}.nii"))
    with running(tmp_path / "scans", cache, "--workers", str(workers)) as process:
        process.send_signal(sent)
        stdout, stderr = process.communicate(timeout=250)
    assert (process.returncode, stdout, without_progress(stderr)) == (code, "", STOPPED)
    report = json.loads(cli("verify", cache, "--json").stdout)
    assert report["ok"] >= 2
    assert not report["damaged"]
    assert not report["missing"]


def test_an_impatient_user_gets_the_same_orderly_end(tmp_path, cache):
    first = write(tmp_path / "scans/0.nii", shape=(60, 60, 60))
    for number in range(1, 300):
        os.link(first, first.with_name(f"{number}.nii"))
    with running(tmp_path / "scans", cache, "--workers", "0") as process:
        for _ in range(4):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        stdout, stderr = process.communicate(timeout=250)
    assert (process.returncode, stdout, without_progress(stderr)) == (130, "", STOPPED)
    assert cli("verify", cache).exit_code == 0


def test_on_a_terminal_a_bar_shows_rate_time_left_and_quarantined_so_far(scans, cache):
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    junk(scans / "bad.nii")
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        command = [sys.executable, ROOT / "cli.py", "preprocess", "ct", scans, cache, *SMALL]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=250)
        bar = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert result.returncode == 3
    assert re.search(r"100%\|█+\| 4/4 \[00:0\d<00:00, +[\d.]+ samples/s, quarantined=1\]", bar)


@pytest.fixture
def disk(tmp_path):
    """A disk of 3 MB of our own, with a file of 1 MB on it that can be removed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no disk of our own can be mounted here: {made.stderr.strip()}")
    try:
        (folder / "ballast").write_bytes(bytes(1_000_000))
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_is_one_clear_line_and_after_freeing_space_the_run_goes_on(tmp_path, disk, workers):
    for number in range(3):
        write(tmp_path / "scans" / f"{number}.nii", number, (40, 40, 40))
    cache = disk / "ct.zarr"
    run = ("preprocess", "ct", tmp_path / "scans", cache, "--depth", 60, "--height", 90, "--width", 90)
    result = shell(*run, "--workers", workers)
    assert (result.returncode, result.stdout, result.stderr) == (
        1,
        "",
        f"Error: cannot write to {cache}: No space left on device; free some space and run the same command again\n",
    )
    assert cli("verify", cache).exit_code == 0
    (disk / "ballast").unlink()
    assert cli(*run, "--workers", 0).exit_code == 0
    assert cli("verify", cache).stdout == "3 intact, 0 damaged, 0 missing, 0 stale\n"


def test_a_cache_that_may_not_be_written_is_one_clear_line(scans, disk):
    cache = disk / "ct.zarr"
    ct(scans, cache)
    write(scans / "new.nii", 9)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for path in (cache, disk / "new.zarr"):
        assert error(ct(scans, path)) == (
            f"Error: cannot write to {path}: Read-only file system; mount it for writing, or choose another path\n"
        )
    assert cli("verify", cache).stdout == "3 intact, 0 damaged, 0 missing, 0 stale\n"
    assert error(cli("repair", cache, "--workers", 0)) == (
        f"Error: cannot write to {cache}: Read-only file system; mount it for writing, or choose another path\n"
    )


def test_output_that_cannot_be_written_is_one_clear_line(scans, cache):
    ct(scans, cache)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("w") as output:
        command = [sys.executable, ROOT / "cli.py", "info", cache]
        result = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=250)
    assert result.returncode == 1
    assert io.StringIO(result.stderr).readline() == (
        "Error: cannot continue: No space left on device; free some space and run the same command again\n"
    )
