"""Any CT in HU passes every check, phantom or real; what only looks like one is flagged for what is wrong with it."""

from dataclasses import replace

import cv2
import nibabel as nib
import numpy as np
import pytest

from pipeline.checks.ct import CHECKS, flags
from pipeline.checks.measure import VoxelSample, measure
from pipeline.checks.video import clip_findings
from pipeline.demo.phantom_clips import write_clips
from pipeline.demo.phantoms import scan, write_scans
from pipeline.recipes.video import VideoRecipe
from pipeline.transforms.ct import ct_volume

RAS = np.diag([2.0, 2.0, 5.0, 1.0])
RAS[:3, 3] = -170, -190, 30
HU = (-1000.0, 400.0)


def padded(value):
    """What scanners write outside the circle they see."""

    def pad(hu):
        x, y = (np.linspace(-1, 1, size) for size in hu.shape[:2])
        return np.where((x[:, None] ** 2 + y**2 <= 1)[..., None], hu, value)

    return pad


def some_nan(share):
    def put(hu):
        return np.where(np.random.default_rng(0).random(hu.shape) < share, np.nan, hu).astype(np.float32)

    return put


def unit(hu):
    return ((np.clip(hu, *HU) + 1000) / 1400).astype(np.float32)


SOUND = {
    "as it is": lambda hu: hu,
    "padded with -2000": padded(-2000),
    "padded with -3024": padded(-3024),
    "padded with -32768": padded(-32768),
    "clipped to the window": lambda hu: np.clip(hu, *HU),
    "without air below -1024": lambda hu: np.maximum(hu, -1024),
    "a few NaN": some_nan(1e-4),
    "noise of float": lambda hu: (hu + np.random.default_rng(0).normal(0, 10, hu.shape)).astype(np.float32),
    "eight bits": lambda hu: np.rint(np.clip(hu, -1024, 1016) / 8) * 8,
}
FAULTS = {  # what was done to HU -> checks of which one must flag it
    "+1024": (lambda hu: hu + 1024, "no air"),
    "+1000": (lambda hu: hu + 1000, "no air"),
    "+1024 unsigned": (lambda hu: np.clip(hu + 1024, 0, 4095).astype(np.uint16), "no air"),
    "+1024, padding and all": (lambda hu: padded(-2000)(hu) + 1024, "too dense"),
    "+1024, padded with -3024": (lambda hu: padded(-3024)(hu) + 1024, "no air"),
    "+32768": (lambda hu: (hu + 32768).astype(np.uint16), "no air"),
    "signed read as unsigned": (lambda hu: hu.astype(np.int16).view(np.uint16), "no air"),
    "bytes swapped": (lambda hu: hu.astype(np.int16).byteswap(), "no air"),
    "intercept twice": (lambda hu: hu - 1024, "no soft tissue"),
    "intercept twice, padded": (lambda hu: padded(-2000)(hu) - 1024, "no soft tissue"),
    "[0, 1]": (unit, "no air"),
    "[-1, 1]": (lambda hu: 2 * unit(hu) - 1, "no air"),
    "[0, 255]": (lambda hu: (255 * unit(hu)).astype(np.uint8), "no air"),
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


@pytest.fixture
def flagged(tmp_path):
    def flagged(data, affine=RAS, **options):
        """The flags of a scan of these values, and its record."""
        data = data if data.dtype.kind == "f" or data.dtype.itemsize < 4 else data.astype(np.int32)
        path = tmp_path / "scan.nii"
        nib.save(nib.Nifti1Image(data, affine), path)
        record = ct_volume((path,), **{"depth": 4, "height": 8, "width": 8, "order": 1} | options)[2]
        return record["flags"], record

    return flagged


def names(texts):
    return {text.partition(":")[0] for text in texts}


@pytest.fixture(scope="module")
def chest():
    """Healthy lungs in HU, axes toward Right, Anterior, Superior as in `RAS`."""
    return np.ascontiguousarray(scan(0, 7, (40, 96, 96), (5, 3.6, 3.6)).transpose()[::-1, ::-1]).astype(np.int32)


@pytest.mark.parametrize("change", SOUND.values(), ids=SOUND)
def test_a_ct_in_hu_is_not_flagged(flagged, chest, change):
    assert flagged(change(chest))[0] == []


@pytest.mark.parametrize(("change", "name"), FAULTS.values(), ids=FAULTS)
def test_values_that_are_not_hu_are_flagged(flagged, chest, change, name):
    assert name in names(flagged(change(chest))[0])


@pytest.mark.parametrize("change", ["+1024", "[0, 1]", "a mask"])
def test_the_original_preset_flags_too(flagged, chest, change):
    assert flagged(FAULTS[change][0](chest), preset="original")[0]


def test_every_phantom_of_the_demo_passes(tmp_path):
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
def test_real_ct_is_flagged_when_it_is_no_longer_in_hu(real_data, flagged, name):
    image = nib.load(real_data / "ct" / name)
    hu = np.asarray(image.dataobj).astype(np.int32)
    for change in SOUND.values():
        assert flagged(change(hu), image.affine)[0] == []
    for change, _ in FAULTS.values():
        assert flagged(change(hu), image.affine)[0]


def inverted_within_the_window(hu):
    return HU[0] + HU[1] - np.clip(hu, *HU)


def test_values_inverted_within_the_window_are_flagged(flagged, chest):
    (found,), _ = flagged(inverted_within_the_window(chest))
    assert found.startswith("too bright: ")
    assert found.endswith("values look inverted: export them in HU")


@pytest.mark.parametrize("name", ["3DCT_lung.nii.gz", "STS_008_CT.nii.gz", "head_shear_uint8_scl.nii.gz"])
def test_real_ct_inverted_within_the_window_is_flagged(real_data, flagged, name):
    image = nib.load(real_data / "ct" / name)
    hu = np.asarray(image.dataobj).astype(np.int32)
    assert names(flagged(inverted_within_the_window(hu), image.affine)[0]) == {"too bright"}


def test_every_real_image_that_is_not_ct_is_flagged(real_data):
    odd = real_data / "nifti_odd"
    mr = ("RAS", "LPS", "AIL", "SPR", "someones_epi", "minimal", "standard", "low_res")
    paths = [(odd / f"{name}.nii.gz",) for name in mr]
    paths += [(odd / "anatomical.nii",), (odd / "reoriented_anat_moved.nii",), (odd / "resampled_anat_moved.nii",)]
    paths += [(odd / "ras.hdr", odd / "ras.img")]
    for found in paths:
        flagged = names(ct_volume(found, depth=4, height=8, width=8, order=1)[2]["flags"])
        assert {"no air", "few values"} & flagged, found  # one of them has two values


def test_a_flag_says_what_was_measured_what_is_expected_and_what_to_do(flagged, chest):
    (found, *_), _ = flagged(chest + 1024)
    assert found == (
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
def test_the_likely_cause_is_named(flagged, chest, change, cause):
    assert cause in flagged(FAULTS[change][0](chest))[0][0]


@pytest.mark.parametrize(
    "change", ["a mask", "a mask of 255", "a mask of air", "labels", "one value", "all NaN", "infinite"]
)
def test_a_scan_with_few_values_or_none_has_only_that_flag(flagged, chest, change):
    data, name = FAULTS[change]
    assert names(flagged(data(chest))[0]) == {name}


def placed(*spacing, at=(-170, -190, 30)):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = at
    return affine


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (placed(3.6, 3.6, 5), set()),
        (placed(1, 1, 1, at=(0, 0, 0)), {"spacing never set", "extent"}),
        (None, {"spacing never set", "extent"}),
        (placed(1, 1, 1), {"extent"}),
        (placed(0.0036, 0.0036, 0.005), {"extent"}),
        (placed(36, 36, 50), {"extent", "slice spacing"}),
        (placed(3.6, 3.6, 15), {"slice spacing"}),
        (placed(1.5, 3.6, 5), {"pixels not square"}),
    ],
)
def test_implausible_geometry_is_flagged(flagged, chest, affine, expected):
    assert names(flagged(chest, affine)[0]) == expected


