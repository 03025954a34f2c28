"""Pictures are the same bytes whatever instruction sets the processor has; benchmarks/instruction_sets.py does more."""

import os
import subprocess
import sys

import pytest

from benchmarks.instruction_sets import NO_AVX
from tests.conftest import ROOT

PROGRAM = """
import hashlib, sys
from pathlib import Path
import cv2
import numpy as np
from pipeline import geometry, images
from pipeline.faces import FrameSize, crop_face
from pipeline.video import read_frames

cv2.setNumThreads(1)
digest, generator = hashlib.sha256(), np.random.default_rng(0)
for index, picture in read_frames(Path(sys.argv[1]), frozenset((0, 20, 40))):
    if picture is not None:
        stored = images.encode_jpeg(images.shrink(picture, 400), 95)
        digest.update(picture.tobytes() + stored)
        frame = images.decode_jpeg(stored)
        size = FrameSize(width=picture.shape[1], height=picture.shape[0])
        for side in (40, 90, 180, 400, 900):  # of the face in pixels: enlarged, averaged down, halved
            turn = np.exp(1j * generator.uniform(-1, 1)) * side / 224
            points = ((geometry.template(1.0) - 112) @ [1, 1j] * turn).view(float).reshape(5, 2)
            face = crop_face(frame, np.round((points + 120) * 64) / 64, size, template_scale=1.0, quality=95)
            digest.update(face.jpeg + repr((face.brightness, face.sharpness, geometry.pose(points))).encode())
print(cv2.getCPUFeaturesLine())
print(digest.hexdigest())
"""
CLIP = str(ROOT / "data/demo/raw/videos/batch1/demo-001.mp4")
WITHOUT_ANY = {
    "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16,AVX,SSE4.2,SSE4.1",
    "OPENCV_IPP": "disabled",
    "JSIMD_FORCENONE": "1",
}


def seen(variables: dict[str, str]) -> tuple[str, str]:
    """The instruction sets that OpenCV uses, and the digest of all pictures."""
    surroundings = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"} | variables
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, CLIP], env=surroundings, capture_output=True, text=True, check=True
    )
    features, digest = done.stdout.splitlines()
    return features, digest


@pytest.mark.slow
def test_frames_and_crops_do_not_depend_on_instruction_sets() -> None:
    features, digest = seen({})
    for variables in (NO_AVX, WITHOUT_ANY):
        limited, other = seen(variables)
        assert "*AVX2" not in limited.replace("*AVX2?", "")
        assert other == digest, (variables, features, limited)
