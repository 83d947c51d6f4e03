"""A source format: which files are its inputs, how they are found, and which recipe makes samples of them.

Each module of `pipeline.sources.formats` defines one as `FORMAT`, and its name is the format's kind. To read another
kind of source, add a file there: commands, reports and caches get everything from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cache import registry
from pipeline.recipes.base import Recipe
from pipeline.sources.records import Finder

FORMATS = "pipeline.sources.formats"


@dataclass(frozen=True)
class Format:
    """One kind of source.

    Arguments:
        kind: its name in commands (`preprocess KIND`) and in caches. noun: the user's word for one input, "scan" or
        "clip"; it also names options, as in `--scan-timeout`. endings: of its files' names, in lower case, each with
        its dot. find: lists the inputs below a folder. recipe: the type of its recipes; its fields are the options of
        the command. summary: a description of the command in one sentence; `details` and `example` follow it in the
        help. class_names: the default classes, in label order; empty where folders name them. class_presets: names that
        stand for a list of classes in `--classes`, such as "paper". labels_from_csv: True where a CSV has the labels
        and patients, False where folders name the classes. unread: ending of a related format, without its dot → why
        such files are not read, and a remedy. rename: the remedy for an input whose name does not end in one of
        `endings`; None where it depends on its contents.
    """

    kind: str
    noun: str
    endings: tuple[str, ...]
    find: Finder
    recipe: type[Recipe]
    summary: str
    details: str = ""
    example: str = ""
    class_names: tuple[str, ...] = ()
    class_presets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels_from_csv: bool = True
    unread: Mapping[str, str] = field(default_factory=dict)
    rename: str | None = None

    @property
    def timeout_option(self) -> str:
        """The option that limits the seconds one input may take."""
        return f"--{self.noun}-timeout"


def kinds() -> tuple[str, ...]:
    """The kinds of sources that can be read, sorted."""
    return registry.names(FORMATS)


def format_of(kind: str) -> Format:
    """The format named `kind`. Raises KeyError where there is no such format."""
    return registry.load(FORMATS, kind, "FORMAT")


def is_labelled_by_csv(kind: str) -> bool:
    """Whether a CSV has the labels and patients of this kind of cache; False for kinds without a format: features."""
    return kind in kinds() and format_of(kind).labels_from_csv
