"""Values that are not HU of a CT are flagged, with the likely cause."""

import nibabel as nib
import numpy as np
import pytest

from pipeline.demo.phantoms import write_scans
from pipeline.transforms.ct import ct_volume
from tests.helpers.implausible_scans import HU, names


def padded(value):
    """A function that pads a scan as scanners do outside their circular field of view."""

    def pad(hu):
        x, y = (np.linspace(-1, 1, size) for size in hu.shape[:2])
        return np.where((x[:, None] ** 2 + y**2 <= 1)[..., None], hu, value)

    return pad


def some_nan(fraction):
    def put(hu):
        return np.where(np.random.default_rng(0).random(hu.shape) < fraction, np.nan, hu).astype(np.float32)

    return put


def scaled_to_unit(hu):
    return ((np.clip(hu, *HU) + 1000) / 1400).astype(np.float32)


PLAUSIBLE_CHANGES = {
    "unchanged": lambda hu: hu,
    "padded with -2000": padded(-2000),
    "padded with -3024": padded(-3024),
    "padded with -32768": padded(-32768),
    "clipped to the window": lambda hu: np.clip(hu, *HU),
    "without air below -1024": lambda hu: np.maximum(hu, -1024),
    "a few NaN": some_nan(1e-4),
    "noise of float": lambda hu: (hu + np.random.default_rng(0).normal(0, 10, hu.shape)).astype(np.float32),
    "eight bits": lambda hu: np.rint(np.clip(hu, -1024, 1016) / 8) * 8,
}


FAULTS = {  # change of the HU → change, check that must flag it
    "+1024": (lambda hu: hu + 1024, "no air"),
    "+1000": (lambda hu: hu + 1000, "no air"),
    "+1024 unsigned": (lambda hu: np.clip(hu + 1024, 0, 4095).astype(np.uint16), "no air"),
    "+1024, padding too": (lambda hu: padded(-2000)(hu) + 1024, "too dense"),
    "+1024, padded with -3024": (lambda hu: padded(-3024)(hu) + 1024, "no air"),
    "+32768": (lambda hu: (hu + 32768).astype(np.uint16), "no air"),
    "signed read as unsigned": (lambda hu: hu.astype(np.int16).view(np.uint16), "no air"),
    "bytes swapped": (lambda hu: hu.astype(np.int16).byteswap(), "no air"),
    "intercept twice": (lambda hu: hu - 1024, "no soft tissue"),
    "intercept twice, padded": (lambda hu: padded(-2000)(hu) - 1024, "no soft tissue"),
    "[0, 1]": (scaled_to_unit, "no air"),
    "[-1, 1]": (lambda hu: 2 * scaled_to_unit(hu) - 1, "no air"),
    "[0, 255]": (lambda hu: (255 * scaled_to_unit(hu)).astype(np.uint8), "no air"),
    "thousandths": (lambda hu: (hu / 1000).astype(np.float32), "no air"),
    "standardised": (lambda hu: ((hu - hu.mean()) / hu.std()).astype(np.float32), "no air"),
    "attenuation": (lambda hu: (0.19 * (hu + 1000) / 1000).astype(np.float32), "no air"),
    "inverted": (lambda hu: -hu, "no air"),
    "a soft tissue window": (lambda hu: np.clip(hu, -160, 240), "no air"),
    "all NaN": (some_nan(1), "not finite"),
    "a twentieth NaN": (some_nan(0.05), "not finite"),
    "infinite": (lambda hu: np.full(hu.shape, np.inf, np.float32), "not finite"),
    "a mask": (lambda hu: (hu > -300).astype(np.uint8), "few values"),
    "a mask of 255": (lambda hu: 255 * (hu > -300).astype(np.uint8), "few values"),
    "a mask of air": (lambda hu: np.where(hu > -300, 0, -1000), "few values"),
    "labels": (lambda hu: np.digitize(hu, range(-1000, 500, 100)).astype(np.int16), "few values"),
    "one value": (lambda hu: np.full(hu.shape, -1000), "constant"),
    "lungs alone": (lambda hu: np.where((hu < -500) & (hu > -950), hu, -1000), "no soft tissue"),
}


@pytest.mark.parametrize("change", PLAUSIBLE_CHANGES.values(), ids=PLAUSIBLE_CHANGES)
def test_a_ct_in_hu_is_not_flagged(flags_of, chest, change):
    assert flags_of(change(chest))[0] == []


@pytest.mark.parametrize(("change", "name"), FAULTS.values(), ids=FAULTS)
def test_values_that_are_not_hu_are_flagged(flags_of, chest, change, name):
    assert name in names(flags_of(change(chest))[0])


@pytest.mark.parametrize("change", ["+1024", "[0, 1]", "a mask"])
def test_the_original_preset_also_flags_wrong_values(flags_of, chest, change):
    assert flags_of(FAULTS[change][0](chest), preset="original")[0]


