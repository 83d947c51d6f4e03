"""A clip is what a player shows, from any container that is read, or it is refused for what is wrong with it."""

import struct
import threading
from fractions import Fraction

import av
import numpy as np
import pytest

from pipeline.errors import Excluded, InvalidInput
from pipeline.readers.clip import decode
from pipeline.readers.clip.container import check_readable, message
from pipeline.readers.clip.demuxer import demuxer
from pipeline.readers.clip.holes import has_hole
from pipeline.readers.clip.orientation import orientation
from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, SIZE, jpeg, outcome, pictures, resized, write_avi

INTERLACED = 0x40000 | 0x20000000  # AV_CODEC_FLAG_INTERLACED_DCT and _ME
ONE = 65536  # in a display matrix


@pytest.fixture(autouse=True)
def _silence(capfd):
    """Neither FFmpeg nor OpenCV prints a word, whatever they are given."""
    yield
    assert capfd.readouterr() == ("", "")


# -- clips to test on --------------------------------------------------------------------------------------------------


def encode(path, codec, container, frames=(), flags=0, start=0, muxer=None, pix_fmt="yuv420p", **options):
    """Encode `frames` (BGR arrays, or video frames ready to encode) at 25 a second; time stamps begin at `start`."""
    frames = frames or pictures(80)
    ready = [frame if isinstance(frame, av.VideoFrame) else as_frame(frame, pix_fmt) for frame in frames]
    with av.open(str(path), "w", format=container, options=muxer or {}) as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = ready[0].width, ready[0].height, pix_fmt
        stream.codec_context.flags |= flags
        for index, frame in enumerate(ready):
            frame.pts, frame.time_base = index + start, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def as_frame(picture, pix_fmt="yuv420p"):
    return av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=pix_fmt)


def every_frame(path, **options):
    """Every frame by PyAV's own high-level way: colour, as it is stored."""
    with av.open(str(path), options=options) as container:
        return [
            frame.to_ndarray(format="bgr24", interpolation="BICUBIC")
            for frame in container.decode(container.streams.video[0])
        ]


def patched(path, box, offset, values, to=None):
    """A copy of an MP4 with 32-bit `values` at `offset` behind the name of its first `box`."""
    data = bytearray(path.read_bytes())
    struct.pack_into(f">{len(values)}i", data, data.index(box) + 4 + offset, *values)
    to = to or path.with_name(f"patched_{path.name}")
    to.write_bytes(data)
    return to


@pytest.fixture(scope="session")
def mp4(tmp_path_factory):
    """80 frames of H.264 without B frames, in MP4."""
    return encode(tmp_path_factory.mktemp("mp4") / "clip.mp4", "libx264", "mp4", bf="0", g="20")


# -- what is shown -----------------------------------------------------------------------------------------------------

MATRICES = {  # a, b, c, d: a stored point (x, y) is shown at (a x + c y, b x + d y)
    (1, 0, 0, 1): (0, False, lambda frame: frame),
    (0, 1, -1, 0): (90, False, lambda frame: np.rot90(frame, -1)),
    (-1, 0, 0, -1): (180, False, lambda frame: frame[::-1, ::-1]),
    (0, -1, 1, 0): (270, False, lambda frame: np.rot90(frame)),
    (-1, 0, 0, 1): (0, True, lambda frame: frame[:, ::-1]),
    (1, 0, 0, -1): (180, True, lambda frame: frame[::-1]),
    (0, 1, 1, 0): (270, True, lambda frame: frame.swapaxes(0, 1)),
    (0, -1, -1, 0): (90, True, lambda frame: np.rot90(frame, 2).swapaxes(0, 1)),
}


@pytest.mark.parametrize("unit", MATRICES)
def test_every_right_angle_and_mirror_is_applied(mp4, tmp_path, unit):
    rotation, mirrored, shown = MATRICES[unit]
    a, b, c, d = (ONE * value for value in unit)
    path = patched(mp4, b"tkhd", 40, (a, b, 0, c, d, 0), tmp_path / "turned.mp4")
    frames, _, record = video_clip(path, **SHAPE)
    wanted = [np.ascontiguousarray(shown(frame)) for frame in every_frame(mp4)]
    np.testing.assert_array_equal(frames, resized(wanted[:70]))
    assert (record["rotation"], record["mirrored"], record["notes"]) == (rotation, mirrored, [])
    assert record["size"] == [wanted[0].shape[1], wanted[0].shape[0]]


