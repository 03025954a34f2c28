"""FERPlus: `fer2013new.csv` with votes beside FER2013's pixels."""

from pathlib import Path

import cv2

from pipeline.contract import Drop
from tests.replicas.base import Replica
from tests.replicas.faces import demo_faces

THEIRS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
OURS = (0, 4, 6, 5, 1, 2, 3)
USAGES = {"Training": ("train", 42), "PublicTest": ("val", 21), "PrivateTest": ("test", 7)}


def make(raw: Path) -> Replica:
    """Seventy pictures of 48 x 48 grey pixels, with ten votes each."""
    replica = Replica(layout="ferplus", raw=raw, annotations="fer2013new.csv", changes={"align.faces": "as_is"})
    replica.changes["noise_unit"] = "frame"
    pixels, votes = ["emotion,pixels,Usage"], ["Usage,Image name," + ",".join(THEIRS)]
    number = 0
    for usage, (split, count) in USAGES.items():
        for index in range(count):
            grey = cv2.cvtColor(demo_faces()[number].crop(48), cv2.COLOR_RGB2GRAY)
            values, name, cast = [str(value) for value in grey.reshape(-1)], f"fer{number:07d}.png", [0] * 10
            peak = index % 7
            cast[peak], cast[(peak + 1) % 7], cast[9] = 7, 2, 1
            match (usage, index):
                case ("Training", 1):  # six of ten, single votes for all others: a majority
                    cast = [0, 6, 1, 1, 1, 1, 0, 0, 0, 0]
                case ("Training", 2):
                    cast = [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]
                    replica.drop(Drop.NO_MAJORITY, f"{name}: 5 neutral, 5 happiness")
                case ("Training", 3):
                    cast = [0, 2, 0, 0, 0, 0, 0, 8, 0, 0]
                    replica.drop(Drop.CLASS_EXCLUDED, f"{name}: 2 happiness, 8 contempt")
                case ("Training", 4):
                    cast, name = [0, 0, 0, 0, 0, 0, 0, 0, 0, 10], ""
                    replica.drop(Drop.CLASS_EXCLUDED, "row 5: 10 NF")
                case ("Training", 5):
                    cast = [1] * 10
                    replica.drop(Drop.NO_MAJORITY)
                case ("Training", 6):
                    values.pop()
                    replica.drop(Drop.PICTURE_UNREADABLE, "fer2013.csv: 2303 pixels instead of 48 x 48")
                case ("Training", 8):
                    cast = [0, 0, 0, 2, 0, 0, 0, 0, 8, 0]
                    replica.drop(Drop.CLASS_EXCLUDED)
                case ("PublicTest", 9):
                    values = pixels[10].split(",")[1].split()  # what the tenth training row shows
                    replica.drop(Drop.DUPLICATE_PICTURE, "is fer2013.csv of split val")
                    replica.samples["train", OURS[2]] -= 1
            if sum(cast) and not (usage == "Training" and index in (2, 3, 4, 5, 6, 8)):
                replica.sample(split, OURS[peak])
            pixels.append(f"{number % 7},{' '.join(values)},{usage}")
            votes.append(f"{usage},{name}," + ",".join(map(str, cast)))
            number += 1
    replica.write("fer2013.csv", "\n".join(pixels) + "\n")
    replica.write("fer2013new.csv", "\n".join(votes) + "\n")
    return replica
