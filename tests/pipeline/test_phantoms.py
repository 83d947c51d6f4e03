import csv
from functools import cache

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from cache.progress import Callback
from pipeline.demo.anatomy import LEFT, RIGHT
from pipeline.demo.canvas import FIELD
from pipeline.demo.phantoms import ORIENTATIONS, scan, write_scans

SHAPE = (48, 112, 112)
SPACING = tuple(field / n for field, n in zip(FIELD, SHAPE, strict=True))
VOXEL = float(np.prod(SPACING)) / 1000  # cm3
SEEDS = (1, 2)


@cache
def phantom(kind, seed):
    return scan(kind, seed, SHAPE)


@pytest.fixture(scope="module")
def chest():
    return phantom(0, 1)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "scans"
    labels = write_scans(folder, per_class=2, size=40, slices=(12, 16))
    with labels.open(newline="") as file:
        return folder, list(csv.DictReader(file))


def lungs(volume, side=None):
    """Mask of aerated lung without windpipe and stomach gas, of both sides of the patient or of `side`."""
    x = np.arange(SHAPE[2]) - (SHAPE[2] - 1) / 2
    half = np.ones(SHAPE[2], bool) if side is None else side * x > 0
    return (volume > -940) & (volume < -600) & half


def component_volumes(mask):
    """Volumes (cm3) of the connected components of a mask, without single voxels."""
    sizes = np.bincount(ndimage.label(mask)[0].ravel())[1:]
    return sizes[sizes > 1] * VOXEL


def lesion_hu(kind, seed):
    """HU that lesions add to the healthy lungs of the same patient; 0 elsewhere."""
    healthy = phantom(0, seed)
    return np.where(healthy < -500, phantom(kind, seed).astype(float) - healthy, 0)


def test_the_same_arguments_give_the_same_voxels_and_other_seeds_different_ones():
    tiny = (12, 40, 40)
    assert np.array_equal(scan(4, 7, tiny), scan(4, 7, tiny))
    assert not np.array_equal(scan(4, 7, tiny), scan(4, 8, tiny))
    assert not np.array_equal(scan(4, 7, tiny), scan(4, 7, tiny, visit=1))


def test_an_unknown_type_is_rejected():
    with pytest.raises(ValueError, match=r"type 6; expected 1\.\.5"):
        scan(6, 0)


@pytest.mark.parametrize("kind", range(6))
def test_a_scan_is_int16_hu_with_the_tissues_of_a_chest(kind):
    volume = phantom(kind, SEEDS[0])
    assert volume.dtype == np.int16
    assert volume.shape == SHAPE
    assert volume.min() >= -1024
    assert volume.max() <= 1500
    assert np.median(volume[:, :5]) == pytest.approx(-1000, abs=5)
    for low, high, minimum in ((-940, -600, 1500), (-140, -70, 1000), (0, 100, 5000), (200, 1500, 300)):
        assert ((volume > low) & (volume < high)).sum() * VOXEL > minimum * (0.5 if kind else 0.6), (low, high)