def test_vp9_in_mp4_is_also_rotated_and_mirrored(tmp_path):
    path = encode(tmp_path / "clip.mp4", "libvpx-vp9", "mp4")
    turned = patched(path, b"tkhd", 40, (0, ONE, 0, ONE, 0, 0), tmp_path / "turned.mp4")
    wanted = [np.ascontiguousarray(frame.swapaxes(0, 1)) for frame in every_frame(path)]
    np.testing.assert_array_equal(video_clip(turned, **SHAPE)[0], resized(wanted[:70]))


def test_a_display_matrix_moves_a_corner_as_specified():
    plane = np.arange(12).reshape(3, 4)
    for a, b, c, d in MATRICES:
        shown = orientation(struct.pack("=9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)).apply(plane)
        points = [(a * x + c * y, b * x + d * y) for y in range(3) for x in range(4)]
        left, top = min(x for x, _ in points), min(y for _, y in points)
        for (x, y), value in zip(points, plane.flat, strict=True):
            assert shown[y - top, x - left] == value


def test_other_angles_are_noted_and_an_empty_matrix_is_ignored(mp4, tmp_path):
    half = round(ONE * 0.5**0.5)
    path = patched(mp4, b"tkhd", 40, (half, half, 0, -half, half, 0), tmp_path / "turned.mp4")
    frames, _, record = video_clip(path, **SHAPE)
    np.testing.assert_array_equal(frames, resized(every_frame(mp4)[:70]))
    assert record["notes"] == ["rotation of 45 degrees ignored; only right angles are applied"]
    path = patched(mp4, b"tkhd", 40, (0, 0, 0, 0, 0, 0), tmp_path / "empty.mp4")
    assert outcome(path)[1]["notes"] == []
    nearly = orientation(struct.pack("=9i", 300, ONE, 0, -ONE, -300, 0, 0, 0, 1 << 30))
    assert (nearly.rotation, nearly.exact) == (90, True)


def woven(count=20):
    """Frames whose even rows are blue and odd rows red, chroma subsampled within each field."""
    blue, red = (41, 240, 110), (81, 90, 240)
    for _ in range(count):
        frame = av.VideoFrame(*SIZE, "yuv420p")
        for plane, even, odd in zip(frame.planes, blue, red, strict=True):
            rows = np.full((plane.height, plane.line_size), even, np.uint8)
            rows[1::2] = odd
            plane.update(rows.tobytes())
        yield frame


@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [
        ("libx264", "mp4", {"x264-params": "interlaced=1:log=-1", "crf": "1"}),
        ("mpeg4", "avi", {"flags": INTERLACED, "qmin": "1", "qmax": "1"}),
        ("mpeg2video", "mpegts", {"flags": INTERLACED, "qmin": "1", "qmax": "1"}),
    ],
)
def test_the_chroma_of_interlaced_fields_is_kept_apart_and_noted(tmp_path, codec, container, options):
    path = encode(tmp_path / "clip", codec, container, list(woven()), **options)
    frames, _, record = video_clip(path, depth=20, height=SIZE[1], width=SIZE[0])
    assert np.abs(frames[:, 0::2].astype(int) - 29).max() <= 6  # blue in gray
    assert np.abs(frames[:, 1::2].astype(int) - 76).max() <= 6  # red
    assert record["interlaced"]
    assert record["notes"] == ["interlaced: every other row of a frame is from another moment"]


@pytest.mark.parametrize("size", [(98, 66), (16, 2), (33, 17)])
def test_interlaced_clips_of_any_size_are_read(tmp_path, size):
    path = encode(tmp_path / "clip.avi", "mpeg4", "avi", pictures(20, size), flags=INTERLACED)
    frames, _, record = video_clip(path, **{**SHAPE, "depth": 20})
    assert record["interlaced"]
    assert np.abs(frames.astype(int) - resized(pictures(20, size))).mean() < 12


class _Unconverted:
    """What OpenCV 5 did with interlaced frames: no error, and not the picture asked for."""

    def reformat(self, frame, **_options):
        return frame


class _Failing:
    def reformat(self, frame, **_options):
        raise av.error.ArgumentError(22, "Invalid argument")


@pytest.mark.parametrize("reformatter", [_Unconverted, _Failing])
def test_a_frame_that_was_not_converted_is_never_stored(tmp_path, mp4, monkeypatch, reformatter):
    woven_clip = encode(tmp_path / "clip.avi", "mpeg4", "avi", list(woven()), flags=INTERLACED)
    monkeypatch.setattr(decode, "VideoReformatter", reformatter)
    state, reason = outcome(woven_clip, depth=5)
    assert state == "refused"
    assert reason.startswith("interlaced frame 1 of 96 x 64 (yuv420p), not converted: ")
    assert "yadif" in reason
    state, reason = outcome(mp4, depth=5)
    assert state == "refused"
    assert reason.startswith("frame 1 of 96 x 64 (yuv420p), not converted: ")


def test_raw_pictures_are_read_in_either_row_order(tmp_path):
    drawn = pictures(20, (94, 64))
    rows = [np.pad(picture.reshape(64, -1), ((0, 0), (0, 2))) for picture in drawn]  # each row fills whole words
    upward = write_avi(tmp_path / "up.avi", [row[::-1].tobytes() for row in rows], bytes(4), size=(94, 64))
    np.testing.assert_array_equal(video_clip(upward, depth=20, height=32, width=40)[0], resized(drawn))
    encoded = encode(tmp_path / "raw.avi", "rawvideo", "avi", drawn, pix_fmt="bgr24")
    np.testing.assert_array_equal(video_clip(encoded, depth=20, height=32, width=40)[0], resized(drawn))


# -- containers --------------------------------------------------------------------------------------------------------

CONTAINERS = {
    "clip.m4v": ("libx264", "mp4", {}),
    "clip.3gp": ("mpeg4", "3gp", {}),
    "clip.mov": ("mpeg4", "mov", {}),
    "clip.mpg": ("mpeg2video", "mpeg", {}),
    "clip.mpeg": ("mpeg1video", "mpeg", {}),
    "stream.mpg": ("mpeg2video", "mpeg2video", {}),
    "clip.ts": ("libx264", "mpegts", {}),
    "clip.m2ts": ("libx264", "mpegts", {"muxer": {"mpegts_m2ts_mode": "1"}}),
    "clip.mts": ("mpeg2video", "mpegts", {}),
    "clip.wmv": ("wmv2", "asf", {}),
    "clip.asf": ("msmpeg4", "asf", {}),
    "clip.flv": ("flv", "flv", {}),
    "clip.ogv": ("libvpx", "ogg", {}),
    "clip.mkv": ("libx264", "matroska", {}),
    "clip.webm": ("libvpx-vp9", "webm", {}),
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("sampling", ["head", "uniform"])
def test_every_container_is_recognised_by_its_bytes_not_its_name(tmp_path, name, sampling):
    codec, container, options = CONTAINERS[name]
    path = encode(tmp_path / name, codec, container, pictures(70), **options)
    frames, _, record = video_clip(path, **SHAPE, sampling=sampling)
    np.testing.assert_array_equal(frames, resized(every_frame(path)))
    assert np.abs(frames.astype(int) - resized(pictures(70))).mean() < 12
    assert (record["frames"], record["notes"], record["interlaced"]) == (70, [], False)
    np.testing.assert_array_equal(video_clip(path.rename(tmp_path / "other.avi"), **SHAPE)[0], frames)


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (b"#EXTM3U\n", None),
        (b"ffconcat version 1.0\n", None),
        (b"GIF89a", None),
        (b"\x89PNG\r\n", None),
        (b"G" + bytes(1023), None),  # one sync byte makes no transport stream
        ((b"G" + bytes(187)) * 5, "mpegts"),
        ((bytes(4) + b"G" + bytes(187)) * 5, "mpegts"),
        (b"", None),
    ],
)
def test_only_containers_that_open_no_other_file_are_known(head, wanted):
    assert demuxer(head) == wanted


