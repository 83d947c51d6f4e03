"""Everything below SOURCE gets a record or an exclusion, and every row of a labels CSV is followed or reported."""

import os
import unicodedata

import pytest

from cache.schema import Entry
from pipeline.errors import PipelineError
from pipeline.labels import apply_labels
from pipeline.sources import find_clips, find_scans, keep_ids, observe

HIDDEN = "hidden or system file"
HIDDEN_FOLDER = "hidden or system folder, not searched"
TOO_DEEP = "folder nested too deep for this system, not searched; move what it holds further up"
LINKED = "link to a folder, not followed; give the folder itself as SOURCE"
COMMAS = "with commas between them, in UTF-8"
COLUMNS = f"expected the columns FileName,TypeOfTB and optionally Patient, {COMMAS}"
ANY_COLUMNS = f"expected a header, then a file name and a label in each line, {COMMAS}"


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


def test_other_files_are_passed_over_and_counted_by_their_endings(root):
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
def test_of_two_files_of_one_id_each_is_refused_by_its_path_naming_both(root, first, second):
    records = put(root, "good.nii", first, second).records
    assert [record.id for record in records] == [f"{root}/{first}", f"{root}/{second}", "good"]
    for record in records[:2]:
        name = first.rpartition(".")[0]
        assert record.refusal == (
            f"two files would get the id {name!r} ({first!r}, {second!r})",
            "one file for each id",
            "keep one of them, or rename one",
        )


def test_a_lone_half_of_a_pair_does_not_take_the_id_of_a_whole_scan(root):
    whole, half = sorted(put(root, "x.nii", "x.hdr").records, key=lambda record: record.source.files, reverse=True)
    assert (whole.id, whole.refusal) == ("x", None)
    assert half.refusal[0] == "two files would get the id 'x' ('x.hdr', 'x.nii')"


def test_a_pair_and_a_single_file_of_one_id_are_both_refused(root):
    records = put(root, "x.img", "x.nii", "x.hdr").records
    assert [record.source.files for record in records] == [("x.hdr", "x.img"), ("x.nii",)]
    assert all(record.refusal for record in records)


def test_many_files_of_one_id_are_not_all_named_in_each_reason(root):
    for number in range(9):
        put(root, f"{number}/A/x.avi")
    records = find_clips(root).records
    assert len({record.id for record in records}) == len(records) == 9
    assert records[0].refusal[0].startswith("9 files would get the id 'A/x' (")
    assert records[0].refusal[0].endswith(", …)")


@pytest.mark.parametrize(("first", "second"), [("A/x.avi", "A/x.mp4"), ("a/A/x.avi", "b/A/x.avi")])
def test_two_clips_of_one_id_are_refused_and_their_neighbours_are_not(root, first, second):
    put(root, first, second, "A/y.avi")
    (*both, other) = find_clips(root).records
    assert {record.source.files[0] for record in both} == {first, second}
    assert all(record.refusal[0].startswith("two files would get the id 'A/x'") for record in both)
    assert (other.id, other.refusal) == ("A/y", None)


def test_the_file_that_a_sample_was_made_of_keeps_its_id_when_a_second_one_turns_up(root):
    (before,) = put(root, "x.nii.gz").records
    entries = {"x": Entry("x", "complete", row=0, source=before.source)}
    newcomer, kept = keep_ids(put(root, "x.nii").records, entries)
    assert kept == before
    assert newcomer.source.files == ("x.nii",)
    assert newcomer.refusal[2] == "keep one of them, or rename one"


@pytest.mark.parametrize("state", ["quarantined", "excluded"])
def test_what_has_no_sample_keeps_no_id(root, state):
    (before,) = put(root, "x.nii.gz").records
    records = put(root, "x.nii").records
    assert keep_ids(records, {"x": Entry("x", state, source=before.source)}) == records


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
def test_a_hidden_or_system_folder_is_one_exclusion_whatever_it_holds(root, folder, monkeypatch):
    put(root, "x.nii", *(f"{folder}/{number}/y.nii" for number in range(5)))
    scandir = os.scandir
    looked = []
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(path.name) or scandir(path))
    inputs = find_scans(root)
    assert ids(inputs) == ["x"]
    assert inputs.excluded == {folder: HIDDEN_FOLDER}
    assert folder.rpartition("/")[2] not in looked


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


