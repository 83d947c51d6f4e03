"""Files of a cache are read only if they are regular, and links inside a cache are rejected."""

import os
from pathlib import Path

import pytest

from cache.confined import UnexpectedFile, check_inside, open_regular, read_regular
from cache.errors import LinkInside


def test_a_file_is_read_up_to_the_limit_and_not_beyond(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(UnexpectedFile, match="5 bytes, expected at most 4"):
        read_regular(path, 4)


def test_a_sparse_file_is_rejected_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(UnexpectedFile, match="expected at most 1,000"):
        read_regular(path, 1000)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_only_regular_files_are_opened(tmp_path: Path, make) -> None:
    make(tmp_path / "special")
    with pytest.raises(UnexpectedFile, match="not a file"):
        open_regular(tmp_path / "special")


def test_a_link_to_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 1) == b"1"


def test_the_root_may_be_a_link_but_nothing_below_it(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    root = tmp_path / "root"
    root.symlink_to("target")
    check_inside(root, root / "not/created/yet")
    (root / "volume").symlink_to(tmp_path)
    with pytest.raises(LinkInside, match=r"volume is a link to .*delete it"):
        check_inside(root, root / "volume" / "c")
    check_inside(root, root / "volume" / "c", linked="volume")
    (root / "folder").mkdir()
    (root / "folder" / "volume").symlink_to(tmp_path)
    with pytest.raises(LinkInside):
        check_inside(root, root / "folder" / "volume", linked="volume")
