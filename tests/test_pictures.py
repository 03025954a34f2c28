"""Single pictures: what is read and stored of them, which face is meant, and which are in two splits."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from pipeline import stills
from pipeline.contract import SPLITS, Drop
from pipeline.datasets.leakage import shared_pictures
from pipeline.faces import whole_face
from pipeline.geometry import Detection, fitted
from pipeline.images import DamagedPictureError, Image, decode_jpeg, encode_jpeg
from pipeline.mismatch import unreadable_pictures
from pipeline.pictures import MissingPictureError, Place, measure, stored_jpeg
from pipeline.stills import Still

GRADIENT = np.stack([np.add.outer(np.arange(40), 2 * np.arange(60)).astype(np.uint8)] * 3, axis=2)


def saved(path: Path, picture: Image, kind: str, **options: object) -> Path:
    PillowImage.fromarray(picture).save(path, kind, **options)
    return path


def store(folder: Path, name: str, *, max_side: int = 1280, offset: int = -1) -> bytes:
    return stored_jpeg(folder, Place(name, offset), max_side=max_side, quality=95)


def test_a_jpeg_is_stored_as_it_is_unless_it_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(GRADIENT, 60))
    assert store(tmp_path, "a.jpg") == (tmp_path / "a.jpg").read_bytes()
    assert decode_jpeg(store(tmp_path, "a.jpg", max_side=30)).shape == (20, 30, 3)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_other_formats_become_jpeg_whatever_they_are_called(tmp_path: Path, kind: str) -> None:
    saved(tmp_path / "a.jpg", GRADIENT, kind, **{"lossless": True} if kind == "WEBP" else {})
    assert np.abs(decode_jpeg(store(tmp_path, "a.jpg")).astype(int) - GRADIENT).mean() < 2


def test_an_orientation_is_not_applied(tmp_path: Path) -> None:
    turned = PillowImage.Exif()
    turned[0x0112] = 6
    saved(tmp_path / "a.jpg", GRADIENT, "JPEG", exif=turned)
    assert decode_jpeg(store(tmp_path, "a.jpg")).shape == (40, 60, 3)
    assert measure(tmp_path, [Place("a.jpg")], [0]).sizes.tolist() == [[60, 40]]


@pytest.mark.parametrize("name", ["", "../a.jpg", "x/../../a.jpg", "/etc/passwd", "gone.jpg", "a.jpg/b.jpg"])
def test_what_is_not_below_the_folder_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "in").mkdir()
    with pytest.raises(MissingPictureError):
        store(tmp_path / "in" if ".." in name else tmp_path, name)


def test_damage_is_told(tmp_path: Path) -> None:
    jpeg = encode_jpeg(GRADIENT, 90)
    huge = bytearray(jpeg)
    at = huge.index(b"\xff\xc0") + 5
    huge[at : at + 4] = (30000).to_bytes(2, "big") * 2
    for name, content in {"cut": jpeg[:-200], "huge": bytes(huge), "text": b"<html>", "none": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DamagedPictureError):
            store(tmp_path, name)


def test_pixels_of_a_table(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, 48 * 48, dtype=np.uint8)
    row = " ".join(map(str, grey))
    (tmp_path / "t.csv").write_text(f'0,"{row}",x\n1,{row[:-4]},x\n2,{row[:-3]}256,x\n')
    lines = (tmp_path / "t.csv").read_bytes().splitlines(keepends=True)
    offsets = [3, len(lines[0]) + 2, len(lines[0]) + len(lines[1]) + 2]
    content = decode_jpeg(store(tmp_path, "t.csv", offset=offsets[0]))
    assert np.abs(content[..., 0].astype(int) - grey.reshape(48, 48)).mean() < 8
    found = measure(tmp_path, [Place("t.csv", offset) for offset in offsets], range(3))
    assert found.rows.tolist() == [0] and found.digests[0].tobytes() == hashlib.sha256(grey.tobytes()).digest()
    assert {row: reason for row, (reason, _) in found.failed.items()} == dict.fromkeys((1, 2), Drop.PICTURE_UNREADABLE)


def test_measures_are_those_of_other_libraries(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", GRADIENT, "PNG")
    saved(tmp_path / "b.jpg", GRADIENT[:20], "JPEG")
    found = measure(tmp_path, [Place("a.png"), Place("gone"), Place("b.jpg"), Place("a.png")], [0, 1, 2, 3])
    assert found.rows.tolist() == [0, 2, 3] and found.sizes.tolist() == [[60, 40], [60, 20], [60, 40]]
    for row, name in zip(range(3), ("a.png", "b.jpg", "a.png"), strict=True):
        assert found.digests[row].tobytes() == hashlib.sha256((tmp_path / name).read_bytes()).digest()
    assert found.failed == {1: (Drop.PICTURE_MISSING, "no file gone")}
    fewer = measure(tmp_path, [Place("a.png")], [0])
    assert fewer.digest != found.digest and fewer.digest == measure(tmp_path, [Place("a.png")], [0]).digest


@pytest.mark.parametrize(("width", "height"), [(224, 224), (112, 112), (48, 48), (100, 50), (500, 333)])
def test_a_whole_picture_fills_the_square(width: int, height: int) -> None:
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]])
    placed = fitted(width, height).apply(corners) + 0.5
    assert (placed[1] - placed[0]).max() == pytest.approx(224)
    assert placed.sum(axis=0) == pytest.approx([224, 224])
    face = decode_jpeg(whole_face(np.full((height, width, 3), 90, np.uint8), quality=95).jpeg)
    assert face.shape == (224, 224, 3) and np.abs(face.astype(int) - 90).max() <= 2


def test_a_crop_of_the_right_size_is_kept_pixel_by_pixel() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    assert whole_face(picture, quality=95).jpeg == encode_jpeg(picture, 95)


def face(*box: float) -> Detection:
    return Detection(box=np.array(box), points=np.zeros((5, 2)), probability=1.0)


def test_the_face_in_the_given_box_is_meant_else_the_largest() -> None:
    small, large = face(0, 0, 10, 10), face(20, 20, 60, 60)
    boxed, plain = Still(width=99, height=99, box=np.array([1.0, 0, 11, 10])), Still(width=99, height=99)
    known = {0: boxed, 1: plain, 2: boxed}
    chosen = stills.choose({0: [large, small], 1: [small, large], 2: [large]}, known, "detect")
    (person,) = chosen.person
    assert person.faces == {0: small, 1: large}
    assert [list(track.faces.items()) for track in chosen.everybody[1:]] == [[(0, large)], [(1, small)], [(2, large)]]
    assert chosen.rule == "box"
    nobody = stills.choose({1: []}, known, "detect")
    assert nobody.person == [] and nobody.rule == "main"


def test_known_faces_need_no_detector() -> None:
    five = np.arange(10.0).reshape(5, 2)
    known = {3: Still(width=50, height=40, points=five), 4: Still(width=50, height=40)}
    given = stills.known(known, (3, 4), "given")
    assert given[4] == [] and given[3][0].points.tolist() == five.tolist()
    whole = stills.known(known, (3, 4), "as_is")
    assert all(faces[0].box.tolist() == [0, 0, 49, 39] and np.isnan(faces[0].points).all() for faces in whole.values())


@given(st.lists(st.tuples(st.sampled_from(SPLITS), st.lists(st.integers(0, 5), max_size=6)), max_size=6))
def test_a_picture_is_lost_exactly_where_an_evaluation_split_has_it(found: Sequence[tuple[str, list[int]]]) -> None:
    digests = [np.array([[value] + [0] * 31 for value in values], np.uint8).reshape(-1, 32) for _, values in found]
    lost = shared_pictures([split for split, _ in found], digests)
    rank = {"test": 0, "val": 1, "train": 2}
    for trial, (split, values) in enumerate(found):
        best = [min(rank[s] for s, others in found if value in others) for value in values]
        assert sorted(place for place, _, _ in lost.get(trial, [])) == [
            place for place in range(len(values)) if best[place] < rank[split]
        ]
        for place, other, other_place in lost.get(trial, []):
            assert found[other][1][other_place] == values[place] and rank[found[other][0]] == best[place]


def test_unreadable_pictures_of_a_stretch_are_told_together() -> None:
    trials = pd.DataFrame([{"trial": "set-train-0000", "split": "train", "video": "v"}])
    (entry,) = unreadable_pictures(trials, {"v": {"3": "a.jpg: cut", "7": "b.jpg: cut"}})
    assert (entry.frames, entry.detail) == (2, "a.jpg: cut; b.jpg: cut")