def test_512_pixels_of_exactly_1_mm_are_flagged_in_any_orientation(flagged):
    hu = np.tile(np.random.default_rng(0).integers(-1000, 400, (64, 64, 60), np.int16), (8, 8, 1))
    assert names(flagged(hu, placed(1, 1, 1))[0]) == {"spacing never set"}
    assert flagged(hu, placed(0.9, 0.9, 1))[0] == []
    assert flagged(hu[:300, :300], placed(1, 1, 1))[0] == []


@pytest.mark.parametrize("codes", ["RAS", "PIR", "SLA"])
def test_slices_are_counted_along_the_body_in_any_axis_order(flagged, chest, codes):
    image = nib.Nifti1Image(chest[:, :, ::4], placed(3.6, 3.6, 10))
    turned = image.as_reoriented(nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)))  # fmt: skip
    found, record = flagged(np.asarray(turned.dataobj), turned.affine)
    assert found == [
        "few slices: 10 slices along the body, a chest CT has 20 or more; "
        "check that this is neither a localizer nor a part of the scan"
    ]
    assert record["measured"]["extent_z"] == 100


def test_a_window_that_gives_only_black_and_white_is_flagged(flagged, chest):
    assert names(flagged(chest, window=(1400, 1500))[0]) == {"clipped"}


