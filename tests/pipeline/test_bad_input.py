"""A campaign of bad files in one SOURCE: each ends complete or quarantined with a reason a user can act on.

No file ends the run, holds it up or harms a neighbour, and it makes no difference where the work is done.
"""

import gzip
import json
import os
import re
import socket
import struct
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cache import open_cache
from cache.schema import Entry, Source
from cache.store import chunk_path, read_entries, writing
from pipeline.jobs import preprocess
from pipeline.recipes.ct import CtRecipe
from pipeline.workers.executors.serial import serial

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data"
RECIPE = CtRecipe(depth=8, height=16, width=16)
SIZE = ("--depth", "8", "--height", "16", "--width", "16")
REASON = re.compile(r"(?P<given>.+); expected (?P<expected>.+?); (?P<remedy>.+)")
HEADER = 352  # bytes before the voxels of a single NIfTI-1 file
# Fields of a NIfTI-1 header: byte offset and struct format
DIM, PIXDIM, SLOPE, INTER = (40, "8h"), (76, "8f"), (112, "f"), (116, "f")
QFORM, SFORM, SROW, DATATYPE, VOX_OFFSET = (252, "h"), (254, "h"), (280, "12f"), (70, "2h"), (108, "f")


def nifti(data=None):
    """The bytes of a sound single file."""
    if data is None:
        data = np.random.default_rng(0).integers(-1000, 400, (12, 13, 14), np.int16)
    return nib.Nifti1Image(data, np.diag([-1.0, -1.0, 2.0, 1.0])).to_bytes()


GOOD = nifti()
ZIPPED = gzip.compress(GOOD, mtime=0)


def patched(*changes, image=GOOD):
    raw = bytearray(image)
    for (offset, layout), *values in changes:
        struct.pack_into("<" + layout, raw, offset, *values)
    return bytes(raw)


def dims(*sizes):
    return patched((DIM, len(sizes), *sizes, *[1] * (7 - len(sizes))))


def flipped(position, bit):
    raw = bytearray(ZIPPED)
    raw[position] ^= 1 << bit
    return bytes(raw)


