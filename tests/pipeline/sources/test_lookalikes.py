"""Files that look like inputs but cannot be read are excluded with a reason and a remedy; others are ignored."""

import bz2
import gzip
import os
import socket
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.sources import lookalikes
from pipeline.sources.formats.ct import find_scans
from pipeline.sources.formats.video import ENDINGS as CLIP_ENDINGS
from pipeline.sources.formats.video import find_clips

NIFTI = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)).to_bytes()
DICOM = bytes(128) + b"DICM" + bytes(400)
AVI = b"RIFF\1\2\3\4AVI LIST" + bytes(400)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def put(root, **files):
    for name, data in files.items():
        (root / name).write_bytes(data)


def reason_for(root, name, data=b"", find=find_scans):
    """The reason why `name` is excluded from `root`, or ""; asserts that nothing is found there."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    inputs = find(root)
    assert inputs.records == []
    return inputs.excluded.get(name, "")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("x.nii.bz2", "decompress it"),
        ("x.NII.XZ", "decompress it"),
        ("x.nii.zst", "decompress it"),
        ("x.hdr.bz2", "decompress it"),
        ("x.nii.zip", "unpack it"),
        ("scans.zip", "unpack it"),
        ("scans.tar", "unpack it"),
        ("scans.tar.gz", "unpack it"),
        ("scans.tar.zst", "unpack it"),
        ("scans.tgz", "unpack it"),
        ("scans.7z", "unpack it"),
        ("scans.rar", "unpack it"),
        ("x.nii (1).gz", "ends in .nii.gz"),
        ("x.nii(2).gz", "ends in .nii.gz"),
        ("x.nii - Copy.gz", "ends in .nii.gz"),
        ("x.nii.gz.1", "ends in .nii.gz"),
        ("x.nii.1", "ends in .nii,"),
        ("x.img.gz.2", "ends in .img.gz"),
        ("x.nii.gz~", "ends in .nii.gz"),
        ("x.nii.bak", "ends in .nii,"),
        ("x.nii.gzip", "ends in .nii.gz"),
        ("x.nii.gz ", "ends in .nii.gz"),
        ("x.nii.gz.part", "finish the download"),
        ("Unconfirmed 4.crdownload", "finish the download"),
        ("x.nii.gz.download", "finish the download"),
        ("x.nii.gz.tmp", "finish the download"),
        ("x.nii.gz.aria2", "finish the download"),
        ("x.nii.gz.gpg", "decrypt it"),
        ("x.nii.enc", "decrypt it"),
        ("x.nii_gz", "ends in .nii.gz"),
        ("x.mgz", "convert it to NIfTI"),
        ("x.mha", "convert it to NIfTI"),
        ("x.MHD", "convert it to NIfTI"),
        ("x.nrrd", "convert it to NIfTI"),
        ("x.gipl", "convert it to NIfTI"),
        ("new\nline.nii.bz2", "decompress it"),
        ("not UTF-8 \udcff.nii.xz", "decompress it"),
    ],
)
def test_a_file_named_like_a_scan_is_excluded_with_a_remedy(root, name, remedy):
    reason = reason_for(root, name)
    assert remedy in reason
    assert "; " in reason


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("A/x.gif", "convert it to a video"),
        ("A/x.avi.part", "finish the download"),
        ("A/x.mp4.crdownload", "finish the download"),
        ("A/x.avi.1", "ends in .avi"),
        ("A/x.m2ts~", "ends in .m2ts"),
        ("A/x.vob", "convert it to MP4"),
        ("A.zip", "unpack it"),
    ],
)
def test_a_file_named_like_a_clip_is_excluded_with_a_remedy(root, name, remedy):
    assert remedy in reason_for(root, name, find=find_clips)


@pytest.mark.parametrize(
    "name",
    [
        "labels.csv",
        "README",
        "x.json",
        "x.nii.json",
        "x.nii.gz.md5",
        "x.tar.gz.md5",
        "x.bval",
        "run.tmp",
        "y.csv.part",
        "z.mp4.part",
    ],
)
def test_other_files_next_to_scans_are_not_reported(root, name):
    assert reason_for(root, name, b"text") == ""


def test_a_search_for_scans_ignores_clips_and_images_and_one_for_clips_ignores_scans(root):
    put(root, **{"x.jpg": b"", "x.avi": b"", "y.vob": b"", "z.gif": b""})
    assert (find_scans(root).records, find_scans(root).excluded) == ([], {})
    for path in root.iterdir():
        path.unlink()
    put(root, **{"x.nii": b"", "y.dcm": b"", "z.mha": b""})
    assert (find_clips(root).records, find_clips(root).excluded) == ([], {})


@pytest.mark.parametrize("name", [f"x{ending}" for ending in CLIP_ENDINGS] + ["x.M4V", "x.MpG"])
def test_a_file_with_any_video_ending_is_a_clip(root, name):
    path = root / "A" / name
    path.parent.mkdir()
    path.touch()
    assert [record.id for record in find_clips(root).records] == ["A/x"]


def test_a_file_with_a_number_before_its_ending_is_an_ordinary_input(root):
    put(root, **{"x (1).nii.gz": b""})
    assert [record.id for record in find_scans(root).records] == ["x (1)"]


@pytest.mark.parametrize("name", ["IM{:04}", "1.2.840.113619.2.{}", "slice{}.dcm", "slice{}.IMA", "x.{}.dicom"])
def test_dicom_files_are_excluded_with_one_entry_per_folder(root, name):
    folder = root / "patient" / "series"
    folder.mkdir(parents=True)
    for number in range(500):
        (folder / name.format(number)).write_bytes(DICOM)
    (root / name.format(7)).write_bytes(DICOM)
    (root / "DICOMDIR").write_bytes(DICOM)
    remedy = "not read; convert each series to NIfTI, e.g. with dcm2niix"
    assert find_scans(root).excluded == {
        "patient/series": f"DICOM files (500), {remedy}",
        ".": f"DICOM files (1), {remedy}",
    }


def test_images_are_excluded_with_one_entry_per_folder(root):
    (root / "A" / "frames").mkdir(parents=True)
    for number in range(30):
        (root / "A" / "frames" / f"{number}.jpg").touch()
    remedy = "not read as clips; convert the frames of each clip to a video, e.g. with FFmpeg"
    assert find_clips(root).excluded == {"A/frames": f"image files (30), {remedy}"}


@pytest.mark.parametrize(
    ("name", "data", "remedy"),
    [
        ("TRN_0001", NIFTI, "so that it ends in .nii"),
        ("TRN_0001.ct", NIFTI, "so that it ends in .nii"),
        ("TRN_0001.gz", gzip.compress(NIFTI, mtime=0), "so that it ends in .nii.gz"),
        ("x", b"NRRD0004\n", "convert it"),
    ],
)
def test_a_scan_with_another_name_is_recognised_by_its_first_bytes(root, name, data, remedy):
    reason = reason_for(root, name, data)
    assert "by its first bytes, but not by its name" in reason
    assert remedy in reason


def test_a_clip_with_another_name_is_recognised_by_its_first_bytes(root):
    assert "give it the ending of its format" in reason_for(root, "A/x", AVI, find_clips)
    assert reason_for(root, "A/x", bz2.compress(AVI), find_clips) == ""


def test_only_regular_files_with_unknown_endings_are_opened(root, monkeypatch):
    os.mkfifo(root / "pipe")
    os.mkfifo(root / "pipe.nii.gz.1")
    (root / "broken").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as unix_socket:
        monkeypatch.chdir(root)  # the path of a socket must be short
        unix_socket.bind("socket")
    (root / "device").symlink_to("/dev/zero")
    put(root, **{"a.csv": DICOM, "b.json": NIFTI, "c.nii": NIFTI, "d.dcm": DICOM, "e.mp4": AVI, "plain": b"text"})
    opened = []
    original_open = os.open

    def record_open(path, *flags):
        opened.append(Path(path).name)
        return original_open(path, *flags)

    monkeypatch.setattr(os, "open", record_open)
    inputs = find_scans(root)
    assert opened == ["plain"]
    assert [record.id for record in inputs.records] == ["c"]
    assert sorted(inputs.excluded) == [".", "pipe.nii.gz.1"]


def test_an_unreadable_file_does_not_stop_the_search(root, monkeypatch):
    def fail(*_):
        raise PermissionError(13, "Permission denied")

    put(root, **{"closed": DICOM, "x.nii": b""})
    monkeypatch.setattr(lookalikes.os, "open", fail)
    assert [record.id for record in find_scans(root).records] == ["x"]


def test_a_link_to_a_file_with_unknown_ending_is_followed(root):
    (root.parent / "far").write_bytes(DICOM)
    (root / "near").symlink_to(root.parent / "far")
    assert list(find_scans(root).excluded) == ["."]
