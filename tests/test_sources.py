"""Everything below SOURCE gets a record or an exclusion."""

import os
import unicodedata

import pytest

from pipeline.errors import PipelineError
from pipeline.sources import find_scans, observe

HIDDEN = "hidden or system file"
LINKED = "link to a folder, not followed; give the folder itself as SOURCE"


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    return folder


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))
    return find_scans(root)


def ids(inputs):
    return [record.id for record in inputs.records]


def refusal(call, *arguments, **options):
    with pytest.raises(PipelineError) as caught:
        call(*arguments, **options)
    return str(caught.value)


# What is an input


@pytest.mark.parametrize("name", ["x.nii", "x.NII", "x.nii.gz", "x.NII.GZ", "x.Nii.gZ", "deep/er/x.nii"])
def test_endings_count_in_any_case_and_at_any_depth(root, name):
    (record,) = put(root, name).records
    assert record.id == name.split(".")[0]
    assert record.source.files == (name,)
    assert record.source.size == len(name)
    assert record.group == record.id


def test_other_files_are_no_inputs(root):
    inputs = put(root, "x.dcm", "x.nii.bak", "x.gz", "nii", "x.nrrd", "x.nii.gz.part", "x.img.gz", "labels.csv")
    assert inputs.records == []
    assert inputs.excluded == {}


def test_a_pair_is_one_input_whatever_the_case_of_its_endings(root):
    (record,) = put(root, "p/x.IMG", "p/x.hdr").records
    assert record.id == "p/x"
    assert record.source.files == ("p/x.hdr", "p/x.IMG")
    assert record.source.size == 14


def test_halves_whose_names_differ_in_case_are_two_inputs(root):
    assert ids(put(root, "X.hdr", "x.img")) == ["X", "x"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("x.nii", "x.nii.gz"), ("x.NII", "x.nii"), ("x.nii", "x.hdr"), ("x.HDR", "x.hdr"), ("d/x.IMG", "d/x.img")],
)
def test_two_inputs_of_one_id_are_refused_naming_both(root, first, second):
    message = refusal(put, root, first, second)
    assert message == f"{first!r} and {second!r} below {root} would both get the id {first[:-4]!r}; " \
        "rename or remove one"  # fmt: skip


def test_ids_that_differ_in_case_or_accents_alone_are_two(root):
    assert len(put(root, "a.nii", "A.nii", "é.nii", unicodedata.normalize("NFD", "é.nii")).records) == 4


@pytest.mark.parametrize(
    "name",
    ["a\nb", "a b", " a ", "été", "-x", "--help", "%s%n", "\x1b[31mred", "x" * 251, "a.b.", "\u202egnp", "*", "a\\b"],
)
def test_any_name_a_file_can_have_is_its_id(root, name):
    assert ids(put(root, f"{name}.nii")) == [name]


def test_a_name_that_is_not_utf8_is_listed_too(root):
    path = os.fsencode(root) + b"/bad\xff.nii"
    with open(path, "wb"):  # noqa: PTH123 - a path of bytes
        pass
    assert ids(find_scans(root)) == ["bad\udcff"]


def test_hidden_and_system_files_are_excluded_each_by_its_path(root):
    names = (".DS_Store", "a/._x.nii.gz", ".git/x.nii", "__MACOSX/x.nii", "a/Thumbs.db", "desktop.ini", ".x.nii/y.nii")
    inputs = put(root, "x.nii", *names)
    assert ids(inputs) == ["x"]
    assert inputs.excluded == dict.fromkeys(names, HIDDEN)


def test_a_folder_named_like_a_scan_is_an_input_and_so_is_what_it_holds(root):
    assert ids(put(root, "x.nii.gz/y.nii")) == ["x", "x.nii.gz/y"]


def test_a_link_to_a_file_is_an_input_and_one_to_a_folder_is_excluded(root):
    put(root, "real/x.nii")
    (root / "link.nii").symlink_to("real/x.nii")
    (root / "folder").symlink_to("real")
    (root / "folder.nii").symlink_to("real")
    (root / "up").symlink_to("..")
    inputs = find_scans(root)
    assert ids(inputs) == ["link", "real/x"]
    assert inputs.excluded == {"folder": LINKED, "folder.nii": LINKED, "up": LINKED}


def test_links_that_lead_nowhere_are_inputs_of_unknown_size(root):
    (root / "broken.nii").symlink_to("nowhere")
    (root / "loop.nii").symlink_to("loop.nii")
    inputs = find_scans(root)
    assert ids(inputs) == ["broken", "loop"]
    assert [record.source.size for record in inputs.records] == [-1, -1]


def test_a_pipe_is_listed_without_being_opened(root):
    os.mkfifo(root / "pipe.nii")
    assert ids(find_scans(root)) == ["pipe"]


def test_folders_nested_a_thousand_deep_are_looked_through(root, monkeypatch):
    monkeypatch.chdir(root)
    for _ in range(1200):
        os.mkdir("d")  # noqa: PTH102 - the whole path would be too long for some systems
        os.chdir("d")
    with open("x.nii", "wb"):  # noqa: PTH123
        pass
    try:
        assert ids(find_scans(root)) == ["d/" * 1200 + "x"]
    finally:
        os.remove("x.nii")  # noqa: PTH107
        for _ in range(1200):  # pytest's own clean-up recurses
            os.chdir("..")
            os.rmdir("d")  # noqa: PTH106


def test_the_cache_is_not_looked_into(root):
    put(root, "x.nii", "cache.nii/inside.nii")
    assert ids(find_scans(root, root / "cache.nii")) == ["x"]


def test_a_source_in_the_cache_is_refused(root):
    message = f"SOURCE {root} lies in CACHE {root}; give a CACHE outside SOURCE"
    assert refusal(find_scans, root, root) == message
    assert refusal(find_scans, root, root.parent) == message.replace(f"CACHE {root}", f"CACHE {root.parent}")


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_source_that_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    message = refusal(find_scans, tmp_path / name)
    assert message == f"SOURCE {tmp_path / name} is not a folder; give the folder that holds the files"


def test_a_folder_that_cannot_be_listed_is_refused(root, monkeypatch):
    put(root, "x.nii", "closed/y.nii")
    scandir = os.scandir

    def closed(folder):
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    message = refusal(find_scans, root)
    assert message == f"cannot list {root / 'closed'}: Permission denied; give a SOURCE that can be read whole"


def test_what_was_seen_of_a_source_follows_its_files(root):
    (record,) = put(root, "x.nii").records
    assert observe(record.source) == record.source
    (root / "x.nii").write_bytes(b"more than before")
    assert observe(record.source).size == 16
    (root / "x.nii").unlink()
    assert observe(record.source).size == -1
