"""FERPlus: `fer2013new.csv` with votes beside FER2013's pixels."""

from pathlib import Path

import cv2

from pipeline.contract import Drop
from tests.replicas.base import Replica
from tests.replicas.faces import demo_faces

THEIRS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
OURS = (0, 4, 6, 5, 1, 2, 3)
USAGES = {"Training": ("train", 42), "PublicTest": ("val", 21), "PrivateTest": ("test", 7)}

ODD_VOTES: dict[int, tuple[list[int], Drop, str]] = {
    2: ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], Drop.NO_MAJORITY, "fer0000002.png: 5 neutral, 5 happiness"),
    3: ([0, 2, 0, 0, 0, 0, 0, 8, 0, 0], Drop.CLASS_EXCLUDED, "fer0000003.png: 2 happiness, 8 contempt"),
    4: ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], Drop.CLASS_EXCLUDED, "row 5: 10 NF"),
    5: ([1] * 10, Drop.NO_MAJORITY, "1 NF"),
    8: ([0, 0, 0, 2, 0, 0, 0, 0, 8, 0], Drop.CLASS_EXCLUDED, "and 1 more"),
}
"""Training rows without a class: votes, the reason, and what is said (three details a reason, then a count)."""

A_MAJORITY = (1, [0, 6, 1, 1, 1, 1, 0, 0, 0, 0])
"""A training row in which single votes do not count."""

SHORT, TWICE = 6, 9
"""Training rows with a pixel too few, and with the pixels of the tenth public row."""


def make(raw: Path) -> Replica:
    """Seventy pictures of 48 x 48 grey pixels, with ten votes each."""
    replica = Replica(layout="ferplus", raw=raw, annotations="fer2013new.csv", changes={"align.faces": "as_is"})
    replica.changes["noise_unit"] = "frame"
    pixels, votes = ["emotion,pixels,Usage"], ["Usage,Image name," + ",".join(THEIRS)]
    places = [(usage, split, index) for usage, (split, count) in USAGES.items() for index in range(count)]
    for number, (usage, split, index) in enumerate(places):
        values, cast = grey_values(number), [0] * 10
        cast[index % 7], cast[(index + 1) % 7], cast[9] = 7, 2, 1
        if split == "train" and index in ODD_VOTES:
            cast, reason, told = ODD_VOTES[index]
            replica.drop(reason, *[told] * (index != 8))
        elif split == "train" and index == SHORT:
            values.pop()
            replica.drop(Drop.PICTURE_UNREADABLE, f"fer{number:07d}.png: fer2013.csv: 2303 pixels instead of 48 x 48")
        elif split == "train" and index == TWICE:
            public = USAGES["Training"][1] + TWICE
            values = grey_values(public)
            replica.drop(Drop.DUPLICATE_PICTURE, f"fer{number:07d}.png is fer{public:07d}.png of split val")
        else:
            cast = A_MAJORITY[1] if (split, index) == ("train", A_MAJORITY[0]) else cast
            replica.sample(split, OURS[index % 7])
        name = "" if cast[9] == 10 else f"fer{number:07d}.png"
        pixels.append(f"{number % 7},{' '.join(values)},{usage}")
        votes.append(f"{usage},{name}," + ",".join(map(str, cast)))
    replica.write("fer2013.csv", "\n".join(pixels) + "\n")
    replica.write("fer2013new.csv", "\n".join(votes) + "\n")
    return replica


def grey_values(number: int) -> list[str]:
    """The pixels of a face, row by row, as text."""
    return [str(value) for value in cv2.cvtColor(demo_faces()[number].crop(48), cv2.COLOR_RGB2GRAY).reshape(-1)]
