"""Every input below SOURCE gets a record; other files that look like inputs get an exclusion."""

import os

import pytest

from pipeline.errors import PipelineError
from pipeline.sources.formats.ct import find_scans
from pipeline.sources.formats.video import find_clips
from pipeline.sources.records import observe
from tests.helpers.source_folders import ids, put

HIDDEN = "hidden or system file"
HIDDEN_FOLDER = "hidden or system folder, not searched"
TOO_DEEP = "folder nested too deep for this system, not searched; move its contents further up"
LINKED = "link to a folder, not followed; give the folder itself as SOURCE"


def refusal(call, *arguments, **options):
    with pytest.raises(PipelineError) as error:
        call(*arguments, **options)
    return str(error.value)


# Inputs


@pytest.mark.parametrize("name", ["x.nii", "x.NII", "x.nii.gz", "x.NII.GZ", "x.Nii.gZ", "deep/er/x.nii"])
def test_inputs_are_found_at_any_depth_and_with_endings_in_any_case(root, name):
    (record,) = put(root, name).records
    assert record.id == name.split(".")[0]
    assert record.source.files == (name,)
    assert record.source.size == len(name)
    assert record.group == record.id


@pytest.mark.parametrize("folder", ["x.nii", "x.nii.gz", "x.hdr"])
def test_a_folder_named_like_an_input_is_searched_if_it_contains_inputs_or_exclusions(root, folder):
    assert ids(put(root, f"{folder}/x.nii")) == [f"{folder}/x"]
    assert ids(put(root, "x.NII")) == ["x", f"{folder}/x"]  # the folder does not take the id of the file
    inputs = put(root, "d.nii/more/1.dcm", "d.nii.gz/2.dcm", "p.nii/x.nii.part")
    assert ids(inputs) == ["x", f"{folder}/x"]
    assert inputs.excluded.keys() == {"d.nii/more", "d.nii.gz", "p.nii/x.nii.part"}
    assert [record.source.files for record in put(root, "e.nii/readme.txt", "h.nii/.x").records[:2]] == [
        ("e.nii",),
        ("h.nii",),
    ]


def test_other_files_are_ignored_and_counted_by_their_endings(root):
    inputs = put(root, "x.gz", "nii", "README", "labels.csv", "more/notes.csv", "x.nii.json", "x.mp4", "a.hdr.png")
    assert inputs.records == []
    assert inputs.excluded == {}
    assert inputs.others == {".csv": 2, "": 2, ".gz": 1, ".json": 1, ".mp4": 1, ".png": 1}


def test_a_pair_with_endings_in_different_case_is_one_input(root):
    (record,) = put(root, "p/x.IMG", "p/x.hdr").records
    assert record.id == "p/x"
    assert record.source.files == ("p/x.hdr", "p/x.IMG")
    assert record.source.size == 14


@pytest.mark.parametrize(
    "files", [("x.hdr.gz", "x.img.gz"), ("x.hdr", "x.img.gz"), ("x.hdr.gz", "x.img"), ("x.HDR", "x.IMG.GZ")]
)
def test_a_pair_with_a_compressed_header_or_image_is_one_input(root, files):
    (record,) = put(root, *files).records
    assert (record.id, record.source.files) == ("x", files)


def test_halves_whose_names_differ_in_case_are_two_inputs(root):
    assert ids(put(root, "X.hdr", "x.img")) == ["X", "x"]


def test_hidden_and_system_files_are_each_excluded_by_path(root):
    names = (".DS_Store", "a/._x.nii.gz", "a/Thumbs.db", "desktop.ini", ".x.nii")
    inputs = put(root, "x.nii", *names)
    assert ids(inputs) == ["x"]
    assert inputs.excluded == dict.fromkeys(names, HIDDEN)


@pytest.mark.parametrize(
    "folder",
    [
        ".git",
        ".x.nii",
        "a/.Trashes",
        "__MACOSX",
        "lost+found",
        "$RECYCLE.BIN",
        "System Volume Information",
        "a/@eaDir",
    ],
)
def test_a_hidden_or_system_folder_is_one_exclusion(root, folder, monkeypatch):
    put(root, "x.nii", *(f"{folder}/{number}/y.nii" for number in range(5)))
    scandir = os.scandir
    searched = []
    monkeypatch.setattr(os, "scandir", lambda path: searched.append(path.name) or scandir(path))
    inputs = find_scans(root)
    assert ids(inputs) == ["x"]
    assert inputs.excluded == {folder: HIDDEN_FOLDER}
    assert folder.rpartition("/")[2] not in searched


