"""SIGKILL at random moments of `cct team push` and `pull`: what is there afterwards, and what the next one does.

    python -m benchmarks.team_kills                       # 20 of each on a folder and on S3, seven minutes
    python -m benchmarks.team_kills --kills 6 --kinds s3 --seed 7

Remote or cache are emptied before each. Moments are drawn from the whole length of an undisturbed command, one slice of
it a kill. After a killed push nothing on the remote may be other than its name says; after a killed pull the set is
whole, or training refuses it in one line that says what to do. Then the same command runs to its end, and everything
must be there. Prints a table; ends with an error at the first thing that is not as promised.
"""

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.machines import Machine, build_machine, shard_files
from tests.servers import Server, s3_server
from tests.test_remotes import Team, refuses_or_is_whole

PROMISED = ("nothing", "a part", "all")


def main() -> None:
    """Kills, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", choices=("folder", "s3"), default=["folder", "s3"])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    print(f"seed {arguments.seed}\n")
    print("| remote | command | killed | nothing there | a part | all | next one completes |")
    print("|---|---|---|---|---|---|---|")
    complete = True
    with tempfile.TemporaryDirectory() as folder, _team(Path(folder)) as team:
        mate = team.builder.clone(Path(folder) / "mate")
        mate.add_secrets(team.servers)
        for kind in arguments.kinds:
            for strike in (_pushes, _pulls):
                found, ended = strike(team, mate, kind, _shares(arguments.kills, moments))
                told = " | ".join(str(found.count(what)) for what in PROMISED)
                command = strike.__name__.strip("_es")
                print(f"| {kind} | {command} | {len(found)} | {told} | {ended} of {len(found)} |", flush=True)
                complete &= ended == len(found)
    sys.exit(not complete)


@contextlib.contextmanager
def _team(root: Path) -> Iterator[Team]:
    with s3_server() as s3:
        servers = {
            "folder": Server(url=str(root / "nas"), options={}, secrets={}, folder=root / "nas"),
            "s3": s3.remote("team"),
        }
        builder = build_machine(root / "builder")
        builder.add_remotes(servers)
        builder.commit("The team's remotes")
        yield Team(builder=builder, figures={}, servers=servers, s3=s3)


def _shares(count: int, moments: random.Random) -> list[float]:
    return [(number + moments.random()) / count for number in range(count)]


def _pushes(team: Team, _mate: Machine, kind: str, shares: list[float]) -> tuple[list[str], int]:
    """What each killed push left, and after how many of them the next one left all, whole."""
    total = len(shard_files(team.builder)) + 1

    def empty() -> None:
        for place in team.objects(kind):
            if kind == "s3":
                team.s3.client().delete_object(Bucket="team", Key=place)
            else:
                Path(place).unlink()

    command = ("cct", "team", "push", "-r", kind)
    found, ended = [], 0
    for left in _killed(team.builder, command, empty, shares, lambda: len(team.objects(kind))):
        assert team.wrong(kind) == []
        found.append(_named_share(left, total))
        team.builder.team("push", "-r", kind)
        ended += len(team.objects(kind)) == total and team.wrong(kind) == []
    return found, ended


def _pulls(team: Team, mate: Machine, kind: str, shares: list[float]) -> tuple[list[str], int]:
    """What each killed pull left in the cache, and after how many of them the next one brought all, whole."""
    team.builder.team("push", "-r", kind)
    expected = shard_files(team.builder)
    found, ended = [], 0
    command = ("cct", "team", "pull", "-r", kind)
    for left in _killed(
        mate, command, mate.forget, shares, lambda: len([*mate.cache.glob("*/[0-9a-f]*")]) if mate.cache.exists() else 0
    ):
        refuses_or_is_whole(mate)
        shutil.rmtree(mate.folder / "models", ignore_errors=True)
        found.append(_named_share(left, len(expected) + 1))
        mate.team("pull", "-r", kind)
        ended += shard_files(mate) == expected
    return found, ended


def _killed(
    machine: Machine, command: tuple[str, ...], empty: Callable[[], None], shares: list[float], count: Callable[[], int]
) -> Iterator[int]:
    """Runs a command undisturbed to see how long it takes, then kills it so many times; what each leaves, counted."""
    empty()
    begin_s = time.monotonic()
    machine.run(*command)
    length_s = time.monotonic() - begin_s
    for share in shares:
        empty()
        process = machine.start(*command)
        time.sleep(share * length_s)
        process.kill()
        process.wait()
        yield count()


def _named_share(left: int, total: int) -> str:
    return PROMISED[(left > 0) + (left >= total)]


if __name__ == "__main__":
    main()