def test_nonfinite_voxels_are_measured_and_leave_finite_figures(flagged, chest):
    found, record = flagged(some_nan(1)(chest))
    assert record["measured"]["nonfinite"] == 1
    assert all(type(value) is float and np.isfinite(value) for value in record["measured"].values())
    assert found[0].startswith("not finite: 100.0 % of voxels are NaN or infinite and were taken as air")


@pytest.mark.parametrize("slope", [2.0, -2.0])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "<f4", ">f8", "<u8"])
def test_all_voxels_of_a_small_scan_are_measured_in_hu(dtype, slope):
    raw = np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(dtype)
    sample = VoxelSample(raw.shape, raw.dtype)
    for plane in raw:
        sample.add(plane)
    hu, distinct = sample.hu(slope, -30)
    np.testing.assert_array_equal(hu, np.sort(raw.astype(float).ravel() * slope - 30))
    assert distinct == len(np.unique(raw))


def test_some_voxels_of_every_slice_of_a_large_scan_are_measured():
    sample = VoxelSample((50, 512, 512), np.dtype("i2"))
    for number in range(50):
        sample.add(np.full((512, 512), number, np.int16))
    hu, distinct = sample.hu(1, 0)
    assert distinct == 50
    assert 100_000 < hu.size <= 220_000


def test_every_check_is_in_the_table():
    plausible = measure(
        np.sort(np.random.default_rng(0).uniform(-1000, 400, 5000)), 5000,
        nonfinite=0, window=HU, shape=(512, 512, 100), spacing=(0.7, 0.7, 2), origin=200,
    )  # fmt: skip
    assert flags(plausible) == []
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_the_figures_of_known_values():
    """1,000 of padding, 300 of air, 400 of soft tissue, 200 bright and 100 dense, each spread evenly."""
    parts = (-2010, -1990, 1000), (-1100, -800, 300), (-200, 199, 400), (300, 599, 200), (600, 1500, 100)
    hu = np.concatenate([np.linspace(low, high, count) for low, high, count in parts])
    found = measure(hu, 2000, nonfinite=0.25, window=HU, shape=(4, 5, 6), spacing=(2, 3, 4), origin=7)
    assert (found.voxels, found.distinct, found.nonfinite, found.origin) == (2000, 2000, 0.25, 7)
    assert (found.least, found.most) == (-2010, 1500)
    assert found.low == pytest.approx(-1100 + 300 / 299 * 10)
    assert (found.padding, found.below_air) == (0.5, 0)
    assert (found.air, found.soft_tissue, found.bright, found.dense) == (0.15, 0.2, 0.1, 0.05)
    assert found.clipped_low == pytest.approx((1000 + 100) / 2000, abs=1e-3)
    assert found.clipped_high == pytest.approx((100 + 133) / 2000, abs=2e-3)
    assert (found.slices, found.extent_x, found.extent_y, found.extent_z) == (6, 8, 15, 24)


