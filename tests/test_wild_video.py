"""Videos as they are found: codecs, containers, displays, times, damage; and what only calls itself a video.

Files are made with PyAV, whose own decoder and packets are the independent reference.
"""

import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from pipeline import capture, containers
from pipeline.contract import UserError
from pipeline.images import Image
from pipeline.interlacing import may_be_interlaced
from pipeline.places import Places
from pipeline.times import FrameTimes, completed
from pipeline.video import expected_frames, frame_times, probe, read_frames
from tests.conftest import number_of
from tests.encoding import damaged, edited, encode, encode_sound, shown_as, with_sound

FRAMES = 12
LOST = 5
FORMATS = [
    ("libx264", "mp4", "yuv420p", (128, 64)),
    ("libx264", "mkv", "yuv420p", (128, 64)),
    ("libx264", "avi", "yuv420p", (128, 64)),
    ("libx264", "mov", "yuv444p", (127, 63)),
    ("libx264", "mp4", "yuv420p10le", (128, 64)),
    ("libx264", "MP4", "gray", (128, 64)),
    ("libx265", "mp4", "yuv420p", (128, 64)),
    ("libx265", "mkv", "yuv420p10le", (128, 64)),
    ("mjpeg", "avi", "yuvj420p", (129, 65)),
    ("mjpeg", "mov", "yuvj422p", (128, 64)),
    ("libvpx", "webm", "yuv420p", (128, 64)),
    ("libvpx-vp9", "webm", "yuva420p", (128, 64)),
    ("mpeg4", "avi", "yuv420p", (128, 64)),
    ("mpeg4", "m4v", "yuv420p", (128, 64)),
    ("libsvtav1", "mp4", "yuv420p", (128, 64)),
    ("ffv1", "mkv", "bgra", (127, 63)),
    ("png", "mov", "rgba", (127, 63)),
    ("mpeg2video", "mpg", "yuv420p", (128, 64)),
    ("wmv2", "wmv", "yuv420p", (128, 64)),
]


def pictures(path: Path) -> dict[int, Image]:
    return {index: picture for index, picture in read_frames(path) if picture is not None}


def numbers(path: Path) -> list[tuple[int, int]]:
    """Index and drawn number of every frame."""
    return [(index, number_of(picture)) for index, picture in pictures(path).items()]


