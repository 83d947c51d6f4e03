"""config.json: how a run trains, and the cache that it trains on, as a typed document."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, field, structs

from cache import Cache
from cache.documents import Document, InvalidDocument, from_json
from cache.schema import MAX_CLASSES, MAX_SAMPLE_BYTES, composed, layout_of
from trainer.config import OLD_KEYS, Config
from trainer.errors import TrainerError
from trainer.runs import manifest

FORMAT_VERSION = 1
MAX_AXIS = 1 << 16  # values along an axis of a sample, for which a network is built
MEANING = ("window", "orientation")  # keys of a recipe that define the meaning of values and axes
CONFIG_KEYS = {*(one.name for one in structs.fields(Config)), *OLD_KEYS}


class Run(Document, frozen=True):
    """The contents of config.json. Raises InvalidDocument.

    `shape` is the shape of a sample, `recipe` that of the cache, `parent` the folder of the run of --from, or "".
    """

    config: Config
    kind: str
    shape: tuple[Annotated[int, Meta(ge=1, le=MAX_AXIS)], ...]
    class_names: Annotated[tuple[str, ...], Meta(min_length=2, max_length=MAX_CLASSES)]
    recipe: dict[str, Any]
    parent: str = field(name="from", default="")

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            axes = layout_of(self.kind).axes
        except ValueError as error:
            raise InvalidDocument(str(error)) from error
        if len(self.shape) != len(axes) or math.prod(self.shape) > MAX_SAMPLE_BYTES:
            raise InvalidDocument(
                f"shape {self.shape!r:.200}; expected {', '.join(axes)}, at most {MAX_SAMPLE_BYTES} values"
            )
        names = tuple(map(composed, self.class_names))  # in Unicode's NFC, as a cache has them
        if len({*names}) < len(names) or not all(map(is_unicode, names)):
            raise InvalidDocument(f"class_names {names!r:.200}; expected different names in valid Unicode")
        structs.force_setattr(self, "class_names", names)

    def to_json(self) -> dict[str, Any]:
        """The contents of config.json: the fields of `config`, and those of the run next to them."""
        data = super().to_json()
        del data["config"]
        return self.config.to_json() | {"format_version": FORMAT_VERSION} | data


def read_run(root: Path) -> Run:
    """The run in `root`. Raises TrainerError where there is none that this version can read."""
    path = root / "config.json"
    data = manifest.read_json(path, "the config.json of a run, as `train` writes it")
    version = data.pop("format_version", None)
    if type(version) is not int or version != FORMAT_VERSION:
        raise TrainerError(f"{path} has format_version {version!r:.200}, expected {FORMAT_VERSION}")
    try:
        config = Config.from_json({key: data.pop(key) for key in tuple(data) if key in CONFIG_KEYS})
        return from_json(Run, data | {"config": config}, complete=True)
    except (InvalidDocument, TrainerError) as error:
        raise TrainerError(f"{path} is not that of a run: {error}; restore it, or train again") from error


def is_unicode(text: str) -> bool:
    """False for text with a lone surrogate, which JSON allows and no file can hold."""
    return text.encode(errors="ignore").decode() == text


def check_cache(run: Run, cache: Cache, subject: str = "the run") -> None:
    """Raises TrainerError where the samples of `cache` mean something else than those that `run` was trained on."""
    expected = {"kind": run.kind, "shape": run.shape} | _meaning(run.recipe)
    actual = {"kind": cache.kind, "shape": sample_shape(cache)} | _meaning(cache.recipe)
    for key, value in expected.items():
        if actual[key] != value:
            raise TrainerError(
                f"{cache.path} has {key} {actual[key]}, {subject} was trained on {key} {value}; "
                "give a cache built by the same recipe"
            )


def sample_shape(cache: Cache) -> tuple[int, ...]:
    """The shape of a sample as a network sees it; for features, that of one angle."""
    return tuple(cache.shape[-2:] if cache.kind == "features" else cache.shape)


def volume_recipe(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe of the volumes that features with this `recipe` come from; the recipe of volumes is their own."""
    volumes = recipe.get("source")
    return volumes if isinstance(volumes, Mapping) else recipe


def _meaning(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: volume_recipe(recipe).get(key) for key in MEANING} | {"extractor": recipe.get("extractor")}