def test_no_phantom_of_the_demo_is_flagged(tmp_path):
    write_scans(tmp_path / "scans", per_class=1, size=64, slices=(40, 41))
    for number in range(1, 6):
        paths = tuple(sorted((tmp_path / "scans").glob(f"TRN_000{number}.*")))
        assert ct_volume(paths, depth=4, height=8, width=8, order=1)[2]["flags"] == []


def real_scans(folder):
    return sorted(path for path in (folder / "ct").iterdir() if ".nii" in path.name)


def test_no_real_ct_is_flagged(real_data):
    for path in real_scans(real_data):
        assert ct_volume((path,), depth=4, height=8, width=8, order=1)[2]["flags"] == [], path.name


@pytest.mark.parametrize("name", ["3DCT_lung.nii.gz", "aorta_ct_cropped.nii.gz", "STS_008_CT.nii.gz"])
def test_a_real_ct_is_flagged_only_if_its_values_are_not_hu(real_data, flags_of, name):
    image = nib.load(real_data / "ct" / name)
    hu = np.asarray(image.dataobj).astype(np.int32)
    for change in PLAUSIBLE_CHANGES.values():
        assert flags_of(change(hu), image.affine)[0] == []
    for change, _ in FAULTS.values():
        assert flags_of(change(hu), image.affine)[0]


def inverted_within_the_window(hu):
    return HU[0] + HU[1] - np.clip(hu, *HU)


def test_values_inverted_within_the_window_are_flagged(flags_of, chest):
    (flag,), _ = flags_of(inverted_within_the_window(chest))
    assert flag.startswith("too bright: ")
    assert flag.endswith("values look inverted: export them in HU")


@pytest.mark.parametrize("name", ["3DCT_lung.nii.gz", "STS_008_CT.nii.gz", "head_shear_uint8_scl.nii.gz"])
def test_a_real_ct_inverted_within_the_window_is_flagged(real_data, flags_of, name):
    image = nib.load(real_data / "ct" / name)
    hu = np.asarray(image.dataobj).astype(np.int32)
    assert names(flags_of(inverted_within_the_window(hu), image.affine)[0]) == {"too bright"}


def test_every_real_image_that_is_not_ct_is_flagged(real_data):
    unusual = real_data / "nifti_odd"
    mr = ("RAS", "LPS", "AIL", "SPR", "someones_epi", "minimal", "standard", "low_res")
    paths = [(unusual / f"{name}.nii.gz",) for name in mr]
    paths += [
        (unusual / "anatomical.nii",),
        (unusual / "reoriented_anat_moved.nii",),
        (unusual / "resampled_anat_moved.nii",),
    ]
    paths += [(unusual / "ras.hdr", unusual / "ras.img")]
    for files in paths:
        flags = names(ct_volume(files, depth=4, height=8, width=8, order=1)[2]["flags"])
        assert {"no air", "few values"} & flags, files  # one of them has two values


def test_a_flag_names_the_measured_value_the_expected_one_and_a_remedy(flags_of, chest):
    (flag, *_), _ = flags_of(chest + 1024)
    assert flag == (
        "no air: 0.0 % of voxels between -1200 and -700 HU, a chest CT has 20 % or more; "
        "values look shifted by +1024, or are not from a CT: check the modality and the rescale intercept"
    )


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("+32768", "32768 too high"),
        ("intercept twice", "applied twice"),
        ("[0, 1]", "scaled to [0, 1]"),
        ("[0, 255]", "8-bit gray"),
        ("inverted", "inverted"),
        ("standardised", "standardised"),
        ("thousandths", "scaled"),
        ("lungs alone", "check if the rest was masked"),
    ],
)
def test_a_flag_names_the_likely_cause_of_wrong_values(flags_of, chest, change, cause):
    assert cause in flags_of(FAULTS[change][0](chest))[0][0]


@pytest.mark.parametrize(
    "change", ["a mask", "a mask of 255", "a mask of air", "labels", "one value", "all NaN", "infinite"]
)
def test_a_scan_with_few_or_no_finite_values_has_only_that_flag(flags_of, chest, change):
    data, name = FAULTS[change]
    assert names(flags_of(data(chest))[0]) == {name}


def test_a_window_that_gives_only_black_and_white_is_flagged(flags_of, chest):
    assert names(flags_of(chest, window=(1400, 1500))[0]) == {"clipped"}


def test_nonfinite_voxels_are_measured_and_all_measurements_stay_finite(flags_of, chest):
    flags, record = flags_of(some_nan(1)(chest))
    assert record["measured"]["nonfinite"] == 1
    assert all(type(value) is float and np.isfinite(value) for value in record["measured"].values())
    assert flags[0].startswith("not finite: 100.0 % of voxels are NaN or infinite and were treated as air")
