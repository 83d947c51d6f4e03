"""The number of frames of a clip according to its container, its index and its packets."""

from types import SimpleNamespace

import pytest

from pipeline.readers.clip.container import OpenVideo, _displayed_entries
from pipeline.readers.clip.decode import Clip


def frame(timestamp, size=1, is_discard=False):
    return SimpleNamespace(timestamp=timestamp, size=size, is_discard=is_discard)


@pytest.mark.parametrize(
    ("entries", "displayed", "ticks"),
    [
        ([], 0, 0),
        ([frame(5)], 1, 0),
        ([frame(0), frame(10), frame(25)], 3, 25),
        ([frame(0, is_discard=True), frame(10), frame(20)], 2, 10),
        ([frame(0), frame(10, size=0), frame(30), frame(40)], 3, 20),
    ],
)
def test_the_index_of_an_mp4_gives_the_number_of_frames_and_their_duration(entries, displayed, ticks):
    assert _displayed_entries(SimpleNamespace(index_entries=entries)) == (displayed, ticks)


def video(**fields):
    """An MP4 whose header lists 100 frames and whose index has only the first `shown`, 10 units each."""
    entries = [frame(10 * number) for number in range(fields.pop("shown", 100))]
    stream = SimpleNamespace(frames=100, duration=fields.pop("duration", 1000), index_entries=entries)
    container = SimpleNamespace(duration=fields.pop("of_file", None))
    attributes = {"demuxer": "mov", "reports": [], "ignored": frozenset()} | fields
    return OpenVideo(container=container, stream=stream, **attributes)


@pytest.mark.parametrize(
    ("fields", "listed"),
    [
        ({}, 100),
        ({"shown": 98}, 98),
        ({"shown": 97, "duration": 1019}, 97),
        ({"shown": 97, "duration": 1020}, 100),  # by its duration the index is too short: damage
        ({"shown": 97, "duration": None}, 97),
        ({"shown": 0}, 100),
        ({"shown": 50, "demuxer": "avi"}, 100),
    ],
)
def test_the_index_gives_the_number_of_listed_frames_unless_it_is_damaged(fields, listed):
    assert video(**fields).listed() == listed


@pytest.mark.parametrize(
    ("duration", "fps", "frames"), [(2_000_000, 25.0, 50), (None, 25.0, 0), (2_000_000, None, 0), (1 << 60, 25.0, 0)]
)
def test_frames_are_estimated_from_the_duration(duration, fps, frames):
    assert video(of_file=duration).estimate(fps) == frames


def test_errors_of_other_streams_are_ignored():
    reports = [(16, "mp3float", "Header missing"), (16, "h264", "error while decoding")]
    assert video(reports=reports, ignored=frozenset({"mp3float"})).errors == reports[1:]


@pytest.mark.parametrize(("packets", "missing"), [(5, 0), (4, 1), (7, 0)])
def test_missing_packets_are_counted(packets, missing):
    clip = SimpleNamespace(_listed=6, _empty=1, _packets=packets)
    assert Clip.missing.fget(clip) == missing


@pytest.mark.parametrize(
    ("fields", "undecoded"), [({}, 1), ({"_displayed": 9}, 0), ({"codec": "mpeg4"}, 0), ({"interlaced": True}, 0)]
)
def test_packets_without_a_frame_count_as_lost_if_the_codec_gives_one_per_packet(fields, undecoded):
    clip = SimpleNamespace(
        **{"codec": "h264", "interlaced": False, "_packets": 10, "_leading": 1, "_displayed": 8} | fields
    )
    assert Clip.undecoded.fget(clip) == undecoded
