"""Progress where there is no terminal: few lines, the last one once; of frames as they are taken."""

from collections.abc import Iterator, Set
from dataclasses import dataclass

import numpy as np
import pytest

from pipeline import progress
from pipeline.images import Image
from pipeline.progress import Progress
from pipeline.watched import Watched


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, to be moved by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_the_last_line_is_told_once_however_late_it_is(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("align", 3, unit="videos") as shown:
        for _ in range(3):
            clock[0] += 11
            shown.step(note="1 failed")
    first, second, last = lines(capsys)
    assert first == "align: 1/3 videos, 0.1/s, 22 s left, 1 failed"
    assert second.startswith("align: 2/3")
    assert last == "align: 3/3 videos, 0.1/s, took 33 s, 1 failed"


def test_an_error_gets_no_last_line_and_an_early_end_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), Progress("align", 3, unit="videos"):
        raise KeyError
    assert lines(capsys) == []
    with Progress("align", 3, unit="videos") as shown:
        shown.step(2)
    assert len(lines(capsys)) == 1


def test_a_total_that_is_not_known_is_not_told(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("predict", 0, unit="frames") as shown:
        clock[0] += 20
        shown.step(40)
    assert lines(capsys) == ["predict: 40 frames, 2.0/s, took 20 s"]


@dataclass(frozen=True)
class Blank:
    """So many black frames."""

    count: int
    name: str = "blank"
    fps: float = 25.0

    def frames(self, wanted: Set[int] | None = None) -> Iterator[tuple[int, Image | None]]:
        yield from ((index, np.zeros((2, 2, 3), np.uint8)) for index in range(self.count))

    def expected(self) -> int:
        return self.count


def test_frames_are_counted_as_they_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    watched = Watched(Blank(5), "faces")
    assert [index for index, _ in watched.frames()] == list(range(5))
    assert (watched.name, watched.fps, watched.expected()) == ("blank", 25.0, 5)
    (line,) = lines(capsys)
    assert line.startswith("faces: 5/5 frames")
