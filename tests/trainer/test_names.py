"""Names in a file of the user are matched to samples."""

from types import SimpleNamespace

import pytest

from cache.schema import Entry, Source
from tests.helpers.errors import error_message
from trainer.runs.names import read_ids, samples_named


def write_ids(folder, text):
    path = folder / "ids.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# Reading


@pytest.mark.parametrize(
    "text",
    [
        "TST_0001.nii.gz\nsub/TST_0002\n",
        "\ufeffTST_0001.nii.gz\r\nsub/TST_0002\r\n",
        "FileName,TypeOfTB\nTST_0001.nii.gz,1\nsub/TST_0002,\n",
        "File_Name;Type\r\nTST_0001.nii.gz;1\r\nsub/TST_0002;\r\n",
        "\ufefffile name\tType\nTST_0001.nii.gz\t1\nsub/TST_0002\n",
        "  id \n TST_0001.nii.gz \n\n\nsub/TST_0002\t\n",
        '"TST_0001.nii.gz",2\n"sub/TST_0002"\n',
    ],
)
def test_ids_are_read_with_or_without_a_header_and_other_columns(tmp_path, text):
    assert read_ids(write_ids(tmp_path, text)) == ["TST_0001.nii.gz", "sub/TST_0002"]


def test_a_file_without_ids_is_rejected(tmp_path):
    path = tmp_path / "ids.txt"
    assert error_message(read_ids, path) == f"{path}: No such file or directory; expected a file with one id per line"
    assert error_message(read_ids, tmp_path) == f"{tmp_path}: Is a directory; expected a file with one id per line"
    for text in ("", "\n \n", "FileName\n", ",1\n"):
        assert error_message(read_ids, write_ids(tmp_path, text)) == f"{path} holds no id; expected one per line"
    assert "is not a text file" in error_message(read_ids, write_ids(tmp_path, b"\xff\xfe\x00"))
    assert "is not a text file" in error_message(read_ids, write_ids(tmp_path, "x" * 200_000))


def test_a_repeated_id_is_rejected(tmp_path):
    many = [f"s{number}" for number in range(100_000)]
    path = write_ids(tmp_path, "\n".join([*many, "s5"]))
    assert error_message(read_ids, path) == f"{path} has 's5' more than once; expected each id once"


# Matching


def cache(*files, kind="ct"):
    """A cache of samples from files or pairs of files."""
    samples = []
    for row, sources in enumerate(files):
        sources = (sources,) if isinstance(sources, str) else sources
        name = sources[0].removesuffix(".gz").rpartition(".")[0]
        samples.append(Entry(name, "complete", row=row, source=Source("/scans", sources)))
    return SimpleNamespace(kind=kind, path="ct.zarr", samples=samples)


SCANS = cache(
    "a/x.nii.gz", "b/x.nii", ("a/pair.hdr", "a/pair.img"), "e\u0301.nii.gz", "1.2.nii", "clip/v_A_g01_c01.avi"
)


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("a/x.nii.gz", "a/x"),
        ("a/x", "a/x"),
        ("./a/x.nii.gz", "a/x"),
        ("b/x.NII.GZ", "b/x"),
        ("a/pair.img", "a/pair"),
        ("pair.hdr", "a/pair"),
        ("pair", "a/pair"),
        ("pair.nii.gz", "a/pair"),
        ("x.nii", "b/x"),  # only one sample has exactly this name
        ("\u00e9", "e\u0301"),
        ("e\u0301.nii.gz", "e\u0301"),
        ("1.2", "1.2"),
        ("v_A_g01_c01.avi", "clip/v_A_g01_c01"),
        ("v_A_g01_c01", "clip/v_A_g01_c01"),
    ],
)
def test_a_sample_is_found_by_path_or_file_name_with_or_without_extension(name, sample):
    assert samples_named(SCANS, [name]) == [sample]


def test_an_ambiguous_file_name_is_rejected():
    assert error_message(samples_named, SCANS, ["x"]) == (
        "'x' is the name of 2 samples of ct.zarr, such as 'a/x' and 'b/x'; give the path below SOURCE"
    )
    assert samples_named(SCANS, ["b/x", "a/x"]) == ["b/x", "a/x"]


def test_two_names_of_the_same_sample_are_rejected():
    assert error_message(samples_named, SCANS, ["a/x", "pair", "a/x.nii.gz"]) == (
        "'a/x' and 'a/x.nii.gz' both mean sample 'a/x' of ct.zarr; expected each once"
    )


@pytest.mark.parametrize("name", ["y", "c/x", "../a/x", "/scans/a/x.nii.gz", "g01", "x.avi.nii"])
def test_a_name_that_matches_no_sample_is_rejected(name):
    assert error_message(samples_named, SCANS, [name]) == (
        f"1 of 1 samples are not in ct.zarr, the first is {name!r}; `info` lists quarantined inputs"
    )


def test_features_are_found_by_id():
    features = cache(kind="features")
    features.samples.append(Entry("a/x", "complete", row=0, source=Source("/ct.zarr", ("volume/c/0/0/0/0",))))
    assert samples_named(features, ["x.nii.gz"]) == ["a/x"]
    assert "are not in" in error_message(samples_named, features, ["volume/c/0/0/0/0"])


def test_many_names_are_found_quickly():
    many = cache(*(f"{number}.nii.gz" for number in range(20_000)))
    assert len(samples_named(many, [f"{number}" for number in range(20_000)])) == 20_000
