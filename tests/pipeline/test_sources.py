"""Everything below SOURCE gets a record or an exclusion."""

import os
import unicodedata

import pytest

from cache.schema import Entry
from pipeline.errors import PipelineError
from pipeline.sources.formats.ct import find_scans
from pipeline.sources.formats.video import find_clips
from pipeline.sources.ids import keep_ids
from pipeline.sources.records import observe

HIDDEN = "hidden or system file"
HIDDEN_FOLDER = "hidden or system folder, not searched"
TOO_DEEP = "folder nested too deep for this system, not searched; move its contents further up"
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


@pytest.mark.parametrize("folder", ["x.nii", "x.nii.gz", "x.hdr"])
def test_a_folder_named_like_an_input_is_a_folder_if_it_contains_anything_listed(root, folder):
    assert ids(put(root, f"{folder}/x.nii")) == [f"{folder}/x"]
    assert ids(put(root, "x.NII")) == ["x", f"{folder}/x"]  # and takes no file's id
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


def test_a_pair_is_one_input_whatever_the_case_of_its_endings(root):
    (record,) = put(root, "p/x.IMG", "p/x.hdr").records
    assert record.id == "p/x"
    assert record.source.files == ("p/x.hdr", "p/x.IMG")
    assert record.source.size == 14


@pytest.mark.parametrize(
    "files", [("x.hdr.gz", "x.img.gz"), ("x.hdr", "x.img.gz"), ("x.hdr.gz", "x.img"), ("x.HDR", "x.IMG.GZ")]
)
def test_either_half_of_a_pair_may_be_compressed(root, files):
    (record,) = put(root, *files).records
    assert (record.id, record.source.files) == ("x", files)


def test_halves_whose_names_differ_in_case_are_two_inputs(root):
    assert ids(put(root, "X.hdr", "x.img")) == ["X", "x"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("x.nii", "x.nii.gz"), ("x.NII", "x.nii"), ("x.HDR", "x.hdr"), ("d/x.IMG", "d/x.img"), ("x.hdr", "x.hdr.gz")],
)
def test_two_files_with_one_id_are_both_refused_naming_both(root, first, second):
    records = put(root, "good.nii", first, second).records
    assert [record.id for record in records] == [f"{root}/{first}", f"{root}/{second}", "good"]
    for record in records[:2]:
        name = first.rpartition(".")[0]
        assert record.refusal == (
            f"two files would get the id {name!r} ({first!r}, {second!r})",
            "one file for each id",
            "keep one of them, or rename one",
        )


def test_a_folder_named_like_a_scan_does_not_take_its_id(root):
    put(root, "x.nii.gz")
    (root / "x.nii").mkdir()
    folder, scan = find_scans(root).records
    assert (scan.id, scan.source.files, scan.refusal) == ("x", ("x.nii.gz",), None)
    assert folder.source.files == ("x.nii",)
    assert folder.refusal


def test_half_a_pair_does_not_take_the_id_of_a_complete_scan(root):
    whole, half = sorted(put(root, "x.nii", "x.hdr").records, key=lambda record: record.source.files, reverse=True)
    assert (whole.id, whole.refusal) == ("x", None)
    assert half.refusal[0] == "two files would get the id 'x' ('x.hdr', 'x.nii')"


def test_a_pair_and_a_single_file_with_one_id_are_both_refused(root):
    records = put(root, "x.img", "x.nii", "x.hdr").records
    assert [record.source.files for record in records] == [("x.hdr", "x.img"), ("x.nii",)]
    assert all(record.refusal for record in records)


def test_a_reason_names_at_most_five_files_with_one_id(root):
    for number in range(9):
        put(root, f"{number}/A/x.avi")
    records = find_clips(root).records
    assert len({record.id for record in records}) == len(records) == 9
    assert records[0].refusal[0].startswith("9 files would get the id 'A/x' (")
    assert records[0].refusal[0].endswith(", …)")


@pytest.mark.parametrize(("first", "second"), [("A/x.avi", "A/x.mp4"), ("a/A/x.avi", "b/A/x.avi")])
def test_two_clips_with_one_id_are_refused_but_other_clips_are_not(root, first, second):
    put(root, first, second, "A/y.avi")
    (*both, other) = find_clips(root).records
    assert {record.source.files[0] for record in both} == {first, second}
    assert all(record.refusal[0].startswith("two files would get the id 'A/x'") for record in both)
    assert (other.id, other.refusal) == ("A/y", None)


