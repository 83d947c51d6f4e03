"""samples.json: fingerprints of the samples that a run trains and validates on, to recognise them in any cache."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cache import Cache
from cache.schema import composed
from trainer.data.splits.split import split_of_run
from trainer.errors import TrainerError
from trainer.runs import manifest
from trainer.runs.run import Run


class SampleFingerprint(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Digests of a sample's chunk and of its source ("" where there is none), and its label."""

    chunk: str
    source: str
    label: int

    def is_same(self, other: "SampleFingerprint") -> bool:
        """True where the bytes of the chunk or of the source are the same."""
        return self.chunk == other.chunk or (self.source == other.source != "")


def sample_fingerprints(cache: Cache, ids: Iterable[str]) -> dict[str, SampleFingerprint]:
    """Id → fingerprint of samples of `cache`."""
    entries = {name: cache.entry(name) for name in ids}
    return {name: SampleFingerprint(one.digest, one.source.digest, one.label) for name, one in entries.items()}


def samples_json(samples: Mapping[str, SampleFingerprint]) -> dict[str, Any]:
    """The contents of samples.json."""
    data: dict[str, Any] = msgspec.to_builtins(samples)
    return data


def read_samples(root: Path) -> dict[str, SampleFingerprint]:
    """Id → fingerprint of the samples of the run in `root`. Raises TrainerError."""
    path = root / "samples.json"
    data = manifest.read_json(path, "samples.json of a run")
    try:
        return msgspec.convert(data, dict[str, SampleFingerprint])
    except msgspec.ValidationError as error:
        raise TrainerError(f"{path} is not that of a run ({error}); restore it, or train again") from error


def check_samples(root: Path, cache: Cache) -> None:
    """Raises TrainerError where a sample of the run in `root`, or its label, differs in `cache`."""
    recorded = read_samples(root)
    present = sample_fingerprints(cache, (name for name in recorded if name in cache))
    for name, sample in recorded.items():
        if name not in present or present[name].chunk != sample.chunk:
            raise TrainerError(
                f"sample {name!r} of {cache.path} is not the one that {root} started with; give that cache, "
                "or train into another RUN"
            )
        if present[name].label != sample.label:
            raise TrainerError(
                f"sample {name!r} of {cache.path} has label {present[name].label}, {root} started with label "
                f"{sample.label}; train into another RUN"
            )


def changed_labels(root: Path, run: Run, cache: Cache) -> tuple[int, int]:
    """The number of samples of the run in `root` that have another label in `cache`, and the number compared.

    Labels are compared by class name, so neither another order of classes nor another encoding of accents matters.
    """
    recorded = read_samples(root)
    present = sample_fingerprints(cache, (name for name in recorded if name in cache))
    pairs = [(recorded[name].label, one.label) for name, one in present.items() if one.is_same(recorded[name])]
    before, after = (_class_names(names) for names in (run.class_names, cache.class_names))
    return sum(before.get(old) != after.get(new) for old, new in pairs), len(pairs)


def _class_names(names: Sequence[str]) -> dict[int, str]:
    return {number: composed(name) for number, name in enumerate(names)}


def is_trained_on(root: Path, cache: Cache) -> bool:
    """True where `cache` has a training sample of the run in `root` under the same id. Raises TrainerError.

    The bytes of its chunk or of its source must be the same, so that the cache may have another dtype.
    """
    recorded, split = read_samples(root), split_of_run(root)
    for name in (*split.train, *split.validation):
        if name not in recorded:
            raise TrainerError(f"{root}/samples.json lacks {name!r} of split.json; restore both, or train again")
    present = sample_fingerprints(cache, (name for name in split.train if name in cache))
    return any(one.is_same(recorded[name]) for name, one in present.items())


def training_samples_among(root: Path, cache: Cache, ids: Iterable[str]) -> list[str]:
    """Those of `ids` that are training samples of the run in `root`, under any id: chunk or source is the same."""
    recorded = read_samples(root)
    training = [recorded[name] for name in split_of_run(root).train]
    chunks = {sample.chunk for sample in training} - {""}
    sources = {sample.source for sample in training} - {""}
    return [
        name for name, one in sample_fingerprints(cache, ids).items() if one.chunk in chunks or one.source in sources
    ]
