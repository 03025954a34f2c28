"""`cct team`: shard sets from one to all, and whether the way is sound."""

import logging
import subprocess
import sys
from typing import Annotated

import typer

from pipeline import disk
from pipeline.findings import Finding
from pipeline.params import load_params

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

RemoteOption = Annotated[str | None, typer.Option("--remote", "-r", help="Its name; default: DVC's default remote.")]
EverythingOption = Annotated[
    bool,
    typer.Option("--all", help="All that DVC keeps: tables, models and results too, not only what training needs."),
]


@app.callback()
def _team() -> None:
    """Shares shard sets: one person prepares them, all train on them. Step by step: docs/team.md.

    Examples: cct team push; cct team pull; cct team check --remote lab
    """
    for name in ("dvc", "dvc_data", "dvc_objects"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they would say is told in one line


@app.command()
def check(remote: RemoteOption = None) -> None:
    """Tries the remote (is it there, can it be written and read back) and the cache (links, permissions).

    Prints a line a check, and for what is wrong the line that mends it; exit code 0 unless something fails.

    Examples: cct team check; cct team check --remote lab
    """
    from pipeline.team.checks import findings

    found = findings(remote)
    for each in found:
        print(_told(each))
    if any(each.state == "fail" for each in found):
        sys.exit(1)


@app.command()
def push(
    remote: RemoteOption = None,
    everything: EverythingOption = False,
    thorough: Annotated[
        bool, typer.Option("--verify", help="Read back what the remote has, and send again what is damaged there.")
    ] = False,
) -> None:
    """Sends the shard sets that training needs, and DVC's run-cache; never frames and faces.

    What is there already is not sent again; after an interruption the same command goes on. A restricted set goes to
    remotes alone that are marked private (cct team private).

    Examples: cct team push; cct team push --verify; cct team push --all --remote lab
    """
    from pipeline.team import sharing  # loads DVC, for half a second

    there, moved = sharing.push(load_params(), remote, everything=everything, thorough=thorough)
    print(f"remote {there.name}: {moved.files} files sent ({disk.size(moved.size_bytes)}), everything is there")
    if _uncommitted("dvc.lock", "data"):
        told = "dvc.lock, or a small file below data, is not committed, and teammates need them"
        print(f"{told}: git add dvc.lock data; git commit; git push", file=sys.stderr)


@app.command()
def pull(
    remote: RemoteOption = None,
    everything: EverythingOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that were changed here.")] = False,
) -> None:
    """Fetches the shard sets that training needs, and DVC's run-cache; then verifies every byte as `cct verify` does.

    What is damaged here is fetched again; what is missing or damaged on the remote is named, with the command for
    whoever has it. After an interruption the same command goes on. Sets that this machine's cache has need no remote.

    Examples: cct team pull; cct team pull --remote lab; dvc exp run -S beta=4 --allow-missing
    """
    from pipeline.team import sharing

    there, moved, verified = sharing.pull(load_params(), remote, everything=everything, force=force)
    came = f"{moved.files} files fetched ({disk.size(moved.size_bytes)})"
    where = f"remote {there.name}: {came}" if there else "from this machine's cache, as no remote is the default"
    print(f"{where}; {', '.join(verified)}: every byte is right")


@app.command()
def private(
    name: Annotated[str, typer.Argument(help="A remote of this project.")],
) -> None:
    """Marks a remote as private: nobody can read it who may not have this project's restricted sets.

    Adds its address to .dvc/private-remotes, which is to be committed, so that others see who vouched for it.

    Example: cct team private lab
    """
    from pipeline.team.guard import PRIVATE_REMOTES, mark_private
    from pipeline.team.project import find_remote, opened_project

    with opened_project() as repo:
        remote = find_remote(repo, name)
    mark_private(remote)
    print(f"{remote.url} is marked private; commit it: git add {PRIVATE_REMOTES}; git commit")


def _told(finding: Finding) -> str:
    line = f"{finding.state:<5}{finding.name}: {finding.text}"
    return f"{line}\n     {finding.mend}" if finding.mend else line


def _uncommitted(*paths: str) -> bool:
    told = subprocess.run(["git", "status", "--porcelain", *paths], capture_output=True, text=True, check=False)
    return bool(told.stdout)
