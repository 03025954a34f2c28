"""Whether this machine's processor is made for half precision."""

import platform

import torch

EMULATED = "precision is bf16, which this processor only imitates, 4 to 14 times slower than float32; set it to float32"
"""What a training says at its start then (docs/performance.md)."""

_WITHOUT_BF16 = {"DEFAULT", "NO AVX", "AVX2"}
"""What torch calls x86 processors whose convolutions in bf16 are emulated."""


def has_bf16() -> bool:
    """Whether this machine's processor, if torch runs on it, is fit for bf16. Others than x86 are trusted to be."""
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    return not x86 or torch.backends.cpu.get_cpu_capability() not in _WITHOUT_BF16
