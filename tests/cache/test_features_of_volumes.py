"""Features of a volume cache: which must be extracted, and how labels and sources follow the volumes."""

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


def attributes_for(volumes, **options):
    return feature_attributes(volumes.shape[0], 2, volumes.class_names, {"name": "net"}, volumes=volumes, **options)


def follow(root, path):
    """Extract features as the command `features` does; return the pending work and the ids with changed labels."""
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
def caches(tiny, tmp_path):
    """A volume cache, and the cache of its features."""
    follow(tiny, tmp_path / "f")
    return tiny, tmp_path / "f"


def replace_sample(root, row):
    """Write other values to the sample of `row`."""
    attributes = catalog.read_attributes(root)
    with open_writer(root, attributes, entries_of(root)) as writer:
        writer.commit([write_sample(root, attributes, row, volume(row + 100))])


def test_features_have_the_ids_labels_groups_and_recipe_of_their_volumes(caches):
    volumes, features = map(open_cache, caches)
    assert (features.ids, features.labels.tolist(), features.groups) == (
        volumes.ids, volumes.labels.tolist(), volumes.groups,
    )  # fmt: skip
    assert features.recipe["source"] == volumes.recipe
    assert features.attributes.sources == (str(caches[0].resolve()),)
    assert np.allclose(features["s1"], extract(volumes["s1"]), rtol=1e-3)
    assert features.record("s1")["file"] == str(store.chunk_path(caches[0], 1))


def test_the_source_of_features_is_the_chunk_of_the_volume_with_its_recorded_digest(caches):
    for entry in entries_of(caches[1]).values():
        (chunk,) = entry.source.paths
        recorded = entries_of(caches[0])[entry.id].digest
        assert entry.source.digest == recorded == digest_files([chunk]) == digest_bytes(chunk.read_bytes())


def test_features_of_unchanged_volumes_are_not_rebuilt(caches):
    before = times(caches[1])
    work, changed = follow(*caches)
    assert (work.to_make, work.vanished, work.kept, changed) == ([], [], 3, [])
    assert times(caches[1]) == before


def test_missing_stale_and_damaged_features_are_pending(caches):
    replace_sample(caches[0], 0)
    make_cache(caches[0], 1)
    chunk_of(caches[1], 2).write_bytes(b"")
    stale = verify(caches[1]).stale
    assert stale["s0"] == (
        f"its source {store.chunk_path(caches[0], 0)} has changed since; "
        "run `features`, or call `write_features`, once more"
    )
    work, _ = follow(*caches)
    assert (work.to_make, work.kept) == (["s0", "s2", "s3"], 1)
    assert verify(caches[1]).sound
    assert np.allclose(open_cache(caches[1])["s0"], extract(open_cache(caches[0])["s0"]), rtol=1e-3)


def test_a_corrected_label_changes_the_ledger_but_rewrites_no_features(caches):
    before = times(caches[1])
    old = catalog.read_attributes(caches[0])
    entries = entries_of(caches[0])
    with open_writer(caches[0], old.replace(class_names=("three", "two", "one")), entries) as writer:
        writer.commit([entries["s1"].replace(label=0, group="other")])
    work, changed = follow(*caches)
    assert (work.to_make, changed) == ([], ["s1"])
    cache = open_cache(caches[1])
    assert (cache.labels.tolist(), cache.groups[1]) == ([0, 0, 0], "other")
    assert cache.class_names == ["three", "two", "one"]
    assert times(caches[1]) == before
    assert verify(caches[1]).sound


def test_features_of_vanished_samples_are_kept_and_reported(caches, tmp_path):
    second = make_cache(tmp_path / "second", [volume(0), volume(1)], tiny_attributes(class_names=("two", "new")))
    before = open_cache(caches[1])["s2"]
    work, _ = follow(second, caches[1])
    assert work.vanished == ["s2"]
    cache = open_cache(caches[1])
    assert np.array_equal(cache["s2"], before)
    assert cache.class_names == ["two", "new", "one"]
    assert cache.attributes.class_name(cache.labels[2]) == "one"


