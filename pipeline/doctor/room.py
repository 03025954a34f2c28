"""Room on the disks against what the chosen set will take.

What a stored frame and a face take was measured on clips of real people (docs/performance.md). How many there are is
counted where the set was indexed, else reckoned from some of its videos, else what its makers publish.
"""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2

from pipeline import disk, tables
from pipeline.contract import STILL_LAYOUTS, Paths
from pipeline.files import walk
from pipeline.findings import Finding, fail, ok, warn
from pipeline.params import Params
from pipeline.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES

_FRAME_BYTES_A_PIXEL = 0.2
_FACE_BYTES = 14_000
_NETWORK_BYTES = 0.5e9
"""Weights, the last two snapshots and the one that is written, of one ResNet-18 with Adam."""

_PUBLISHED = {"affwild2": (2_595_572, 1280 * 720)}
"""Frames of the whole set, and pixels a frame: the size is not published; this is the largest usual one."""

_LOOKED_AT = 20
"""Videos whose headers are read where the set was not indexed."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """How many frames are stored, of how many pixels together; how many faces; and how that is known."""

    frames: int
    pixels: float
    faces: int
    source: str

    @property
    def store_bytes(self) -> int:
        """Frames and faces in the work store; the folders in data/ share them by link."""
        return round(self.pixels * _FRAME_BYTES_A_PIXEL + self.faces * _FACE_BYTES)

    @property
    def shard_bytes(self) -> int:
        """The shard set."""
        return self.faces * (_FACE_BYTES + 3 * 1024)


def volume(params: Params) -> Volume | None:
    """What the set comes to; None if nothing is known of it."""
    paths, raw = Paths(dataset=params.dataset), Path(params.index.raw)
    if paths.index.exists() and paths.trials.exists():
        return _indexed(paths, params)
    if raw.is_dir() and (found := _looked_at(raw, params)) is not None:
        return found
    if params.index.source not in _PUBLISHED:
        return None
    frames, pixels = _PUBLISHED[params.index.source]
    frames //= params.extract.stride
    return Volume(frames=frames, pixels=frames * float(pixels), faces=frames, source="published number of frames")


def disks(params: Params, *, store: Path, cache: Path, copies: bool) -> list[Finding]:
    """Free room on every file system that is written to, against what is still to come.

    Args:
        params: of the chosen set.
        store: the work store.
        cache: DVC's.
        copies: whether DVC copies from its cache, so that shards are there twice.
    """
    expected = volume(params)
    models = round(_NETWORK_BYTES * params.networks)
    paths = Paths(dataset=params.dataset)
    needs: dict[int, int] = {}
    places: dict[int, Path] = {}
    parts = [(Path("models"), max(0, models - _bytes([Path("models"), store / "snapshots"])))]
    if expected is not None:
        parts.append((store, max(0, expected.store_bytes - _bytes([store, paths.frames, paths.faces]))))
        shards = max(0, expected.shard_bytes - _bytes([paths.shards]))
        parts += [(paths.shards, shards)] + [(cache, shards)] * copies
    for folder, need in parts:
        place = _nearest(folder)
        device = place.stat().st_dev
        needs[device] = needs.get(device, 0) + need
        places.setdefault(device, place)
    if expected is None:
        known = f"how much set {params.dataset} takes is not known before its index"
    else:
        known = f"{expected.frames} frames and {expected.faces} faces by {expected.source}"
    return [_told(places[device], need, known) for device, need in needs.items()]


def _told(place: Path, need: int, known: str) -> Finding:
    usage = shutil.disk_usage(place)
    told = f"{disk.size(usage.free)} of {disk.size(usage.total)} free at {place}; about {disk.size(need)} more needed"
    told += f" ({known})"
    mend = f"free some (df -h {place}; cct store prune --unused), put data/ and CCT_STORE on a larger disk, "
    mend += "or raise extract.stride"
    if usage.free < need:
        return fail("disk", told, mend)
    if usage.free < 1.2 * need or usage.free < 0.02 * usage.total:
        return warn("disk", told, mend)
    return ok("disk", told)


def _indexed(paths: Paths, params: Params) -> Volume:
    columns = {"trial": "string", "video": "string", "frame_index": "int64"}
    rows = tables.read_table(paths.index, columns, categories=("trial", "video"))
    rows = rows[rows["frame_index"] % params.extract.stride == 0]
    frames = rows[["video", "frame_index"]].drop_duplicates()
    sizes = {"video": "string", "width": "int64", "height": "int64"}
    trials = tables.read_table(paths.trials, sizes).drop_duplicates("video").set_index("video")
    pixels = {
        str(video): _stored_pixels(width, height, params.extract.max_side)
        for video, width, height in trials.itertuples()
    }
    counts = frames["video"].astype(str).value_counts()
    total = sum(count * pixels.get(str(video), 0.0) for video, count in counts.items())
    return Volume(frames=len(frames), pixels=total, faces=len(rows), source="the index")


def _looked_at(raw: Path, params: Params) -> Volume | None:
    """From the headers of a few videos spread over the set, as if every frame had a label; or from its pictures."""
    suffixes = PICTURE_SUFFIXES if params.index.layout in STILL_LAYOUTS else VIDEO_SUFFIXES
    found = sorted(path for path in walk(raw) if path.suffix.lower() in suffixes)
    if params.index.layout in STILL_LAYOUTS:
        pixels = sum(path.stat().st_size for path in found) / _FRAME_BYTES_A_PIXEL
        return Volume(frames=len(found), pixels=pixels, faces=len(found), source="its pictures") if found else None
    some = found[:: max(1, len(found) // _LOOKED_AT)]
    frames = pixels = read = 0.0
    for path in some:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        names = (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        count, width, height = (max(0.0, capture.get(name)) for name in names) if capture.isOpened() else (0.0,) * 3
        capture.release()
        frames, read = frames + count, read + path.stat().st_size
        pixels += count * _stored_pixels(width, height, params.extract.max_side)
    if not frames or not read:
        return None
    share = sum(path.stat().st_size for path in found) / read / params.extract.stride
    source = f"the headers of {len(some)} of {len(found)} videos"
    return Volume(frames=round(frames * share), pixels=pixels * share, faces=round(frames * share), source=source)


def _stored_pixels(width: float, height: float, max_side: int) -> float:
    return width * height * min(1.0, max_side / max(width, height, 1)) ** 2


def _bytes(folders: Iterable[Path]) -> int:
    """Bytes in files, a file with several names once."""
    seen: dict[tuple[int, int], int] = {}
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                stat = (Path(parent) / name).lstat()
                seen[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(seen.values())


def _nearest(folder: Path) -> Path:
    absolute = folder.absolute()
    return next(each for each in (absolute, *absolute.parents) if each.is_dir())
