"""AffectNet: the old lists with boxes and landmarks, and the new folders of crops with .npy files."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.contract import Drop
from pipeline.geometry import Points
from pipeline.images import encode_jpeg
from tests.replicas.base import Replica
from tests.replicas.faces import demo_faces

OURS = {0: 0, 1: 4, 2: 5, 3: 6, 4: 3, 5: 2, 6: 1}
HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
PICTURES = "Manually_Annotated_Images"


def landmarks_68(five: Points) -> Points:
    """Sixty-eight landmarks whose eye centres, nose tip and mouth corners are these five."""
    points = np.full((68, 2), five.mean(axis=0))
    for eye, centre in ((slice(36, 42), five[0]), (slice(42, 48), five[1])):
        points[eye] = centre + np.array([[-4, 0], [-2, -2], [2, -2], [4, 0], [2, 2], [-2, 2]])
    points[30], points[48], points[54] = five[2], five[3], five[4]
    return points


OLD = {
    7: (Drop.CLASS_EXCLUDED, "contempt"),
    8: (Drop.CLASS_EXCLUDED, "none"),
    9: (Drop.CLASS_EXCLUDED, "uncertain"),
    10: (Drop.CLASS_EXCLUDED, "and 1 more"),
    11: (Drop.PICTURE_MISSING, f"no file {PICTURES}/3/train{11:056d}.jpg"),
    12: (Drop.DUPLICATE_PICTURE, f"is {PICTURES}/2/val{1:056d}.jpg of split val"),
    13: (Drop.SUBJECT_NOT_FOUND, "subject_not_found"),
    14: (Drop.NO_FACE, "no_face"),
}
"""Training rows that give no sample, and what is said of them."""


def make_old(raw: Path) -> Replica:
    """Whole pictures with a box; the faces are found again by the detector. `validation.csv` has no header."""
    changes = {"align.faces": "detect", "noise_unit": "frame"}
    replica = Replica(layout="affectnet", raw=raw, annotations=".", changes=changes)
    faces = iter(demo_faces()[::3])
    contents: dict[tuple[str, int], bytes] = {}
    for split, name, count in (("val", "validation.csv", 7), ("train", "training.csv", 20)):
        rows = [HEADER] if split == "train" else []
        for index in range(count):
            face, place = next(faces), (split, index)
            picture = f"{index % 3 + 1}/{split}{index:056d}.{'JPG' if index == 0 else 'jpg'}"
            x, y = (0, 0) if place == ("train", 13) else (int(side) for side in face.points.mean(axis=0) - 40)
            is_odd = split == "train" and index in OLD
            expression = index if is_odd and index <= 10 else index % 7
            affect = "0.25,-0.5" if expression < 8 else "-2,-2"
            contents[place] = {
                ("train", 12): contents.get(("val", 1), b""),
                ("train", 14): encode_jpeg(np.full((120, 160, 3), 90, np.uint8), 95),
                ("train", 15): png(face.frame),
            }.get(place, encode_jpeg(face.frame, 95))
            if is_odd:
                replica.drop(OLD[index][0], OLD[index][1])
            else:
                replica.sample(split, OURS[expression])
            if place != ("train", 11):
                replica.write(f"{PICTURES}/{picture}", contents[place])
            landmarks = ";".join(f"{value:.2f}" for value in landmarks_68(face.points).reshape(-1))
            rows.append(f"{picture},{x},{y},80,80,{landmarks},{expression},{affect}")
        if split == "train":
            rows.append("4/broken.jpg,1,2")
            replica.drop(Drop.LABEL_UNREADABLE, "training.csv, line 22")
        replica.write(f"Manually_Annotated_file_lists/{name}", "\n".join(rows) + "\n")
    return replica


def make_new(raw: Path) -> Replica:
    """Crops of 224 x 224 by number, with a file a value; aligned by the landmarks that the set gives."""
    changes = {"align.faces": "given", "noise_unit": "frame"}
    replica = Replica(layout="affectnet", raw=raw, annotations=".", changes=changes)
    faces = iter(demo_faces()[::2])
    for split, folder, count in (("val", "val_set", 14), ("train", "train_set", 28)):
        for index in range(count):
            number, face, expression = 3 * index, next(faces), index % 7
            crop = face.frame[:224, 48:272]
            values: dict[str, Any] = {"val": np.array("0.5"), "aro": np.array(-0.25)}
            values |= {"lnd": landmarks_68(face.points - (48, 0)).reshape(-1), "exp": np.array(str(expression))}
            kept = True
            match (split, index):
                case ("train", 7):
                    values["exp"] = np.array("7")
                    replica.drop(Drop.CLASS_EXCLUDED, "contempt")
                case ("train", 8):
                    values["lnd"] = np.full(136, -2.0)
                    replica.drop(Drop.NO_FACE, "no_face")
                case ("train", 9):
                    del values["aro"]
                    replica.drop(Drop.LABEL_UNREADABLE, f"{folder}/images/{number}.jpg: ", "aro.npy")
                case ("train", 10):
                    values["exp"] = np.array([print], dtype=object)  # would be unpickled by a careless reader
                    replica.drop(Drop.LABEL_UNREADABLE, "allow_pickle=False")
                case ("train", 11):
                    kept = False
                    replica.drop(Drop.PICTURE_MISSING, f"no file {folder}/images/{number}.jpg")
                case _:
                    replica.sample(split, OURS[expression])
            if kept:
                replica.write(f"{folder}/images/{number}.jpg", encode_jpeg(crop, 95))
            for kind, value in values.items():
                replica.write(f"{folder}/annotations/{number}_{kind}.npy", npy(value))
    return replica


def npy(value: Any) -> bytes:
    """The file that `np.save` writes."""
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=True)
    return stream.getvalue()


def png(picture: Any) -> bytes:
    """A picture as PNG."""
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
