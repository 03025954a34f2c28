"""A real `dvc repro`, killed again and again: whatever has a final name is whole, and the last run completes it.

`python -m benchmarks.kills` does the same at length.
"""

import random
from pathlib import Path

import pytest

from tests.killing import Shot, Victim, disturbed, prepared, start_over

VICTIMS: tuple[Victim, ...] = ("group", "stage", "dvc", "stage", "dvc", "worker")
"""The run that loses a worker is not stopped by that: nothing is left to strike after it."""


@pytest.mark.slow
def test_killed_runs_leave_nothing_half_done_and_the_next_one_completes_them(tmp_path: Path) -> None:
    seed = 11
    moments = random.Random(seed)
    print(f"seed {seed}")
    project, reference, spans = prepared(tmp_path / "project")
    start_over(project, detected=False)
    shares = [(number + moments.random()) / len(VICTIMS) for number in range(len(VICTIMS))]
    shots = [Shot(share=share, victim=victim) for share, victim in zip(shares, VICTIMS, strict=True)]
    outcome = disturbed(project, reference, spans, shots, moments)
    print(outcome.places)
    assert outcome.problems == []
    assert "nowhere" not in outcome.places[:-1]
    assert outcome.finished
