"""A table filled with finished experiments: by their parameters, of one code and the same sets, one result a seed."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.contract import UserError
from train.tables.definition import Cell, Table
from train.tables.experiments import Finished
from train.tables.locked import Version, settings_of_run


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A table with what was found for each of its cells.

    Attributes:
        table: what is asked for.
        found: by cell name, the experiments by seed; nothing where there is none.
        version: of all of them; None if there is none.
        commits: that they began from.
        others: commits of experiments that fit but are of other code or shards.
    """

    table: Table
    found: Mapping[str, Mapping[int, Finished]]
    version: Version | None
    commits: tuple[str, ...]
    others: tuple[str, ...]

    def scores(self, cell: Cell, measure: str) -> list[float]:
        """One figure a seed, in the order of the seeds."""
        return [run.scores[measure] for _, run in sorted(self.found[cell.name].items())]

    def missing(self) -> list[tuple[Cell, int]]:
        """What the table asks for and is not there: all rows with one seed, then with the next."""
        asked = ((cell, seed) for seed in self.table.seeds for cell in self.table.cells if cell.changes is not None)
        return [(cell, seed) for cell, seed in asked if seed not in self.found[cell.name]]


def fill(
    table: Table, experiments: Sequence[Finished], *, version: Version | None = None, commit: str | None = None
) -> Filled:
    """Finds the experiments of each cell by their parameters, whoever ran them, under any name and with any seed.

    Of two with the same parameters and seed the later one counts.

    Args:
        table: what is asked for.
        experiments: all that are finished.
        version: take those of this code and of these shards, and no others.
        commit: or those that began from this commit (its beginning).

    Raises:
        UserError: if neither is given and the experiments are of different code or shards.
    """
    settings = {cell.name: settings_of_run(table.params(cell, 0)) for cell in table.cells if cell.changes is not None}
    fitting = [each for each in experiments if each.run.settings in settings.values()]
    chosen = [
        each
        for each in fitting
        if (version is None or each.run.version.agrees(version))
        and (commit is None or each.commit.startswith(commit[:7]))
    ]
    _one_version(table.name, chosen)
    found: dict[str, dict[int, Finished]] = {cell.name: {} for cell in table.cells}
    for each in sorted(chosen, key=lambda run: run.created):
        for cell, expected in settings.items():
            if each.run.settings == expected:
                found[cell][each.run.seed] = each
    return Filled(
        table=table,
        found=found,
        version=chosen[0].run.version if chosen else version,
        commits=tuple(sorted({each.commit for each in chosen})),
        others=tuple(sorted({each.commit for each in fitting if each not in chosen})),
    )


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and sample standard deviation (n - 1), which one value does not have."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _one_version(name: str, chosen: Sequence[Finished]) -> None:
    versions: dict[Version, list[Finished]] = {}
    for each in chosen:
        versions.setdefault(each.run.version, []).append(each)
    if all(one.agrees(other) for one, other in itertools.combinations(versions, 2)):
        return
    told = "; ".join(
        f"{len(runs)} from {', '.join(sorted({run.commit for run in runs}))}" for runs in versions.values()
    )
    what = "code" if len({version.code for version in versions}) > 1 else "shards"
    raise UserError(f"{name}: the experiments are of different {what}: {told}; choose with --commit")
