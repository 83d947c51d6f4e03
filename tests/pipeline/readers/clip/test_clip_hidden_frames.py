"""Hidden, empty, skipped and leading frames do not count as missing."""

import struct

import av
import numpy as np
import pytest

from pipeline.errors import Excluded
from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, jpeg, outcome, pictures, resized, write_avi
from tests.helpers.encoded_clips import ONE, encode, every_frame, patched

# -- promises ----------------------------------------------------------------------------------------------------------


def with_hidden_frames(path, count, target, end=0):
    """A copy of the MP4 whose edit list hides its first `count` frames and its last `end` frames."""
    data = path.read_bytes()
    scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 4 + 12)[0]
    ticks = struct.unpack_from(">I", data, data.index(b"mdhd") + 4 + 12)[0]
    visible = 80 - count - end
    return patched(path, b"elst", 8, (visible * scale // 25, count * ticks // 25), target)


@pytest.mark.parametrize(("count", "end"), [(10, 0), (25, 0), (0, 10), (15, 15)])
def test_frames_hidden_by_an_edit_list_are_not_missing(mp4, tmp_path, count, end):
    path = with_hidden_frames(mp4, count, tmp_path / "cut.mp4", end)
    visible = 80 - count - end
    frames, _, record = video_clip(path, **{**SHAPE, "depth": 20}, sampling="head")
    all_frames = resized(every_frame(mp4))
    np.testing.assert_array_equal(frames, all_frames[count : count + 20])
    frames, _, record = video_clip(path, **{**SHAPE, "depth": visible}, sampling="uniform")
    np.testing.assert_array_equal(frames, all_frames[count : 80 - end])
    note = f"its header promises 80 frames, {visible} decode ({80 - visible} hidden by an edit list)"
    assert (record["frames"], record["promised"], record["notes"]) == (visible, 80, [note])
    with pytest.raises(Excluded, match=f"^too short: {visible} frames, 100 needed$"):
        video_clip(path, depth=100, height=32, width=40)


@pytest.mark.parametrize("sampling", ["head", "uniform"])
def test_a_clip_whose_damaged_index_hides_frames_is_rejected(tmp_path, sampling):
    path = encode(tmp_path / "clip.mp4", "libx264", "mp4", bf="2")  # B frames need a `ctts` box
    damaged = patched(path, b"ctts", 8 + 8 * 5, (60, -1_500_000_000), tmp_path / "damaged.mp4")
    assert outcome(path, sampling=sampling, depth=75)[0] == "complete"
    assert outcome(damaged, sampling=sampling, depth=75)[0] == "refused"


def with_edits(path, edits, target):
    """A copy of the MP4 with `edits`, each (number of frames, first frame or -1); its index follows the frames."""
    data = bytearray(path.read_bytes())
    scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 4 + 12)[0]
    ticks = struct.unpack_from(">I", data, data.index(b"mdhd") + 4 + 12)[0]
    entries = [(count * scale // 25, first if first < 0 else first * ticks // 25, ONE) for count, first in edits]
    start = data.index(b"elst") - 4
    old_length = int.from_bytes(data[start : start + 4], "big")
    body = b"elst" + struct.pack(">II", 0, len(edits)) + b"".join(struct.pack(">Iii", *entry) for entry in entries)
    data[start : start + old_length] = struct.pack(">I", 4 + len(body)) + body
    for box in (b"moov", b"trak", b"edts"):
        offset = data.index(box) - 4
        length = int.from_bytes(data[offset : offset + 4], "big") + 4 + len(body) - old_length
        data[offset : offset + 4] = length.to_bytes(4, "big")
    target.write_bytes(data)
    return target


def test_an_edit_list_reorders_parts_and_one_with_a_gap_is_rejected(mp4, tmp_path):
    all_frames = resized(every_frame(mp4))
    for edits, order in [
        ([(10, -1), (80, 0)], [*range(80)]),
        ([(40, 40), (40, 0)], [*range(40, 80), *range(40)]),
        ([(30, 0), (40, 40), (10, -1)], [*range(30), *range(40, 80)]),
    ]:
        frames = video_clip(with_edits(mp4, edits, tmp_path / "edited.mp4"), **SHAPE)[0]
        np.testing.assert_array_equal(frames, all_frames[order][:70])
    state, reason = outcome(with_edits(mp4, [(40, 0), (10, -1), (40, 40)], tmp_path / "gap.mp4"))
    assert (state, reason.partition(";")[0]) == ("refused", "an edit list that leaves a gap within the video")
    assert "fetch" not in reason


@pytest.mark.parametrize("positions", [[10] * 6, [0] * 4, [30] * 8, [3, 9, 9, 30, 30, 30]])
def test_empty_chunks_repeat_a_frame_and_are_not_missing(tmp_path, positions):
    frames = [jpeg(picture) for picture in pictures(30)]
    chunks = list(frames)
    for position in sorted(positions, reverse=True):
        chunks.insert(position, b"")
    path = write_avi(tmp_path / "clip.avi", chunks)
    decoded, _, record = video_clip(path, **{**SHAPE, "depth": 30}, sampling="uniform")
    np.testing.assert_array_equal(decoded, resized(every_frame(path)))
    count = 30 + len(positions)
    note = f"its header promises {count} frames, 30 decode ({len(positions)} in empty chunks)"
    assert (record["frames"], record["notes"]) == (30, [note])
    with pytest.raises(Excluded, match=r"^too short: 30 frames, 70 needed$"):
        video_clip(path, **SHAPE)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"00dc", 0, -25_000)])  # frames are missing as well, so the clip is damaged
    assert outcome(path)[0] == "refused"


def test_frames_skipped_by_the_encoder_are_not_missing(tmp_path):
    """MPEG-4 has pictures marked "not coded"; real XviD clips contain dozens of them."""
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
def test_leading_frames_after_a_cut_are_dropped_and_do_not_count_as_damage(tmp_path, codec, container, options):
    complete = encode(tmp_path / "complete", codec, container, pictures(100), **options)
    with av.open(str(complete)) as source, av.open(str(tmp_path / "cut"), "w", format=container) as output:
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
    np.testing.assert_array_equal(frames, resized(every_frame(complete)[-count:]))
    assert record["frames"] == count


def test_a_transport_stream_may_start_at_any_packet(tmp_path):
    path = encode(tmp_path / "clip.ts", "mpeg2video", "mpegts", pictures(120), bf="2", g="15")
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 188 // 3 * 188 :])
    frames, _, record = video_clip(path, **{**SHAPE, "depth": 30})
    assert record["frames"] == 30
    assert (np.abs(frames[:, None].astype(int) - resized(pictures(120))[None]).mean(axis=(2, 3)).min(axis=1) < 12).all()
