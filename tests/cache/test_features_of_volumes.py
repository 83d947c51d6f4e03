"""Features of a volume cache: which are to be made, and what becomes of their labels and sources."""

import json
import shutil

import numpy as np
import pytest

from cache import CacheError, RecipeMismatch, catalog, open_cache, store
from cache.feature_writer import source_of, writing_features
from cache.features import feature_attributes, pending
from cache.fingerprint import digest_bytes, digest_files
from cache.removal import remove
from cache.verify import verify
from cache.writer import open_writer
from pipeline.jobs import repair
from pipeline.jobs.report import cache_json, cache_lines
from pipeline.jobs.summary import summarise
from tests.helpers.caches import make_cache, tiny_attributes, volume, write_sample
from tests.helpers.features import NAMES, chunk_of, entries_of, some_features, times, write


def extract(sample):
    return np.stack([sample.mean((1, 2)), 5 * sample.max((1, 2))], axis=1)


def attributes_for(volumes, **more):
    return feature_attributes(volumes.shape[0], 2, volumes.class_names, {"name": "net"}, volumes=volumes, **more)


def follow(root, path):
    """What a program does that makes features of a volume cache: the ids made, and how it had found things."""
    volumes = open_cache(root)
    attributes = attributes_for(volumes)
    work = pending(volumes, path, attributes)
    with writing_features(path, attributes, volumes.ids) as features:
        changed = features.follow(volumes)
        for name in work.to_make:
            entry, source = volumes.entry(name), source_of(volumes, name)
            features.put(name, extract(volumes[name]), entry.label, entry.group, source)
    return work, changed


@pytest.fixture
def both(tiny, tmp_path):
    """A volume cache, and one of its features."""
    follow(tiny, tmp_path / "f")
    return tiny, tmp_path / "f"


def remake(root, row):
    """Make the sample of `row` again, from other values."""
    attributes = catalog.read_attributes(root)
    with open_writer(root, attributes, entries_of(root)) as writer:
        writer.commit([write_sample(root, attributes, row, volume(row + 100))])


def test_features_follow_the_volumes_they_come_from(both):
    volumes, features = map(open_cache, both)
    assert (features.ids, features.labels.tolist(), features.groups) == (
        volumes.ids, volumes.labels.tolist(), volumes.groups,
    )  # fmt: skip
    assert features.recipe["source"] == volumes.recipe
    assert features.attributes.sources == (str(both[0].resolve()),)
    assert np.allclose(features["s1"], extract(volumes["s1"]), rtol=1e-3)
    assert features.record("s1")["file"] == str(store.chunk_path(both[0], 1))


def test_the_source_of_features_is_the_chunk_as_its_digest_is_on_record(both):
    for entry in entries_of(both[1]).values():
        (chunk,) = entry.source.paths
        recorded = entries_of(both[0])[entry.id].digest
        assert entry.source.digest == recorded == digest_files([chunk]) == digest_bytes(chunk.read_bytes())


def test_features_of_unchanged_volumes_are_not_rebuilt(both):
    before = times(both[1])
    work, changed = follow(*both)
    assert (work.to_make, work.vanished, work.kept, changed) == ([], [], 3, [])
    assert times(both[1]) == before


def test_missing_stale_and_damaged_features_are_to_be_made(both):
    remake(both[0], 0)
    make_cache(both[0], 1)
    chunk_of(both[1], 2).write_bytes(b"")
    stale = verify(both[1]).stale
    assert stale["s0"] == (
        f"its source {store.chunk_path(both[0], 0)} has changed since; "
        "run `features`, or call `write_features`, once more"
    )
    work, _ = follow(*both)
    assert (work.to_make, work.kept) == (["s0", "s2", "s3"], 1)
    assert verify(both[1]).sound
    assert np.allclose(open_cache(both[1])["s0"], extract(open_cache(both[0])["s0"]), rtol=1e-3)


def test_a_corrected_label_changes_the_ledger_and_no_features(both):
    before = times(both[1])
    old = catalog.read_attributes(both[0])
    entries = entries_of(both[0])
    with open_writer(both[0], old.replace(class_names=("three", "two", "one")), entries) as writer:
        writer.commit([entries["s1"].replace(label=0, group="other")])
    work, changed = follow(*both)
    assert (work.to_make, changed) == ([], ["s1"])
    cache = open_cache(both[1])
    assert (cache.labels.tolist(), cache.groups[1]) == ([0, 0, 0], "other")
    assert cache.class_names == ["three", "two", "one"]
    assert times(both[1]) == before
    assert verify(both[1]).sound