def test_a_link_to_a_file_is_an_input_and_a_link_to_a_folder_is_excluded(root):
    put(root, "real/x.nii")
    (root / "link.nii").symlink_to("real/x.nii")
    (root / "folder").symlink_to("real")
    (root / "folder.nii").symlink_to("real")
    (root / "up").symlink_to("..")
    inputs = find_scans(root)
    assert ids(inputs) == ["link", "real/x"]
    assert inputs.excluded == {"folder": LINKED, "folder.nii": LINKED, "up": LINKED}


def test_broken_links_are_inputs_of_unknown_size(root):
    (root / "broken.nii").symlink_to("nowhere")
    (root / "loop.nii").symlink_to("loop.nii")
    inputs = find_scans(root)
    assert ids(inputs) == ["broken", "loop"]
    assert [record.source.size for record in inputs.records] == [-1, -1]


@pytest.mark.parametrize("name", ["link.nii.gz", "A/link.avi"])
def test_a_broken_git_annex_link_is_rejected_with_the_command_that_fetches_it(root, name):
    put(root, "A/x.avi")
    (root / name).symlink_to(".git/annex/objects/Xj/6p/SHA256E-s9--ab.nii.gz/SHA256E-s9--ab.nii.gz")
    find = find_clips if name.endswith(".avi") else find_scans
    (refusal,) = [record.refusal for record in find(root).records if record.source.files == (name,)]
    assert refusal[0] == "a git-annex link"
    assert "git annex get" in refusal[2]


def test_a_pipe_is_listed_without_being_opened(root):
    os.mkfifo(root / "pipe.nii")
    assert ids(find_scans(root)) == ["pipe"]


def test_ten_thousand_nested_folders_are_searched_up_to_the_longest_path(root, monkeypatch):
    monkeypatch.chdir(root)
    put(root, "valid.nii")
    for depth in range(10_000):
        os.mkdir("d")  # noqa: PTH102 - the full path would be too long for some systems
        os.chdir("d")
        if depth in (1199, 9999):
            with open("x.nii", "wb"):  # noqa: PTH123
                pass
    try:
        inputs = find_scans(root)
        assert ids(inputs) == ["d/" * 1200 + "x", "valid"]
        ((folder, reason),) = inputs.excluded.items()
        assert set(folder.split("/")) == {"d"}
        assert reason == TOO_DEEP
    finally:
        for depth in range(9999, -1, -1):  # pytest's own clean-up recurses
            if depth in (1199, 9999):
                os.remove("x.nii")  # noqa: PTH107
            os.chdir("..")
            os.rmdir("d")  # noqa: PTH106


def test_the_cache_is_not_searched(root):
    put(root, "x.nii", "cache.nii/inside.nii")
    assert ids(find_scans(root, root / "cache.nii")) == ["x"]


def test_a_source_in_the_cache_is_rejected(root):
    message = f"SOURCE {root} is in CACHE {root}; give a CACHE outside SOURCE"
    assert refusal(find_scans, root, root) == message
    assert refusal(find_scans, root, root.parent) == message.replace(f"CACHE {root}", f"CACHE {root.parent}")


@pytest.mark.parametrize("name", ["missing", "file"])
def test_find_scans_rejects_a_source_that_is_not_a_folder(tmp_path, name):
    (tmp_path / "file").touch()
    message = refusal(find_scans, tmp_path / name)
    assert message == f"SOURCE {tmp_path / name} is not a folder; give the folder that holds the files"


def test_a_folder_that_cannot_be_listed_is_an_error(root, monkeypatch):
    put(root, "x.nii", "closed/y.nii")
    scandir = os.scandir

    def fail_in_closed(folder):
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", fail_in_closed)
    message = refusal(find_scans, root)
    assert message == f"cannot list {root / 'closed'}: Permission denied; change the permissions"


def test_observing_a_source_again_gives_its_current_size(root):
    (record,) = put(root, "x.nii").records
    assert observe(record.source) == record.source
    (root / "x.nii").write_bytes(b"more than before")
    assert observe(record.source).size == 16
    (root / "x.nii").unlink()
    assert observe(record.source).size == -1
