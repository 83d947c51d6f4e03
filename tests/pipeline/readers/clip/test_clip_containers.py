"""Containers are recognised by their contents, and the clip is the first video stream."""

import struct

import av
import numpy as np
import pytest

from pipeline.errors import InvalidInput
from pipeline.readers.clip.demuxer import demuxer
from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, SIZE, outcome, pictures, resized
from tests.helpers.encoded_clips import as_frame, encode, every_frame

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
def test_every_container_is_recognised_by_its_contents_not_its_name(tmp_path, name, sampling):
    codec, container, options = CONTAINERS[name]
    path = encode(tmp_path / name, codec, container, pictures(70), **options)
    frames, _, record = video_clip(path, **SHAPE, sampling=sampling)
    np.testing.assert_array_equal(frames, resized(every_frame(path)))
    assert np.abs(frames.astype(int) - resized(pictures(70))).mean() < 12
    assert (record["frames"], record["notes"], record["interlaced"]) == (70, [], False)
    np.testing.assert_array_equal(video_clip(path.rename(tmp_path / "other.avi"), **SHAPE)[0], frames)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"#EXTM3U\n", None),
        (b"ffconcat version 1.0\n", None),
        (b"GIF89a", None),
        (b"\x89PNG\r\n", None),
        (b"G" + bytes(1023), None),  # one sync byte does not make a transport stream
        ((b"G" + bytes(187)) * 5, "mpegts"),
        ((bytes(4) + b"G" + bytes(187)) * 5, "mpegts"),
        (b"", None),
    ],
)
def test_only_containers_that_cannot_open_other_files_are_accepted(head, expected):
    assert demuxer(head) == expected


def test_a_file_that_an_mp4_refers_to_is_never_read(mp4, tmp_path):
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
        offset = data.index(box) - 4
        data[offset : offset + 4] = (int.from_bytes(data[offset : offset + 4], "big") + len(entry) - 12).to_bytes(
            4, "big"
        )
    (tmp_path / "refers.mp4").write_bytes(data)
    assert other.exists()
    state, record = outcome(tmp_path / "refers.mp4")
    if state == "complete":  # FFmpeg reads from the file itself
        np.testing.assert_array_equal(video_clip(tmp_path / "refers.mp4", **SHAPE)[0], video_clip(mp4, **SHAPE)[0])
    assert state in ("complete", "refused")


def write_with_cover(path, video=True):
    """Write an MP4 with a cover picture, and a smaller video or an audio stream."""
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
        for index, picture in enumerate(pictures(70)):
            frame = (
                as_frame(picture) if video else av.AudioFrame.from_ndarray(np.zeros((1, 1024), "f4"), "fltp", "mono")
            )
            frame.pts = index * (1 if video else 1024)
            if not video:
                frame.sample_rate = 8000
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def test_a_cover_picture_is_not_read_as_the_clip(tmp_path):
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
        for picture in pictures(20):
            output.mux(stream.encode(as_frame(picture)))
        output.mux(stream.encode())
    assert path.read_bytes().count(b"a title") == 1
    path.write_bytes(path.read_bytes().replace(b"a title", b"\xe9 t\xeft\xff\xfe"))
    assert outcome(path, depth=20)[0] == "complete"


def test_the_first_of_several_video_streams_is_read(real_data):
    record = video_clip(real_data / "video_odd/nasa_13013.mp4", **SHAPE)[2]
    assert (record["size"], record["frames"]) == ([320, 180], 70)


@pytest.mark.parametrize(
    ("data", "kind", "remedy"),
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
def test_a_file_that_is_not_a_video_is_rejected_with_its_kind_and_a_remedy(tmp_path, data, kind, remedy):
    path = tmp_path / "v_A_g01_c01.ts"
    path.write_bytes(data)
    with pytest.raises(InvalidInput) as rejected:
        video_clip(path, depth=4, height=8, width=8)
    assert kind in rejected.value.problem
    assert remedy in rejected.value.remedy
