"""`preprocess` on an existing cache processes only new or changed samples, with the recipe of the cache."""

import os

from cache import open_cache
from pipeline.demo import phantom_clips
from tests.helpers.commands import arrays, cli, ct, error, info_json, mentions
from tests.helpers.scans import INVALID, write_invalid, write_scan


def test_a_second_run_of_preprocess_writes_no_array(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    result = ct(scans, cache)
    assert result.stdout == (
        f"0 made, 3 already present, in {cache}\n3 discovered = 3 complete + 0 quarantined + 0 excluded\n"
        f"No labels: add them with `label {cache} LABELS.csv`, or repeat the command with --labels LABELS.csv\n"
    )
    assert arrays(cache) == before


def test_corrected_labels_change_no_array(scans, cache, labels):
    ct(scans, cache, "--labels", labels("a.nii,1", "b.nii.gz,2"))
    before = arrays(cache)
    result = ct(scans, cache, "--labels", labels("a.nii,3", "c.nii,4,P1", header="FileName,TypeOfTB,Patient"))
    assert result.exit_code == 0
    assert result.stdout == (
        f"0 made, 3 already present, in {cache}\n3 labels updated\n"
        "1 without a row in the labels, cached without a label: b.nii.gz\n"
        "3 discovered = 3 complete + 0 quarantined + 0 excluded\n"
        "Labels: column TypeOfTB; file names: FileName; patients: Patient (1 patient)\n"
    )
    assert arrays(cache) == before
    opened = open_cache(cache)
    assert (opened.ids, opened.labels.tolist()) == (["a", "b", "sub/c"], [2, -1, 3])
    assert opened.entry("sub/c").group == "P1"


def test_a_later_run_without_labels_keeps_the_labels(scans, cache, labels):
    ct(scans, cache, "--labels", labels("a.nii,1", "b.nii.gz,2", "c.nii,3"))
    write_scan(scans / "0new.nii", 9)
    write_scan(scans / "b.nii.gz", 8)
    assert ct(scans, cache).exit_code == 0
    opened = open_cache(cache)
    assert dict(zip(opened.ids, opened.labels.tolist(), strict=True)) == {"a": 0, "b": 1, "sub/c": 2, "0new": -1}


def test_new_scans_are_appended_and_existing_rows_stay(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    write_scan(scans / "0first.nii", 7)
    assert "1 made, 3 already present" in ct(scans, cache).stdout
    after = arrays(cache)
    assert {path: after[path] for path in before} == before
    assert open_cache(cache).ids == ["a", "b", "sub/c", "0first"]


def test_only_a_changed_scan_is_processed_again(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    write_scan(scans / "a.nii", 77)
    assert "1 made, 2 already present" in ct(scans, cache).stdout
    after = arrays(cache)
    assert before.items() - after.items() == {(min(before), before[min(before)])}
    assert len(after) == len(before)
    assert cli("verify", cache).exit_code == 0


def test_a_scan_with_only_a_new_timestamp_is_not_processed_again(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    for path in scans.rglob("*.nii*"):
        os.utime(path, (1, 1))
    for _ in range(2):
        assert "0 made, 3 already present" in ct(scans, cache).stdout
        assert arrays(cache) == before


def test_a_sample_with_a_deleted_source_is_kept_and_reported(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    (scans / "a.nii").unlink()
    result = ct(scans, cache)
    assert result.exit_code == 0
    assert "1 kept although their source is gone: a\n" in result.stdout
    assert arrays(cache) == before
    result = cli("verify", cache)
    assert result.exit_code == 0
    assert "1 sample intact but without a source any more: usable, but not repairable.\n" in result.stdout


def test_a_quarantined_file_is_read_again_only_after_it_changed(scans, cache):
    path = write_invalid(scans / "bad.nii")
    stat = path.stat()
    assert ct(scans, cache).exit_code == 3
    good = write_scan(scans.parent / "good.nii", 5).read_bytes()
    path.write_bytes(good[: stat.st_size])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # looks unchanged; if it were read, the reason would differ
    result = ct(scans, cache)
    assert result.exit_code == 3
    assert f"  bad.nii: {INVALID}\n" in result.stdout
    path.write_bytes(good)
    result = ct(scans, cache)
    assert result.exit_code == 0
    assert "1 made, 3 already present" in result.stdout
    assert info_json(cache)["quarantined"] == 0


def test_a_deleted_quarantined_file_is_removed_from_the_ledger(scans, cache):
    path = write_invalid(scans / "bad.nii")
    (scans / ".hidden").touch()
    ct(scans, cache)
    path.unlink()
    (scans / ".hidden").unlink()
    assert ct(scans, cache).exit_code == 0
    assert info_json(cache)["discovered"] == 3


def test_relative_linked_and_slash_terminated_paths_are_recognised(scans, cache, monkeypatch):
    ct(scans, cache)
    before = arrays(cache)
    (scans.parent / "link").symlink_to("scans")
    monkeypatch.chdir(scans.parent)
    for source, target in (("scans", "ct.zarr"), ("link", "ct.zarr/"), ("link/../scans/", f"{cache}/")):
        result = ct(source, target)
        assert result.stdout.startswith(f"0 made, 3 already present, in {cache}\n")
    assert arrays(cache) == before


def test_a_moved_source_is_recognised_by_its_contents(scans, cache):
    ct(scans, cache)
    before = arrays(cache)
    moved = scans.rename(scans.parent / "moved")
    assert ct(moved, cache).exit_code == 0
    assert arrays(cache) == before
    assert cli("verify", cache, "--quiet").exit_code == 0


def test_an_exclusion_named_like_a_sample_does_not_replace_it(scans, cache):
    (scans / "a").symlink_to("sub")
    write_scan(scans / "Thumbs.db.nii")
    (scans / "Thumbs.db").touch()
    for _ in range(2):
        assert ct(scans, cache).exit_code == 0
        data = info_json(cache)
        assert (data["discovered"], data["complete"], data["excluded"]) == (6, 4, 2)


def test_a_cache_inside_source_is_not_an_input(scans):
    for _ in range(2):
        assert ct(scans, scans / "ct.nii").exit_code == 0
    assert info_json(scans / "ct.nii")["discovered"] == 3


def test_a_second_run_uses_the_recipe_of_the_cache(scans, cache):
    options = ("--depth", 5, "--height", 6, "--width", 7, "--window", -500, 300, "--dtype", "uint8", "--order", 2)
    cli("preprocess", "ct", scans, cache, *options, "--workers", 0)
    recipe, before = info_json(cache)["recipe"], arrays(cache)
    write_scan(scans / "d.nii", 4)
    assert "1 made, 3 already present" in cli("preprocess", "ct", scans, cache, "--workers", 0).stdout
    assert "0 made, 4 already" in cli("preprocess", "ct", scans, cache, "--workers", 0, *options[:4]).stdout
    assert info_json(cache)["recipe"] == recipe
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
        mentions(error(cli("preprocess", "ct", scans, cache, "--workers", 0, *options)), cache, difference)
    assert info_json(cache)["recipe"] == recipe


def test_a_second_run_uses_the_preset_of_the_cache(scans, cache):
    ct(scans, cache, "--preset", "original")
    write_scan(scans / "d.nii", 4)
    for options in ((), ("--preset", "original"), ("--order", 1)):
        assert " already present" in ct(scans, cache, *options).stdout
    assert info_json(cache)["complete"] == 4
    message = error(ct(scans, cache, "--order", 3))
    assert "(order 1 → 3, orientation file → SPL, preset original → paper)" in message


def test_new_clips_are_sampled_like_those_in_the_cache(tmp_path):
    phantom_clips.write_clips(tmp_path / "s", groups=1, clips=1)
    size = ("--depth", 4, "--height", 8, "--width", 8)
    cli("preprocess", "video", tmp_path / "s", tmp_path / "c", *size, "--sampling", "uniform", "--short", "loop")
    second = cli("preprocess", "video", tmp_path / "s", tmp_path / "c")
    assert "0 made" in second.stdout
    message = error(cli("preprocess", "video", tmp_path / "s", tmp_path / "c", "--sampling", "head"))
    assert "(sampling uniform → head)" in message
