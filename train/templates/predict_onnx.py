"""Runs model.onnx on faces, with onnxruntime, numpy and OpenCV alone.

    python predict.py FACE.jpg ...                      # pictures that are aligned already
    python predict.py --points "x0 y0 ... x4 y4" PICTURE.jpg   # five landmarks of a face in a picture

Prints CSV: the picture, the most likely class, and the probability of every class. Landmarks are the left eye, the
right eye, the nose and the corners of the mouth, left and right as seen in the picture, in pixels.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime


def main() -> None:
    """Reads pictures and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--points", help="ten numbers: align the face with these landmarks first")
    parser.add_argument("--model", default=str(Path(__file__).with_name("model.onnx")))
    arguments = parser.parse_args()
    session = onnxruntime.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    classes, side, template = (json.loads(about[key]) for key in ("classes", "image_size", "template"))
    print(",".join(["picture", "prediction", *classes]))
    for name in arguments.pictures:
        picture = cv2.imread(name, cv2.IMREAD_COLOR)
        if picture is None:
            sys.exit(f"{name}: not a picture")
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        if arguments.points:
            points = np.array(arguments.points.split(), dtype=np.float64).reshape(5, 2)
            picture = align(picture, points, np.array(template), side)
        elif picture.shape[:2] != (side, side):
            picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        faces = picture.transpose(2, 0, 1)[None].astype(np.float32)
        (probabilities,) = session.run(["probabilities"], {"faces": faces})
        values = [f"{value:.4f}" for value in probabilities[0]]
        print(",".join([name, classes[int(probabilities[0].argmax())], *values]))


def align(picture: Any, points: Any, template: Any, side: int) -> Any:
    """Cuts the face upright: by the least-squares similarity transform of its landmarks to their places."""
    source, target = points - points.mean(axis=0), template - template.mean(axis=0)
    spread = (source**2).sum()
    a = (source * target).sum() / spread
    b = (source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum() / spread
    turn = np.array([[a, -b], [b, a]])
    factor = max(1, math.ceil(1 / math.hypot(a, b)))
    shift = template.mean(axis=0) - turn @ points.mean(axis=0)
    matrix = np.hstack([turn * factor, (shift * factor + (factor - 1) / 2)[:, None]])
    large = cv2.warpAffine(
        picture, matrix, (side * factor, side * factor), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA) if factor > 1 else large


if __name__ == "__main__":
    main()
