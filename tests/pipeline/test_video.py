"""A clip becomes its frames, as OpenCV decodes ordinary ones, or a reason; it is never quietly something else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage

from cache.fingerprint import digest_files
from pipeline.errors import Excluded, InvalidInput
from pipeline.readers.clip.decode import DECODER
from pipeline.transforms import video
from pipeline.transforms.frames import spaced
from pipeline.transforms.sampling import spline
from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, decoded, jpeg, outcome, pictures, promising, resized, write_avi, write_xvid

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real files are not at {DATA}")


@pytest.fixture(autouse=True)
def _silence(capfd):
    """Neither FFmpeg nor OpenCV prints a word, whatever they are given."""
    yield
    assert capfd.readouterr() == ("", "")


# -- clips to test on --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def xvid(tmp_path_factory):
    """A function: the XviD clip of so many frames, made once a session."""
    folder, made = tmp_path_factory.mktemp("xvid"), {}

    def clip(count):
        if count not in made:
            made[count] = write_xvid(folder / f"{count}.avi", count)
        return made[count]

    return clip


# -- what a sample is --------------------------------------------------------------------------------------------------


def test_head_is_the_first_frames_gray_and_then_resized_without_the_rest_being_decoded(xvid):
    frames, digest, record = video_clip(xvid(71), **SHAPE)
    np.testing.assert_array_equal(frames, resized(decoded(xvid(71))[:70]))
    assert (frames.dtype, frames.shape, frames.flags.c_contiguous) == (np.uint8, (70, 32, 40), True)
    assert digest == digest_files([xvid(71)])
    assert record == {
        "promised": 71,
        "fps": 25.0,
        "size": [96, 64],
        "codec": "mpeg4",
        "rotation": 0,
        "mirrored": False,
        "interlaced": False,
        "decoder": DECODER,
        "opencv": cv2.__version__,
        "notes": [],
        "frames": 70,
        "whole": False,
        "sampling": "head",
    }
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("seed", range(3))
def test_the_originals_order_of_steps_gives_the_same_to_one_gray_level(tmp_path, seed):
    path = write_xvid(tmp_path / "clip.avi", 8, (320, 240), seed)
    frames = video_clip(path, depth=8, height=224, width=224)[0]
    original = [cv2.cvtColor(cv2.resize(frame, (224, 224)), cv2.COLOR_BGR2GRAY) for frame in decoded(path)]
    assert np.abs(np.stack(original).astype(int) - frames).max() <= 1


@pytest.mark.parametrize(("count", "depth"), [(70, 70), (71, 70), (90, 70), (140, 7), (9, 2), (9, 1)])
def test_uniform_takes_the_frames_nearest_to_evenly_spaced_points(xvid, count, depth):
    frames, _, record = video_clip(xvid(count), **{**SHAPE, "depth": depth}, sampling="uniform")
    points = [index * (count - 1) / max(depth - 1, 1) for index in range(depth)]
    np.testing.assert_array_equal(frames, resized(decoded(xvid(count)))[[int(point + 0.5) for point in points]])
    assert (record["frames"], record["whole"]) == (count, True)


@pytest.mark.parametrize("count", [70, 71, 90, 140])
def test_spline_is_scipys_zoom_along_time_clipped_and_rounded(xvid, count):
    frames = video_clip(xvid(count), **SHAPE, sampling="spline")[0]
    exact = ndimage.zoom(
        resized(decoded(xvid(count))).astype(float), (70 / count, 1, 1), order=3, mode="nearest", grid_mode=False
    )
    assert np.abs(np.clip(exact, 0, 255) - frames).max() <= 0.503  # half a level, and the zoom's 1e-5 of the range
    assert frames.dtype == np.uint8
    assert frames.flags.c_contiguous


def test_where_the_spline_overshoots_white_stays_white(tmp_path):
    """A white flash of three frames in the dark: between them the spline is above 255 by far."""
    writer = cv2.VideoWriter(str(tmp_path / "flash.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 24))
    for number in range(40):
        writer.write(np.full((24, 32, 3), 255 if number % 8 in (3, 4, 5) else 0, np.uint8))
    writer.release()
    frames = video_clip(tmp_path / "flash.avi", depth=33, height=24, width=32, sampling="spline")[0]
    gray = resized(decoded(tmp_path / "flash.avi"), 24, 32)
    plain = ndimage.zoom(np.float64(gray), (33 / 40, 1, 1), order=3, mode="nearest")
    assert plain.max() > 256.5
    np.testing.assert_allclose(frames, np.clip(plain, 0, 255), atol=1.01)


@pytest.mark.parametrize("sampling", ["head", "uniform", "spline"])
@pytest.mark.parametrize("count", [1, 2, 69])
def test_a_short_clip_is_skipped_looped_or_stretched(xvid, count, sampling):
    options = {**SHAPE, "sampling": sampling}
    with pytest.raises(Excluded, match=f"^too short: {count} frames, 70 needed$"):
        video_clip(xvid(count), **options)
    every = resized(decoded(xvid(count)))
    looped, _, record = video_clip(xvid(count), **options, short="loop")
    np.testing.assert_array_equal(looped, every[[index % count for index in range(70)]])
    assert (record["frames"], record["whole"]) == (count, True)
    assert record["notes"] == [f"short: looped from {count} frames to 70"]
    stretched, _, record = video_clip(xvid(count), **options, short="stretch")
    np.testing.assert_array_equal(stretched, every[[int(index * (count - 1) / 69 + 0.5) for index in range(70)]])
    assert stretched.flags.c_contiguous
    assert record["notes"] == [f"short: stretched from {count} frames to 70"]


@pytest.mark.parametrize("sampling", ["head", "uniform", "spline"])
@pytest.mark.parametrize("short", ["skip", "loop", "stretch"])
def test_a_clip_without_frames_is_refused(tmp_path, sampling, short):
    state, reason = outcome(write_avi(tmp_path / "none.avi", []), sampling=sampling, short=short)
    assert state == "refused"
    assert "no video stream" in reason or "0 frames" in reason


def test_spaced_repeats_where_there_are_too_few_and_never_skips_back():
    for count in range(1, 40):
        for depth in range(1, 40):
            shown = spaced(count, depth)
            assert len(shown) == depth
            assert (shown[0], shown[-1]) == (0, count - 1 if depth > 1 else 0)
            assert (np.diff(shown) >= 0).all()
            assert count < depth or len(set(shown)) == depth


# -- headers that lie --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("promised", [0, 1, 70, 89, 91, 92, 10_000_001, 3_000_000_000, 0xFFFFFFFF])
@pytest.mark.parametrize("sampling", ["head", "uniform", "spline"])
def test_frames_are_counted_by_decoding_not_by_the_header(xvid, tmp_path, sampling, promised):
    path = promising(xvid(90), tmp_path / "lies.avi", promised)
    frames, _, record = video_clip(path, **SHAPE, sampling=sampling)
    np.testing.assert_array_equal(frames, video_clip(xvid(90), **SHAPE, sampling=sampling)[0])
    assert record["promised"] == (promised if 0 < promised < 10_000_001 else None)
    noted = sampling != "head" and record["promised"]
    assert record["notes"] == ([f"its header promises {promised} frames, 90 decode"] if noted else [])


@pytest.mark.parametrize("promised", [93, 3_000_000])
def test_a_header_that_promises_more_is_damage_unless_only_the_head_is_needed(xvid, tmp_path, promised):
    path = promising(xvid(90), tmp_path / "lies.avi", promised)
    for sampling in ("uniform", "spline"):
        state, reason = outcome(path, sampling=sampling)
        assert state == "refused"
        assert reason.startswith(f"90 frames that decode (codec mpeg4); expected the {promised} that its header prom")
    state, record = outcome(path)
    assert (state, record["notes"]) == ("complete", [f"its header promises {promised} frames, the file holds 90"])


@pytest.mark.parametrize("short", ["skip", "loop", "stretch"])
def test_too_few_frames_are_short_within_two_of_the_promise_and_damage_beyond(xvid, tmp_path, short):
    honest = promising(xvid(43), tmp_path / "honest.avi", 45)
    assert outcome(honest, short=short)[0] == ("excluded" if short == "skip" else "complete")
    damaged = promising(xvid(43), tmp_path / "damaged.avi", 46)
    assert outcome(damaged, short=short)[0] == "refused"
    silent = promising(xvid(43), tmp_path / "silent.avi", 0)
    assert outcome(silent, short=short)[0] == ("excluded" if short == "skip" else "complete")


def test_spline_refuses_more_frames_than_its_limit_after_counting_them(xvid, monkeypatch):
    monkeypatch.setattr(spline, "MAX_WEIGHTS", 89 * 70)
    state, reason = outcome(xvid(90), sampling="spline")
    assert (state, reason.split(";")[0]) == ("refused", "90 frames")
    assert "at most 89 with --sampling spline" in reason
    assert outcome(xvid(71), sampling="spline")[0] == "complete"
    assert outcome(xvid(90), sampling="uniform")[0] == "complete"


# -- damage ------------------------------------------------------------------------------------------------------------


def holed(data, size, tenth):
    start = len(data) * tenth // 10
    return data[:start] + bytes(len(data[start : start + size])) + data[start + size :]


@pytest.fixture(params=["made", pytest.param("real", marks=needs_data)])
def sound(request, xvid):
    return xvid(90) if request.param == "made" else DATA / "clips/Nasa/v_Nasa_g01_c02.avi"


@pytest.mark.parametrize("tenth", range(10))
def test_a_clip_cut_at_any_tenth_gives_its_intact_head_with_a_note_or_is_refused(sound, tmp_path, tenth):
    data = sound.read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(data[: len(data) * tenth // 10])
    for sampling in ("uniform", "spline"):
        assert outcome(path, sampling=sampling)[0] == "refused"
        assert outcome(path, sampling=sampling, short="loop")[0] == "refused"
    complete = 0
    for depth in (5, 20, 40, 70):
        state, record = outcome(path, depth=depth)
        if state == "complete":
            complete += 1
            wanted = resized(decoded(sound)[:depth])
            np.testing.assert_array_equal(video_clip(path, **{**SHAPE, "depth": depth})[0], wanted)
            assert "its header promises 90 frames, the file holds " in record["notes"][0]
        else:
            assert state == "refused"
    assert complete >= (0, 0, 0, 1, 1, 2, 2, 2, 2, 3)[tenth]


@pytest.mark.parametrize("size", [512, 4096])
@pytest.mark.parametrize("tenth", range(2, 10))
def test_a_zeroed_hole_never_changes_a_frame_that_is_accepted(sound, tmp_path, size, tenth):
    path = tmp_path / "hole.avi"
    path.write_bytes(holed(sound.read_bytes(), size, tenth))
    for options in ({"sampling": "uniform"}, {"sampling": "spline"}, {"depth": 10}, {"depth": 40}):
        state, _ = outcome(path, **options)
        if state == "complete":
            options = {**SHAPE, **options}
            np.testing.assert_array_equal(video_clip(path, **options)[0], video_clip(sound, **options)[0])
        else:
            assert state == "refused"


def test_a_hole_is_refused_where_frames_are_needed_and_harmless_after_the_head(xvid, tmp_path):
    path = tmp_path / "hole.avi"
    path.write_bytes(holed(xvid(90).read_bytes(), 2048, 5))
    assert outcome(path, sampling="uniform")[0] == "refused"
    assert outcome(path, depth=70)[0] == "refused"
    assert outcome(path, depth=20)[0] == "complete"


@needs_data
@pytest.mark.parametrize("name", ["big_buck_bunny_432_433.webm", "no_duration.webm", "nasa_13013.mp4"])
@pytest.mark.parametrize("tenth", [3, 5, 8])
def test_a_hole_or_cut_in_other_containers_is_also_refused(tmp_path, name, tenth):
    data = (DATA / "video_odd" / name).read_bytes()
    path = tmp_path / name
    for damaged in (holed(data, 4096, tenth), data[: len(data) * tenth // 10]):
        path.write_bytes(damaged)
        assert outcome(path, sampling="uniform", short="loop")[0] == "refused"


def test_scrambled_frames_after_a_valid_header_are_refused(xvid, tmp_path):
    data = bytearray(xvid(71).read_bytes())
    start, end = data.index(b"movi") + 4, data.rindex(b"idx1")
    data[start:end] = np.random.default_rng(0).bytes(end - start)
    (tmp_path / "scrambled.avi").write_bytes(data)
    assert outcome(tmp_path / "scrambled.avi")[0] == "refused"


def test_one_broken_frame_is_refused_only_where_it_is_needed(tmp_path):
    frames = [jpeg(picture) for picture in pictures(80)]
    frames[60] = frames[60][: len(frames[60]) // 2]
    path = write_avi(tmp_path / "broken.avi", frames)
    assert outcome(path)[0] == "refused"
    assert outcome(path, sampling="uniform")[0] == "refused"
    assert outcome(path, depth=60)[0] == "complete"


# -- files that are no clips, and odd ones that are --------------------------------------------------------------------

NO_CLIPS = {
    "nothing": b"",
    "text": b"a text\n" * 100,
    "png": cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes(),
    "jpeg": jpeg(np.zeros((64, 64, 3), np.uint8)),
    "encrypted": np.random.default_rng(1).bytes(50_000),
    "hls playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "concat script": b"ffconcat version 1.0\nfile other.avi\n",
    "riff only": b"RIFF\x00\x10\x00\x00AVI ",
    "riff sound": b"RIFF\x00\x10\x00\x00WAVE" + bytes(1000),
    "mp4 only": b"\x00\x00\x00\x18ftypisom" + bytes(16),
    "matroska only": b"\x1a\x45\xdf\xa3" + bytes(100),
}


@pytest.mark.parametrize("name", NO_CLIPS)
@pytest.mark.parametrize("suffix", ["avi", "mp4", "webm"])
def test_a_file_that_is_not_a_clip_is_refused_under_any_name(tmp_path, name, suffix):
    path = tmp_path / f"clip.{suffix}"
    path.write_bytes(NO_CLIPS[name])
    (tmp_path / "other.avi").write_bytes(b"")
    for short in ("skip", "loop"):
        assert outcome(path, short=short)[0] == "refused"


def test_a_header_alone_is_refused(xvid, tmp_path):
    data = xvid(71).read_bytes()
    (tmp_path / "header.avi").write_bytes(data[: data.index(b"movi") + 4])
    state, reason = outcome(tmp_path / "header.avi", short="loop")
    assert state == "refused"
    assert "71" in reason or "no video stream" in reason


def test_audio_without_video_is_refused(tmp_path):
    path = write_avi(tmp_path / "sound.avi", [bytes(1600)] * 50, b"\0\0\0\0", stream=b"auds")
    state, reason = outcome(path, short="loop")
    assert (state, reason) == ("refused", "no video stream; expected a clip; move it out of SOURCE")


def test_an_unknown_codec_is_refused_by_name(tmp_path):
    path = write_avi(tmp_path / "unknown.avi", [bytes(range(200))] * 80, b"ZZ\x01Z")
    state, reason = outcome(path)
    assert state == "refused"
    assert reason.startswith("a video in a codec that FFmpeg cannot decode")
    assert "convert it to H.264" in reason


def test_frames_that_change_size_are_each_resized_from_their_own(tmp_path):
    pictured = [*pictures(40), *pictures(40, (64, 96))]
    path = write_avi(tmp_path / "sizes.avi", [jpeg(picture) for picture in pictured])
    frames, _, record = video_clip(path, **SHAPE)
    upright = write_avi(tmp_path / "upright.avi", [jpeg(picture) for picture in pictured[40:]], size=(64, 96))
    np.testing.assert_array_equal(frames[:40], resized(decoded(path)[:40]))
    np.testing.assert_array_equal(frames[40:], resized(decoded(upright)[:30]))
    assert (record["size"], record["notes"]) == ([96, 64], ["its frames change size; each was resized from its own"])


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (16, 4), (17, 33)])
def test_frames_of_any_size_down_to_one_pixel_are_accepted(tmp_path, size):
    path = write_avi(tmp_path / "tiny.avi", [jpeg(frame) for frame in pictures(70, size)], size=size)
    np.testing.assert_array_equal(video_clip(path, **SHAPE)[0], resized(decoded(path)))


def test_frames_that_could_not_fit_in_memory_are_refused_before_they_are_decoded(tmp_path):
    frames = [jpeg(np.zeros((5000, 5000), np.uint8))] * 2
    state, reason = outcome(write_avi(tmp_path / "huge.avi", frames, size=(5000, 5000)))
    assert (state, reason.split(";")[0]) == ("refused", "frames of 5000 x 5000")


@pytest.mark.parametrize(
    "name",
    [
        "clip_%03d.avi",
        "-dash.avi",
        "new\nline.avi",
        "concat:a|b.avi",
        "http:x",
        "pipe:0",
        "data:,",
        "ümläut 動画.avi",
        "a#b?c",
    ],
)
def test_no_file_name_is_read_as_a_pattern_an_option_or_an_address(xvid, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        video_clip(Path(name), **SHAPE)
    Path(name).write_bytes(xvid(71).read_bytes())
    np.testing.assert_array_equal(video_clip(Path(name), **SHAPE)[0], video_clip(xvid(71), **SHAPE)[0])


def test_a_name_that_is_not_utf_8_ends_in_a_sample_or_is_refused(xvid, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.avi")
    path.write_bytes(xvid(71).read_bytes())
    assert outcome(path)[0] in ("complete", "refused")


def test_an_error_that_passes_at_a_second_reading_is_not_damage(xvid, monkeypatch):
    opened, whole = [], video.open_clip

    def failing_once(path, container):
        opened.append(path)
        if len(opened) == 1:
            raise InvalidInput("damage after 0 frames", "a clip without damage", "fetch it again")
        return whole(path, container)

    monkeypatch.setattr(video, "open_clip", failing_once)
    frames = video_clip(xvid(8), depth=8, height=16, width=16)[0]
    monkeypatch.undo()
    assert len(opened) == 2
    assert np.array_equal(frames, video_clip(xvid(8), depth=8, height=16, width=16)[0])


def test_an_opencv_error_becomes_invalid_input(xvid, monkeypatch):
    def fail(*_arguments, **_options):
        raise cv2.error("a failed\nassertion")

    monkeypatch.setattr(cv2, "resize", fail)
    state, reason = outcome(xvid(71))
    assert state == "refused"
    assert "a failed assertion" in reason


def test_settings_in_the_environment_change_neither_frames_nor_silence(xvid):
    code = "from pathlib import Path; from tests.helpers.clips import *; "
    code += f"print(video_clip(Path({str(xvid(71))!r}), **SHAPE)"
    code += "[0].sum())"
    options = {"OPENCV_FFMPEG_DEBUG": "1", "OPENCV_FFMPEG_CAPTURE_OPTIONS": "avdiscard;nonkey"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **options},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (result.stdout.split(), result.stderr) == ([str(video_clip(xvid(71), **SHAPE)[0].sum())], "")


# -- real files --------------------------------------------------------------------------------------------------------

COMPLETE = "complete"
HEAD_OF_70 = {
    "clips/Bunny/v_Bunny_g01_c01.avi": "too short: 24 frames, 70 needed",
    "clips/Bunny/v_Bunny_g02_c01.avi": COMPLETE,
    "clips/Nasa/v_Nasa_g01_c01.avi": COMPLETE,
    "clips/Nasa/v_Nasa_g01_c02.avi": COMPLETE,
    "clips/Nasa/v_Nasa_g02_c01.avi": COMPLETE,
    "clips/Nasa/v_Nasa_g02_c02.avi": "too short: 43 frames, 70 needed",
    "clips/Scenery/v_Scenery_g01_c01.avi": COMPLETE,
    "clips/Scenery/v_Scenery_g01_c02.avi": COMPLETE,
    "damaged/nasa_13013_truncated.mp4": "no video stream that can be opened (moov atom not found)",
    "video_odd/-video-with-dash-.mp4": "too short: 5 frames, 70 needed",
    "video_odd/av1_video.mkv": COMPLETE,
    "video_odd/big_buck_bunny_432_433.webm": "too short: 24 frames, 70 needed",
    "video_odd/corrupted.mp4": "damage after 28 frames that decode (codec h264): Invalid NAL unit size (-1 > 551)",
    "video_odd/h264_10bits.mp4": "too short: 30 frames, 70 needed",
    "video_odd/h265_video.mp4": "too short: 10 frames, 70 needed",
    "video_odd/nasa_13013.mp4": COMPLETE,
    "video_odd/nasa_vfr.mp4": COMPLETE,
    "video_odd/no_duration.webm": COMPLETE,
    "video_odd/result.webm": "empty file",
    "video_odd/transparent.webm": COMPLETE,
    "video_odd/unordered.mov": "too short: 4 frames, 70 needed",
    "video_odd/video_0.mov": "too short: 3 frames, 70 needed",
    "video_odd/video_90.mov": "too short: 3 frames, 70 needed",
    "video_odd/video_180.mov": "too short: 3 frames, 70 needed",
    "video_odd/video_270.mov": "too short: 3 frames, 70 needed",
}


@needs_data
def test_the_table_has_every_real_clip():
    found = [*(DATA / "clips").rglob("*.avi"), *(DATA / "video_odd").iterdir(), *(DATA / "damaged").glob("*.mp4")]
    assert sorted(HEAD_OF_70) == sorted(path.relative_to(DATA).as_posix() for path in found)


@needs_data
@pytest.mark.parametrize("name", HEAD_OF_70)
def test_every_real_clip_ends_as_the_table_says(name):
    path, wanted = DATA / name, HEAD_OF_70[name]
    if wanted != COMPLETE:
        state, reason = outcome(path)
        assert state == ("excluded" if wanted.startswith("too short") else "refused")
        assert reason.startswith(wanted)
        return
    frames, digest, record = video_clip(path, **SHAPE)
    if record["codec"] != "av1":  # which OpenCV cannot decode
        np.testing.assert_array_equal(frames, resized(decoded(path)[:70]))
    assert (digest, record["notes"]) == (digest_files([path]), [])


@needs_data
@pytest.mark.parametrize(
    "name", [name for name, wanted in HEAD_OF_70.items() if wanted == COMPLETE and "av1" not in name]
)
def test_uniform_takes_decoded_frames_of_every_intact_real_clip(name):
    frames, _, record = video_clip(DATA / name, **SHAPE, sampling="uniform")
    every = resized(decoded(DATA / name))
    assert record["frames"] == len(every)
    np.testing.assert_array_equal(frames, every[spaced(len(every), 70)])


@needs_data
@pytest.mark.parametrize(("name", "turns"), [("video_0", 0), ("video_90", 3), ("video_180", 2), ("video_270", 1)])
def test_rotation_is_applied(name, turns):
    path = DATA / f"video_odd/{name}.mov"
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    stored = [capture.read()[1] for _ in range(3)]
    frames, _, record = video_clip(path, depth=3, height=32, width=40)
    np.testing.assert_array_equal(frames, resized([np.ascontiguousarray(np.rot90(frame, turns)) for frame in stored]))
    assert record["rotation"] == int(name[6:])
    assert record["size"] == ([568, 320] if turns % 2 == 0 else [320, 568])


@needs_data
def test_a_duration_is_not_a_promise():
    assert outcome(DATA / "video_odd/no_duration.webm")[1]["promised"] is None
    assert outcome(DATA / "video_odd/transparent.webm")[1]["promised"] is None


# -- its benchmark -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_benchmark_of_long_clips_runs():
    command = [sys.executable, str(ROOT / "benchmarks/video.py"), "--long", "--quick"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "bar: 500 MB" in result.stdout
    assert result.stderr == ""
