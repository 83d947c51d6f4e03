"""Clips with damage that a decoder, the container or FFmpeg reports are rejected."""

import threading

import av
import numpy as np
import pytest

from pipeline.readers.clip.container import check_readable, message
from pipeline.readers.clip.holes import has_hole
from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, jpeg, outcome, pictures, write_avi
from tests.helpers.encoded_clips import encode

# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 512, 3000])
def test_zeros_in_mjpeg_are_not_damage(tmp_path, padding):
    flat = [jpeg(np.full((480, 640, 3), level, np.uint8)) + bytes(padding) for level in range(0, 200, 10)]
    path = write_avi(tmp_path / "flat.avi", flat, size=(640, 480))
    for sampling in ("head", "uniform"):
        assert outcome(path, depth=20, sampling=sampling)[0] == "complete"


def test_a_hole_is_a_run_of_zeros_inside_an_encoded_frame():
    frame = b"\x65\x88" + bytes(range(2, 250)) * 4
    for codec in ("h264", "hevc"):
        assert has_hole(frame + bytes(40) + frame, codec, 1)
        assert not has_hole(frame + bytes(4000), codec, 1)  # padding at the end
        assert not has_hole(frame + bytes(4000) + b"\1" + frame, codec, 1)  # padding before a start code
        assert has_hole(frame + bytes(40) + b"\1" + frame + bytes(40) + frame, codec, 1)
    assert has_hole(frame + bytes(512), "vp8", 320 * 240)
    assert not has_hole(frame + bytes(512), "vp8", 4096 * 4096)
    assert not has_hole(bytes(5000), "mjpeg", 320 * 240)


@pytest.mark.parametrize(
    ("codec", "container"),
    [("mpeg4", "avi"), ("mjpeg", "avi"), ("libx264", "mp4"), ("libx265", "mp4"), ("libvpx", "webm")],
)
@pytest.mark.parametrize("kind", ["hole", "noise", "cut"])
def test_a_damaged_clip_is_rejected_on_every_reading(tmp_path, codec, container, kind):
    noise = np.random.default_rng(0).integers(0, 256, (80, 64, 96, 3), np.uint8)
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode(tmp_path / "clip", codec, container, list(noise), pix_fmt=pix_fmt, **options)
    data = bytearray(path.read_bytes())
    assert outcome(path, sampling="uniform")[0] == "complete"
    middle = len(data) // 2
    damage = {"hole": bytes(2048), "noise": np.random.default_rng(1).bytes(2048), "cut": data[middle : middle + 2048]}
    data[middle : middle + 2048] = damage[kind]
    path.write_bytes(data[:middle] if kind == "cut" else data)
    first, second = outcome(path, sampling="uniform"), outcome(path, sampling="uniform")
    assert first == second  # although PyAV suppresses repeated messages of FFmpeg
    assert first[0] == "refused"


@pytest.mark.parametrize("container", ["mp4", "3gp", "mov"])
def test_an_mp4_that_ends_anywhere_within_its_header_is_damaged(tmp_path, container):
    data = encode(tmp_path / "clip", "mpeg4", container).read_bytes()
    start = data.rindex(b"moov") - 4
    for end in range(start + 8, len(data) - 1, (len(data) - start) // 40):
        (tmp_path / "cut").write_bytes(data[:end])
        state, reason = outcome(tmp_path / "cut")
        assert state == "complete" or reason.endswith("fetch or export it again"), (end - start, reason)


def test_an_mp4_header_without_a_stream_is_damaged(mp4, tmp_path):
    data = mp4.read_bytes()
    offset = data.index(b"mdhd")
    (tmp_path / "hole.mp4").write_bytes(data[:offset] + bytes(400) + data[offset + 400 :])
    state, reason = outcome(tmp_path / "hole.mp4")
    assert (state, reason.endswith("fetch or export it again")) == ("refused", True), reason


@pytest.mark.parametrize("m2ts", ["0", "1"])
def test_a_transport_stream_that_ends_within_a_packet_is_rejected_only_if_its_end_is_needed(tmp_path, m2ts):
    path = encode(tmp_path / "clip.ts", "libx264", "mpegts", muxer={"mpegts_m2ts_mode": m2ts})
    data = path.read_bytes()
    path.write_bytes(data + bytes(500))  # padding is not a packet
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
def test_a_few_wrong_bytes_in_vp9_are_detected_or_harmless(tmp_path, fill):
    rng = np.random.default_rng(0)
    noisy = [np.clip(frame + rng.integers(-25, 26, frame.shape), 0, 255).astype(np.uint8) for frame in pictures(30)]
    data = encode(tmp_path / "clip.webm", "libvpx-vp9", "webm", noisy).read_bytes()
    options = {**SHAPE, "depth": 30}
    intact = video_clip(tmp_path / "clip.webm", **options)[0]
    for offset in range(len(data) // 10, len(data) - 100, len(data) // 10):
        (tmp_path / "damaged.webm").write_bytes(data[:offset] + fill + data[offset + len(fill) :])
        state, reason = outcome(tmp_path / "damaged.webm", **options)
        if state == "complete":
            np.testing.assert_array_equal(video_clip(tmp_path / "damaged.webm", **options)[0], intact)
        else:
            assert reason.endswith("fetch or export it again")


def test_vp9_is_decoded_without_libvpx_if_it_is_missing(tmp_path, monkeypatch):
    path = encode(tmp_path / "clip.webm", "libvpx-vp9", "webm")
    frames = video_clip(path, **SHAPE)[0]

    created = []

    def missing(name, _mode):
        created.append(name)
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av.CodecContext, "create", missing)
    np.testing.assert_array_equal(video_clip(path, **SHAPE)[0], frames)
    assert created == ["libvpx-vp9"]


def test_the_message_of_a_decoding_error_is_never_empty():
    assert message(None, []) == "an error without text"
    assert message(None, [(16, "h264", " \n")]) == "an error without text"
    assert message(ValueError("odd"), []) == "odd"


def test_an_oserror_of_ffmpeg_means_damage_unless_the_file_is_unreadable(mp4, tmp_path, monkeypatch):
    """FFmpeg reports EIO for a Matroska file that ends too early, and EPERM for wrong values in an ASF file."""

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


def test_each_thread_gets_only_the_messages_about_its_own_clip(mp4, tmp_path):
    data = bytearray(mp4.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = np.random.default_rng(0).bytes(300)
    (tmp_path / "damaged.mp4").write_bytes(data)
    outcomes = {"damaged": set(), "intact": set()}

    def read(name, path):
        outcomes[name] |= {outcome(path, sampling="uniform")[0] for _ in range(10)}

    threads = [
        threading.Thread(target=read, args=(name, tmp_path / "damaged.mp4" if name == "damaged" else mp4))
        for name in outcomes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {"damaged": {"refused"}, "intact": {"complete"}}
