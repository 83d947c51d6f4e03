"""A clip with missing, cut or overwritten frames is rejected if these frames are needed."""

import numpy as np
import pytest

from pipeline.transforms.video import video_clip
from tests.helpers.clips import SHAPE, decoded, jpeg, outcome, pictures, resized, with_frame_count, write_avi
from tests.helpers.real_files import DATA, needs_data

# -- wrong headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("promised", [0, 1, 70, 89, 91, 92, 10_000_001, 3_000_000_000, 0xFFFFFFFF])
@pytest.mark.parametrize("sampling", ["head", "uniform", "spline"])
def test_frames_are_counted_by_decoding_not_by_the_header(xvid, tmp_path, sampling, promised):
    path = with_frame_count(xvid(90), tmp_path / "wrong_header.avi", promised)
    frames, _, record = video_clip(path, **SHAPE, sampling=sampling)
    np.testing.assert_array_equal(frames, video_clip(xvid(90), **SHAPE, sampling=sampling)[0])
    assert record["promised"] == (promised if 0 < promised < 10_000_001 else None)
    has_note = sampling != "head" and record["promised"]
    assert record["notes"] == ([f"its header promises {promised} frames, 90 decode"] if has_note else [])


@pytest.mark.parametrize("promised", [93, 3_000_000])
def test_a_clip_shorter_than_its_header_promises_is_rejected_unless_only_the_head_is_needed(xvid, tmp_path, promised):
    path = with_frame_count(xvid(90), tmp_path / "wrong_header.avi", promised)
    for sampling in ("uniform", "spline"):
        state, reason = outcome(path, sampling=sampling)
        assert state == "refused"
        assert reason.startswith(f"90 frames that decode (codec mpeg4); expected the {promised} that its header prom")
    state, record = outcome(path)
    assert (state, record["notes"]) == ("complete", [f"its header promises {promised} frames, the file holds 90"])


@pytest.mark.parametrize("short", ["skip", "loop", "stretch"])
def test_up_to_two_missing_frames_make_a_clip_short_and_more_make_it_damaged(xvid, tmp_path, short):
    almost_complete = with_frame_count(xvid(43), tmp_path / "honest.avi", 45)
    assert outcome(almost_complete, short=short)[0] == ("excluded" if short == "skip" else "complete")
    damaged = with_frame_count(xvid(43), tmp_path / "damaged.avi", 46)
    assert outcome(damaged, short=short)[0] == "refused"
    without_count = with_frame_count(xvid(43), tmp_path / "silent.avi", 0)
    assert outcome(without_count, short=short)[0] == ("excluded" if short == "skip" else "complete")


# -- damage ------------------------------------------------------------------------------------------------------------


def with_hole(data, size, tenth):
    start = len(data) * tenth // 10
    return data[:start] + bytes(len(data[start : start + size])) + data[start + size :]


@pytest.fixture(params=["generated", pytest.param("real", marks=needs_data)])
def intact(request, xvid):
    return xvid(90) if request.param == "generated" else DATA / "clips/Nasa/v_Nasa_g01_c02.avi"


@pytest.mark.parametrize("tenth", range(10))
def test_a_clip_cut_at_any_tenth_gives_its_intact_head_with_a_note_or_is_rejected(intact, tmp_path, tenth):
    data = intact.read_bytes()
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
            expected = resized(decoded(intact)[:depth])
            np.testing.assert_array_equal(video_clip(path, **{**SHAPE, "depth": depth})[0], expected)
            assert "its header promises 90 frames, the file holds " in record["notes"][0]
        else:
            assert state == "refused"
    assert complete >= (0, 0, 0, 1, 1, 2, 2, 2, 2, 3)[tenth]


@pytest.mark.parametrize("size", [512, 4096])
@pytest.mark.parametrize("tenth", range(2, 10))
def test_a_zeroed_hole_never_changes_an_accepted_frame(intact, tmp_path, size, tenth):
    path = tmp_path / "hole.avi"
    path.write_bytes(with_hole(intact.read_bytes(), size, tenth))
    for options in ({"sampling": "uniform"}, {"sampling": "spline"}, {"depth": 10}, {"depth": 40}):
        state, _ = outcome(path, **options)
        if state == "complete":
            options = {**SHAPE, **options}
            np.testing.assert_array_equal(video_clip(path, **options)[0], video_clip(intact, **options)[0])
        else:
            assert state == "refused"


def test_a_hole_is_rejected_where_frames_are_needed_and_harmless_after_the_head(xvid, tmp_path):
    path = tmp_path / "hole.avi"
    path.write_bytes(with_hole(xvid(90).read_bytes(), 2048, 5))
    assert outcome(path, sampling="uniform")[0] == "refused"
    assert outcome(path, depth=70)[0] == "refused"
    assert outcome(path, depth=20)[0] == "complete"


@needs_data
@pytest.mark.parametrize("name", ["big_buck_bunny_432_433.webm", "no_duration.webm", "nasa_13013.mp4"])
@pytest.mark.parametrize("tenth", [3, 5, 8])
def test_a_hole_or_cut_in_other_containers_is_also_rejected(tmp_path, name, tenth):
    data = (DATA / "video_odd" / name).read_bytes()
    path = tmp_path / name
    for damaged in (with_hole(data, 4096, tenth), data[: len(data) * tenth // 10]):
        path.write_bytes(damaged)
        assert outcome(path, sampling="uniform", short="loop")[0] == "refused"


def test_scrambled_frames_after_a_valid_header_are_rejected(xvid, tmp_path):
    data = bytearray(xvid(71).read_bytes())
    start, end = data.index(b"movi") + 4, data.rindex(b"idx1")
    data[start:end] = np.random.default_rng(0).bytes(end - start)
    (tmp_path / "scrambled.avi").write_bytes(data)
    assert outcome(tmp_path / "scrambled.avi")[0] == "refused"


def test_a_clip_with_one_broken_frame_is_rejected_only_if_the_frame_is_needed(tmp_path):
    frames = [jpeg(picture) for picture in pictures(80)]
    frames[60] = frames[60][: len(frames[60]) // 2]
    path = write_avi(tmp_path / "broken.avi", frames)
    assert outcome(path)[0] == "refused"
    assert outcome(path, sampling="uniform")[0] == "refused"
    assert outcome(path, depth=60)[0] == "complete"
