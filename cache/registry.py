"""One new X is one new file: the modules of a package, listed by file name and imported only when one is used.

A registry is a package whose modules all define the same name, for example `trainer.model.backbones`, each of whose
modules defines `BACKBONE`. Listing names imports nothing, so `--help` can show them at once.
"""

import importlib
import pkgutil
from typing import Any


def names(package: str) -> tuple[str, ...]:
    """The names of the modules in `package`, sorted; those that begin with an underscore are private."""
    path = importlib.import_module(package).__path__
    return tuple(sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_")))


def load(package: str, name: str, attribute: str) -> Any:
    """`attribute` of the module `name` in `package`. Raises KeyError where there is no such module."""
    if name not in names(package):
        raise KeyError(name)
    return getattr(importlib.import_module(f"{package}.{name}"), attribute)
