"""Faces and five landmarks: MTCNN (Zhang et al. 2016), with facenet-pytorch's weights.

Three ways to them: facenet-pytorch's own search of the whole frame; a search by the same nets with less around them;
and the neighbourhood of a face known from the frame before, which needs the refinement nets only. The only user of
facenet_pytorch, which is imported for the first way alone.
"""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.geometry import Boxes, Detection, rounded
from pipeline.images import Image, contiguous, halved, resized, shrink
from pipeline.mtcnn import ONet, PNet, RNet, with_weights
from pipeline.patches import patch, square_around
from pipeline.proposals import Proposals, distinct, joined, proposed, pyramid_sizes

_RNET_SIDE, _ONET_SIDE = 24, 48
_SMALLEST_SEARCHED = 20
"""Side of the smallest face that a search at working size looks for, in working pixels (facenet-pytorch's default)."""

_PNET_LEAST, _REFINED_LEAST = 0.6, 0.7
_SAME_AT_ONE_SIZE, _SAME = 0.5, 0.7
"""Least probabilities, and overlaps from which two boxes are one face: facenet-pytorch's."""

_LOOKS = ((0, 0), (2, 0), (0, 2), (2, 2))
_WIDE = _ONET_SIDE + 2
"""O-Net sees a known face this often, so many pixels further to the right and down in a patch that is two pixels larger
than it takes: the mean of the boxes and landmarks is steadier than one look. The probability is the best look's, as
MTCNN keeps the best of its overlapping candidates."""

_FAR = 0.1
"""A face found more than so many of its sides from where it was looked for is looked at again around where it is: its
landmarks come nearer to those of a search (docs/decisions/014)."""

_LANDMARK_SHIFT, _RIGHT_SHIFT = 0.25, 0.0025
"""Pixels to the right and down; and shares of a look's side to the right (docs/decisions/014)."""

_BATCH = 16
"""Pictures that a GPU searches together; on a CPU a batch gains nothing."""


