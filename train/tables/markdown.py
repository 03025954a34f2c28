"""A filled table as Markdown and as a chart."""

from collections.abc import Sequence

from train import paper
from train.charts import Dots, runs_chart, svg_file
from train.tables.definition import Cell, changed, preset
from train.tables.filled import Filled, mean_and_deviation

_COLUMNS = {"f1": "macro-F1", "accuracy": "accuracy", "score": "0.67 F1 + 0.33 accuracy"}
_BEST = "macro-F1, best epoch"
_MISSING = "missing"
_NOT_HERE = "not in this size"
_OF_TRAINING = (
    "dataset",
    "epochs",
    "iterations_per_epoch",
    "batch_size",
    "image_size",
    "backbone",
    "init",
    "lr_backbone",
    "lr_head",
    "lr_decay",
    "weight_decay",
    "beta",
    "lambda_max",
    "rampup",
    "after_rampup",
    "compat",
    "balance",
    "precision",
)


def markdown(filled: Filled) -> str:
    """The table with its heading, what it is of, and what differs from the paper's set-up."""
    table = filled.table
    grid = any(table.columns)
    lines = [f"# {_title(filled)}", "", *(_grid(filled) if grid else _plain(filled)), "", *_reading(filled)]
    if missing := filled.missing():
        names = sorted({cell.name for cell, _ in missing})
        lines += ["", f"Missing: {len(missing)} runs, of {'; '.join(names)}."]
    return "\n".join(lines) + "\n"


def plot(filled: Filled) -> str:
    """The macro-F1 of every run as an SVG file, with the paper's beside it."""
    table = filled.table
    groups = {
        row: {
            cell.column: Dots(
                values=filled.scores(cell, "f1"), published=None if cell.published is None else cell.published.f1
            )
            for cell in table.of_row(row)
            if cell.changes is not None or cell.published is not None
        }
        for row in table.rows
    }
    published = "the paper's, on Aff-Wild2" if table.definition.paper else None
    title = _title(filled)
    shown = {row: lines for row, lines in groups.items() if lines}
    return svg_file(title, [("", runs_chart(shown, title=title, x_label="macro-F1, last epoch", published=published))])


def _title(filled: Filled) -> str:
    definition = filled.table.definition
    number = f"Table {definition.paper}: " if definition.paper else ""
    return f"{number}{definition.title}, {filled.table.base['dataset']}"


def _plain(filled: Filled) -> list[str]:
    heads = [filled.table.definition.heading, "n", *_COLUMNS.values(), _BEST, *(f"paper's {m}" for m in _PAPER)]
    lines = [_row(heads), _rule(heads)]
    for cell in filled.table.cells:
        runs = len(filled.found[cell.name])
        told = [_told(filled, cell, measure) for measure in (*_COLUMNS, "best_epoch_f1")]
        lines.append(_row([cell.row, str(runs), *told, *_figures(cell)]))
    return lines


_PAPER = ("F1", "accuracy", "score")


def _figures(cell: Cell) -> list[str]:
    row = cell.published
    return ["–"] * len(_PAPER) if row is None else [f"{value:.4f}" for value in (row.f1, row.accuracy, row.score)]


def _grid(filled: Filled) -> list[str]:
    table = filled.table
    heads = [table.definition.heading, *table.columns]
    lines = ["Macro-F1 of the last epoch, and the number of runs.", "", _row(heads), _rule(heads)]
    for row in table.rows:
        cells = table.of_row(row)
        counts = [len(filled.found[cell.name]) for cell in cells]
        told = [_told(filled, cell, "f1") for cell in cells]
        lines.append(_row([row, *(f"{text} ({n})" if n else text for text, n in zip(told, counts, strict=True))]))
    return lines


def _told(filled: Filled, cell: Cell, measure: str) -> str:
    """Mean and deviation; that something is missing is said, nothing is made up."""
    if cell.changes is None:
        return _NOT_HERE
    values = filled.scores(cell, measure)
    if not values:
        return _MISSING
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.4f}" if deviation is None else f"{mean:.4f} ± {deviation:.4f}"


def _reading(filled: Filled) -> list[str]:
    table = filled.table
    seeds = sorted({seed for runs in filled.found.values() for seed in runs})
    code = filled.version.code[:8] if filled.version else "–"
    lines = [
        "Mean ± sample standard deviation over n seeds of the ensemble's scores on the validation split at the last "
        "epoch; the best epoch was chosen on that very split, so that its figure flatters.",
        "",
        f"Size `{table.size}`: {table.definition.sizes[table.size].note.strip()}",
        "",
        f"Seeds {', '.join(map(str, seeds)) or 'none'}; from commits {', '.join(filled.commits) or 'none'}; "
        f"code {code}.",
    ]
    if filled.others:
        lines += ["", f"Left out, being of other code or shards: experiments from {', '.join(filled.others)}."]
    if different := _different(filled):
        lines += ["", "What differs from params/affwild2.yaml:", "", "| | here | there |", "|---|---|---|", *different]
    if table.definition.paper and table.base["dataset"] not in paper.DATASETS:
        lines += ["", f"The paper's figures are of Aff-Wild2 and cannot be compared with {table.base['dataset']}."]
    return lines


def _different(filled: Filled) -> list[str]:
    """Parameters that all runs share and that the real set's preset has otherwise."""
    table, theirs = filled.table, preset()
    raws = [changed(table.base, cell.changes) for cell in table.cells if cell.changes is not None]
    lines = []
    for key in _OF_TRAINING:
        own = {str(raw[key]) for raw in raws}
        if len(own) == 1 and own != {str(theirs[key])}:
            lines.append(_row([f"`{key}`", own.pop(), str(theirs[key])]))
    return lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(heads: Sequence[str]) -> str:
    return "|" + "---|" * len(heads)
