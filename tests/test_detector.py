"""The real detector with its real weights on the demo set's faces, whose landmarks are known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline import geometry
from pipeline.contract import LANDMARK_STEP
from pipeline.detector import Detector, looks, resolve_device
from pipeline.faces import FrameSize, gathered
from pipeline.follow import search_each
from pipeline.geometry import Detection
from pipeline.images import Image, shrink
from pipeline.mtcnn import ONet, with_weights
from pipeline.video import read_frames
from tests.conftest import Truth

MIN_CONFIDENCE = 0.9


def pictures(demo: Path, video: str, *indices: int) -> dict[int, Image]:
    clip = demo / f"raw/videos/batch1/{video}.mp4"
    return {index: picture for index, picture in read_frames(clip, set(indices)) if picture is not None}


def sure(faces: list[Detection]) -> list[Detection]:
    return [face for face in faces if face.probability >= MIN_CONFIDENCE]


def searched(detector: Detector, picture: Image) -> list[Detection]:
    return detector.refine(picture, detector.search([picture])[0])


def error(face: Detection, truth: np.ndarray) -> float:
    """Mean distance of the landmarks from the truth, as a share of the distance between the eyes."""
    return float(np.linalg.norm(face.points - truth, axis=1).mean() / geometry.interocular(truth))


@pytest.fixture(scope="module")
def one_person(demo: Path) -> dict[int, Image]:
    return pictures(demo, "demo-001", 0, 15, 30, 45)


def test_one_face_with_its_landmarks_where_they_are(
    one_person: dict[int, Image], truth: Truth, detector: Detector
) -> None:
    errors = []
    for index, picture in one_person.items():
        (face,) = sure(detector.detect([picture])[0])
        errors.append(error(face, truth["demo-001", index, ""]))
        x0, y0, x1, y1 = face.box
        inside = (face.points >= (x0, y0)) & (face.points <= (x1, y1))
        assert inside.all()
    assert np.mean(errors) < 0.15


def test_coordinates_are_rounded_and_probabilities_are_shares(one_person: dict[int, Image], detector: Detector) -> None:
    for face in detector.detect([one_person[0]])[0]:
        for values in (face.box, face.points):
            assert values.dtype == np.float64
            assert (values / LANDMARK_STEP == np.round(values / LANDMARK_STEP)).all()
        assert face.box.shape == (4,) and face.points.shape == (5, 2)
        assert 0 <= face.probability <= 1


def test_two_people_are_two_faces(demo: Path, truth: Truth, detector: Detector) -> None:
    for index, picture in pictures(demo, "demo-012", 0, 20).items():
        found = sorted(sure(detector.detect([picture])[0]), key=lambda face: float(face.box[0]))
        assert len(found) == 2
        for face, side in zip(found, ("left", "right"), strict=True):
            assert error(face, truth["demo-012", index, side]) < 0.25


@pytest.mark.parametrize("video", ["demo-001", "demo-012"])
@pytest.mark.parametrize("enlarged", [1, 3])
def test_the_quick_search_finds_whom_the_reference_finds(
    video: str, enlarged: int, demo: Path, detector: Detector
) -> None:
    """At the picture's own size, and in a picture three times too large for it."""
    quick = Detector(min_face=40, device="cpu", working_side=640)
    for picture in pictures(demo, video, 0, 30).values():
        large = cv2.resize(picture, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
        wanted = sorted(sure(detector.detect([picture])[0]), key=lambda face: float(face.box[0]))
        found = sorted(sure(searched(quick, large.astype(np.uint8))), key=lambda face: float(face.box[0]))
        assert len(found) == len(wanted)
        for face, other in zip(found, wanted, strict=True):
            assert error(face, (other.points + 0.5) * enlarged - 0.5) < 0.08


def test_a_face_too_small_for_the_working_size_is_found_by_looking_closely(one_person: dict[int, Image]) -> None:
    scene = np.full((960, 1920, 3), 128, np.uint8)
    scene[300:372, 700:796] = cv2.resize(one_person[0], (96, 72), interpolation=cv2.INTER_AREA)
    quick = Detector(min_face=20, device="cpu", working_side=320)
    assert searched(quick, scene) == []
    assert len(sure(quick.refine(scene, quick.search_closely(scene)))) == 1
    assert quick.search_closely(scene[:160, :320]) == []


def test_several_looks_are_answered_like_single_ones(one_person: dict[int, Image]) -> None:
    """Exactly where no further look lies beyond the edge; else nearly."""
    onet = with_weights(ONet(), torch.device("cpu"))
    patches = np.stack([one_person[index][60:110, at : at + 50] for index in (0, 30) for at in (100, 130, 160)])
    pixels = (torch.from_numpy(patches).permute(0, 3, 1, 2).float() - 127.5) / 128
    with torch.inference_mode():
        together = [answer.reshape(6, 4, -1) for answer in looks(onet, pixels)]
        for place, (right, down) in enumerate(((0, 0), (2, 0), (0, 2), (2, 2))):
            for answer, alone in zip(together, onet(pixels[:, :, down : down + 48, right : right + 48]), strict=True):
                assert (answer[:, place] - alone).abs().max() < (1e-4 if right == down > 0 else 0.1)


def test_a_face_far_from_where_it_is_looked_for_is_measured_where_it_is(
    one_person: dict[int, Image], detector: Detector
) -> None:
    """As well as one that is looked for where it is; from there a single look at its old place is well off."""
    picture = one_person[0]
    (near,) = detector.refine(picture, [sure(detector.detect([picture])[0])[0].box])
    side = near.box[2] - near.box[0]
    for right, down in ((0.3, 0.0), (-0.3, 0.0), (0.0, 0.3), (0.2, -0.2)):
        (far,) = detector.refine(picture, [near.box + side * np.array([right, down, right, down])])
        assert far.probability > 0.95
        assert error(far, near.points) < 0.02


@pytest.mark.parametrize("batch", [2, 3, 8])
def test_pictures_searched_together_give_the_same_faces(batch: int, demo: Path, detector: Detector) -> None:
    frames = [*pictures(demo, "demo-001", 0, 20, 40).values(), *pictures(demo, "demo-012", 0, 20).values()]
    batched = Detector(min_face=40, device="cpu", batch=batch)
    alone, together = detector.search(frames), batched.search(frames)
    assert [len(boxes) for boxes in alone] == [1, 1, 1, 2, 2]
    for one, other in zip(alone, together, strict=True):
        assert np.abs(np.array(one) - np.array(other)).max() < 1e-3
    for ones, others in zip(detector.detect(frames), batched.detect(frames), strict=True):
        assert [(face.points.tolist(), face.probability) for face in ones] == [
            (face.points.tolist(), face.probability) for face in others
        ]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_has_no_face(detector: Detector, level: int) -> None:
    assert detector.detect([np.full((120, 160, 3), level, np.uint8)]) == [[]]


@pytest.mark.parametrize("size", [(39, 300), (300, 39), (1, 1), (5, 2000)])
def test_a_picture_smaller_than_the_smallest_face_has_no_face(detector: Detector, size: tuple[int, int]) -> None:
    luck = np.random.default_rng(0)
    assert detector.detect([luck.integers(0, 256, (*size, 3), dtype=np.uint8)]) == [[]]


def test_faces_far_below_the_limit_are_not_searched_for(one_person: dict[int, Image]) -> None:
    """A face some 36 pixels high, in the middle of a larger picture."""
    scene = np.full((200, 200, 3), 128, np.uint8)
    small = shrink(one_person[0], 96)
    scene[50 : 50 + small.shape[0], 50 : 50 + small.shape[1]] = small
    assert len(sure(Detector(min_face=20, device="cpu").detect([scene])[0])) == 1
    assert sure(Detector(min_face=100, device="cpu").detect([scene])[0]) == []


def test_pictures_of_any_sizes_go_in_one_call_and_do_not_affect_each_other(
    one_person: dict[int, Image], detector: Detector
) -> None:
    assert detector.detect([]) == []
    blank = np.zeros((60, 90, 3), np.uint8)
    together = detector.detect([blank, one_person[0], blank, one_person[15]])
    assert [len(sure(faces)) for faces in together] == [0, 1, 0, 1]
    for found, index in ((together[1], 0), (together[3], 15)):
        (alone,) = detector.detect([one_person[index]])
        assert [face.points.tolist() for face in found] == [face.points.tolist() for face in alone]


def test_faces_of_shrunk_frames_are_told_in_video_pixels(
    one_person: dict[int, Image], truth: Truth, detector: Detector
) -> None:
    size = FrameSize(width=one_person[0].shape[1], height=one_person[0].shape[0])
    stored = [(index, shrink(picture, 240)) for index, picture in one_person.items()]
    found = gathered(search_each(stored, detector), MIN_CONFIDENCE, size_of=lambda _: size).faces
    assert np.mean([error(found[index][0], truth["demo-001", index, ""]) for index in one_person]) < 0.15


def test_unsure_faces_are_left_out_and_every_frame_is_accounted_for(
    one_person: dict[int, Image], detector: Detector
) -> None:
    size = FrameSize(width=320, height=240)
    frames = [*one_person.items(), (99, np.zeros((240, 320, 3), np.uint8))]
    found = gathered(search_each(frames, detector), 0.0, size_of=lambda _: size).faces
    most = max(face.probability for faces in found.values() for face in faces)
    assert list(found) == [*one_person, 99] and found[99] == []
    assert most > MIN_CONFIDENCE
    stricter = gathered(search_each(frames, detector), most, size_of=lambda _: size).faces
    assert list(stricter) == list(found)
    assert {face.probability for faces in stricter.values() for face in faces} == {most}


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda")