def test_features_of_samples_that_vanished_are_kept_and_reported(both, tmp_path):
    other = make_cache(tmp_path / "other", [volume(0), volume(1)], tiny_attributes(class_names=("two", "new")))
    before = open_cache(both[1])["s2"]
    work, _ = follow(other, both[1])
    assert work.vanished == ["s2"]
    cache = open_cache(both[1])
    assert np.array_equal(cache["s2"], before)
    assert cache.class_names == ["two", "new", "one"]
    assert cache.attributes.class_name(cache.labels[2]) == "one"


def test_features_of_a_removed_sample_are_not_stale_when_another_gets_its_row(both):
    remove(both[0], ["s1"])
    assert verify(both[1]).vanished == ["s1"]
    attributes = catalog.read_attributes(both[0])
    with open_writer(both[0], attributes, entries_of(both[0])) as writer:
        writer.commit([write_sample(both[0], attributes, 1, volume(7), name="new")])
    follow(*both)
    report = verify(both[1])
    assert (report.ok, report.vanished, report.stale) == (3, ["s1"], {})
    remake(both[0], 0)
    report = verify(both[1])
    assert (list(report.stale), report.vanished) == (["s0"], ["s1"])


def test_volumes_that_were_moved_are_still_the_source(both, tmp_path):
    shutil.move(both[0], tmp_path / "moved")
    assert verify(both[1]).vanished == ["s0", "s1", "s2"]
    work, changed = follow(tmp_path / "moved", both[1])
    assert (work.to_make, changed) == ([], [])
    assert verify(both[1]).vanished == []
    remake(tmp_path / "moved", 1)
    assert list(verify(both[1]).stale) == ["s1"]


def test_a_volume_that_is_gone_makes_no_features_stale(both):
    store.chunk_path(both[0], 1).unlink()
    work, _ = follow(*both)
    assert (work.to_make, verify(both[1]).vanished) == ([], ["s1"])


def test_features_of_volumes_with_another_recipe_are_rejected(both, tmp_path):
    other = open_cache(make_cache(tmp_path / "other", 1, tiny_attributes(order=1)))
    for call in (pending, lambda volumes, path, attributes: writing_features(path, attributes, []).__enter__()):
        with pytest.raises(RecipeMismatch, match=r"another recipe \(source.order None → 1\)"):
            call(other, both[1], attributes_for(other))


def test_a_sample_put_twice_is_that_put_last(tmp_path):
    attributes = feature_attributes(4, 6, NAMES, "net")
    values = some_features(2)
    with writing_features(tmp_path / "c", attributes, ["a"]) as features:
        assert [features.put("a", values[number]) for number in (0, 1, 1)] == [True, True, False]
    assert np.array_equal(open_cache(tmp_path / "c")["a"], values[1])
    assert verify(tmp_path / "c").sound


def test_a_label_is_followed_before_and_after_its_features_are_put(tiny, tmp_path):
    volumes = open_cache(tiny)
    values = extract(volumes["s1"])
    with writing_features(tmp_path / "f", attributes_for(volumes), volumes.ids) as features:
        features.put("s1", values, np.int64(0), "", source_of(volumes, "s1"))
        assert features.follow(volumes) == ["s1"]
        assert features.follow(volumes) == []
    cache = open_cache(tmp_path / "f")
    assert (cache.labels.tolist(), cache.groups) == ([1], ["patient 1"])
    assert np.allclose(cache["s1"], values, rtol=1e-3)


def test_info_shows_the_features_and_their_extractor(both):
    attributes, entries = catalog.read_attributes(both[1]), entries_of(both[1])
    summary = summarise(attributes, entries)
    lines = list(cache_lines("f", summary, attributes, unpublished=True))
    assert lines == [
        "f: features, 3 samples of 3×2",
        "recipe: kind features, version 1, dtype float16, depth 3, channels 2",
        "extractor: name net",
        "source: kind ct, depth 3, height 4, width 5, dtype uint16",
        "  one: 2",
        "  two: 1",
        "  unlabelled: 0",
        "A run is writing to it, or was interrupted: the same `features` command or `write_features` call resumes it.",
        "3 discovered = 3 complete + 0 quarantined + 0 excluded",
    ]
    told = json.loads(json.dumps(cache_json(summary, attributes)))
    assert (told["kind"], told["shape"], told["complete"]) == ("features", [3, 2], 3)
    assert told["recipe"] == attributes.recipe


def test_repair_names_the_alternative(both, tmp_path):
    with pytest.raises(CacheError) as ours:
        repair.prepare(both[1])
    assert str(ours.value) == (
        f"{both[1]} is a feature cache, which `repair` cannot rebuild; run `features {both[0]} {both[1]}` again"
    )
    write(tmp_path / "c")
    with pytest.raises(CacheError, match=r"write it again with `write_features`$"):
        repair.prepare(tmp_path / "c")
