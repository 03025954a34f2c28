"""One label map for all sets: the names that their makers use to classes of `contract.CLASSES`."""

from pipeline.contract import CLASSES, Drop

_SAME = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "contempt": "other",
}
"""Contempt is none of the seven classes and is left out with them; of eight it belongs to Other."""

_INDEX = {name.lower(): index for index, name in enumerate(CLASSES)}


def class_of(name: str, classes: int) -> int | Drop:
    """The class index of an expression by any of its usual names, or why it has none.

    Args:
        name: in any case; one that is no expression (`unknown`, `non-face`, …) is of an excluded class.
        classes: `index.classes`.
    """
    index = _INDEX.get(_SAME.get(name.lower(), name.lower()), classes)
    return index if index < classes else Drop.CLASS_EXCLUDED
