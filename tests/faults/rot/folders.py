"""The folders to damage: a cache, a cache of features and a run."""

from pathlib import Path

from tests.faults import formats, world

SIZE = ("--depth", 2, "--height", 3, "--width", 4, "--workers", 0, "--quiet")


def make_cache(folder: Path) -> Path:
    import cli

    world.write_scans(folder / world.SCANS, count=2)
    words = ("preprocess", "ct", folder / world.SCANS, folder / world.CT, "--labels", folder / world.LABELS, *SIZE)
    cli.main.main([str(word) for word in words], standalone_mode=False)
    return folder / world.CT


def make_features(folder: Path) -> Path:
    import numpy as np

    from cache import open_cache
    from cache.feature_writer import source_of, writing_features
    from cache.features import feature_attributes

    volumes = open_cache(make_cache(folder))
    attributes = feature_attributes(2, 3, volumes.class_names, "means of columns", volumes=volumes)
    with writing_features(folder / world.FEATURES, attributes, volumes.ids) as features:
        for name in volumes.ids:
            entry = volumes.entry(name)
            values = np.asarray(volumes[name].mean(2))
            features.put(name, values, entry.label, entry.group, source_of(volumes, name))
    return folder / world.FEATURES


def make_run(folder: Path) -> Path:
    """The archived run of the last earlier version, with a manifest as the current version writes it."""
    from trainer.runs import folder as run

    formats.unpack(formats.archives()[-1], folder)
    root = next(path.parent for path in sorted(folder.rglob("validation.csv")))
    run.finish(root)
    return root