def test_values_more_than_50_hu_from_the_padding_are_below_air():
    hu = np.concatenate([np.full(500, -2000.0), np.full(200, -1940.0), np.full(1300, -900.0)])
    found = measure(hu, 3, nonfinite=0, window=HU, shape=(4, 5, 6), spacing=(2, 3, 4), origin=7)
    assert (found.padding, found.below_air) == (0.25, pytest.approx(0.1))
    assert found.low == -1940


def test_a_scan_of_padding_only_has_the_padding_as_its_lowest_value():
    found = measure(np.full(50, -2000.0), 1, nonfinite=0, window=HU, shape=(4, 5, 6), spacing=(2, 3, 4), origin=7)
    assert (found.padding, found.low, found.air) == (1, -2000, 0)


# Clips


def moving(frames=10):
    picture = np.random.default_rng(0).integers(0, 256, (24, 32), np.uint8)
    return np.stack([np.roll(picture, number, axis=1) for number in range(frames)])


def test_a_clip_that_moves_is_not_flagged():
    findings = clip_findings(moving())
    assert findings["flags"] == []
    assert findings["measured"]["change"] > 100


def test_one_small_moving_object_is_not_a_still():
    frames = np.repeat(moving(1), 10, axis=0)
    frames[4, 3, 5] ^= 128
    assert clip_findings(frames)["flags"] == []


@pytest.mark.parametrize("noise", [0, 4])
def test_a_still_is_flagged_despite_small_changes_by_encoding(noise):
    frames = np.clip(moving(1) + np.random.default_rng(1).integers(0, noise + 1, (10, 24, 32)), 0, 255)
    assert names(clip_findings(frames.astype(np.uint8))["flags"]) == {"still"}


@pytest.mark.parametrize("gray", [0, 128, 255])
def test_a_clip_of_one_gray_is_flagged(gray):
    assert names(clip_findings(np.full((5, 6, 7), gray, np.uint8))["flags"]) == {"constant"}


def test_a_clip_of_flat_pictures_that_change_is_not_flagged():
    assert clip_findings(np.arange(0, 250, 10, np.uint8)[:, None, None] + np.zeros((1, 6, 7), np.uint8))["flags"] == []


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_clips_record_has_its_figures_and_flags(tmp_path, dtype):
    write_clips(tmp_path, groups=1, clips=1)
    moving, *_ = sorted(tmp_path.rglob("*g01_c01.avi"))
    still = tmp_path / "still.avi"
    writer = cv2.VideoWriter(str(still), cv2.VideoWriter.fourcc(*"XVID"), 25, (320, 240))
    picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8), (320, 240))
    for _ in range(75):
        writer.write(picture)
    writer.release()
    recipe = VideoRecipe(depth=10, height=32, width=32, sampling="uniform", dtype=dtype)
    assert recipe.make((moving,)).details["flags"] == []
    assert names(recipe.make((still,)).details["flags"]) == {"still"}
    assert recipe.make((still,)).details["measured"]["change"] <= 8


# Limits: figures just inside them, and just outside


@pytest.fixture(scope="module")
def plausible():
    """The figures of a chest."""
    values = np.sort(np.random.default_rng(0).uniform(-1000, 400, 5000))
    of_scan = {"nonfinite": 0, "window": HU, "shape": (512, 512, 100), "spacing": (0.7, 0.7, 2), "origin": 200}
    return measure(values, 5000, **of_scan)


