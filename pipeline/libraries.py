"""The libraries that the bytes of a shard set depend on: in its manifest, and in the keys of the work store."""

import functools
import re
from importlib.metadata import version

import cv2

PACKAGES = ("opencv-python-headless", "numpy", "pandas", "pyarrow", "torch", "facenet-pytorch")
_INSIDE_OPENCV = ("JPEG", "avcodec", "avformat", "avutil", "swscale", "Intel IPP")
"""Lines of OpenCV's build description; what decodes videos and pictures and encodes JPEG."""


def recorded_versions() -> dict[str, str]:
    """Every library by its version; those inside OpenCV are named `opencv: NAME`."""
    inside = {f"opencv: {name}": text for name, text in opencv_build().items() if name != "opencv"}
    return {name: version(name) for name in PACKAGES} | inside


@functools.cache
def opencv_build() -> dict[str, str]:
    """OpenCV's version and those of the libraries inside it, which differ between builds of one version."""
    described = cv2.getBuildInformation()
    found = {name: re.search(rf"^ *{name}: +(.+?) *$", described, re.MULTILINE) for name in _INSIDE_OPENCV}
    return {"opencv": cv2.__version__} | {name: line[1] if line else "none" for name, line in found.items()}
