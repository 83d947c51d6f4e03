"""Boxes of an MP4, chunks of an AVI and display matrices are parsed without a library."""

import math
import struct

import pytest

from pipeline.readers.clip.avi import empty_chunks
from pipeline.readers.clip.mp4 import ends_inside_box, has_gap
from pipeline.readers.clip.orientation import Orientation, orientation

ONE = 1 << 16


def box(name, body=b"", large=False):
    if large:
        return (1).to_bytes(4, "big") + name + (16 + len(body)).to_bytes(8, "big") + body
    return (8 + len(body)).to_bytes(4, "big") + name + body


def edit_list(version, *starts, count=None, tail=b""):
    """An edit list with one entry of 10 units for each of `starts`, the start in the media."""
    entries = b"".join(struct.pack(">Qqi" if version else ">Iii", 10, start, ONE) for start in starts)
    count = len(starts) if count is None else count
    return bytes([version, 0, 0, 0]) + count.to_bytes(4, "big") + entries + tail


def movie(elst, handler=b"vide", large=False):
    hdlr = bytes(8) + handler + bytes(12)
    track = box(b"mdia", box(b"hdlr", hdlr)) + box(b"edts", box(b"elst", elst))
    trak = box(b"trak", box(b"tkhd", bytes(20)) + track, large)
    return box(b"ftyp", b"isom") + box(b"mdat", bytes(100), large) + box(b"moov", trak, large)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    ("starts", "count", "gap"),
    [
        ([0, -1, 20], None, True),
        ([-1, 0], None, False),  # the gap is before the video
        ([0, -1], None, False),
        ([0], None, False),
        ([-1], None, False),
        ([], None, False),
        ([0, 20, -1, -1, 40], None, True),
        ([0, -1, 20], 2, False),  # entries beyond the count do not belong to the list
        ([0, -1, 20], 4, True),
    ],
)
def test_an_edit_list_with_an_empty_entry_between_two_others_has_a_gap(tmp_path, starts, count, gap, version, large):
    path = tmp_path / "clip.mp4"
    path.write_bytes(movie(edit_list(version, *starts, count=count, tail=b"\xff" * 3), large=large))
    assert has_gap(path) == gap
    path.write_bytes(movie(edit_list(version, *starts, count=count), b"soun", large))
    assert not has_gap(path)


@pytest.mark.parametrize("large", [False, True])
def test_a_file_that_ends_inside_its_last_box_is_recognised_as_truncated(tmp_path, large):
    path = tmp_path / "clip.mp4"
    data = movie(edit_list(0, 0), large=large)
    for size, is_truncated in ((len(data), False), (len(data) - 1, True), (len(data) - 20, True)):
        path.write_bytes(data[:size])
        assert ends_inside_box(path) == is_truncated
    for junk in (bytes(50), b"\0\0\0\x08!!!!", b"\0\0\0\x07free" + bytes(8), b"\0\0\0\x01free" + bytes(8), b"1234567"):
        path.write_bytes(data + junk)
        assert not ends_inside_box(path)


@pytest.mark.parametrize(("kind", "length", "empty"), [
    (b"00dc", 0, 1), (b"00db", 0, 1), (b"00dc", 1, 0), (b"01wb", 0, 0), (b"01dc", 0, 0), (b"00dc", 7, 0),
    (b"00dc", 8, 0),
])  # fmt: skip
def test_empty_chunks_of_the_video_are_counted(tmp_path, kind, length, empty):
    def chunk(name, body):
        return name + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)

    frames = chunk(kind, b"x" * length) + chunk(b"00dc", b"frame") + chunk(b"00dc", b"")
    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", bytes(56)))
    riff = b"AVI " + header + chunk(b"LIST", b"movi" + frames) + chunk(b"idx1", bytes(16))
    path = tmp_path / "clip.avi"
    path.write_bytes(chunk(b"RIFF", riff))
    assert empty_chunks(path, 0) == 1 + empty


def matrix(a, b, c, d):
    return struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)


def test_a_matrix_that_maps_everything_to_one_line_is_ignored():
    assert orientation(matrix(ONE, ONE, ONE, ONE)) == Orientation()
    assert orientation(matrix(0, 0, 0, 0)) == Orientation()
    assert orientation(matrix(2 * ONE, ONE, 4 * ONE, 2 * ONE)) == Orientation()


@pytest.mark.parametrize(("degrees", "exact"), [(0, True), (0.4, True), (-0.4, True), (0.7, False), (45, False)])
@pytest.mark.parametrize("quarters", range(4))
def test_a_rotation_within_half_a_degree_of_a_right_angle_is_exact(degrees, exact, quarters):
    sine, cosine = (round(ONE * value) for value in (math.sin(math.radians(degrees)),
                                                      math.cos(math.radians(degrees))))  # fmt: skip
    a, b, c, d = cosine, sine, -sine, cosine
    for _ in range(quarters):
        a, b, c, d = -b, a, -d, c
    result = orientation(matrix(a, b, c, d))
    assert result.exact == exact
    assert not result.mirrored
    assert not exact or result.rotation in (90 * quarters, (90 * quarters + round(degrees)) % 360)
    assert orientation(matrix(-a, -b, c, d)).mirrored