class Detector:
    """MTCNN on one device."""

    def __init__(
        self, *, min_face: int, device: str, working_side: int | None = None, batch: int | None = None
    ) -> None:
        """Loads the weights that the facenet-pytorch wheel carries.

        Args:
            min_face: side of the smallest face looked for, in pixels.
            device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
            working_side: longest side, in pixels, to which `search` shrinks a picture; None for no limit.
            batch: pictures that go together; None for what suits the device.
        """
        self.device = torch.device(resolve_device(device))
        self.batch = batch or (1 if self.device.type == "cpu" else _BATCH)
        self._min_face, self._working_side = min_face, working_side
        self._pnet, self._rnet = with_weights(PNet(), self.device), with_weights(RNet(), self.device)
        self._onet = with_weights(ONet(), self.device)

    def detect(self, pictures: Sequence[Image]) -> list[list[Detection]]:
        """Faces of each picture by the whole-frame search of facenet-pytorch, in MTCNN's order."""
        return [faces for stack in self._stacks(pictures) for faces in self._detect_stack(stack)]

    def search(self, pictures: Sequence[Image]) -> list[Boxes]:
        """Boxes of the faces of each RGB picture, roughly: as found at working size, in pixels of the picture."""
        return [boxes for stack in self._stacks(pictures) for boxes in self._located(stack, self._working_side)]

    def search_closely(self, picture: Image) -> Boxes:
        """Boxes of faces that may be too small to be found at working size; none if the picture is no larger."""
        if self._working_side is None or max(picture.shape) <= self._working_side:
            return []
        return self._located([picture], None)[0]

    def refine(self, picture: Image, boxes: Boxes) -> list[Detection]:
        """Measures faces that are roughly where these boxes are (R-Net, then O-Net), in the order of the boxes.

        A box that holds no face comes back with a low probability.
        """
        faces = self._measured_near(picture, boxes)
        far = [place for place, (face, box) in enumerate(zip(faces, boxes, strict=True)) if _is_far(face.box, box)]
        for place, face in zip(far, self._measured_near(picture, [faces[place].box for place in far]), strict=True):
            faces[place] = face
        return faces

    def _measured_near(self, picture: Image, boxes: Boxes) -> list[Detection]:
        if not boxes:
            return []
        squares = [square_around(box) for box in boxes]
        shifts = self._run(self._rnet, [patch(picture, square, _RNET_SIDE) for square in squares])[0]
        squares = [square_around(square.regressed(shift)) for square, shift in zip(squares, shifts, strict=True)]
        seen = [patch(picture, square, _WIDE) for square in squares]
        return _measured(np.array(squares, dtype=np.float64), *self._run(functools.partial(looks, self._onet), seen))

    @functools.cached_property
    def _mtcnn(self) -> Any:
        """facenet-pytorch's own detector."""
        from facenet_pytorch import MTCNN  # loads torchvision, for seconds

        mtcnn = MTCNN(keep_all=True, min_face_size=self._min_face, device=self.device)
        for net in (mtcnn.pnet, mtcnn.rnet, mtcnn.onet):
            net.to(memory_format=torch.channels_last)
        return mtcnn

    def _stacks(self, pictures: Sequence[Image]) -> Iterator[list[Image]]:
        """Neighbours of one size, at most `batch` together."""
        for _, alike in groupby(pictures, key=np.shape):
            while stack := list(islice(alike, self.batch)):
                yield stack

    def _detect_stack(self, pictures: Sequence[Image]) -> list[list[Detection]]:
        if min(pictures[0].shape[:2]) < self._min_face:
            return [[] for _ in pictures]
        with warnings.catch_warnings():
            # facenet-pytorch stacks lists of unequal length (no face in some pictures) into object arrays.
            warnings.simplefilter("ignore")
            boxes, probabilities, points = self._mtcnn.detect(
                np.stack([contiguous(picture) for picture in pictures]), landmarks=True
            )
        return [_detections(*found) for found in zip(boxes, probabilities, points, strict=True)]

    def _located(self, pictures: Sequence[Image], working_side: int | None) -> list[Boxes]:
        """Boxes of the faces of pictures of one size, searched at a size of at most `working_side`."""
        small = [contiguous(shrink(picture, working_side or max(picture.shape))) for picture in pictures]
        factors = np.array(pictures[0].shape[1::-1]) / small[0].shape[1::-1]
        shrunk = small[0].shape != pictures[0].shape
        min_face = max(_SMALLEST_SEARCHED, round(self._min_face / factors.min())) if shrunk else self._min_face
        located: list[Boxes] = []
        for picture, proposals in zip(small, self._proposals(small, min_face), strict=True):
            boxes = self._judged(self._rnet, _RNET_SIDE, picture, proposals)
            boxes = self._judged(self._onet, _ONET_SIDE, picture, boxes, of_smaller=True)
            located.append([box * np.tile(factors, 2) for box in boxes])
        return located

    def _proposals(self, pictures: Sequence[Image], min_face: int) -> list[NDArray[np.float64]]:
        """P-Net's N x 4 boxes of each picture, all of one size."""
        height, width = pictures[0].shape[:2]
        found: list[list[Proposals]] = [[] for _ in pictures]
        for rows, columns in pyramid_sizes(height, width, min_face):
            factors = np.array([width / columns, height / rows])
            while pictures[0].shape[0] >= 2 * rows:  # much less to average
                pictures = [halved(picture) for picture in pictures]
            small = [resized(picture, columns, rows) for picture in pictures]
            shifts, probabilities = self._run(self._pnet, small)
            for its, shift, probability in zip(found, shifts, probabilities[:, 1], strict=True):
                its.append(proposed(probability, shift, factors, least=_PNET_LEAST).distinct(most=_SAME_AT_ONE_SIZE))
        return [joined(its).distinct(most=_SAME).moved if its else np.empty((0, 4)) for its in found]

    def _judged(
        self, net: nn.Module, side: int, picture: Image, boxes: NDArray[np.float64], *, of_smaller: bool = False
    ) -> NDArray[np.float64]:
        """N x 4 boxes that R-Net or O-Net takes for faces, the best first, moved as it says."""
        if not len(boxes):
            return boxes
        squares = [square_around(box) for box in boxes]
        shifts, *_, probabilities = self._run(net, [patch(picture, square, side) for square in squares])
        moved = np.array([square.regressed(shift) for square, shift in zip(squares, shifts, strict=True)])
        sure = probabilities[:, 1] >= _REFINED_LEAST
        moved, probabilities = moved[sure], probabilities[sure, 1]
        return moved[distinct(moved, probabilities, most=_SAME, of_smaller=of_smaller)]

    def _run(
        self, net: Callable[[torch.Tensor], tuple[torch.Tensor, ...]], pictures: Sequence[Image]
    ) -> tuple[NDArray[np.float64], ...]:
        """A net's answers on pictures of one size."""
        pixels = torch.from_numpy(np.stack(pictures)).to(self.device).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            return tuple(answer.double().cpu().numpy() for answer in net((pixels - 127.5) / 128))


