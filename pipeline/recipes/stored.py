"""The recipe that a cache was built with: read from its attributes, and reused by later runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cache import catalog
from cache.errors import CacheError
from cache.paths import cache_root
from cache.text import cut
from pipeline.errors import PipelineError
from pipeline.recipes.base import VERSION, Recipe
from pipeline.sources.format import format_of


def recipe_from_json(data: Mapping[str, Any]) -> Recipe:
    """The recipe a cache was built with. Raises PipelineError where this version cannot use it."""
    try:
        recipe = format_of(data["kind"]).recipe.from_json(data)
    except (KeyError, TypeError, ValueError) as error:
        raise PipelineError(
            f"the cache's recipe cannot be read ({cut(repr(error))}); it was made by another version"
        ) from error
    if recipe.to_json() != dict(data):
        raise PipelineError(f"the cache's recipe is of version {cut(data.get('version'))}, this program's of {VERSION}")
    return recipe


def recipe_for(kind: type[Recipe], root: Path, options: Mapping[str, Any]) -> Recipe:
    """The recipe of the cache in `root`, or the default one where there is no cache, with `options` changed.

    Raises PipelineError for options that make no valid recipe.
    """
    options = kind.completed(options)
    try:
        stored = recipe_from_json(catalog.read_attributes(cache_root(root)).recipe)
        if isinstance(stored, kind):
            return msgspec.structs.replace(stored, **options)
    except (CacheError, PipelineError):  # no cache, or options that contradict it: the job's `prepare` reports that
        pass
    return kind(**options)
