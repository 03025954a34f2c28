"""What a method draws for a sample and remembers of it: by the sample's key, so that order and ranks change nothing."""

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

_MASK = (1 << 64) - 1


def key_words(keys: "pd.Series[str]") -> Tensor:
    """64 bits of each key's SHA-256 as int64, N."""
    digests = b"".join(hashlib.sha256(str(key).encode()).digest()[:8] for key in keys)
    return torch.from_numpy(np.frombuffer(digests, dtype="<i8").astype(np.int64))


def uniform_draws(words_b: Tensor, *salt: int, draws: int) -> Tensor:
    """Numbers in [0, 1), draws x B in float64: a pure function of each sample's word and of the salt.

    A counter-based generator (SplitMix64's finaliser over word, salt and number of the draw): the same on every device,
    in every order, for any division into batches.
    """
    words_b = words_b.to(torch.int64)
    for value in salt:
        words_b = _mixed(words_b ^ _signed(value))
    counters = torch.arange(1, draws + 1, device=words_b.device)[:, None]
    mixed = _mixed(words_b + counters * _signed(0x9E3779B97F4A7C15))
    return ((mixed >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


def _mixed(words: Tensor) -> Tensor:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words = (words ^ _shifted(words, shift)) * _signed(factor)
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, bits: int) -> Tensor:
    """A shift to the right that fills with zeros, as of unsigned numbers."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    """The same 64 bits as a signed number."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


class SampleMemory(nn.Module):
    """One whole number a training sample, part of the state dict with the words of the keys.

    A state dict of other samples, or of the same in another order, is taken over by key: what it lacks begins anew.
    """

    words_n: Tensor
    values_n: Tensor

    def __init__(self, keys: "pd.Series[str]", *, initial: int) -> None:
        super().__init__()
        self.initial = initial
        self.register_buffer("words_n", key_words(keys))
        self.register_buffer("values_n", torch.full_like(self.words_n, initial))

    def recall(self, positions_b: Tensor) -> Tensor:
        """What is remembered of the samples at these positions, B."""
        return self.values_n[positions_b]

    def remember(self, positions_b: Tensor, values_b: Tensor) -> None:
        """Keeps a value a position; of a position that occurs several times, the last one's."""
        places = torch.arange(len(positions_b), device=positions_b.device)
        own, index = torch.unique(positions_b, return_inverse=True)
        last = torch.zeros_like(own).scatter_reduce(0, index, places, "amax", include_self=False)
        self.values_n[own] = values_b[last]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        words, values = (state_dict[prefix + name].to(self.words_n.device) for name in ("words_n", "values_n"))
        known = dict(zip(words.tolist(), values.tolist(), strict=True))
        kept = [known.get(word, self.initial) for word in self.words_n.tolist()]
        self.values_n.copy_(torch.tensor(kept, dtype=torch.int64))
