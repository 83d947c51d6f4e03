"""Marks of files that `predict` or `evaluate` wrote: only these may be replaced.

A submission looks like a label sheet without a header, and nothing may be added to it. So its mark is a file next to
it: `.NAME.viptt-net` has the digest of the prediction, and a file that was edited since belongs to the user. The mark
is written first, with the digest of the earlier prediction too, so that it matches the file after a kill at any moment.
A picture has its mark in its metadata.
"""

from collections.abc import Callable
from pathlib import Path

from cache.fingerprint import digest_bytes, digest_files
from trainer.errors import TrainerError
from trainer.runs import files

SOFTWARE = "viptt-net"
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_TEXT = b"tEXtSoftware\0" + SOFTWARE.encode()
PNG_HEAD_BYTES = 4096  # the text chunks of a PNG come before its pixels
PARTIAL = ".viptt-net-partial-"  # prefix of the name of an output that is being written; no user's file has it


def check_replaceable(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Raises TrainerError where `path` is, or links to, a file that is neither empty nor ours."""
    if path.exists() and path.stat().st_size and not is_ours(path):
        raise TrainerError(
            f"{path} exists and was not written by this command, or was changed since; delete it yourself, or choose "
            "another name"
        )


def is_prediction(path: Path) -> bool:
    """True for a file that is unchanged since `write_marked`."""
    path = path.resolve()
    try:
        written = _mark(path).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return False
    return bool(written) and digest_files([path]) in written


def is_picture(path: Path) -> bool:
    """True for a PNG that this program made."""
    with path.open("rb") as file:
        head = file.read(PNG_HEAD_BYTES)
    return head.startswith(PNG_START) and PNG_TEXT in head


def write_marked(path: Path, data: bytes) -> None:
    """Write `data` and its mark to `path`. Raises TrainerError as `check_replaceable` does."""
    check_replaceable(path, is_prediction)
    path = path.resolve()  # the target, if it is a link
    digests = {digest_bytes(data)} | ({digest_files([path])} if path.exists() else set())
    mark = "".join(f"{digest}\n" for digest in sorted(digests)).encode()
    files.replace(_mark(path), mark, PARTIAL)
    files.replace(path, data, PARTIAL)


def _mark(path: Path) -> Path:
    return path.with_name(f".{path.name}.{SOFTWARE}")
