"""CT scans in NIfTI: every `.nii`, `.nii.gz` and `.hdr`/`.img` pair below a folder."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pipeline.recipes.ct import CtRecipe
from pipeline.sources.contents import CONVERT_SCAN
from pipeline.sources.format import Format
from pipeline.sources.ids import with_unique_ids
from pipeline.sources.lookalikes import DICOM_FILES, lookalikes
from pipeline.sources.records import Inputs, Record, make_record, split_ending
from pipeline.sources.walk import walk

ENDINGS = (".nii.gz", ".nii", ".hdr", ".img", ".hdr.gz", ".img.gz")
TUBERCULOSIS_TYPES = ("Infiltrative", "Focal", "Tuberculoma", "Miliary", "Fibro-cavernous")
UNREAD = {
    "dcm": DICOM_FILES,
    "dicom": DICOM_FILES,
    "ima": DICOM_FILES,
    "mgz": f"FreeSurfer's MGH format, not read; {CONVERT_SCAN}",
    "mgh": f"FreeSurfer's MGH format, not read; {CONVERT_SCAN}",
    "mha": f"MetaImage, not read; {CONVERT_SCAN}",
    "mhd": f"MetaImage, not read; {CONVERT_SCAN}",
    "nrrd": f"NRRD, not read; {CONVERT_SCAN}",
    "nhdr": f"NRRD, not read; {CONVERT_SCAN}",
    "gipl": f"GIPL, not read; {CONVERT_SCAN}",
    "mnc": f"MINC, not read; {CONVERT_SCAN}",
}


def find_scans(
    root: Path,
    skip: Path | None = None,
    class_names: Sequence[str] | None = None,
    cached_classes: Sequence[str] = (),
    max_files: int | None = None,
) -> Inputs:
    """Every `.nii`, `.nii.gz` and `.hdr`/`.img` pair below `root`, at any depth and in any case, sorted by id.

    Either file of a pair may be compressed (`.hdr.gz`, `.img.gz`); half a pair is a record too, to be quarantined with
    its reason. Classes are not used here, since a labels CSV has them. Raises PipelineError like `Finder`.
    """
    listing = walk(root, lookalikes("ct"), skip, max_files)
    files: dict[str, list[str]] = defaultdict(list)
    for file in listing.files:
        files[split_ending(file, ENDINGS)[0]].append(file)
    records = [make_record(root, stem, unit) for stem, group in files.items() for unit in _pair_up(group)]
    return Inputs(with_unique_ids(records, _is_half_pair), listing.excluded, others=listing.others)


def _pair_up(files: list[str]) -> list[tuple[str, ...]]:
    """`files`, whose names differ in their endings only, as inputs: one header and one voxel file make one input."""
    if len(files) == 1:
        return [(files[0],)]
    headers, voxels = ([file for file in files if _is_half(file, half)] for half in (".hdr", ".img"))
    if len(headers) == len(voxels) == 1:
        pair = (headers[0], voxels[0])
        return [pair, *((file,) for file in files if file not in pair)]
    return [(file,) for file in files]


def _is_half(file: str, half: str) -> bool:
    """Whether `file` holds the header (`half` ".hdr") or the voxels (".img") of a pair."""
    return file.lower().endswith((half, f"{half}.gz"))


def _is_half_pair(record: Record) -> bool:
    files = record.source.files
    return len(files) == 1 and any(_is_half(files[0], half) for half in (".hdr", ".img"))


FORMAT = Format(
    kind="ct",
    noun="scan",
    endings=ENDINGS,
    find=find_scans,
    recipe=CtRecipe,
    summary="Resize every NIfTI scan below SOURCE into CACHE.",
    details=(
        "Run it again to add new scans, to redo changed ones, or to resume after an interruption: finished samples "
        "are kept, and the recipe is that of CACHE; options that contradict it are rejected."
    ),
    example="preprocess ct TrainSet ct.zarr --labels train.csv --workers 4",
    class_names=TUBERCULOSIS_TYPES,
    labels_from_csv=True,
    unread=UNREAD,
)
