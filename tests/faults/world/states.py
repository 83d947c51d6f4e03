"""The states of a folder that commands start from: each function creates one."""

import shutil
from pathlib import Path

from tests.faults.world import commands
from tests.faults.world.commands import CT, make
from tests.faults.world.sources import CLIPS, LABELS, SCANS, write_clips, write_labels, write_scans


def sources_ct(folder: Path) -> None:
    write_scans(folder / SCANS)


def cache_ct(folder: Path) -> None:
    sources_ct(folder)
    make(commands.preprocess_ct, folder)


def changed_ct(folder: Path) -> None:
    """A scan was replaced, another added, another deleted, and the labels have changed since the cache was made."""
    cache_ct(folder)
    write_scans(folder / SCANS, count=2, first=4)
    (folder / SCANS / "S04.nii.gz").replace(folder / SCANS / "S01.nii.gz")
    (folder / SCANS / "S02.nii.gz").unlink()
    write_labels(folder / LABELS, ["S01.nii.gz", "S02.nii.gz", "S03.nii.gz", "S05.nii.gz"], shift=1)


def broken_ct(folder: Path) -> None:
    """A scan has become unreadable since the cache was made."""
    cache_ct(folder)
    (folder / SCANS / "S02.nii.gz").write_bytes(b"no scan")


def second_source(folder: Path) -> None:
    cache_ct(folder)
    write_scans(folder / "more", count=2, first=6)


def lost_ledger(folder: Path) -> None:
    cache_ct(folder)
    for name in ("entries.jsonl", "snapshot.jsonl"):
        (folder / CT / "ledger" / name).unlink()


def lost_log(folder: Path) -> None:
    cache_ct(folder)
    (folder / CT / "ledger" / "entries.jsonl").unlink()


def damaged_line(folder: Path) -> None:
    """A sample's line is damaged both in the log and in the snapshot of the ledger."""
    cache_ct(folder)
    for name, number in (("entries.jsonl", 1), ("snapshot.jsonl", 2)):
        path = folder / CT / "ledger" / name
        lines = path.read_bytes().splitlines(keepends=True)
        lines[number] = lines[number].replace(b"S02", b"S92")
        path.write_bytes(b"".join(lines))


def damaged_chunks(folder: Path) -> None:
    """One chunk has wrong bytes, another is missing."""
    cache_ct(folder)
    chunk = folder / CT / "volume/c/0/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\\0")
    (folder / CT / "volume/c/1/0/0/0").unlink()


def relabelled_ct(folder: Path) -> None:
    cache_ct(folder)
    write_labels(folder / LABELS, ["S01.nii.gz", "S02.nii.gz", "S03.nii.gz"], shift=1)


def sources_video(folder: Path) -> None:
    write_clips(folder / CLIPS)


def cache_video(folder: Path) -> None:
    sources_video(folder)
    make(commands.preprocess_video, folder)


def changed_video(folder: Path) -> None:
    """A clip was replaced and a group added since the cache was made."""
    cache_video(folder)
    write_clips(folder / CLIPS, groups=3)
    first, second = sorted((folder / CLIPS).rglob("*.avi"))[:2]
    shutil.copyfile(second, first)


def cache_features(folder: Path) -> None:
    cache_video(folder)
    make(commands.features, folder)


def outdated_features(folder: Path) -> None:
    """A group was added to the cache of clips since the features were computed."""
    cache_features(folder)
    write_clips(folder / CLIPS, groups=3)
    make(commands.preprocess_video, folder)


def pretrained(folder: Path) -> None:
    cache_video(folder)
    make(commands.pretrain, folder)


def caches_for_experiment(folder: Path) -> None:
    cache_video(folder)
    write_scans(folder / SCANS, count=4)
    make(commands.preprocess_ct, folder)


def pretrained_for_finetuning(folder: Path) -> None:
    caches_for_experiment(folder)
    make(commands.pretrain, folder)
    (folder / "run").rename(folder / "pretrained")
