"""Values to lengths, and the round numbers that an axis is marked with."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear map of values to lengths."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, count: int = 4, *, whole: bool = False) -> list[float]:
    """Round numbers, evenly spaced, that enclose [low, high]: at least two, about `count` + 1."""
    high = high if high > low else low + (abs(low) or 1.0)
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power * 1.001 >= (high - low) / count)
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.6g}") for number in range(first, max(last, first + 1) + 1)]