def test_the_source_of_a_sample_keeps_its_id_when_a_second_file_appears(root):
    (before,) = put(root, "x.nii.gz").records
    entries = {"x": Entry("x", "complete", row=0, source=before.source)}
    newcomer, kept = keep_ids(put(root, "x.nii").records, entries)
    assert (kept.group, newcomer.group) == (kept.id, newcomer.id)  # each a group of its own
    assert kept == before
    assert newcomer.source.files == ("x.nii",)
    assert newcomer.refusal[2] == "keep one of them, or rename one"


@pytest.mark.parametrize("state", ["quarantined", "excluded"])
def test_a_file_without_a_sample_does_not_keep_its_id(root, state):
    (before,) = put(root, "x.nii.gz").records
    records = put(root, "x.nii").records
    assert keep_ids(records, {"x": Entry("x", state, source=before.source)}) == records


def test_ids_that_differ_only_in_case_or_accents_are_different(root):
    assert len(put(root, "a.nii", "A.nii", "é.nii", unicodedata.normalize("NFD", "é.nii")).records) == 4


@pytest.mark.parametrize(
    "name",
    ["a\nb", "a b", " a ", "été", "-x", "--help", "%s%n", "\x1b[31mred", "x" * 251, "a.b.", "\u202egnp", "*", "a\\b"],
)
def test_any_valid_file_name_becomes_an_id(root, name):
    assert ids(put(root, f"{name}.nii")) == [name]


def test_a_name_that_is_not_utf8_is_also_listed(root):
    path = os.fsencode(root) + b"/bad\xff.nii"
    with open(path, "wb"):  # noqa: PTH123 - a path of bytes
        pass
    assert ids(find_scans(root)) == ["bad\udcff"]


def test_hidden_and_system_files_are_excluded_each_by_its_path(root):
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
    looked = []
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(path.name) or scandir(path))
    inputs = find_scans(root)
    assert ids(inputs) == ["x"]
    assert inputs.excluded == {folder: HIDDEN_FOLDER}
    assert folder.rpartition("/")[2] not in looked


def test_a_link_to_a_file_is_an_input_and_one_to_a_folder_is_excluded(root):
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
def test_a_broken_git_annex_link_is_refused_with_the_command_that_fetches_it(root, name):
    put(root, "A/x.avi")
    (root / name).symlink_to(".git/annex/objects/Xj/6p/SHA256E-s9--ab.nii.gz/SHA256E-s9--ab.nii.gz")
    find = find_clips if name.endswith(".avi") else find_scans
    (refusal,) = [record.refusal for record in find(root).records if record.source.files == (name,)]
    assert refusal[0] == "a git-annex link"
    assert "git annex get" in refusal[2]


def test_a_pipe_is_listed_without_being_opened(root):
    os.mkfifo(root / "pipe.nii")
    assert ids(find_scans(root)) == ["pipe"]


def test_folders_nested_ten_thousand_deep_are_searched_up_to_the_longest_path(root, monkeypatch):
    monkeypatch.chdir(root)
    put(root, "sound.nii")
    for depth in range(10_000):
        os.mkdir("d")  # noqa: PTH102 - the whole path would be too long for some systems
        os.chdir("d")
        if depth in (1199, 9999):
            with open("x.nii", "wb"):  # noqa: PTH123
                pass
    try:
        inputs = find_scans(root)
        assert ids(inputs) == ["d/" * 1200 + "x", "sound"]
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


def test_a_source_in_the_cache_is_refused(root):
    message = f"SOURCE {root} is in CACHE {root}; give a CACHE outside SOURCE"
    assert refusal(find_scans, root, root) == message
    assert refusal(find_scans, root, root.parent) == message.replace(f"CACHE {root}", f"CACHE {root.parent}")


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_source_that_is_not_a_folder_is_refused(tmp_path, name):
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
    assert message == f"cannot list {root / 'closed'}: Permission denied; change the permissions"


def test_observing_a_source_again_gives_its_present_size_and_time(root):
    (record,) = put(root, "x.nii").records
    assert observe(record.source) == record.source
    (root / "x.nii").write_bytes(b"more than before")
    assert observe(record.source).size == 16
    (root / "x.nii").unlink()
    assert observe(record.source).size == -1
