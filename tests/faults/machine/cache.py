"""The state machine: all rules, and the properties that hold after each."""

from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from cache import open_cache
from cache.errors import CacheError, NotACache
from cache.feature_writer import source_of, writing_features
from cache.features import feature_attributes, pending
from cache.reader import Cache
from cache.verify import verify
from tests.faults.machine.commands import CommandRules
from tests.faults.machine.model import UNREADABLE


class CacheMachine(CommandRules):
    """A cache of two folders of sources and a cache of its features, both in a temporary folder."""

    @initialize()
    def create_cache(self) -> None:
        self.create_folders()
        self.write_source("s", "S0", "1")
        self.preprocess_twice("s")

    # -- faults

    @rule(number=st.integers(0, 10**6), way=st.sampled_from(["flip", "cut", "delete", "link"]))
    def damage(self, number: int, way: str) -> None:
        if self.damaged:
            return
        self.damaged = True
        files = self.files()
        path = files[number % len(files)]
        data = bytearray(path.read_bytes())
        if way == "flip":
            data[number % len(data)] ^= 1 << number % 8
            path.write_bytes(data)
        elif way == "cut":
            path.write_bytes(data[: number % len(data)])
        else:
            path.unlink()
            if way == "link":
                path.symlink_to(self.outside / "file")

    def files(self) -> list[Path]:
        """The files of the cache that are not empty."""
        return [path for path in sorted(self.root.rglob("*")) if path.is_file() and path.stat().st_size]

    # -- features

    @rule()
    def compute_features(self) -> None:
        """The features of a readable cache match its current samples."""
        if self.damaged:
            return
        volumes = open_cache(self.root)
        readable = [name for name in volumes.ids if self.value(volumes, name) is not None]
        if len(readable) < len(volumes) or not readable:
            return
        attributes = feature_attributes(2, 1, volumes.class_names, "mean", dtype="float32", volumes=volumes)
        with writing_features(self.features, attributes, volumes.ids) as features:
            features.follow(volumes)
            for name in pending(volumes, self.features, attributes).to_make:
                entry, source = volumes.entry(name), source_of(volumes, name)
                features.put(name, volumes.stored(name).mean((1, 2))[:, None], entry.label, entry.group, source)
        computed = open_cache(self.features)
        for name in readable:
            assert computed[name].ravel().tolist() == [self.value(volumes, name)] * 2
            assert computed.entry(name).label == volumes.entry(name).label
        report = verify(self.features)
        assert report.sound, report

    # -- properties

    def value(self, cache: Cache, name: str) -> int | None:
        """The value of a sample; None if it is unreadable."""
        try:
            return int(cache.stored(name).ravel()[0])
        except CacheError:
            return None

    @invariant()
    def samples_are_right(self) -> None:
        if not hasattr(self, "root"):
            return
        try:
            cache = open_cache(self.root)
        except NotACache:
            assert self.damaged
            return
        for name in cache.ids:
            self.check_sample(cache, name)
        lost = [name for name, sample in self.allowed.items() if sample.present and name not in cache]
        assert not lost, f"{lost} are lost"

    def check_sample(self, cache: Cache, name: str) -> None:
        allowed, value, label = self.allowed.get(name), self.value(cache, name), cache.entry(name).label
        assert allowed, f"{name} was never made"
        assert value is None or value in allowed.values, f"{name} is {value}, not one of {allowed.values}"
        assert value is not None or self.damaged or UNREADABLE in allowed.values, f"{name} cannot be read"
        assert label in allowed.labels, f"{name} has label {label}, not one of {allowed.labels}"

    @invariant()
    def files_outside_are_unchanged(self) -> None:
        if hasattr(self, "outside"):
            assert {path.name: path.read_text() for path in self.outside.iterdir()} == {"file": "content"}
