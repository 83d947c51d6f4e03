"""A scan becomes the sample that the recipe describes, for any axes, scaling and dtype of its file."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy import ndimage
from xxhash import xxh3_128_hexdigest

from pipeline.errors import InvalidInput
from pipeline.transforms.ct import ct_volume

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared/data"
needs_real_scans = pytest.mark.skipif(not DATA.exists(), reason="real scans are missing (../shared/data)")
needs_linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc"
)
SHAPE = (20, 30, 40)


def sample(path, shape=SHAPE, order=3, **options):
    """`ct_volume` of one file; asserts the properties of every sample."""
    depth, height, width = shape
    volume, digest, record = ct_volume((path,), depth=depth, height=height, width=width, order=order, **options)
    assert volume.shape == shape
    assert volume.dtype == np.float32
    assert volume.flags.c_contiguous
    assert volume.min() >= 0  # false for NaN
    assert volume.max() <= 1
    assert digest == xxh3_128_hexdigest(path.read_bytes())
    assert json.loads(json.dumps(record)) == record
    return volume, record


def hounsfield(image, air=-1000):
    values = image.get_fdata()
    return np.where(np.isfinite(values), values, air)


def oracle(image, shape=SHAPE, order=3, window=(-1000, 400)):
    """The expected sample by nibabel and SciPy in float64: rotate to LPS, window, zoom, clip."""
    transform = ornt_transform(io_orientation(image.affine), axcodes2ornt("LPS"))
    lps = hounsfield(image.as_reoriented(transform)).T
    windowed = np.clip((lps - window[0]) / (window[1] - window[0]), 0, 1)
    return np.clip(ndimage.zoom(windowed, np.divide(shape, lps.shape), order=order, mode="nearest"), 0, 1)


def original(image, shape=SHAPE, window=(-1000, 400)):
    """The steps of the original code, with NaN as air."""
    volume = hounsfield(image)
    low, high = window
    volume[volume < low] = low
    volume[volume > high] = high
    volume = ((volume - low) / (high - low)).astype("float32")
    volume = ndimage.rotate(volume, 90, reshape=False)
    depth, height, width = shape
    x, y, z = volume.shape
    volume = ndimage.zoom(volume, (height / x, width / y, depth / z), order=1)
    return np.clip(np.moveaxis(volume, -1, 0), 0, 1)


def equal(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.fixture
def save(tmp_path):
    def save(data, affine=None, slope=1.0, inter=0.0):
        """A scan whose stored voxels are exactly `data`, scaled by its header."""
        order = ">" if data.dtype.str[0] == ">" else "<"
        header = nib.Nifti1Header(endianness=order)
        header.set_data_dtype(data.dtype)
        image = nib.Nifti1Image(data, np.diag([-1, -1, 1, 1]) if affine is None else affine, header)
        raw = bytearray(image.to_bytes())
        raw[112:120] = np.array([slope, inter], order + "f4").tobytes()
        path = tmp_path / "scan.nii"
        path.write_bytes(raw)
        return path

    return save


def ramp(shape=(9, 10, 11), low=-1500, high=1500, dtype="int16"):
    generator = np.random.default_rng(0)
    return (
        generator.integers(low, high, shape) if np.dtype(dtype).kind != "f" else generator.uniform(low, high, shape)
    ).astype(dtype)


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("codes", ["LPS", "RAS", "AIL", "SPR", "PIR", "IRA", "LSP"])
def test_the_affine_determines_the_orientation_for_any_axis_order(save, codes, order):
    lps = nib.Nifti1Image(ramp(), np.diag([-1, -2, 3, 1.0]))
    rotated = lps.as_reoriented(ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes)))
    path = save(np.asarray(rotated.dataobj), rotated.affine)
    volume, record = sample(path, order=order)
    assert record["orientation"] == codes
    equal(volume, oracle(lps, order=order))


def test_depth_row_and_column_point_to_superior_posterior_and_left(save):
    ras = np.full((8, 8, 8), -1000, "int16")
    ras[6, 1, 7] = 400  # far right, far back, at the top
    volume, _ = sample(save(ras, np.eye(4)), (8, 8, 8), order=1)
    assert np.argwhere(volume == 1).tolist() == [[7, 6, 1]]


@pytest.mark.parametrize(
    ("data", "slope", "inter"),
    [
        (ramp(dtype="int16"), 1, 0),
        (ramp(dtype=">i2"), 1, -24),
        (ramp(low=0, high=255, dtype="uint8"), 7.1, -1024),
        (ramp(low=0, high=65535, dtype="uint16"), 1, -32768),
        (ramp(low=0, high=65535, dtype="uint16"), -0.05, 1000),
        (ramp(low=-30000, high=30000), 1e30, 0),
        (ramp(low=-30000, high=30000), 1e-40, 0),
        (ramp(low=29000, high=30500), 1, -30000),
        (ramp(low=29000, high=30500), 1000, -3e7),
        (ramp(low=2**30, high=2**30 + 1500, dtype="int32"), 1, -(2**30) - 1000),
        (ramp(low=2**52, high=2**52 + 1500, dtype="int64"), 1, -(2**52) - 1000),
        (ramp(dtype="float32"), 1, 0),
        (ramp(dtype=">f4"), 2, 100),
        (ramp(low=-1e38, high=1e38, dtype="float32"), 1e38, 0),
        (ramp(low=-1e307, high=1e307, dtype="float64"), 1, 0),
        (ramp(low=1e9, high=1e9 + 1500, dtype="float64"), 1, -1e9 - 1000),
    ],
)
def test_any_dtype_and_scaling_gives_the_same_sample_as_float64(save, data, slope, inter):
    path = save(data, slope=slope, inter=inter)
    image = nib.load(path)
    equal(sample(path)[0], oracle(image))


@pytest.mark.parametrize("window", [(-1000, 400), (-160.5, 240), (0, 1), (-1e5, 1e5), (-3, -2.5)])
def test_any_window_gives_the_same_sample_as_float64(save, window):
    for data in (ramp(), ramp(low=-4, high=2), ramp(low=-4, high=2, dtype="float32")):
        path = save(data)
        equal(sample(path, window=window)[0], oracle(nib.load(path), window=window))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
@pytest.mark.parametrize("preset", ["paper", "original"])
def test_nonfinite_voxels_become_air_and_are_counted(save, dtype, preset):
    data = ramp(low=-900, dtype=dtype)
    data[2, 3, 4], data[0, 0, 0], data[8, 9, 10] = np.nan, np.inf, -np.inf
    path = save(data)
    volume, record = sample(path, preset=preset)
    assert record["nonfinite"] == 3
    equal(volume, original(nib.load(path)) if preset == "original" else oracle(nib.load(path)))


def test_a_scan_of_only_nan_is_all_air(save):
    volume, record = sample(save(np.full((4, 5, 6), np.nan, "float32")))
    assert (volume == 0).all()
    assert record["nonfinite"] == 120


def test_nan_is_black_if_air_is_below_the_window_and_white_if_above(save):
    path = save(np.full((4, 5, 6), np.nan, "float32"))
    assert (sample(path, window=(-500, 400))[0] == 0).all()
    equal(sample(path, window=(-1200, -1100))[0], 1)


@pytest.mark.parametrize("shape", [(10, 10, 13), (9, 9, 82), (11, 11, 8), (12, 9, 8), (9, 12, 7), (9, 11, 7)])
def test_preset_original_equals_the_original_code_including_blank_edges(save, shape):
    path = save(ramp(shape), np.diag([1, -1, -1, 1]))
    expected = original(nib.load(path), (70, 20, 24))
    equal(sample(path, (70, 20, 24), order=1, preset="original")[0], expected)
    if shape[2] == 82:
        assert (expected[-1] == 0).all()


def test_the_record_describes_the_file(save):
    _, record = sample(save(ramp(dtype=">i2"), np.diag([2, -1, 3, 1]), slope=np.nan))
    assert record.pop("measured")["spacing_z"] == 3
    assert record.pop("flags")[-1].startswith("extent: 18 × 10 × 33 mm")
    assert record == {
        "shape": [9, 10, 11],
        "dtype": ">i2",
        "slope": 1.0,
        "inter": 0.0,
        "orientation": "RPS",
        "spacing": [2.0, 1.0, 3.0],
        "nonfinite": 0,
        "notes": ["scl_slope is nan, which means no scaling"],
    }


def test_damage_at_the_end_of_a_file_is_rejected(save, tmp_path):
    raw = bytearray(gzip.compress(save(ramp()).read_bytes()))
    raw[-8] ^= 1
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(raw)
    with pytest.raises(InvalidInput, match="damaged gzip"):
        sample(path)


@needs_linux
def test_a_scan_of_600_slices_needs_little_memory(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((512, 512, 600))
    header.set_data_dtype(np.int16)
    path = tmp_path / "long.nii.gz"
    with gzip.open(path, "wb", 1) as file:
        header.write_to(file)
        file.write(bytes(4))
        for _ in range(600):
            file.write(bytes(512 * 512 * 2))
    program = (
        "import sys; from pathlib import Path; from pipeline.transforms.ct import ct_volume\n"
        "ct_volume((Path(sys.argv[1]),), depth=70, height=224, width=224, order=3)\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"  # kB
    )
    command = [sys.executable, "-c", program, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=250, cwd=ROOT)
    assert int(result.stdout) < 200_000  # imports included; float64 voxels alone would be 1,230,000


# Real scans


def real_scans():
    return [*sorted((DATA / "ct").glob("*.nii*")), *sorted((DATA / "nifti_odd").glob("*S.nii.gz"))]


@needs_real_scans
def test_real_scans_equal_the_oracle_in_both_presets():
    for path in real_scans():
        if path.stat().st_size > 10_000_000:
            continue  # tested below
        image = nib.load(path)
        equal(sample(path)[0], oracle(image))
        equal(sample(path, order=1, preset="original")[0], original(image))


@needs_real_scans
@pytest.mark.slow
def test_a_real_scan_at_full_size_equals_the_oracle():
    path = DATA / "ct/LIDC-IDRI-0314_2mm.nii.gz"
    equal(sample(path, (70, 224, 224))[0], oracle(nib.load(path), (70, 224, 224)))


@needs_real_scans
@pytest.mark.slow
def test_a_real_scan_at_full_size_equals_the_original_code():
    path = DATA / "ct/LIDC-IDRI-0314_2mm.nii.gz"
    equal(sample(path, (70, 224, 224), preset="original")[0], original(nib.load(path), (70, 224, 224)))


@needs_real_scans
def test_one_scan_in_four_orientations_gives_the_same_sample():
    first, *others = (sample(DATA / f"nifti_odd/{codes}.nii.gz")[0] for codes in ("LPS", "RAS", "AIL", "SPR"))
    for other in others:
        equal(other, first)


@needs_real_scans
def test_a_real_pair_equals_the_oracle():
    paths = DATA / "nifti_odd/ras.hdr", DATA / "nifti_odd/ras.img"
    volume, digest, _ = ct_volume(paths, depth=20, height=30, width=40, order=3)
    equal(volume, oracle(nib.load(paths[0])))
    assert digest == xxh3_128_hexdigest(b"".join(path.read_bytes() for path in paths))


@pytest.mark.parametrize(("window", "air"), [((-1000, 400), 0), ((-3000, -2500), 1), ((-1100, -900), 0.5)])
def test_a_nonfinite_voxel_becomes_air_in_any_window(save, window, air):
    path = save(np.full((6, 7, 8), np.nan, np.float32))
    equal(sample(path, (4, 4, 4), window=window)[0], air)