def reference(path: Path) -> list[int]:
    """Drawn numbers of the frames that PyAV decodes."""
    with av.open(str(path)) as container:
        return [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def same(count: int) -> list[tuple[int, int]]:
    return [(index, index) for index in range(count)]


@pytest.mark.parametrize(("codec", "suffix", "pixels", "size"), FORMATS)
def test_every_frame_of_every_format(
    tmp_path: Path, codec: str, suffix: str, pixels: str, size: tuple[int, int]
) -> None:
    path = encode(tmp_path / f"a.{suffix}", FRAMES, codec, pixels, size=size)
    assert numbers(path) == same(FRAMES)
    assert len(frame_times(path)) == expected_frames(path, frame_times(path)) == FRAMES
    info = probe(path)
    assert (info.width, info.height) == size == next(iter(pictures(path).values())).shape[1::-1]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_of_a_variable_rate_are_counted_not_timed(tmp_path: Path, suffix: str) -> None:
    times = [0, 40, 80, 200, 210, 900, 930, 1000, 1500, 1501, 1600, 1640]
    path = encode(tmp_path / f"a.{suffix}", len(times), times=times)
    assert numbers(path) == same(len(times))
    assert np.allclose(frame_times(path), times)
    assert expected_frames(path, frame_times(path)) == len(times)  # though the mkv declares 42


@pytest.mark.parametrize(("start_ms", "length_ms"), [(0, 3000), (1000, 1500), (1300, 1700), (0, 500), (500, 700)])
def test_frames_that_the_edit_list_skips_do_not_count(tmp_path: Path, start_ms: int, length_ms: int) -> None:
    path = edited(encode(tmp_path / "a.mp4", 30, g="10", bf="0"), start_ms=start_ms, length_ms=length_ms)
    shown = list(range(start_ms // 100, (start_ms + length_ms) // 100))
    assert numbers(path) == list(enumerate(shown))
    assert reference(path) == shown
    skips = len(shown) < 30
    assert containers.display(path).skips_frames == skips
    assert expected_frames(path, frame_times(path)) == (0 if skips else 30)


def test_an_edit_list_that_only_makes_room_for_reordering_skips_nothing(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", 30, bf="2")
    assert b"elst" in path.read_bytes() and not containers.display(path).skips_frames


MATRICES: dict[str, tuple[tuple[int, int, int, int], Callable[[Image], Image]]] = {
    "as it is": ((1, 0, 0, 1), lambda p: p),
    "90": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "180": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "270": ((0, -1, 1, 0), lambda p: np.rot90(p)),
    "left is right": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda p: p[::-1]),
    "transposed": ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
    "transposed and turned": ((0, -1, -1, 0), lambda p: np.rot90(p.transpose(1, 0, 2), 2)),
}


@pytest.mark.parametrize(("matrix", "expected"), MATRICES.values(), ids=MATRICES)
def test_frames_are_shown_as_the_display_matrix_says(
    tmp_path: Path, matrix: tuple[int, int, int, int], expected: Callable[[Image], Image]
) -> None:
    generator = np.random.default_rng(0)
    drawn = np.kron(generator.integers(0, 2, (4, 6, 3), dtype=np.uint8) * 255, np.ones((16, 16, 1), np.uint8))
    path = encode(tmp_path / "a.mp4", [drawn] * 2, "mpeg4", qmin="1", qmax="1")
    plain = pictures(path)[0]
    shown_as(path, *matrix)
    shown = pictures(path)[0]
    assert np.array_equal(shown, expected(plain))
    assert (probe(path).width, probe(path).height) == shown.shape[1::-1]


@pytest.mark.parametrize(
    ("aspect", "turned", "size"),
    [
        (Fraction(4, 3), False, (171, 64)),
        (Fraction(1, 2), False, (64, 64)),
        (Fraction(4, 3), True, (64, 171)),
        (Fraction(200, 201), False, (128, 64)),
        (Fraction(100, 1), False, (128, 64)),
    ],
)
def test_pixels_that_are_not_square_are_made_square(
    tmp_path: Path, aspect: Fraction, turned: bool, size: tuple[int, int]
) -> None:
    path = encode(tmp_path / "a.mp4", 3, aspect=aspect)
    if turned:
        shown_as(path, 0, 1, -1, 0)
    assert (probe(path).width, probe(path).height) == size == pictures(path)[0].shape[1::-1]
    upright = [np.rot90(picture) if turned else picture for picture in pictures(path).values()]
    assert [number_of(picture) for picture in upright] == [0, 1, 2]


INTERLACED: dict[str, tuple[str, tuple[int, int], dict[str, str]]] = {
    "libx264": ("yuv420p", (128, 64), {"x264-params": "tff=1"}),
    "libx265": ("yuv420p", (128, 64), {"x265-params": "interlace=tff:log-level=none"}),
    "prores_ks": ("yuv422p10le", (128, 64), {}),
    "dnxhd": ("yuv422p", (1920, 1080), {"b": "120M"}),
    "dvvideo": ("yuv420p", (720, 576), {}),
}
"""Pixels, size and options of codecs that need them."""


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        *(("libx264", suffix) for suffix in ("mp4", "mkv", "ts", "avi")),
        ("mpeg2video", "mpg"),
        *(("mpeg4", suffix) for suffix in ("mp4", "mkv", "mov", "avi")),
        ("libx265", "mp4"),
        ("prores_ks", "mov"),
        ("dnxhd", "mov"),
        ("dvvideo", "avi"),
    ],
)
def test_interlaced_video_is_refused_for_the_decoder_gives_what_is_no_picture(
    tmp_path: Path, codec: str, suffix: str
) -> None:
    pixels, size, options = INTERLACED.get(codec, ("yuv420p", (128, 64), {}))
    path = encode(tmp_path / f"a.{suffix}", FRAMES, codec, pixels, size=size, rate=25, flags="+ildct+ilme", **options)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    plain = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    taken = [number_of(plain.read()[1]) for _ in range(FRAMES)]
    assert taken != list(range(FRAMES)), "this OpenCV converts interlaced frames: the check can go"
    for action in (probe, pictures):
        with pytest.raises(UserError, match=rf"^a\.{suffix}: interlaced; deinterlace it first"):
            action(path)


@pytest.mark.parametrize("matrices", ["flat", "jvt"])
@pytest.mark.parametrize("fields", [0, 1])
def test_what_only_may_be_interlaced_is_read(tmp_path: Path, matrices: str, fields: int) -> None:
    options = {"x264-params": f"fake-interlaced={fields}:cqm={matrices}"}
    path = encode(tmp_path / "a.h264", FRAMES, **options)
    assert may_be_interlaced(cv2.VideoWriter.fourcc(*"h264"), path.read_bytes()) == bool(fields)
    assert numbers(encode(tmp_path / "a.mp4", FRAMES, **options)) == same(FRAMES)


@given(st.binary(max_size=200).map(lambda junk: b"\0\0\1\x67" + junk) | st.binary(max_size=99))
def test_any_packet_has_an_answer(packet: bytes) -> None:
    for codec in ("h264", "mpg2", "FMP4", "hevc", "apch", "AVdn", "dvsd", "VP90"):
        assert may_be_interlaced(cv2.VideoWriter.fourcc(*codec), packet) in (True, False)


def test_a_change_of_size_in_mid_stream_is_scaled_to_the_declared_size(tmp_path: Path) -> None:
    large, small = (
        encode(tmp_path / "l.mpg", 6, "mpeg2video"),
        encode(tmp_path / "s.mpg", 6, "mpeg2video", size=(64, 64)),
    )
    (tmp_path / "a.mpg").write_bytes(large.read_bytes() + small.read_bytes())
    found = pictures(tmp_path / "a.mpg")
    assert {picture.shape for picture in found.values()} == {(64, 128, 3)}
    drawn = [number_of(picture) for picture in found.values()]
    assert drawn[:5] == list(range(5)) and drawn[-5:] == list(range(1, 6))  # one is lost where the files meet


INTRA = [
    ("mjpeg", "avi", "yuvj420p"),
    ("mjpeg", "mov", "yuvj420p"),
    ("png", "mov", "rgb24"),
    ("libx264", "mp4", "yuv420p"),
]


@pytest.mark.parametrize(("codec", "suffix", "pixels"), INTRA)
@pytest.mark.parametrize("lost", [[LOST], [0], [FRAMES - 1], [1, 2, 8]])
@pytest.mark.parametrize("fill", [b"\xff", b"\0"])
def test_frames_behind_one_that_does_not_decode_keep_their_numbers(
    tmp_path: Path, codec: str, suffix: str, pixels: str, lost: list[int], fill: bytes
) -> None:
    path = encode(tmp_path / f"a.{suffix}", FRAMES, codec, pixels, **({"g": "1"} if codec == "libx264" else {}))
    for frame in lost:
        damaged(path, frame, fill)
    assert numbers(path) == [place for place in same(FRAMES) if place[0] not in lost]
    assert expected_frames(path, frame_times(path)) == FRAMES


@pytest.mark.parametrize("lost", [3, 7, FRAMES - 2])
def test_frames_behind_one_that_the_decoder_drops_without_an_error_keep_their_numbers(
    tmp_path: Path, lost: int
) -> None:
    path = damaged(encode(tmp_path / "a.mp4", FRAMES, "libsvtav1", g="8"), lost, b"\0")
    plain = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert [plain.grab() for _ in range(FRAMES)] == [True] * (FRAMES - 1) + [False]
    assert [index for index, _ in numbers(path)] == [index for index in range(FRAMES) if index != lost]
    behind = [(index, number) for index, number in numbers(path) if index >= 8]
    assert behind == [(index, index) for index in range(8, FRAMES) if index != lost]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_whose_times_are_not_those_of_their_order_are_counted(tmp_path: Path, suffix: str) -> None:
    """Times of decoding where those of showing belong, as some programs write them."""
    path = tmp_path / f"b.{suffix}"
    shown = encode(tmp_path / f"a.{suffix}", FRAMES, bf="3", g="6")
    with av.open(str(shown)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            packet.pts = packet.dts = round(index / 10 / packet.time_base)
            packet.stream = stream
            container.mux(packet)
    assert numbers(path) == same(FRAMES)
    plain = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    times = [plain.get(cv2.CAP_PROP_POS_MSEC) for _ in range(FRAMES) if plain.grab()]
    assert sorted(times) == frame_times(path) != times


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi"])
def test_packets_of_mpeg4_that_say_as_before_are_no_frames(tmp_path: Path, suffix: str) -> None:
    """As a plain OpenCV loop counts them: a VOP that is not coded (ISO/IEC 14496-2, 6.2.5)."""
    path, at = tmp_path / f"b.{suffix}", 0
    plain = encode(tmp_path / "a.mp4", FRAMES, "mpeg4", g="12", bf="0")
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            as_before = av.Packet(bytes.fromhex("000001b6") + bytes([0b01010000 | at % 10, 0b10011111]))
            for each in [packet] + [as_before] * (index in (3, 6)):
                each.time_base = each.time_base or packet.time_base
                each.pts = each.dts = round(at / 10 / packet.time_base)
                each.stream, at = stream, at + 1
                container.mux(each)
    assert numbers(path) == same(FRAMES)


@pytest.mark.parametrize("cut", [False, True])
def test_an_mp4_in_pieces_is_whole_though_its_sound_is_longer(tmp_path: Path, cut: bool) -> None:
    pictures_only = encode(tmp_path / "b.mp4", 40)
    path = with_sound(tmp_path / "a.mp4", pictures_only, seconds=6, movflags="frag_keyframe+empty_moov")
    if cut:
        os.truncate(path, path.stat().st_size - 500)
    times = frame_times(path)
    assert len(numbers(path)) == 40 or cut
    assert 60 <= expected_frames(path, times) <= 62 if cut else expected_frames(path, times) == 40


def test_a_box_that_ends_beyond_all_disks_is_the_last_one(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", FRAMES, movflags="faststart")
    with path.open("ab") as stream:
        stream.write(b"\0\0\0\1free" + b"\x7f" * 8 + bytes(20))
    assert numbers(path) == same(FRAMES)
    assert expected_frames(path, frame_times(path)) == FRAMES


@pytest.mark.parametrize(("codec", "suffix", "pixels", "size"), FORMATS)
def test_damage_never_moves_a_frame_or_shortens_a_video_in_silence(
    tmp_path: Path, codec: str, suffix: str, pixels: str, size: tuple[int, int]
) -> None:
    """Frames that refer to a lost one may look like anything. Those before it are right, none is counted twice.

    An MPEG program stream says neither how many frames there are nor when each is shown: there, the loss stays unknown.
    """
    path = damaged(encode(tmp_path / f"a.{suffix}", FRAMES, codec, pixels, size=size), LOST)
    found = numbers(path)
    indices = [index for index, _ in found]
    assert indices == sorted(set(indices)) and set(indices) <= set(range(FRAMES))
    assert [place for place in found if place[0] < LOST] == same(min(LOST, len([i for i in indices if i < LOST])))
    expected = expected_frames(path, frame_times(path)) or probe(path).declared_frames
    assert len(found) == FRAMES or expected == FRAMES or suffix == "mpg"


@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("libx264", "mp4", {"movflags": "faststart"}),
        ("libx264", "mp4", {"movflags": "frag_keyframe+empty_moov", "g": "4"}),
        ("libx264", "mkv", {}),
        ("mjpeg", "avi", {}),
        ("libvpx-vp9", "webm", {}),
        ("mpeg2video", "ts", {}),
    ],
)
def test_a_cut_file_gives_its_first_frames_and_is_known_to_be_cut(
    tmp_path: Path, codec: str, suffix: str, options: dict[str, str]
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    generator = np.random.default_rng(0)
    noise = list(generator.integers(0, 255, (24, 64, 128, 3), dtype=np.uint8))
    whole = encode(tmp_path / f"whole.{suffix}", noise, codec, pixels, **options)
    everything, content = pictures(whole), whole.read_bytes()
    assert len(everything) == 24
    for share in (0.01, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(content[: int(len(content) * share)])
        try:
            found = pictures(cut)
        except UserError as error:
            assert str(error).startswith(f"cut.{suffix}: not a video that can be opened: ")
            continue
        assert list(found) == list(range(len(found)))
        assert all(np.array_equal(found[index], everything[index]) for index in list(found)[:-1])
        if suffix != "ts" and "frag" not in str(options):  # a stream says nowhere how long it is
            assert (expected_frames(cut, frame_times(cut)) or probe(cut).declared_frames) == 24
            assert len(found) < 24 or share > 0.9


def picture_file(path: Path, kind: str) -> None:
    PillowImage.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path, format=kind)


def playlist(text: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        encode(path.with_name("inner.mp4"), 3)
        path.write_text(text)

    return write


NO_VIDEOS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (Path.touch, "it is empty"),
    "png": (lambda path: picture_file(path, "PNG"), "it is a PNG picture"),
    "jpeg": (lambda path: picture_file(path, "JPEG"), "it is a JPEG picture"),
    "gif": (lambda path: picture_file(path, "GIF"), "it is a GIF picture"),
    "bmp": (lambda path: picture_file(path, "BMP"), "it is a BMP picture"),
    "webp": (lambda path: picture_file(path, "WEBP"), "it is a WebP picture"),
    "tiff": (lambda path: picture_file(path, "TIFF"), "it is a TIFF picture"),
    "avif": (lambda path: picture_file(path, "AVIF"), "it is a HEIF or AVIF picture"),
    "concat": (playlist("ffconcat version 1.0\nfile inner.mp4\n"), "it is a playlist"),
    "m3u": (playlist("#EXTM3U\n#EXTINF:1,\ninner.mp4\n#EXT-X-ENDLIST\n"), "it is a playlist"),
    "dash": (playlist('<?xml version="1.0"?><MPD></MPD>'), "it is an XML text"),
    "sdp": (playlist("v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"), "it is text"),
    "subtitles": (playlist("1\n00:00:00,000 --> 00:00:01,000\nhi\n"), "it is text"),
    "text": (lambda path: path.write_text("hello\n" * 500), "it is text"),
    "zeros": (lambda path: path.write_bytes(bytes(5000)), "of no known kind"),
    "sound": (encode_sound, "damaged, or without a video track"),
    "no index": (lambda path: path.write_bytes(encode(path, 90).read_bytes()[:2000]), "cut short: the index"),
    "zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(99)), "it is a zip archive"),
}


@pytest.mark.parametrize(("make", "said"), NO_VIDEOS.values(), ids=NO_VIDEOS)
def test_what_is_no_video_is_told_by_what_it_is(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    make(tmp_path / "v.mp4")
    for action in (probe, frame_times, pictures):
        with pytest.raises(UserError) as caught:
            action(tmp_path / "v.mp4")
        assert str(caught.value).startswith(f"v.mp4: not a video that can be opened: {said}")
        assert "\n" not in str(caught.value)


def test_a_playlist_makes_the_plain_decoder_open_other_files_and_ours_does_not(tmp_path: Path) -> None:
    """The danger is real: this is what FFmpeg does unless it is told not to."""
    path = tmp_path / "v.mp4"
    playlist("ffconcat version 1.0\nfile inner.mp4\n")(path)
    assert cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).grab()
    with pytest.raises(UserError):
        probe(path)


def test_a_users_own_options_for_ffmpeg_are_left_alone_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "a.mp4", 3)
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "format_whitelist;concat")
    assert len(pictures(path)) == 3
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "format_whitelist;concat"