def test_features_of_a_removed_sample_are_not_stale_when_a_new_sample_reuses_its_row(caches):
    remove(caches[0], ["s1"])
    assert verify(caches[1]).vanished == ["s1"]
    attributes = catalog.read_attributes(caches[0])
    with open_writer(caches[0], attributes, entries_of(caches[0])) as writer:
        writer.commit([write_sample(caches[0], attributes, 1, volume(7), name="new")])
    follow(*caches)
    report = verify(caches[1])
    assert (report.ok, report.vanished, report.stale) == (3, ["s1"], {})
    replace_sample(caches[0], 0)
    report = verify(caches[1])
    assert (list(report.stale), report.vanished) == (["s0"], ["s1"])


def test_features_are_kept_when_their_volume_cache_is_moved(caches, tmp_path):
    shutil.move(caches[0], tmp_path / "moved")
    assert verify(caches[1]).vanished == ["s0", "s1", "s2"]
    work, changed = follow(tmp_path / "moved", caches[1])
    assert (work.to_make, changed) == ([], [])
    assert verify(caches[1]).vanished == []
    replace_sample(tmp_path / "moved", 1)
    assert list(verify(caches[1]).stale) == ["s1"]


def test_features_of_a_deleted_chunk_are_vanished_and_not_stale(caches):
    store.chunk_path(caches[0], 1).unlink()
    work, _ = follow(*caches)
    assert (work.to_make, verify(caches[1]).vanished) == ([], ["s1"])


def test_features_of_volumes_with_another_recipe_are_rejected(caches, tmp_path):
    second = open_cache(make_cache(tmp_path / "second", 1, tiny_attributes(order=1)))
    for call in (pending, lambda volumes, path, attributes: writing_features(path, attributes, []).__enter__()):
        with pytest.raises(RecipeMismatch, match=r"another recipe \(source.order None → 1\)"):
            call(second, caches[1], attributes_for(second))


def test_putting_a_sample_twice_stores_the_last_values(tmp_path):
    attributes = feature_attributes(4, 6, NAMES, "net")
    values = some_features(2)
    with writing_features(tmp_path / "c", attributes, ["a"]) as features:
        assert [features.put("a", values[number]) for number in (0, 1, 1)] == [True, True, False]
    assert np.array_equal(open_cache(tmp_path / "c")["a"], values[1])
    assert verify(tmp_path / "c").sound


def test_features_put_with_an_outdated_label_get_the_label_of_their_volume(tiny, tmp_path):
    volumes = open_cache(tiny)
    values = extract(volumes["s1"])
    with writing_features(tmp_path / "f", attributes_for(volumes), volumes.ids) as features:
        features.put("s1", values, np.int64(0), "", source_of(volumes, "s1"))
        assert features.follow(volumes) == ["s1"]
        assert features.follow(volumes) == []
    cache = open_cache(tmp_path / "f")
    assert (cache.labels.tolist(), cache.groups) == ([1], ["patient 1"])
    assert np.allclose(cache["s1"], values, rtol=1e-3)


def test_info_shows_the_features_and_their_extractor(caches):
    attributes, entries = catalog.read_attributes(caches[1]), entries_of(caches[1])
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
    data = json.loads(json.dumps(cache_json(summary, attributes)))
    assert (data["kind"], data["shape"], data["complete"]) == ("features", [3, 2], 3)
    assert data["recipe"] == attributes.recipe


def test_repair_of_a_feature_cache_names_the_command_to_use_instead(caches, tmp_path):
    with pytest.raises(CacheError) as caught:
        repair.prepare(caches[1])
    assert str(caught.value) == (
        f"{caches[1]} is a feature cache, which `repair` cannot rebuild; run `features {caches[0]} {caches[1]}` again"
    )
    write(tmp_path / "c")
    with pytest.raises(CacheError, match=r"write it again with `write_features`$"):
        repair.prepare(tmp_path / "c")