def test_an_mp4_that_refers_to_another_file_never_shows_that_one(mp4, tmp_path):
    other = encode(tmp_path / "other.mp4", "mpeg4", "mp4", pictures(80, seed=5))
    data = mp4.read_bytes()
    name = b"other.mp4"
    record = struct.pack(">4sHHH", bytes(4), 146 + len(name) + 4, 2, 0).ljust(50, b"\0")  # up to the file's name
    record += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16) + struct.pack(">hh", 0, 0) + bytes(16)
    record += struct.pack(">hh", 2, len(name)) + name + b"\0" * (len(name) % 2) + struct.pack(">hh", -1, 0)
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    start = data.index(b"url ") - 4
    data = bytearray(data[:start] + entry + data[start + 12 :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        place = data.index(box) - 4
        data[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") + len(entry) - 12).to_bytes(4, "big")
    (tmp_path / "refers.mp4").write_bytes(data)
    assert other.exists()
    state, record = outcome(tmp_path / "refers.mp4")
    if state == "complete":  # FFmpeg reads on in the file itself
        np.testing.assert_array_equal(video_clip(tmp_path / "refers.mp4", **SHAPE)[0], video_clip(mp4, **SHAPE)[0])
    assert state in ("complete", "refused")


def write_with_cover(path, video=True):
    """An MP4 with a cover picture, larger than its video, if it has one, and sound where it has none."""
    disposition = av.stream.Disposition.attached_pic
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=25) if video else output.add_stream("aac", rate=8000)
        cover = output.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 640, 480, "yuvj420p", disposition
        if video:
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        picture = as_frame(pictures(1, (640, 480))[0], "yuvj420p")
        picture.pts = 0
        output.mux([*cover.encode(picture), *cover.encode()])
        for index, drawn in enumerate(pictures(70)):
            frame = as_frame(drawn) if video else av.AudioFrame.from_ndarray(np.zeros((1, 1024), "f4"), "fltp", "mono")
            frame.pts = index * (1 if video else 1024)
            if not video:
                frame.sample_rate = 8000
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def test_a_cover_picture_is_not_the_clip(tmp_path):
    _, _, record = video_clip(write_with_cover(tmp_path / "clip.mp4"), **SHAPE)
    assert (record["size"], record["frames"]) == ([96, 64], 70)
    state, reason = outcome(write_with_cover(tmp_path / "song.mp4", video=False))
    assert (state, reason) == (
        "refused",
        "no video stream, only a picture; expected a clip; move it out of SOURCE",
    )


def test_a_clip_with_a_title_that_is_not_utf_8_is_read(tmp_path):
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w") as output:
        output.metadata["title"] = "a title"
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for drawn in pictures(20):
            output.mux(stream.encode(as_frame(drawn)))
        output.mux(stream.encode())
    assert path.read_bytes().count(b"a title") == 1
    path.write_bytes(path.read_bytes().replace(b"a title", b"\xe9 t\xeft\xff\xfe"))
    assert outcome(path, depth=20)[0] == "complete"


# -- promises ----------------------------------------------------------------------------------------------------------


def hiding(path, count, to, end=0):
    """A copy of the MP4 whose edit list hides its first `count` frames and the last `end`."""
    data = path.read_bytes()
    scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 4 + 12)[0]
    ticks = struct.unpack_from(">I", data, data.index(b"mdhd") + 4 + 12)[0]
    shown = 80 - count - end
    return patched(path, b"elst", 8, (shown * scale // 25, count * ticks // 25), to)


@pytest.mark.parametrize(("count", "end"), [(10, 0), (25, 0), (0, 10), (15, 15)])
def test_frames_hidden_by_an_edit_list_are_not_missing(mp4, tmp_path, count, end):
    path = hiding(mp4, count, tmp_path / "cut.mp4", end)
    shown = 80 - count - end
    frames, _, record = video_clip(path, **{**SHAPE, "depth": 20}, sampling="head")
    every = resized(every_frame(mp4))
    np.testing.assert_array_equal(frames, every[count : count + 20])
    frames, _, record = video_clip(path, **{**SHAPE, "depth": shown}, sampling="uniform")
    np.testing.assert_array_equal(frames, every[count : 80 - end])
    note = f"its header promises 80 frames, {shown} decode ({80 - shown} hidden by an edit list)"
    assert (record["frames"], record["promised"], record["notes"]) == (shown, 80, [note])
    with pytest.raises(Excluded, match=f"^too short: {shown} frames, 100 needed$"):
        video_clip(path, depth=100, height=32, width=40)


@pytest.mark.parametrize("sampling", ["head", "uniform"])
def test_a_damaged_index_that_hides_frames_is_damage(tmp_path, sampling):
    path = encode(tmp_path / "clip.mp4", "libx264", "mp4", bf="2")  # with B frames, so that there is a `ctts`
    damaged = patched(path, b"ctts", 8 + 8 * 5, (60, -1_500_000_000), tmp_path / "damaged.mp4")
    assert outcome(path, sampling=sampling, depth=75)[0] == "complete"
    assert outcome(damaged, sampling=sampling, depth=75)[0] == "refused"


def with_edits(path, edits, to):
    """A copy of the MP4, whose boxes that say where frames lie come last, with `edits`: (frames, first frame or -1)."""
    data = bytearray(path.read_bytes())
    scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 4 + 12)[0]
    ticks = struct.unpack_from(">I", data, data.index(b"mdhd") + 4 + 12)[0]
    entries = [(count * scale // 25, first if first < 0 else first * ticks // 25, ONE) for count, first in edits]
    start = data.index(b"elst") - 4
    old = int.from_bytes(data[start : start + 4], "big")
    body = b"elst" + struct.pack(">II", 0, len(edits)) + b"".join(struct.pack(">Iii", *entry) for entry in entries)
    data[start : start + old] = struct.pack(">I", 4 + len(body)) + body
    for box in (b"moov", b"trak", b"edts"):
        place = data.index(box) - 4
        length = int.from_bytes(data[place : place + 4], "big") + 4 + len(body) - old
        data[place : place + 4] = length.to_bytes(4, "big")
    to.write_bytes(data)
    return to


def test_an_edit_list_puts_parts_in_order_and_a_gap_within_the_video_is_refused(mp4, tmp_path):
    every = resized(every_frame(mp4))
    for edits, order in [
        ([(10, -1), (80, 0)], [*range(80)]),
        ([(40, 40), (40, 0)], [*range(40, 80), *range(40)]),
        ([(30, 0), (40, 40), (10, -1)], [*range(30), *range(40, 80)]),
    ]:
        frames = video_clip(with_edits(mp4, edits, tmp_path / "edited.mp4"), **SHAPE)[0]
        np.testing.assert_array_equal(frames, every[order][:70])
    state, reason = outcome(with_edits(mp4, [(40, 0), (10, -1), (40, 40)], tmp_path / "gap.mp4"))
    assert (state, reason.partition(";")[0]) == ("refused", "an edit list that leaves a gap within the video")
    assert "fetch" not in reason


@pytest.mark.parametrize("places", [[10] * 6, [0] * 4, [30] * 8, [3, 9, 9, 30, 30, 30]])
def test_empty_chunks_repeat_a_frame_and_are_not_missing(tmp_path, places):
    frames = [jpeg(picture) for picture in pictures(30)]
    chunks = list(frames)
    for place in sorted(places, reverse=True):
        chunks.insert(place, b"")
    path = write_avi(tmp_path / "clip.avi", chunks)
    shown, _, record = video_clip(path, **{**SHAPE, "depth": 30}, sampling="uniform")
    np.testing.assert_array_equal(shown, resized(every_frame(path)))
    count = 30 + len(places)
    note = f"its header promises {count} frames, 30 decode ({len(places)} in empty chunks)"
    assert (record["frames"], record["notes"]) == (30, [note])
    with pytest.raises(Excluded, match=r"^too short: 30 frames, 70 needed$"):
        video_clip(path, **SHAPE)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"00dc", 0, -25_000)])  # some frames gone, too: that is damage
    assert outcome(path)[0] == "refused"


def test_frames_skipped_by_the_encoder_are_not_missing(tmp_path):
    """MPEG-4 has pictures that say "not coded", which real XviD clips hold by the dozen."""
    path = encode(tmp_path / "coded.avi", "mpeg4", "avi", bf="0")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        packets[0] = stream.codec_context.extradata + packets[0]
    for tick in range(6):  # P picture, no whole second, marker, tick of 25, marker, not coded, stuffing
        bits = f"01{0}1{tick + 10:05b}1{0}0".ljust(16, "1")
        packets.insert(10 + tick, b"\0\0\1\xb6" + int(bits, 2).to_bytes(2, "big"))
    path = write_avi(tmp_path / "skipped.avi", packets, b"XVID")
    frames, _, record = video_clip(path, **{**SHAPE, "depth": 80}, sampling="uniform")
    np.testing.assert_array_equal(frames, resized(every_frame(tmp_path / "coded.avi")))
    assert record["notes"] == ["its header promises 86 frames, 80 decode (6 skipped by the encoder)"]


@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [
        (
            "libx264",
            "matroska",
            {"x264-params": "open-gop=1:keyint=30:min-keyint=30:bframes=5:b-adapt=0:scenecut=0:log=-1"},
        ),
        ("libx265", "matroska", {"x265-params": "open-gop=1:keyint=30:min-keyint=30:bframes=4:log-level=none"}),
        ("mpeg2video", "mpegts", {"bf": "2", "g": "15"}),
    ],
)
def test_leading_frames_after_a_cut_are_dropped_and_are_not_damage(tmp_path, codec, container, options):
    whole = encode(tmp_path / "whole", codec, container, pictures(100), **options)
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut"), "w", format=container) as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        start = [index for index, packet in enumerate(packets) if packet.is_keyframe][1]
        assert any(packet.pts < packets[start].pts for packet in packets[start:])
        count = sum(packet.pts >= packets[start].pts for packet in packets[start:])
        for packet in packets[start:]:
            packet.stream = copy
            output.mux(packet)
    frames, _, record = video_clip(tmp_path / "cut", **{**SHAPE, "depth": count}, sampling="uniform")
    np.testing.assert_array_equal(frames, resized(every_frame(whole)[-count:]))
    assert record["frames"] == count


