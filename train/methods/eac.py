"""Erasing Attention Consistency (Zhang et al. 2022): the maps of a partly erased face and of its mirror image agree."""

from typing import Self

import torch
from torch import Tensor

from pipeline.contract import UserError
from pipeline.method_params import EacParams
from pipeline.train_params import TrainParams
from train.methods.base import Given, Losses, Method, Setting, full_precision, supervision
from train.methods.memory import key_words, uniform_draws
from train.outputs import Needs, Outputs

LEAST_AREA, MOST_AREA = 0.02, 0.25
"""Share of the picture that is erased, uniform."""
_LEAST_ASPECT, _MOST_ASPECT = 0.3, 1 / 0.3
"""Height over width, log-uniform. Within these bounds the rectangle always fits into a square picture."""


class EAC(Method):
    """L = Σ_k mean CE(z_k, y) + λ Σ_k mean (M_k - mirrored M'_k)²: M the class activation maps of x, M' of mirrored x.

    x has a random rectangle set to 0 (the mean colour) with probability `eac.erase` (0.5), 2 to 25 % of its area,
    before it is mirrored; λ = 5. The labels are learned from x alone. Both views go through the networks as one batch,
    so batch norm sees both together (the authors' code: one after the other). One network in the paper, any number
    here. The rectangle is a function of (seed, epoch, sample key). The second term has gradients to
    both views and none to the head: in its maps the head's weights are constants, as in the authors' code.
    """

    needs = Needs(attention=True)
    words_n: Tensor

    def __init__(self, settings: EacParams, *, seed: int, setting: Setting) -> None:
        super().__init__()
        self.settings, self.seed = settings, seed
        self.register_buffer("words_n", key_words(setting.keys), persistent=False)

    @classmethod
    def build(cls, params: TrainParams, setting: Setting) -> Self:
        """See the class; raises `UserError` for networks without class activation maps."""
        if not setting.attention:
            raise UserError(
                f"method eac needs class activation maps, and {params.backbone} has none because its head has a hidden "
                "layer; set backbone to a resnet or an efficientnet"
            )
        return cls(params.eac, seed=params.seed, setting=setting)

    def views(self, pictures_bchw: Tensor, given: Given) -> Tensor:
        """The erased pictures, then their mirror images: 2 B."""
        draws_5b = uniform_draws(self.words_n[given.positions_b], self.seed, given.epoch, draws=5)
        erased_bhw = rectangles(draws_5b, self.settings.erase, pictures_bchw.shape[-1])
        pictures_bchw = pictures_bchw.masked_fill(erased_bhw[:, None], 0)
        return torch.cat([pictures_bchw, pictures_bchw.flip(-1)]).contiguous(memory_format=torch.channels_last)

    def losses(self, outputs: Outputs, given: Given) -> Losses:
        """See `Method.losses`; `consistency` is the sum of the squared differences' means, before λ."""
        assert outputs.attention_kbchw is not None
        supervised = supervision(full_precision(outputs.logits_kbc)[:, : len(given.labels_b)], given)
        maps, mirrored = full_precision(outputs.attention_kbchw).chunk(2, dim=1)
        consistent = (maps - mirrored.flip(-1)).square().mean((1, 2, 3, 4)).sum()
        total = supervised + self.settings.weight * consistent
        return Losses(total=total, supervision=supervised, consistency=consistent)


def rectangles(draws_5b: Tensor, share: float, side: int) -> Tensor:
    """Masks of what is erased in square pictures, B x side x side, from five uniform draws a picture.

    The draws decide whether at all (below `share`), the area, the aspect, and the upper left corner's row and column.
    """
    happens_b, area_b, aspect_b, top_b, left_b = draws_5b
    area_b = (LEAST_AREA + (MOST_AREA - LEAST_AREA) * area_b) * side**2
    aspect_b = _LEAST_ASPECT * (_MOST_ASPECT / _LEAST_ASPECT) ** aspect_b
    along = torch.arange(side, device=draws_5b.device)

    def covered(length_b: Tensor, place_b: Tensor) -> Tensor:
        length_b = length_b.round()
        begin_b = (place_b * (side - length_b + 1)).floor()
        return (along >= begin_b[:, None]) & (along < (begin_b + length_b)[:, None])

    rows_bh, columns_bw = covered((area_b * aspect_b).sqrt(), top_b), covered((area_b / aspect_b).sqrt(), left_b)
    erased_bhw: Tensor = rows_bh[:, :, None] & columns_bw[:, None, :] & (happens_b < share)[:, None, None]
    return erased_bhw