def test_rows_run_from_breastbone_to_spine(chest):
    middle = slice(SHAPE[2] // 2 - 4, SHAPE[2] // 2 + 4)
    bone = np.flatnonzero((chest[25:40, :, middle] > 150).any(axis=(0, 2)))
    assert bone.min() < 0.3 * SHAPE[1]
    assert bone.max() > 0.75 * SHAPE[1]
    back, front = (chest[24, rows] > -500 for rows in (slice(-20, None), slice(0, 20)))
    assert back.sum() > front.sum()  # the table
    assert (chest > 150).nonzero()[1].mean() > SHAPE[1] / 2


def test_columns_run_from_right_to_left(chest):
    heart = ndimage.gaussian_filter(chest[17:21, 30:60].astype(float), 1) > -100
    inner = heart[:, :, 25:-25].mean(axis=(0, 1))
    assert inner[len(inner) // 2 :].sum() > 1.3 * inner[: len(inner) // 2].sum()
    lowest = [np.flatnonzero(lungs(chest, side)[:, 45:60].sum(axis=(1, 2)) > 100)[0] for side in (RIGHT, LEFT)]
    assert lowest[0] > lowest[1]  # the liver lifts the right lung
    assert lungs(chest, RIGHT).sum() != lungs(chest, LEFT).sum()


def test_slices_run_from_feet_to_head(chest):
    area = lungs(chest).sum(axis=(1, 2))
    assert area[:2].sum() < 0.2 * area.max()
    assert 0 < area[42] < 0.5 * area[26]
    assert (chest[-3:, 45:60, 50:62] < -900).any()  # the windpipe reaches the top


def test_a_patient_has_the_same_anatomy_in_thick_and_thin_slices():
    thin, thick = scan(3, 5, (48, 96, 96)), scan(3, 5, (12, 48, 48))
    means = thin.reshape(12, 4, 48, 2, 48, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(means.ravel(), thick.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("seed", SEEDS)
def test_infiltrative_has_one_large_soft_opacity_in_an_upper_lobe(seed):
    added_hu = lesion_hu(1, seed)
    opacity = added_hu > 120
    assert component_volumes(opacity).max() > 40
    assert np.median(added_hu[opacity]) < 500
    assert opacity.nonzero()[0].mean() > SHAPE[0] / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_focal_has_a_few_small_dense_foci_close_together(seed):
    foci = lesion_hu(2, seed) > 450
    assert 2 <= len(component_volumes(foci)) <= 11
    assert component_volumes(foci).sum() < 5
    spread = np.array(foci.nonzero()).std(axis=1) * SPACING
    assert spread.max() < 30


@pytest.mark.parametrize("seed", SEEDS)
def test_tuberculoma_has_one_round_nodule_of_two_to_three_cm(seed):
    nodule = lesion_hu(3, seed) > 450
    (volume,) = component_volumes(nodule)
    assert 15 < (6000 * volume / np.pi) ** (1 / 3) < 32  # diameter in mm of a ball with this volume
    extent = np.array([np.ptp(axis) for axis in nodule.nonzero()]) * SPACING
    assert extent.max() < 1.6 * extent.min() + max(SPACING)


@pytest.mark.parametrize("seed", SEEDS)
def test_miliary_has_hundreds_of_tiny_nodules_in_both_lungs(seed):
    nodules = lesion_hu(4, seed) > 250
    for half in (nodules[:, :, : SHAPE[2] // 2], nodules[:, :, SHAPE[2] // 2 :]):
        count = ndimage.label(half)[1]
        assert count > 200
        assert half.sum() * VOXEL / count < 0.3


@pytest.mark.parametrize("kind", range(6))
@pytest.mark.parametrize("seed", SEEDS)
def test_only_fibrocavernous_has_a_large_air_cavity(kind, seed):
    air = ndimage.uniform_filter(phantom(kind, seed).astype(float), 3) < -945
    lungs_only = [air[28:42, 30:80, 20:44], air[28:42, 30:80, 68:92]]  # right and left of the windpipe
    largest = max(component_volumes(part).max(initial=0) for part in lungs_only)
    assert (largest > 1.5) == (kind == 5)


@pytest.mark.parametrize("seed", SEEDS)
def test_fibrocavernous_shrinks_one_lung(seed):
    scarred, healthy = phantom(5, seed), phantom(0, seed)
    remaining = sorted(lungs(scarred, side).sum() / lungs(healthy, side).sum() for side in (RIGHT, LEFT))
    assert remaining[0] < 0.85
    assert remaining[1] > 0.95


def test_every_intact_file_has_the_anatomy_of_its_patient_in_any_orientation(written):
    folder, rows = written
    orientations = set()
    for number, row in enumerate(rows[:-1], start=1):
        image = nib.load(folder / row["FileName"])
        orientations.add("".join(nib.aff2axcodes(image.affine)))
        canonical = nib.as_closest_canonical(image)  # axes toward Right, Anterior, Superior
        volume = canonical.get_fdata()[::-1, ::-1].transpose()
        x, y, z = map(float, canonical.header.get_zooms())
        assert z > y == x
        expected = scan(int(row["TypeOfTB"]), int(row["Patient"][1:]), volume.shape, (z, y, x), visit=number)
        finite = np.isfinite(volume)
        assert finite.mean() > 0.99
        assert finite.all() == (number != 3)
        coarse = 8 if number == 2 else 1  # HU per step of the stored values
        assert np.abs(volume - expected)[finite].max() <= coarse
        assert image.get_sform(coded=True)[1] == image.get_qform(coded=True)[1] == 1
        assert image.get_qform() == pytest.approx(image.affine, abs=1e-3)
    assert orientations == set(ORIENTATIONS)


def test_phantom_scans_have_different_file_types(written):
    folder, rows = written
    images = [nib.load(folder / row["FileName"]) for row in rows[:5]]
    assert [image.get_data_dtype().name for image in images] == ["int16", "uint8", "float32", "int16", "int16"]
    assert (images[1].dataobj.slope, images[1].dataobj.inter) == (8, -1024)
    assert [row["FileName"][8:] for row in rows[:5]] == [".nii.gz", ".nii.gz", ".nii.gz", ".nii", ".hdr"]
    assert (folder / "TRN_0005.img").is_file()
    assert len({image.shape for image in images}) > 1


def test_the_last_phantom_scan_is_damaged(written):
    folder, rows = written
    with pytest.raises((EOFError, OSError)):
        nib.load(folder / rows[-1]["FileName"]).get_fdata()


def test_labels_have_every_file_once_and_some_patients_twice(written):
    folder, rows = written
    assert list(rows[0]) == ["FileName", "TypeOfTB", "Patient"]
    assert [row["FileName"] for row in rows] == sorted(p.name for p in folder.iterdir() if p.suffix != ".img")
    assert [int(row["TypeOfTB"]) for row in rows] == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1]
    types = {row["Patient"]: row["TypeOfTB"] for row in rows}
    assert len(types) == len(rows) - 3
    assert all(types[row["Patient"]] == row["TypeOfTB"] for row in rows)


class Steps(Callback):
    """Collects the reported progress."""

    def __init__(self, steps):
        self.steps = steps

    def on_progress(self, done, total, unit="samples", figures=None):
        assert unit == "files"
        self.steps.append((done, total))


def test_scans_with_the_same_arguments_have_the_same_bytes_and_progress_is_reported(tmp_path):
    steps = []
    for name in ("a", "b"):
        write_scans(
            tmp_path / name / "scans",
            per_class=1,
            size=32,
            slices=(12, 12),
            callback=Steps(steps),
        )
    assert steps == [(n, 6) for n in range(1, 7)] * 2
    first, second = (sorted(p for p in (tmp_path / name).rglob("*.*")) for name in ("a", "b"))
    assert [p.name for p in first] == [p.name for p in second]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    other = write_scans(tmp_path / "c" / "scans", per_class=1, size=32, slices=(12, 12), seed=1)
    assert (other.parent / "scans" / "TRN_0001.nii.gz").read_bytes() != first[1].read_bytes()


def test_lesions_fit_into_the_lungs_of_every_seed():
    for seed in range(25):
        for kind in (1, 2, 3, 5):
            scan(kind, seed, (4, 8, 8))


def test_every_type_can_have_its_own_number_of_scans(tmp_path):
    labels = write_scans(tmp_path / "scans", per_class=(3, 1, 2, 1, 1), size=24, slices=(6, 6))
    with labels.open() as file:
        kinds = [int(row["TypeOfTB"]) for row in csv.DictReader(file)]
    assert kinds == [1, 2, 3, 4, 5, 1, 3, 1, 4]  # the last scan is damaged