SOUND = {  # these must become samples
    "good.nii": GOOD,
    "good.nii.gz": ZIPPED,
    "new\nline.nii": GOOD,
    "sp ace.nii": GOOD,
    "Ünïcödé 肺.nii": GOOD,
    "-dash.nii.gz": ZIPPED,
    "%s\x1b[31m.NII.GZ": ZIPPED,
    "two members.nii.gz": gzip.compress(GOOD[:500]) + gzip.compress(GOOD[500:]),
    "zeros after the end.nii.gz": ZIPPED + bytes(5000),
    "junk after the voxels.nii": GOOD + b"junk",
    "five dimensions.nii": dims(12, 13, 14, 1, 1),
    "seven dimensions.nii": dims(12, 13, 14, 1, 1, 1, 1),
    "fourth size 0.nii": dims(12, 13, 14, 0),
    "slope NaN.nii": patched((SLOPE, np.nan)),
    "slope infinite.nii": patched((SLOPE, np.inf)),
    "slope 1e38.nii": patched((SLOPE, 1e38)),
    "slope 1e-38.nii": patched((SLOPE, 1e-38)),
    "slope negative.nii": patched((SLOPE, -1.0)),
    "all NaN.nii": nifti(np.full((5, 6, 7), np.nan, np.float32)),
    "all infinite.nii": nifti(np.full((5, 6, 7), np.inf, np.float64)),
    "constant.nii": nifti(np.zeros((5, 6, 7), np.uint8)),
    "no orientation codes.nii": patched((QFORM, 0), (SFORM, 0)),
    "pixdim negative.nii": patched((QFORM, 0), (SFORM, 0), (PIXDIM, 1, -1, -1, -2, 0, 0, 0, 0)),
    "pixdim zero.nii": patched((PIXDIM, 1, 0, 0, 0, 0, 0, 0, 0)),
    "least.nii": nifti(np.arange(8, dtype=np.int16).reshape(2, 2, 2)),
}
BAD = {  # these must not: what their reason says was given
    "empty.nii": (b"", "empty file"),
    "empty.nii.gz": (b"", "empty file"),
    "nothing inside.nii.gz": (gzip.compress(b""), "no NIfTI header"),
    "short header.nii": (GOOD[:200], "200 bytes of header"),
    "header only.nii": (GOOD[:HEADER], "a header that claims"),
    "header only.nii.gz": (gzip.compress(GOOD[:HEADER]), "0 bytes of voxels"),
    "32000³.nii": (dims(32000, 32000, 32000), "a header that claims|32000 x 32000 x 32000 voxels"),
    "32000³.nii.gz": (gzip.compress(dims(32000, 32000, 32000)), "a header that claims|32000 x 32000 x 32000 voxels"),
    "cut.nii": (GOOD[:-100], "a header that claims"),
    "wrong CRC.nii.gz": (ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:], "damaged gzip data"),
    "wrong length.nii.gz": (ZIPPED[:-4] + b"\0\0\0\1", "damaged gzip data"),
    "junk after the end.nii.gz": (ZIPPED + b"junk", "damaged gzip data, or other bytes after its end"),
    "gzip in gzip.nii.gz": (gzip.compress(ZIPPED), "gzip inside gzip"),
    "plain.nii.gz": (GOOD, "plain data named .gz"),
    "zipped.nii": (ZIPPED, "gzip data without .gz in its name"),
    "text.nii": (b"FileName,TypeOfTB\n" * 99, "no NIfTI header"),
    "zeros.nii": (bytes(5000), "no NIfTI header"),
    "dimensions 0.nii": (dims(), "an image of 0 dimensions"),
    "dimensions 1.nii": (dims(2184), "an image of 1 dimensions"),
    "dimensions 2.nii": (dims(12, 182), "an image of 2 dimensions"),
    "dimensions 99.nii": (patched((DIM, 99, 1, 1, 1, 1, 1, 1, 1)), "an image of 99 dimensions|a header that nibabel"),
    "two volumes.nii": (dims(12, 13, 7, 2), "12 x 13 x 7 x 2 voxels, more than one volume"),
    "five real dimensions.nii": (dims(12, 13, 7, 1, 2), "12 x 13 x 7 x 1 x 2 voxels, more than one volume"),
    "size 0.nii": (dims(12, 13, 0), "12 x 13 x 0 voxels"),
    "size -5.nii": (dims(12, 13, -5), "12 x 13 x -5 voxels"),
    "channel first.nii": (dims(1, 12, 13, 14), "1 x 12 x 13 x 14 voxels, a single one along axis 1"),
    "Git LFS.nii.gz": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "a Git LFS pointer"),
    "login page.nii.gz": (b"<!DOCTYPE html><html>", "an HTML page, though named .gz"),
    "DICOM.nii": (bytes(128) + b"DICM" + bytes(400), "no NIfTI header: the file is a DICOM file"),
    "size 1.nii": (dims(12, 182, 1), "12 x 182 x 1 voxels"),
    "colour.nii": (patched((DATATYPE, 128, 24)), "colour voxels"),
    "complex.nii": (patched((DATATYPE, 32, 64)), "complex64 voxels"),
    "unknown dtype.nii": (patched((DATATYPE, 999, 16)), "a header that nibabel rejects"),
    "voxels in the header.nii": (patched((VOX_OFFSET, 8.0)), "a header that nibabel rejects|voxels said to start"),
    "voxels far off.nii": (patched((VOX_OFFSET, 1e9)), "voxels said to start at byte"),
    "intercept NaN.nii": (patched((SLOPE, 1.0), (INTER, np.nan)), "scl_inter nan"),
    "singular affine.nii": (patched((SFORM, 1), (SROW, *[1.0] * 12)), "an unusable affine"),
    "affine NaN.nii": (patched((SFORM, 1), (SROW, *[np.nan] * 12)), "an unusable affine"),
    "lone.hdr": (GOOD[:348], "half of a .hdr/.img pair, without its .img"),
    "lost.img": (GOOD[HEADER:], "half of a .hdr/.img pair, without its .hdr"),
}
BAD |= {
    f"cut at {percent} %.nii.gz": (ZIPPED[: len(ZIPPED) * percent // 100], "damaged gzip data|.* bytes of ")
    for percent in range(5, 100, 5)
}
FLIPPED = {  # whatever they become: never a sample of other values
    f"bit flipped at {place}.nii.gz": flipped(place * (len(ZIPPED) - 1) // 49, place % 8) for place in range(50)
}
OTHERS = {  # what is not a regular file
    "folder.nii.gz": "'folder.nii.gz' is a folder",
    "pipe.nii": "'pipe.nii' is not a regular file",
    "socket.nii": "'socket.nii' is not a regular file",
    "device.nii": "'device.nii' is not a regular file",
    "annexed.nii.gz": "a git-annex link; expected the file itself; .* run `git annex get`",
    "loop.nii": r"it cannot be read \(Too many levels of symbolic links\)",
    "broken.nii": r"it cannot be read \(No such file or directory\)",
    "not UTF-8 \udcff.nii": "its name is not valid UTF-8",
}
REAL_SOUND = {f"ct/{path.name}" for path in DATA.glob("ct/*")} | {
    f"nifti_odd/{name}"
    for name in (
        "AIL.nii.gz", "LPS.nii.gz", "RAS.nii.gz", "SPR.nii.gz", "anatomical.nii", "low_res.nii.gz", "minimal.nii.gz",
        "ras.hdr", "reoriented_anat_moved.nii", "resampled_anat_moved.nii", "someones_epi.nii.gz", "standard.nii.gz",
    )
}  # fmt: skip
REAL_BAD = {
    "nifti_odd/complex_image.nii.gz": "complex64 voxels",
    "nifti_odd/ct_perfusion.nii.gz": "colour voxels",
    "nifti_odd/example4d.nii.gz": "128 x 96 x 24 x 2 voxels, more than one volume",
    "nifti_odd/example_nifti2.nii.gz": "32 x 20 x 12 x 2 voxels, more than one volume",
    "nifti_odd/functional.nii": "17 x 21 x 3 x 20 voxels, more than one volume",
    "damaged/3DCT_lung_small_plain_named.nii.gz": "plain data named .gz",
    "damaged/3DCT_lung_small_truncated.nii": "a header that claims",
    "damaged/example_ct_sm_truncated.nii.gz": "damaged gzip data",
}


def place(folder, files):
    """Each file in a folder of its own, so that no two can get one id."""
    for number, (name, data) in enumerate(files.items()):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / name).write_bytes(data)


def bind(path):
    """A socket at `path`, which may be too long to be given as such."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as there:
            there.bind(path.name)
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign") / "scans"
    place(folder / "sound", SOUND)
    place(folder / "bad", {name: data for name, (data, _) in BAD.items()})
    place(folder / "flipped", FLIPPED)
    others = folder / "others"
    (others / "folder.nii.gz").mkdir(parents=True)
    os.mkfifo(others / "pipe.nii")
    bind(others / "socket.nii")
    (others / "device.nii").symlink_to("/dev/zero")
    (others / "annexed.nii.gz").symlink_to("../.git/annex/objects/0x/k2/SHA256E-s9--ab/SHA256E-s9--ab")
    (others / "loop.nii").symlink_to("loop.nii")
    (others / "broken.nii").symlink_to("nowhere")
    (others / "not UTF-8 \udcff.nii").write_bytes(GOOD)
    (others / "up").symlink_to("..")
    (others / ".DS_Store").touch()
    for part in ("ct", "nifti_odd", "damaged"):
        (folder / "real" / part).mkdir(parents=True)
        for path in DATA.glob(f"{part}/*"):
            (folder / "real" / part / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def caches(source):
    """The campaign run in this process's way, and on two workers: workers → cache."""
    found = {}
    for workers in (0, 2):
        found[workers] = source.parent / f"{workers}.zarr"
        command = [sys.executable, "cli.py", "preprocess", "ct", source, found[workers], *SIZE, "--workers", workers]
        ended = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=250)
        assert ended.returncode == 3
        assert all(re.match(r"\d+ of 1\d\d done, ", line) for line in ended.stderr.splitlines())  # a slow machine's
        assert "Traceback" not in ended.stdout
    return found


@pytest.fixture(scope="module")
def ends(caches):
    """How each input ended, by its name within its part of the campaign: "" for complete, else the reason."""
    found = {}
    for entry in read_entries(caches[0]).values():
        part, _, rest = entry.source.files[0].partition("/")
        name = rest.partition("/")[2] if part in ("sound", "bad", "flipped") else rest
        found[part, name] = entry
    return found


def outcome(entry):
    return "complete" if entry.state == "complete" else f"{entry.state}: {entry.reason}"


@pytest.mark.parametrize("name", SOUND, ids=ascii)
def test_what_is_odd_but_sound_becomes_a_sample(ends, name):
    assert outcome(ends["sound", name]) == "complete"


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_what_is_bad_is_quarantined_for_what_it_is(ends, name):
    entry = ends["bad", name]
    assert entry.state == "quarantined"
    assert re.match(BAD[name][1], entry.reason), entry.reason


@pytest.mark.parametrize("name", OTHERS, ids=ascii)
def test_what_is_no_regular_file_is_quarantined_unopened(ends, name):
    entry = ends["others", name]
    assert entry.state == "quarantined"
    assert re.match(OTHERS[name], entry.reason), entry.reason


def test_a_flipped_bit_never_gives_other_values(ends, caches):
    opened = open_cache(caches[0])
    expected = opened[ends["sound", "good.nii.gz"].id]
    complete = [ends["flipped", name].id for name in FLIPPED if ends["flipped", name].state == "complete"]
    assert len(complete) < 5  # in the gzip header's own fields, which say nothing about the voxels
    for name in complete:
        np.testing.assert_array_equal(opened[name], expected)


@pytest.mark.skipif(not DATA.exists(), reason=f"the real scans are not here ({DATA})")
def test_real_scans_end_as_they_should(ends):
    found = {name: entry for (part, name), entry in ends.items() if part == "real"}
    assert {name for name, entry in found.items() if entry.state == "complete"} == REAL_SOUND
    assert found.keys() == REAL_SOUND | REAL_BAD.keys()
    for name, given in REAL_BAD.items():
        assert found[name].reason.startswith(given)


def test_every_reason_says_what_was_given_what_was_expected_and_what_to_do(ends):
    for entry in ends.values():
        if entry.state == "quarantined":
            assert REASON.fullmatch(entry.reason), entry.reason
            assert entry.reason.isprintable()
            assert not entry.reason.startswith("reading it failed")  # nobody foresaw it


def test_the_ledger_accounts_for_every_input(caches):
    shown = subprocess.run(
        [sys.executable, "cli.py", "info", caches[0], "--json"], cwd=ROOT, capture_output=True, check=True
    )
    facts = json.loads(shown.stdout)
    inputs = len(SOUND) + len(BAD) + len(FLIPPED) + len(OTHERS)
    real = len(REAL_SOUND) + len(REAL_BAD) if DATA.exists() else 0
    assert facts["discovered"] == facts["complete"] + facts["quarantined"] + facts["excluded"]
    assert facts["excluded"] == 2
    assert facts["discovered"] == inputs + real + 2


def test_it_makes_no_difference_where_the_work_is_done(caches):
    here, there = (read_entries(cache) for cache in caches.values())
    assert here == there
    for entry in here.values():
        if entry.state == "complete":
            assert chunk_path(caches[0], entry.row).read_bytes() == chunk_path(caches[2], entry.row).read_bytes()


def test_bad_neighbours_do_no_harm(tmp_path, ends, caches):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/good.nii.gz").write_bytes(ZIPPED)
    run(preprocess.prepare(tmp_path / "scans", tmp_path / "ct.zarr", RECIPE))
    alone = chunk_path(tmp_path / "ct.zarr", 0).read_bytes()
    row = ends["sound", "good.nii.gz"].row
    assert chunk_path(caches[0], row).read_bytes() == alone


def run(job):
    return preprocess.run(job, nullcontext(serial))


def test_a_file_that_vanishes_before_its_turn_is_quarantined_and_forgotten_by_the_next_run(tmp_path):
    place(tmp_path / "scans", {"x.nii": GOOD, "y.nii": GOOD})
    job = preprocess.prepare(tmp_path / "scans", tmp_path / "ct.zarr", RECIPE)
    (tmp_path / "scans/0/x.nii").unlink()
    summary = run(job)
    assert summary.complete == 1
    assert summary.quarantined == {
        "0/x.nii": "it cannot be read (No such file or directory); expected a readable file; check it and run again"
    }
    summary = run(preprocess.prepare(tmp_path / "scans", tmp_path / "ct.zarr", RECIPE))
    assert (summary.complete, summary.quarantined, summary.vanished) == (1, {}, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_quarantined_and_tried_again(tmp_path):
    place(tmp_path / "scans", {"x.nii": GOOD})
    (tmp_path / "scans/0/x.nii").chmod(0)
    summary = run(preprocess.prepare(tmp_path / "scans", tmp_path / "ct.zarr", RECIPE))
    assert summary.quarantined == {
        "0/x.nii": "it cannot be read (Permission denied); expected a readable file; change the permissions"
    }
    (tmp_path / "scans/0/x.nii").chmod(0o600)
    assert run(preprocess.prepare(tmp_path / "scans", tmp_path / "ct.zarr", RECIPE)).complete == 1


@pytest.mark.parametrize(("first", "second"), [("x.nii.gz", "x.nii"), ("x.nii", "x.nii.gz")])
def test_a_second_file_of_one_id_is_refused_and_the_sample_of_the_first_stays(tmp_path, first, second):
    scans, cache = tmp_path / "scans", tmp_path / "ct.zarr"
    data = {"x.nii": GOOD, "x.nii.gz": ZIPPED}
    scans.mkdir()
    (scans / first).write_bytes(data[first])
    (scans / "y.nii").write_bytes(GOOD)
    run(preprocess.prepare(scans, cache, RECIPE))
    before = read_entries(cache)
    (scans / second).write_bytes(data[second])
    for _ in range(2):
        summary = run(preprocess.prepare(scans, cache, RECIPE))
        assert (summary.discovered, summary.complete, summary.made) == (3, 2, 0)
        assert list(summary.quarantined) == [second]
        assert re.match("two files would get the id 'x'.*; keep one of them", summary.quarantined[second])
        assert read_entries(cache).items() >= before.items()
    (scans / second).unlink()
    assert run(preprocess.prepare(scans, cache, RECIPE)).quarantined == {}
    assert read_entries(cache) == before


def test_two_files_of_one_id_are_both_refused_until_one_is_gone(tmp_path):
    scans, cache = tmp_path / "scans", tmp_path / "ct.zarr"
    scans.mkdir()
    for name, data in {"x.nii": GOOD, "x.nii.gz": ZIPPED, "y.nii": GOOD}.items():
        (scans / name).write_bytes(data)
    for made in (1, 0):
        summary = run(preprocess.prepare(scans, cache, RECIPE))
        assert (summary.discovered, summary.complete, summary.made) == (3, 1, made)
        assert set(summary.quarantined) == {"x.nii", "x.nii.gz"}
    (scans / "x.nii").unlink()
    summary = run(preprocess.prepare(scans, cache, RECIPE))
    assert (summary.discovered, summary.complete, summary.made, summary.quarantined) == (2, 2, 1, {})
    assert sorted(open_cache(cache).ids) == ["x", "y"]


def test_exclusions_that_an_earlier_version_made_are_dropped(tmp_path):
    scans, cache = tmp_path / "scans", tmp_path / "ct.zarr"
    (scans / ".git").mkdir(parents=True)
    (scans / "x.nii").write_bytes(GOOD)
    for number in range(5):
        (scans / ".git" / str(number)).touch()
    job = preprocess.prepare(scans, cache, RECIPE)
    run(job)
    root = str(scans)
    old = [
        Entry(
            f"{root}/.git/{number}",
            "excluded",
            reason="hidden or system file",
            source=Source(root, (f".git/{number}",)),
        )
        for number in range(5)
    ]
    with writing(cache, job.attributes, read_entries(cache)) as writer:
        writer.forget([f"{root}/.git"])
        writer.commit(old)
    summary = run(preprocess.prepare(scans, cache, RECIPE))
    assert summary.excluded == {".git": "hidden or system folder, not searched"}
    assert (summary.discovered, summary.complete, summary.made) == (2, 1, 0)


def test_what_looks_like_a_scan_is_in_the_ledger_until_it_is_gone(tmp_path):
    scans, cache = tmp_path / "scans", tmp_path / "ct.zarr"
    place(scans, {"x.nii": GOOD, "x.nii.bz2": b"", "x.nii.gz.part": b"", "x.mha": b"", "IM0001": bytes(128) + b"DICM"})
    summary = run(preprocess.prepare(scans, cache, RECIPE))
    assert summary.excluded.keys() == {"1/x.nii.bz2", "2/x.nii.gz.part", "3/x.mha", "4"}
    assert summary.discovered == 5
    (scans / "4/IM0001").unlink()
    assert run(preprocess.prepare(scans, cache, RECIPE)).discovered == 4
