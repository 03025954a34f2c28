"""Signals at random moments of a real `dvc repro`: what is on disk afterwards, and whether the next run completes it.

    python -m benchmarks.kills                     # 66 SIGKILLs, 16 of SIGTERM and SIGINT
    python -m benchmarks.kills --kills 12 --interrupts 0 --seed 7

A small set is built once, undisturbed, in a copy of the project. Each moment is drawn from the timeline of a run (one
slice of it a shot, so that they spread), in turn for dvc, its process group, the stage's process alone and one worker.
Some runs are struck once and then completed; in the others the recovery is struck again, up to five times in all.
Prints a line a disturbed run, then a table; exit code 1 if anything was not as promised.
"""

import argparse
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from tests.killing import PLACES, Outcome, Reference, Shot, Span, Victim, disturbed, prepared, start_over, timeline
from tests.projects import Project

Struck = Counter[tuple[str, str]]
"""Signals by place and by who was hit."""


def main() -> None:
    """Shoots, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=66)
    parser.add_argument("--interrupts", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    moments, struck, problems = random.Random(arguments.seed), Struck(), 0
    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as folder:
        project, reference, _ = prepared(Path(folder) / "project")
        for detected, length, shots in (
            (True, 1, kills(arguments.kills // 3, moments)),
            (False, 5, kills(arguments.kills - arguments.kills // 3, moments)),
            (True, 4, interrupts(arguments.interrupts, moments)),
        ):
            if shots:
                chains = [sorted(shots[begin : begin + length], key=moment) for begin in range(0, len(shots), length)]
                problems += shoot(project, reference, chains, struck, moments, detected=detected)
    print_table(struck)
    sys.exit(problems > 0)


def moment(shot: Shot) -> float:
    """When it falls."""
    return shot.share


def kills(count: int, moments: random.Random) -> list[Shot]:
    """As many SIGKILLs, their moments spread evenly over the timeline, in random order."""
    shares = [(number + moments.random()) / count for number in range(count)]
    moments.shuffle(shares)
    victims = get_args(Victim)
    return [Shot(share=share, victim=victims[number % len(victims)]) for number, share in enumerate(shares)]


def interrupts(count: int, moments: random.Random) -> list[Shot]:
    """SIGTERM and SIGINT, to dvc alone and to the group."""
    victims: list[Victim] = ["dvc", "group"]
    numbers = (signal.SIGTERM, signal.SIGINT)
    return [
        Shot(share=shot.share, victim=victims[number % 2], number=numbers[number // 2 % 2])
        for number, shot in enumerate(kills(count, moments))
    ]


def shoot(
    project: Project,
    reference: Reference,
    chains: Sequence[Sequence[Shot]],
    struck: Struck,
    moments: random.Random,
    *,
    detected: bool,
) -> int:
    """Disturbs a run from the same beginning for each chain of shots; how many problems there were."""
    start_over(project, detected=detected)
    spans, problems = timeline(project), 0
    print(f"\na run {'with detections in the store' if detected else 'from nothing'}: {told(spans)}\n")
    for chain in chains:
        start_over(project, detected=detected)
        outcome = disturbed(project, reference, spans, chain, moments)
        problems += len(outcome.problems)
        for shot, place in zip(chain, outcome.places, strict=True):
            struck[place, f"{shot.number.name} {shot.victim}"] += 1
        print_line(chain, outcome)
    return problems


def told(spans: Sequence[Span]) -> str:
    """The timeline in words."""
    return ", ".join(f"{span.place} {span.ended_s - span.began_s:.1f} s" for span in spans)


def print_line(chain: Sequence[Shot], outcome: Outcome) -> None:
    """What one disturbed run came to."""
    hits = ", ".join(
        f"{shot.number.name} {shot.victim} at {shot.share:.4f} ({place})"
        for shot, place in zip(chain, outcome.places, strict=True)
    )
    print(f"{hits}: {outcome.finished} finished files kept, {len(outcome.problems)} problems", flush=True)
    for name in outcome.mended:
        print(f"    DVC left {name} cut off: removed by hand", flush=True)
    for problem in outcome.problems:
        print(f"    {problem}", flush=True)


def print_table(struck: Struck) -> None:
    """Signals by place (rows) and by who was hit (columns), as Markdown."""
    kinds = sorted({kind for _, kind in struck})
    places = [place for place in (*PLACES, "nowhere") if any(struck[place, kind] for kind in kinds)]
    print(f"\n| | {' | '.join(kinds)} | all |\n|---|{'---|' * (len(kinds) + 1)}")
    for place in places:
        counts = [struck[place, kind] for kind in kinds]
        print(f"| {place} | {' | '.join(map(str, counts))} | {sum(counts)} |")
    totals = [sum(struck[place, kind] for place in places) for kind in kinds]
    print(f"| all | {' | '.join(map(str, totals))} | {sum(totals)} |")


if __name__ == "__main__":
    main()