@pytest.mark.parametrize("name", ["link.nii.gz", "A/link.avi"])
def test_a_link_of_git_annex_that_leads_nowhere_is_refused_with_the_command_that_fetches_it(root, name):
    put(root, "A/x.avi")
    (root / name).symlink_to(".git/annex/objects/Xj/6p/SHA256E-s9--ab.nii.gz/SHA256E-s9--ab.nii.gz")
    find = find_clips if name.endswith(".avi") else find_scans
    (refusal,) = [record.refusal for record in find(root).records if record.source.files == (name,)]
    assert refusal[0] == "a git-annex link"
    assert "git annex get" in refusal[2]


def test_a_pipe_is_listed_without_being_opened(root):
    os.mkfifo(root / "pipe.nii")
    assert ids(find_scans(root)) == ["pipe"]


def test_folders_nested_ten_thousand_deep_are_looked_through_as_far_as_paths_reach(root, monkeypatch):
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


# Labels


@pytest.fixture
def labels(root, tmp_path):
    """Write the bytes or text of a CSV and apply it to four scans: (label by id, group by id, report)."""
    put(root, "a.nii", "b.nii.gz", "sub/a.nii", "p.hdr", "p.img")

    def labels(text, classes=5, **options):
        path = tmp_path / "labels.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        records, report = apply_labels(find_scans(root).records, path, classes, **options)
        given = {record.id: record.label for record in records if record.label >= 0}
        return given, {record.id: record.group for record in records}, report

    return labels


GOOD = "FileName,TypeOfTB\na.nii,1\nb.nii.gz,5\nsub/a.nii,3\np.hdr,2\n"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.encode("utf-8-sig"),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.removesuffix("\n"),
        GOOD.replace("\n", "\n\n , \n"),
        "\n\n" + GOOD,
        GOOD.replace("\na.nii", '\n"a.nii"'),
        GOOD.replace(",", " , "),
        GOOD.replace(",5", ",5.0"),
        GOOD.replace("p.hdr", "p.img"),
        GOOD.replace("\n", ",\n"),
        GOOD.replace("FileName,TypeOfTB", "filename,TYPEOFTB"),
        "TypeOfTB,x,FileName\n1,,a.nii\n5,,b.nii.gz\n3,9,sub/a.nii\n2,,p.hdr",
    ],
)
def test_a_table_is_read_however_a_spreadsheet_wrote_it(labels, text):
    given, groups, report = labels(text)
    assert given == {"a": 0, "b": 4, "sub/a": 2, "p": 1}
    assert groups == {name: name for name in given}
    assert report.wrong == report.unlabelled == []


@pytest.mark.parametrize("header", ["FileName,TypeOfTB,Patient", "patient,FileName,TypeOfTB"])
def test_the_patient_column_groups_scans_wherever_it_stands(labels, header):
    row = "{1},a.nii,1\n{1},b.nii.gz,2" if header.startswith("p") else "a.nii,1,{1}\nb.nii.gz,2,{1}"
    _, groups, report = labels(f"{header}\n{row.replace('{1}', 'P 7')}\n")
    assert groups == {"a": "P 7", "b": "P 7", "sub/a": "sub/a", "p": "p"}
    assert report.wrong == []


@pytest.mark.parametrize("label", ["0", "6", "2.5", "x", "", "NaN", "inf", "-inf", "1e400", "-1", "1,", "None", "0x1"])
def test_a_label_that_is_none_of_the_classes_is_reported_with_name_and_line(labels, label):
    given, _, report = labels(f'FileName,TypeOfTB\nb.nii.gz,2\na.nii,"{label}"\n')
    assert given == {"b": 1}
    assert report.wrong == [f"labels.csv line 3: 'a.nii': label {label!r}, expected 1 to 5"]
    assert report.unlabelled == ["p.hdr", "sub/a.nii"]


def test_a_file_without_a_row_is_told_apart_from_one_with_a_wrong_row(labels):
    _, _, report = labels("FileName,TypeOfTB\na.nii,9\nb.nii.gz,1\n")
    assert len(report.wrong) == 1
    assert report.unlabelled == ["p.hdr", "sub/a.nii"]


def test_a_row_without_a_file_is_reported_with_name_and_line(labels):
    _, _, report = labels(GOOD + "TRN_0404.nii.gz,1\n,2\n")
    assert report.wrong == [
        "labels.csv line 6: 'TRN_0404.nii.gz': no such file",
        "labels.csv line 7: '': no such file",
    ]


def test_a_duplicate_row_counts_once_where_alike_and_not_at_all_where_not(labels):
    given, _, report = labels(GOOD + "b.nii.gz,5\np.img,2\na.nii,4\na.nii,1\n")
    assert given == {"b": 4, "sub/a": 2, "p": 1}
    assert report.wrong == [
        "labels.csv lines 2, 8, 9: 'a.nii' is there 3 times, not alike: it stays unlabelled",
        "labels.csv lines 3, 6: 'b.nii.gz' is there 2 times, alike",
        "labels.csv lines 5, 7: 'p.hdr' is there 2 times, alike",
    ]
    assert report.unlabelled == []


