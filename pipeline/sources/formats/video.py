"""Video clips in folders named for their classes: a `Class/v_Class_gNN_cMM.avi` tree such as UCF50."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from cache.schema import UNLABELLED, composed
from cache.text import listed
from pipeline.errors import PipelineError
from pipeline.recipes.video import VideoRecipe
from pipeline.sources.format import Format
from pipeline.sources.ids import with_unique_ids
from pipeline.sources.lookalikes import ANIMATED, OTHER_VIDEO, PICTURES, lookalikes
from pipeline.sources.records import Inputs, Record, make_record, split_ending
from pipeline.sources.walk import walk

ENDINGS: tuple[str, ...] = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".asf")
ENDINGS += (".ts", ".m2ts", ".mts", ".3gp", ".flv", ".ogv")
UNREAD = {
    **dict.fromkeys(("jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "ppm", "pgm"), PICTURES),
    **dict.fromkeys(("vob", "rm", "rmvb", "divx", "f4v", "3g2", "qt", "mxf", "y4m", "m2v", "dv", "amv"), OTHER_VIDEO),
    "gif": ANIMATED,
}
CLIP_NAME = re.compile(r"v_.+_(g\d+)_c\d+", re.IGNORECASE)
NO_CLASS = ("it is not in a class folder", "SOURCE/Class/v_Class_gNN_cMM.avi", "put it into the folder of its class")
NO_SCENE = "its name has no _gNN_cMM: it is its own group"
# The paper's ten of UCF50's classes, in its label order (ViPTT-Net §2.3).
PAPER_CLASSES: tuple[str, ...] = ("Mixing", "TennisSwing", "HorseRiding", "JumpRope", "JumpingJack")
PAPER_CLASSES += ("BaseballPitch", "Rowing", "SkateBoarding", "WalkingWithDog", "Skijet")


def find_clips(
    root: Path,
    skip: Path | None = None,
    class_names: Sequence[str] | None = None,
    cached_classes: Sequence[str] = (),
    max_files: int | None = None,
) -> Inputs:
    """Every clip of a `Class/v_Class_gNN_cMM.avi` tree at any depth below `root`, sorted by id.

    The label is the folder, whatever the file's own name says. The group is `Class/gNN` by the file's name, or else the
    clip itself, with a note. `class_names` are the classes in label order, by default all, sorted; clips of other
    classes are excluded. Raises PipelineError like `Finder`, also for a class that has no clips and is not one of
    `cached_classes`.
    """
    listing = walk(root, lookalikes("video"), skip, max_files)
    paths = [PurePosixPath(file) for file in listing.files]
    folders = {composed(path.parent.name) for path in paths} - {""}
    names = tuple(map(composed, class_names or sorted(folders)))
    if unknown := [name for name in names if name not in folders and name not in cached_classes]:
        raise PipelineError(
            f"no clips of class {listed(unknown)} below {root}; expected classes among {listed(sorted(folders))}"
        )
    labels = {name: label for label, name in enumerate(names)} | {"": UNLABELLED}
    clips = [path for path in paths if composed(path.parent.name) in labels]
    others = [path for path in paths if composed(path.parent.name) not in labels]
    listing.excluded |= {str(path): f"class {path.parent.name} was not chosen" for path in others}
    records = with_unique_ids(_clip(root, path, labels[composed(path.parent.name)]) for path in clips)
    return Inputs(records, listing.excluded, names, listing.others)


def _clip(root: Path, path: PurePosixPath, label: int) -> Record:
    name = split_ending(path.name, ENDINGS)[0]
    folder = path.parent.name
    if not folder:
        return replace(make_record(root, name, (str(path),)), refusal=NO_CLASS)
    match = CLIP_NAME.fullmatch(name)
    group = f"{folder}/{match[1].lower()}" if match else ""
    note = "" if match else NO_SCENE
    return replace(make_record(root, f"{folder}/{name}", (str(path),), label, group), note=note)


FORMAT = Format(
    kind="video",
    noun="clip",
    endings=ENDINGS,
    find=find_clips,
    recipe=VideoRecipe,
    summary="Turn every clip of a `Class/v_Class_gNN_cMM.avi` tree below SOURCE into gray frames in CACHE.",
    details=(
        "The folder is the label; clips with the same gNN in their names stay together in a split. Run it again to add "
        "clips, to redo changed ones, or to resume; the recipe is then that of CACHE, and options that contradict it "
        "are rejected."
    ),
    example="preprocess video UCF50 clips.zarr --classes paper --workers 4",
    class_presets={"paper": PAPER_CLASSES},
    labels_from_csv=False,
    unread=UNREAD,
    rename="give it the ending of its format, such as .avi or .mp4",
)