def test_a_recording_may_start_anywhere(tmp_path):
    path = encode(tmp_path / "clip.ts", "mpeg2video", "mpegts", pictures(120), bf="2", g="15")
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 188 // 3 * 188 :])
    frames, _, record = video_clip(path, **{**SHAPE, "depth": 30})
    assert record["frames"] == 30
    assert (np.abs(frames[:, None].astype(int) - resized(pictures(120))[None]).mean(axis=(2, 3)).min(axis=1) < 12).all()


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 512, 3000])
def test_zeros_in_mjpeg_are_not_damage(tmp_path, padding):
    flat = [jpeg(np.full((480, 640, 3), level, np.uint8)) + bytes(padding) for level in range(0, 200, 10)]
    path = write_avi(tmp_path / "flat.avi", flat, size=(640, 480))
    for sampling in ("head", "uniform"):
        assert outcome(path, depth=20, sampling=sampling)[0] == "complete"


def test_a_hole_is_a_run_of_zeros_inside_an_encoded_frame():
    coded = b"\x65\x88" + bytes(range(2, 250)) * 4
    for codec in ("h264", "hevc"):
        assert has_hole(coded + bytes(40) + coded, codec, 1)
        assert not has_hole(coded + bytes(4000), codec, 1)  # padding at the end
        assert not has_hole(coded + bytes(4000) + b"\1" + coded, codec, 1)  # and before a start code
        assert has_hole(coded + bytes(40) + b"\1" + coded + bytes(40) + coded, codec, 1)
    assert has_hole(coded + bytes(512), "vp8", 320 * 240)
    assert not has_hole(coded + bytes(512), "vp8", 4096 * 4096)
    assert not has_hole(bytes(5000), "mjpeg", 320 * 240)


