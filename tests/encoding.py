"""Real video files of many codecs, containers and oddities, written with PyAV; and damage at a chosen frame."""

import logging
import os
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.images import Image
from tests.conftest import numbered_frame

os.environ.setdefault("SVT_LOG", "0")
av.logging.set_level(av.logging.PANIC)
logging.getLogger("libav").setLevel(logging.CRITICAL)

CONTAINERS = {"mkv": "matroska", "wmv": "asf", "mpg": "mpeg", "ts": "mpegts", "m4v": "mp4"}
MUXER_OPTIONS = ("movflags", "cluster_time_limit", "live")
TICKS = 1000
"""A second of `times`."""

_ELST, _TKHD = 12, 44
"""Where the first edit, and the display matrix, begin in a box of version 0, counted from its name."""
_ONE = 1 << 16
_SOUND_RATE, _SOUND_SAMPLES = 8000, 1024


def encode(
    path: Path,
    frames: Sequence[Image] | int,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    size: tuple[int, int] = (128, 64),
    rate: int = 10,
    times: Sequence[int] | None = None,
    aspect: Fraction | None = None,
    **options: str,
) -> Path:
    """Encodes RGB pictures, or so many numbered frames, at `rate` frames/s, or at `times` in milliseconds."""
    width, height = size
    pictures = (
        frames
        if not isinstance(frames, int)
        else [numbered_frame(i, width=width, height=height) for i in range(frames)]
    )
    kind = path.suffix[1:].lower()
    flags = {name: options.pop(name) for name in MUXER_OPTIONS if name in options}
    with av.open(str(path), "w", format=CONTAINERS.get(kind, kind), options=flags) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1  # threads of libvpx wait for each other for ever where cores are few
        stream.options = {"x265-params": "log-level=none", **options} if codec == "libx265" else options
        if times is not None:
            stream.codec_context.time_base = Fraction(1, TICKS)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format=pixels)
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def encode_sound(path: Path) -> Path:
    """A second of silence and no picture."""
    with av.open(str(path), "w", format="mp4") as container:
        _add_silence(container, container.add_stream("aac", rate=_SOUND_RATE), seconds=1)
    return path


def with_sound(path: Path, pictures: Path, *, seconds: float, **options: str) -> Path:
    """The packets of a video, and silence that may outlast it."""
    with av.open(str(pictures)) as source, av.open(str(path), "w", options=options) as container:
        video = container.add_stream_from_template(source.streams.video[0])
        sound = container.add_stream("aac", rate=_SOUND_RATE)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
        _add_silence(container, sound, seconds=seconds)
    return path


def _add_silence(container: av.container.OutputContainer, sound: av.AudioStream, *, seconds: float) -> None:
    for index in range(round(seconds * _SOUND_RATE / _SOUND_SAMPLES)):
        frame = av.AudioFrame(format="fltp", layout="mono", samples=_SOUND_SAMPLES)
        frame.sample_rate, frame.pts = _SOUND_RATE, _SOUND_SAMPLES * index
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(sound.encode(frame))
    container.mux(sound.encode(None))


def payload_of(path: Path, frame: int) -> tuple[int, int]:
    """Where the packet that is shown as this frame lies in the file, and how long it is, by its own content."""
    with av.open(str(path)) as container:
        packets = sorted((packet for packet in container.demux(video=0) if packet.size), key=lambda packet: packet.pts)
        content, position = bytes(packets[frame]), packets[frame].pos or 0
    begin = path.read_bytes().find(content[:64], position)
    assert begin >= 0
    return begin, len(content)


def damaged(path: Path, frame: int, fill: bytes = b"\xff") -> Path:
    """Overwrites all that is stored of one frame."""
    begin, length = payload_of(path, frame)
    content = bytearray(path.read_bytes())
    content[begin : begin + length] = fill * length
    path.write_bytes(content)
    return path


def shown_as(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Has an mp4 say that it is to be shown through this matrix: the image of (1, 0) is (a, b), of (0, 1) is (c, d)."""
    content = bytearray(path.read_bytes())
    values = [int(_ONE * value) for value in (a, b, 0, c, d, 0, 0, 0)]
    struct.pack_into(">9i", content, content.index(b"tkhd") + _TKHD, *values, 1 << 30)
    path.write_bytes(content)
    return path


def edited(path: Path, *, start_ms: int, length_ms: int) -> Path:
    """Has an mp4 say that only this part of it is to be shown."""
    content = bytearray(path.read_bytes())
    scale = struct.unpack_from(">I", content, content.index(b"mdhd") + 16)[0]
    at = content.index(b"elst") + _ELST
    struct.pack_into(">Ii", content, at, length_ms, start_ms * scale // 1000)
    path.write_bytes(content)
    return path