@pytest.mark.parametrize(
    ("inside", "outside", "name"),
    [
        ({"nonfinite": 0.01}, {"nonfinite": 0.011}, "not finite"),
        ({"distinct": 51}, {"distinct": 50}, "few values"),
        ({"air": 0.01}, {"air": 0.009}, "no air"),
        ({"soft_tissue": 0.02}, {"soft_tissue": 0.019}, "no soft tissue"),
        ({"dense": 0.2, "air_spread": 2}, {"dense": 0.21, "air_spread": 2}, "too dense"),
        ({"dense": 0.08, "air_spread": 1}, {"dense": 0.09, "air_spread": 1}, "too dense"),
        ({"bright": 0.15, "soft_tissue": 0.05}, {"bright": 0.16, "soft_tissue": 0.05}, "too bright"),
        ({"bright": 0.4, "soft_tissue": 0.2}, {"bright": 0.5, "soft_tissue": 0.2}, "too bright"),
        ({"below_air": 0.1}, {"below_air": 0.11}, "below air"),
        ({"clipped_low": 0.9, "clipped_high": 0.08}, {"clipped_low": 0.9, "clipped_high": 0.09}, "clipped"),
        ({"slices": 20}, {"slices": 19}, "few slices"),
        ({"spacing_z": 12}, {"spacing_z": 12.1}, "slice spacing"),
        ({"spacing_x": 1.4}, {"spacing_x": 1.5}, "pixels not square"),
        ({"spacing_x": 0.35}, {"spacing_x": 0.34}, "pixels not square"),
        ({"extent_x": 700}, {"extent_x": 701}, "extent"),
        ({"extent_y": 100}, {"extent_y": 99}, "extent"),
        ({"extent_z": 800}, {"extent_z": 801}, "extent"),
        ({"extent_z": 50}, {"extent_z": 49}, "extent"),
    ],
)
def test_a_figure_beyond_its_limit_is_flagged(plausible, inside, outside, name):
    assert names(flags(replace(plausible, **inside))) <= ({"too dense"} if "distinct" in inside else set())
    assert name in names(flags(replace(plausible, **outside)))


def test_shares_are_not_checked_for_a_scan_with_few_values(plausible):
    shares = {"air": 0, "soft_tissue": 0, "dense": 0.9, "bright": 0.9, "below_air": 0.9, "clipped_low": 1}
    assert names(flags(replace(plausible, distinct=2, **shares))) == {"few values"}
    assert names(flags(replace(plausible, distinct=1, **shares))) == {"constant"}


@pytest.mark.parametrize(
    ("figures", "cause"),
    [
        ({"low": 25_001}, "32768 too high"),
        ({"low": 25_000}, "check that this is a CT"),
        ({"low": -1201, "high": 599}, "applied twice"),
        ({"least": -1.05, "most": 1.05, "low": -1}, "scaled to [0, 1] or [-1, 1]"),
        ({"least": -1.06, "most": 1.05, "low": -1}, "standardised"),
        ({"least": -1.05, "most": 1.06, "low": -1}, "standardised"),
        ({"least": -20, "most": 20, "low": -10}, "standardised"),
        ({"least": -21, "most": 20, "low": -10, "high": 100}, "check that this is a CT"),
        ({"least": 0, "most": 20, "low": 1}, "8-bit gray"),
        ({"least": -0.5, "most": 20.5, "low": 1}, "8-bit gray"),
        ({"least": -5, "most": 260, "low": 1}, "8-bit gray"),
        ({"least": -6, "most": 260, "low": 1}, "check that this is a CT"),
        ({"low": -149, "dense": 0.031}, "shifted by +1024"),
        ({"low": 149, "dense": 0.031}, "shifted by +1024"),
        ({"low": 0, "dense": 0.03}, "check that this is a CT"),
        ({"low": -150, "dense": 0.031}, "check that this is a CT"),
        ({"low": 150, "dense": 0.031}, "check that this is a CT"),
        ({"low": -1200, "high": -201}, "all but air and lung is missing"),
        ({"low": 1, "high": -201}, "all but air and lung is missing"),
        ({"low": -151, "dense": 0.081}, "inverted, shifted or scaled"),
        ({"low": -150, "dense": 0.081}, "check that this is a CT"),
    ],
)
def test_the_likely_cause_of_wrong_values(plausible, figures, cause):
    usual = {"least": -1000, "low": -900, "high": 700, "most": 3000, "dense": 0}
    (flag,) = flags(replace(plausible, air=0, distinct=1000, **usual | figures, bright=0))[:1]
    assert flag.startswith("no air")
    assert cause in flag