def test_a_bare_name_that_several_files_have_must_be_given_as_a_path(labels, root):
    put(root, "x/c.nii", "y/c.nii")
    given, _, report = labels("FileName,TypeOfTB\nc.nii,1\ny/c.nii,2\n")
    assert given == {"y/c": 1}
    assert report.wrong == ["labels.csv line 2: 'c.nii': 2 files have this name; give the path below SOURCE"]


def test_a_path_below_source_means_that_file_even_where_others_have_its_name(labels):
    given, _, report = labels("FileName,TypeOfTB\na.nii,1\n")
    assert given == {"a": 0}
    assert report.wrong == []


def test_a_cell_too_many_is_reported_for_it_may_be_a_decimal_comma(labels):
    given, _, report = labels("FileName,TypeOfTB\na.nii,2,5\n")
    assert given == {}
    problem = "1 more cells than the header; expected as many, and no comma inside a number"
    assert report.wrong == [f"labels.csv line 2: 'a.nii': {problem}"]


def test_accents_match_however_they_are_composed(labels, root):
    put(root, unicodedata.normalize("NFD", "été.nii"))
    given, _, report = labels(f"FileName,TypeOfTB\n{unicodedata.normalize('NFC', 'été.nii')},1\n")
    assert list(given.values()) == [0]
    assert report.wrong == []


def test_a_long_name_is_cut_in_the_report(labels):
    _, _, report = labels(f"FileName,TypeOfTB\n{'x' * 1000},1\n")
    assert report.wrong == [f"labels.csv line 2: '{'x' * 80}…': no such file"]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_another_labelled_set_has_its_own_header_and_classes(labels, classes):
    given, _, report = labels(f"scan,finding\na.nii,{classes}\nb.nii.gz,{classes + 1}\n", classes, any_header=True)
    assert given == {"a": classes - 1}
    assert report.wrong == [f"labels.csv line 3: 'b.nii.gz': label '{classes + 1}', expected 1 to {classes}"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "''"),
        ("\n\n", "''"),
        ("FileName;TypeOfTB\na.nii;1\n", "'FileName;TypeOfTB'"),
        ("FileName\na.nii\n", "'FileName'"),
        ("TypeOfTB,Patient\n1,2\n", "'TypeOfTB,Patient'"),
        ("a.nii,1\nb.nii.gz,2\n", "'a.nii,1'"),
        ("x" * 5000, f"'{'x' * 80}…'"),
    ],
)
def test_a_table_without_the_columns_is_refused_with_how_it_begins(labels, tmp_path, text, shown):
    assert refusal(labels, text) == f"labels {tmp_path / 'labels.csv'} begin with {shown}; {COLUMNS}"


@pytest.mark.parametrize("text", ["", "scan\na.nii\n", "a.nii,1\nb.nii.gz,2\n"])
def test_with_class_names_a_table_of_one_column_or_without_a_header_is_refused(labels, tmp_path, text):
    shown = repr(text.split("\n")[0])
    assert refusal(labels, text, 2, any_header=True) == (
        f"labels {tmp_path / 'labels.csv'} begin with {shown}; {ANY_COLUMNS}"
    )


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (GOOD.encode("utf-16"), 0, "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"FileName,TypeOfTB\n\xe9.nii,1\n", 0, "'utf-8' codec can't decode byte 0xe9 in position 18: "
                                                "invalid continuation byte"),
        (GOOD + '"b.nii.gz,1\n', 5, "unexpected end of data"),
        (GOOD + "x" * 200_000, 5, "field larger than field limit (131072)"),
    ],
    ids=["UTF-16", "Latin-1", "open quote", "huge field"],
)  # fmt: skip
def test_a_file_that_is_no_table_is_refused_with_the_last_good_line(labels, tmp_path, text, line, problem):
    path = tmp_path / "labels.csv"
    assert refusal(labels, text) == f"labels {path} cannot be read after line {line} ({problem}); {COLUMNS}"


@pytest.mark.parametrize(("name", "problem"), [("", "Is a directory"), ("missing.csv", "No such file or directory")])
def test_labels_that_cannot_be_opened_are_refused(tmp_path, name, problem):
    path = tmp_path / name
    assert refusal(apply_labels, [], path, 5) == f"cannot read labels {path}: {problem}"