@pytest.mark.parametrize(
    ("codec", "container"),
    [("mpeg4", "avi"), ("mjpeg", "avi"), ("libx264", "mp4"), ("libx265", "mp4"), ("libvpx", "webm")],
)
@pytest.mark.parametrize("kind", ["hole", "noise", "cut"])
def test_damage_is_refused_every_time(tmp_path, codec, container, kind):
    noise = np.random.default_rng(0).integers(0, 256, (80, 64, 96, 3), np.uint8)
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode(tmp_path / "clip", codec, container, list(noise), pix_fmt=pix_fmt, **options)
    data = bytearray(path.read_bytes())
    assert outcome(path, sampling="uniform")[0] == "complete"
    middle = len(data) // 2
    spoilt = {"hole": bytes(2048), "noise": np.random.default_rng(1).bytes(2048), "cut": data[middle : middle + 2048]}
    data[middle : middle + 2048] = spoilt[kind]
    path.write_bytes(data[:middle] if kind == "cut" else data)
    first, second = outcome(path, sampling="uniform"), outcome(path, sampling="uniform")
    assert first == second  # though PyAV keeps back what FFmpeg's log says twice in a row
    assert first[0] == "refused"


@pytest.mark.parametrize("container", ["mp4", "3gp", "mov"])
def test_an_mp4_that_ends_within_its_header_is_damaged_wherever_that_is(tmp_path, container):
    data = encode(tmp_path / "clip", "mpeg4", container).read_bytes()
    start = data.rindex(b"moov") - 4
    for end in range(start + 8, len(data) - 1, (len(data) - start) // 40):
        (tmp_path / "cut").write_bytes(data[:end])
        state, reason = outcome(tmp_path / "cut")
        assert state == "complete" or reason.endswith("fetch or export it again"), (end - start, reason)


def test_an_mp4_header_without_a_stream_is_damaged(mp4, tmp_path):
    data = mp4.read_bytes()
    place = data.index(b"mdhd")
    (tmp_path / "hole.mp4").write_bytes(data[:place] + bytes(400) + data[place + 400 :])
    state, reason = outcome(tmp_path / "hole.mp4")
    assert (state, reason.endswith("fetch or export it again")) == ("refused", True), reason


@pytest.mark.parametrize("m2ts", ["0", "1"])
def test_a_transport_stream_that_ends_within_a_packet_is_damaged_only_where_its_end_is_needed(tmp_path, m2ts):
    path = encode(tmp_path / "clip.ts", "libx264", "mpegts", muxer={"mpegts_m2ts_mode": m2ts})
    data = path.read_bytes()
    path.write_bytes(data + bytes(500))  # padding is no packet
    record = video_clip(path, **SHAPE, sampling="uniform")[2]
    assert record["frames"] == 80
    packet = 192 if m2ts == "1" else 188
    for end in range(len(data) - 60, len(data) - 40 * packet, -3 * packet):
        path.write_bytes(data[:end])
        for options in ({"sampling": "uniform", "depth": 20}, {"depth": 100}):
            state, reason = outcome(path, **options)
            assert (state, str(reason).endswith("fetch or export it again")) == ("refused", True), (end, reason)
    path.write_bytes(data[:-60])
    assert outcome(path, depth=20)[0] == "complete"


def test_two_packets_of_a_transport_stream_are_not_a_clip(tmp_path):
    data = encode(tmp_path / "clip.ts", "libx264", "mpegts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[:300])
    state, reason = outcome(tmp_path / "cut.ts")
    assert (state, reason.partition(";")[0]) == ("refused", "an MPEG transport stream that ends after 300 bytes")
    assert reason.endswith("fetch or export it again")


@pytest.mark.parametrize(
    "fill", [bytes(24), b"\xff" * 24, np.random.default_rng(2).bytes(24)], ids=["00", "ff", "noise"]
)
def test_a_few_wrong_bytes_in_vp9_are_damage_or_change_no_frame(tmp_path, fill):
    rng = np.random.default_rng(0)
    drawn = [np.clip(frame + rng.integers(-25, 26, frame.shape), 0, 255).astype(np.uint8) for frame in pictures(30)]
    data = encode(tmp_path / "clip.webm", "libvpx-vp9", "webm", drawn).read_bytes()
    options = {**SHAPE, "depth": 30}
    sound = video_clip(tmp_path / "clip.webm", **options)[0]
    for place in range(len(data) // 10, len(data) - 100, len(data) // 10):
        (tmp_path / "hurt.webm").write_bytes(data[:place] + fill + data[place + len(fill) :])
        state, reason = outcome(tmp_path / "hurt.webm", **options)
        if state == "complete":
            np.testing.assert_array_equal(video_clip(tmp_path / "hurt.webm", **options)[0], sound)
        else:
            assert reason.endswith("fetch or export it again")


def test_vp9_is_decoded_without_libvpx_where_that_is_missing(tmp_path, monkeypatch):
    path = encode(tmp_path / "clip.webm", "libvpx-vp9", "webm")
    frames = video_clip(path, **SHAPE)[0]

    asked = []

    def missing(name, _mode):
        asked.append(name)
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av.CodecContext, "create", missing)
    np.testing.assert_array_equal(video_clip(path, **SHAPE)[0], frames)
    assert asked == ["libvpx-vp9"]


def test_a_reason_is_never_empty():
    assert message(None, []) == "an error without text"
    assert message(None, [(16, "h264", " \n")]) == "an error without text"
    assert message(ValueError("odd"), []) == "odd"


def test_an_oserror_of_ffmpeg_is_damage_unless_the_file_is_unreadable(mp4, tmp_path, monkeypatch):
    """FFmpeg says EIO of a Matroska file that ends too early, and EPERM of odd values in an ASF file."""

    def fail(*_arguments, **_options):
        raise av.error.OSError(5, "Input/output error")

    monkeypatch.setattr(av, "open", fail)
    assert outcome(mp4) == (
        "refused",
        "no video stream that can be opened (Input/output error); expected an intact clip; "
        "the file is damaged or incomplete: fetch or export it again",
    )
    with pytest.raises(FileNotFoundError):
        check_readable(tmp_path / "gone.mp4", av.error.OSError(5, "Input/output error"))
    check_readable(tmp_path / "gone.mp4", av.error.InvalidDataError(1, "odd"))


def test_a_thread_gets_reports_about_its_own_clip_only(mp4, tmp_path):
    data = bytearray(mp4.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = np.random.default_rng(0).bytes(300)
    (tmp_path / "damaged.mp4").write_bytes(data)
    ends = {"damaged": set(), "sound": set()}

    def read(name, path):
        ends[name] |= {outcome(path, sampling="uniform")[0] for _ in range(10)}

    threads = [
        threading.Thread(target=read, args=(name, tmp_path / "damaged.mp4" if name == "damaged" else mp4))
        for name in ends
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == {"damaged": {"refused"}, "sound": {"complete"}}


def test_frames_that_become_too_large_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 96 * 64)
    path = write_avi(tmp_path / "sizes.avi", [jpeg(picture) for picture in [*pictures(10), *pictures(10, (128, 96))]])
    assert outcome(path, depth=10)[0] == "complete"
    assert outcome(path, depth=20)[1].startswith("frames of 128 x 96; expected at most 6144 pixels")


# -- real files --------------------------------------------------------------------------------------------------------

FIELD = {
    "base.mp4": (200, []),
    "flat_mjpeg.avi": (40, []),
    "fragmented.mp4": (200, []),
    "hevc_open_gop.mp4": (150, ["its header promises 153 frames, 150 decode (3 hidden by an edit list)"]),
    "interlaced_h264.mp4": (50, ["interlaced: every other row of a frame is from another moment"]),
    "interlaced_xvid.avi": (50, ["interlaced: every other row of a frame is from another moment"]),
    "mirrored_hflip.mp4": (200, []),
    "other_ending.m4v": (100, []),
    "trimmed_editlist.mp4": (89, ["its header promises 112 frames, 89 decode (23 hidden by an edit list)"]),
}


@pytest.mark.parametrize("name", FIELD)
def test_every_unusual_but_intact_clip_gives_all_its_frames(real_data, name):
    count, notes = FIELD[name]
    path = real_data / "field" / name
    wanted = resized(every_frame(path))
    wanted = wanted if name != "mirrored_hflip.mp4" else resized([frame[:, ::-1].copy() for frame in every_frame(path)])
    for sampling in ("head", "uniform"):
        frames, _, record = video_clip(path, **{**SHAPE, "depth": count}, sampling=sampling)
        np.testing.assert_array_equal(frames, wanted)
        assert record["frames"] == count
        assert record["notes"] == notes or sampling == "head"
    with pytest.raises(Excluded, match=f"^too short: {count} frames, 300 needed$"):
        video_clip(path, depth=300, height=32, width=40)


def test_the_table_has_every_unusual_clip(real_data):
    assert sorted(FIELD) == sorted(path.name for path in (real_data / "field").iterdir() if path.is_file())


def test_the_edit_list_hides_the_first_frames(real_data):
    path = real_data / "field/trimmed_editlist.mp4"
    every = resized(every_frame(path, ignore_editlist="1"))
    np.testing.assert_array_equal(video_clip(path, **{**SHAPE, "depth": 89})[0], every[-89:])


def test_a_mirrored_clip_is_its_twin_mirrored(real_data):
    frames = video_clip(real_data / "field/base.mp4", depth=50, height=240, width=320)[0]
    mirrored, _, record = video_clip(real_data / "field/mirrored_hflip.mp4", depth=50, height=240, width=320)
    np.testing.assert_array_equal(mirrored, frames[:, :, ::-1])
    assert record["mirrored"]


@pytest.mark.parametrize("name", ["interlaced_h264.mp4", "interlaced_xvid.avi"])
def test_an_interlaced_real_clip_is_close_to_its_luma_and_changes(real_data, name):
    frames = video_clip(real_data / "field" / name, depth=50, height=240, width=320)[0]
    with av.open(str(real_data / "field" / name)) as container:
        luma = np.stack([frame.to_ndarray()[:240, :320] for frame in container.decode(video=0)])
    assert np.abs((luma.astype(float) - 16) * 255 / 219 - frames).mean() < 3
    assert (np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2)) > 0.1).all()


def test_of_several_video_streams_the_first_is_the_clip(real_data):
    record = video_clip(real_data / "video_odd/nasa_13013.mp4", **SHAPE)[2]
    assert (record["size"], record["frames"]) == ([320, 180], 70)


@pytest.mark.parametrize(
    ("data", "given", "remedy"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer", "git lfs pull"),
        (b"<!DOCTYPE html><html><title>Sign in</title>", "an HTML page", "download the file again"),
        (b"PK\3\4" + bytes(60), "a ZIP archive", "unpack it"),
        (b"GIF89a" + bytes(60), "a GIF image", "convert all of them"),
        (bytes(4096), "it starts with", "fetch or export it again"),
        (b"", "empty file", "fetch or export it again"),
        (b"import { a } from 'b';\n", "not a video container", "move it out of SOURCE"),
    ],
)
def test_a_file_that_is_not_a_video_is_named_with_a_remedy(tmp_path, data, given, remedy):
    path = tmp_path / "v_A_g01_c01.ts"
    path.write_bytes(data)
    with pytest.raises(InvalidInput) as refused:
        video_clip(path, depth=4, height=8, width=8)
    assert given in refused.value.given
    assert remedy in refused.value.remedy
