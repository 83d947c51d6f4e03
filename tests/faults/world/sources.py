"""Tiny scans, clips and labels CSVs."""

from pathlib import Path

SCANS, CLIPS, LABELS = "scans", "clips", "labels.csv"


def write_scans(folder: Path, count: int = 3, first: int = 1) -> None:
    """Write `count` scans of a tiny phantom, numbered from `first`, of different types of tuberculosis.

    The labels CSV next to `folder` then lists all scans in `folder`, old and new.
    """
    import nibabel as nib

    from pipeline.demo import phantoms

    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        hu = phantoms.scan(1 + number % 5, number, (5, 16, 16), (50.0, 20.0, 20.0))
        nib.save(nib.Nifti1Image(hu.transpose(), [[-20, 0, 0, 0], [0, -20, 0, 0], [0, 0, 50, 0], [0, 0, 0, 1]]),
                 folder / f"S{number:02d}.nii.gz")  # fmt: skip
    write_labels(folder.parent / LABELS, [path.name for path in sorted(folder.iterdir())])


def write_labels(path: Path, names: list[str], shift: int = 0) -> None:
    """Write a labels CSV with classes 1 and 2 alternating, each scan from a different patient."""
    rows = [f"{name},{1 + (number + shift) % 2},P{number}" for number, name in enumerate(names)]
    path.write_text("\n".join(["FileName,TypeOfTB,Patient", *rows, ""]))


def write_clips(folder: Path, groups: int = 2) -> None:
    """Write tiny clips of two classes, one of each per group."""
    from pipeline.demo import phantom_clips

    for kind in (0, 1):
        name = phantom_clips.CLASSES[kind]
        for group in range(1, groups + 1):
            frames = phantom_clips.clip(kind, group, 1, 0, 6, (24, 32))
            phantom_clips._write(folder / name / f"v_{name}_g{group:02d}_c01.avi", frames)
