"""One's own scores beside the paper's Tables 1 and 2, as Markdown."""

from typing import Any

from train import paper

_MEASURES = ("f1", "accuracy", "score")


def beside_paper(evaluated: dict[str, Any]) -> str:
    """A table of every network, the ensemble at the last and at the best epoch, and the published figures.

    Args:
        evaluated: the content of `results/evaluation.json`.
    """
    low, high = evaluated["interval"]["f1"]
    level, unit = evaluated["interval"]["level"], evaluated["interval"]["unit"]
    best = evaluated["best"]
    rows = [
        *((f"network {number}", block) for number, block in enumerate(evaluated["networks"], start=1)),
        ("mean of the networks", evaluated["networks_mean"]),
        *([("student", evaluated["student"])] if "student" in evaluated else []),
        ("**ensemble, last epoch**", evaluated["ensemble"]),
        (f"ensemble, best epoch on this very split (epoch {best['epoch']}, from 0)", best["ensemble"]),
    ]
    lines = [
        f"Scores on {evaluated['dataset']}, split {evaluated['split']}: {evaluated['samples']} faces of "
        f"{evaluated['videos']} {unit}s.",
        f"{level:.0%} interval of the ensemble's macro-F1, by bootstrap over {unit}s: {low:.3f} to {high:.3f}.",
        "",
        "| | macro-F1 | accuracy | 0.67 F1 + 0.33 accuracy |",
        "|---|---|---|---|",
    ]
    lines += [_line(name, [block[measure] for measure in _MEASURES]) for name, block in rows]
    for table in paper.TABLES[:2]:
        lines.append(f"| *paper, Table {table.number}: Aff-Wild2 {table.split} set* | | | |")
        lines += [_line(row.method, [row.f1, row.accuracy, row.score]) for row in table.rows]
    if why := paper.not_comparable(str(evaluated["dataset"]), len(evaluated["classes"])):
        lines += ["", why]
    return "\n".join(lines) + "\n"


def _line(name: str, values: list[float]) -> str:
    return f"| {name} | " + " | ".join(f"{value:.4f}" for value in values) + " |"