def looks(onet: ONet, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """O-Net's answers (shifts, landmarks, probabilities) to `_LOOKS` at patches, the looks at one patch together.

    Its first layers see every patch once and not four times: looks that are two pixels apart are one pixel apart behind
    the first pooling, which sees what lies at their inner edges too.

    Args:
        onet: with its weights.
        pixels: patches x 3 x `_WIDE` x `_WIDE`, normalised.
    """
    second = onet.second(onet.first(pixels)).permute(0, 2, 3, 1)
    side = second.shape[1] - 1
    # Look by look and with the channels last, as all lies in memory: nothing is copied from one order to another.
    parts = [second[:, down // 2 :, right // 2 :][:, :side, :side] for right, down in _LOOKS]
    answers = onet.rest(torch.cat(parts).permute(0, 3, 1, 2))
    return tuple(answer.view(len(_LOOKS), -1, answer.shape[1]).transpose(0, 1).flatten(0, 1) for answer in answers)


def _is_far(found: NDArray[np.float64], looked_for: NDArray[np.float64]) -> bool:
    centre_shift = np.abs(found[:2] + found[2:] - looked_for[:2] - looked_for[2:]).max() / 2
    return bool(centre_shift > _FAR * (found[2:] - found[:2]).max())


def _measured(
    squares: NDArray[np.float64],
    shifts: NDArray[np.float64],
    points: NDArray[np.float64],
    probabilities: NDArray[np.float64],
) -> list[Detection]:
    """Faces from O-Net's answers, the mean of its looks.

    Args:
        squares: faces x (left, top, side, ...) in pixels: the patches that the looks were taken from.
        shifts: (faces x looks) x 4, of the sides by shares of a look's side.
        points: (faces x looks) x 10, five x and five y as shares of a look's side.
        probabilities: (faces x looks) x 2.
    """
    faces = len(squares)
    pixels = squares[:, 2, None, None] / _WIDE  # of the picture per pixel of the patch
    corners = squares[:, None, :2] + pixels * np.array(_LOOKS)
    sides = pixels * _ONET_SIDE
    boxes = np.concatenate([corners, corners + sides], axis=2) + sides * shifts.reshape(faces, -1, 4)
    shares = points.reshape(faces, -1, 2, 5).swapaxes(2, 3) + np.array((_RIGHT_SHIFT, 0.0))
    fives = corners[:, :, None] + sides[..., None] * shares + _LANDMARK_SHIFT
    sure = probabilities[:, 1].reshape(faces, -1).max(axis=1)
    means = zip(rounded(boxes.mean(axis=1)), rounded(fives.mean(axis=1)), sure.tolist(), strict=True)
    return [Detection(box=box, points=five, probability=round(probability, 4)) for box, five, probability in means]


def _detections(
    boxes: NDArray[np.float32] | None, probabilities: NDArray[np.float32], points: NDArray[np.float32]
) -> list[Detection]:
    if boxes is None:
        return []
    return [
        Detection(box=rounded(box), points=rounded(five), probability=round(float(probability), 4))
        for box, probability, five in zip(boxes, probabilities, points, strict=True)
    ]


def resolve_device(device: str) -> str:
    """`auto` becomes `cuda` where there is a GPU, else `cpu`."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
