"""Labels are numbers from 1 or class names."""

import unicodedata

import pytest

from tests.helpers.label_sheets import HEADER, wrong

# Labels


@pytest.mark.parametrize(
    "label", ["6", "2.5", "x", "", "NaN", "inf", "-inf", "1e400", "-1", "1,", "None", "0x1", "1_0"]
)
def test_a_label_that_is_not_a_class_is_reported_with_name_and_line(labels, label):
    labelled, _, report = labels(f'FileName,TypeOfTB\nb.nii.gz,2\na.nii,"{label}"\n')
    assert labelled == {"b": 1}
    assert wrong(report) == [f"labels.csv line 3: 'a.nii': label {label!r}, expected 1 to 5 or a class name"]
    assert report.unlabelled == ["p.hdr", "sub/a.nii"]


@pytest.mark.parametrize("zero", ["0", "0.0", "00", "-0", "0,0"])
@pytest.mark.parametrize("row", ["a.nii", "elsewhere.nii"])
def test_a_sheet_with_labels_from_0_is_rejected(rejection, zero, row):
    text = f'{HEADER}\nb.nii.gz,1\n{row},"{zero}"\np.hdr,4\nsub/a.nii,"{zero}"\n'
    assert rejection(text) == (
        f"labels CSV have label {zero!r} in 2 rows, the first is line 3 ({row!r}); labels count from 1: add 1 to every "
        "label, write class names instead, or choose another column with --label-column"
    )


def test_numeric_class_names_are_matched_as_names(labels):
    labelled, _, report = labels(f"{HEADER}\na.nii,0\nb.nii.gz,1\np.hdr,1.0\nsub/a.nii,2\n", ("0", "1"))
    assert labelled == {"a": 0, "b": 1, "p": 1}
    assert wrong(report) == ["labels.csv line 5: 'sub/a.nii': label '2', expected a class name"]


@pytest.mark.parametrize("text", ["Résumé", "RÉSUMÉ", " résumé ", unicodedata.normalize("NFD", "résumé"), "2", "2.0"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_label_may_be_a_class_name(labels, text, form):
    assert labels(f"{HEADER}\na.nii,{text}\n", ("x", unicodedata.normalize(form, "Résumé")))[0] == {"a": 1}


def test_a_class_name_in_another_case_must_be_unambiguous(labels):
    labelled, _, report = labels(f"{HEADER}\na.nii,ill\nb.nii.gz,Ill\np.hdr,ILL\n", ("ill", "Ill"))
    assert labelled == {"a": 0, "b": 1}
    assert [row.problem for row in report.wrong] == ["label 'ILL', expected 1 to 2 or a class name"]


@pytest.mark.parametrize("text", ["Fibro cavernous", "fibro_cavernous", "FIBROCAVERNOUS", "Fibro - cavernous"])
def test_separators_between_the_words_of_a_class_name_are_ignored(labels, text):
    assert labels(f"{HEADER}\na.nii,{text}\n")[0] == {"a": 4}


def test_separators_next_to_digits_or_that_distinguish_two_class_names_are_significant(labels):
    labelled, _, report = labels(
        f"{HEADER}\na.nii,a b\nb.nii.gz,a_b\np.hdr,1-2\nsub/a.nii,T 1\n", ("a b", "ab", "12", "T1")
    )
    assert labelled == {"a": 0}
    assert [row.file for row in report.wrong] == ["'b.nii.gz'", "'p.hdr'", "'sub/a.nii'"]