ODD: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "fifo": os.mkfifo,
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_what_is_no_file_is_never_opened(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "v.mp4")
    with pytest.raises(UserError, match=r"^v\.mp4: not a file"):
        probe(tmp_path / "v.mp4")


def test_a_file_whose_reading_fails_is_told(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", 3)
    path.chmod(0)
    if os.geteuid():
        with pytest.raises(UserError, match=r"^v\.mp4: cannot be read \(Permission denied\)"):
            probe(path)
    else:
        assert len(pictures(path)) == 3


NAMES = ["a b.mp4", "Zoë.mp4", "Zoe\u0308.mp4", 'it\'s "so".mp4', "two\nlines.mp4", "-i.mp4", "%05d.mp4", "%d%s.mp4"]
NAMES += ["a:b.mp4", "concat:a.mp4", "file:x.mp4", "pipe:0.mp4", "http:__x.mp4", "a|b.mp4", "a;b.mp4", "~.mp4", "?.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    encode(tmp_path / "plain.mp4", 2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert numbers(Path(name)) == same(2)


def test_a_name_that_is_not_utf8_is_refused_before_the_decoder_sees_it(tmp_path: Path) -> None:
    """OpenCV ends the process on such a name."""
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    encode(tmp_path / "plain.mp4", 2).rename(path)
    with pytest.raises(UserError, match=r"caf\\xe9\.mp4.*not UTF-8; rename it"):
        probe(path)


def test_frames_above_a_number_of_pixels_are_refused_before_one_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = encode(tmp_path / "w.mp4", 1, aspect=Fraction(4, 1))
    monkeypatch.setattr(capture, "MAX_PIXELS", 128 * 64)
    for action in (probe, frame_times, pictures):
        with pytest.raises(UserError, match=r"^w\.mp4: claims frames of 512 x 64 pixels, more than 8192$"):
            action(wide)


@pytest.mark.slow
def test_a_small_file_of_huge_frames_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mov", [np.zeros((9000, 9000, 3), np.uint8)], "png", "gray")
    assert path.stat().st_size < 1_000_000
    with pytest.raises(UserError, match=r"^v\.mov: claims frames of 9000 x 9000 pixels, more than 64000000$"):
        probe(path)


TIMES = st.lists(st.integers(0, 500), unique=True, min_size=1, max_size=40).map(sorted)


@given(TIMES, st.data())
def test_places_are_found_again_behind_every_gap(times: list[int], data: st.DataObject) -> None:
    """Whatever fails, a frame has the place that its time has, if failures are told."""
    lost = data.draw(st.sets(st.sampled_from(range(len(times)))))
    places = Places(FrameTimes(times))
    for index, time in enumerate(times):
        if index in lost:
            places.fail()
        else:
            assert places.take(time) == index


@given(TIMES, st.data())
def test_places_of_frames_that_are_dropped_without_an_error_are_left_out(times: list[int], data: st.DataObject) -> None:
    """Those before the first frame that comes are not known to be any, nor those behind the last."""
    kept = [0, *sorted(data.draw(st.sets(st.sampled_from(range(len(times))))) - {0})]
    places, counting = Places(FrameTimes(times), hold=lambda: True), Places(FrameTimes(times))
    assert [places.take(times[index]) for index in kept] == kept
    assert [counting.take(times[index]) for index in kept] == list(range(len(kept)))


def test_a_frame_that_comes_late_has_no_place_and_ends_nothing() -> None:
    places = Places(FrameTimes([0, 10, 20, 30, 40]))
    assert places.take(0) == 0
    places.fail()
    assert [places.take(time) for time in (20, 10, 30)] == [2, None, 3]
    assert not places.ended
    assert places.take(35) is None and places.ended


def test_frames_beyond_the_certain_ones_have_no_place() -> None:
    places = Places(FrameTimes([0, 10, 20], certain=2))
    assert [places.take(time) for time in (0, 10)] == [0, 1] and not places.ended
    assert places.take(20) is None and places.ended


@given(TIMES, st.lists(st.integers(0, 500), max_size=40), st.sets(st.integers(0, 40)))
def test_places_only_grow_and_times_that_do_not_fit_are_never_trusted(
    times: list[int], shown: list[int], failures: set[int]
) -> None:
    places, found = Places(FrameTimes(times)), []
    for number, time in enumerate(shown):
        if number in failures:
            places.fail()
        found.append(places.take(time))
    known = [place for place in found if place is not None]
    assert known == sorted(set(known))
    before = shown[: min(failures, default=len(shown))]
    assert found[: len(before)] == list(range(len(before)))  # without a failure, frames are counted
    if failures & set(range(len(shown))) and before != times[: len(before)]:
        assert set(found[len(before) :]) <= {None}


@given(st.sets(st.integers(0, 40), min_size=1), st.integers(1, 41), st.floats(0.1, 100))
def test_a_constant_rate_is_completed(places: set[int], count: int, interval: float) -> None:
    times = [place * interval for place in sorted(places)]
    whole = completed(times, count=count, interval=interval)
    believed = max(places) < count <= 4 * len(places)
    assert whole == ([place * interval for place in range(count)] if believed else [])
    assert completed([*times, times[-1] + interval / 2], count=count, interval=interval) == []


HEADERS = st.binary(max_size=64) | st.lists(
    st.tuples(
        st.sampled_from(
            [b"ftyp", b"moov", b"trak", b"edts", b"elst", b"mdia", b"mdhd", b"hdlr", b"mvhd", b"tkhd", b"stts"]
        ),
        st.integers(0, 1 << 32 - 1) | st.integers(0, 64),
        st.binary(max_size=40),
    )
).map(lambda boxes: b"".join(size.to_bytes(4) + kind + content for kind, size, content in boxes))


@given(head=HEADERS)
def test_any_header_is_read_to_an_answer(tmp_path_factory: pytest.TempPathFactory, head: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "head.mp4"
    path.write_bytes(head)
    assert isinstance(containers.display(path), containers.Display)
    assert containers.told(path)


@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_any_changed_byte_of_an_index_is_read_to_an_answer(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    whole = tmp_path_factory.getbasetemp() / "whole.mp4"
    if not whole.exists():
        encode(whole, 12, movflags="faststart")
    path = whole.with_name("changed.mp4")
    shutil.copyfile(whole, path)
    content = bytearray(whole.read_bytes())
    content[place % min(1200, len(content))] = value
    path.write_bytes(content)
    assert isinstance(containers.display(path), containers.Display)
    try:
        indices = [index for index, _ in read_frames(path, frozenset())]
    except UserError as error:
        assert str(error).startswith("changed.mp4: ")
    else:
        assert indices == sorted(set(indices))
