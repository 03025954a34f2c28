"""Figure 3 of the paper: the course of λ for the values of β of Table 4, by Eq. 4."""

from collections.abc import Mapping

from pipeline.params import check_params
from train.charts import line_chart, svg_file
from train.schedules import course_after, ramp_up, ramp_up_epoch
from train.tables.definition import Table, changed

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def figure3(table: Table) -> tuple[str, str]:
    """Markdown with values and an SVG file with the curves, for the epochs and the λ_max of the table's runs."""
    curves: dict[str, list[float]] = {}
    parts: Mapping[str, float] = {}
    for cell in table.cells:
        if cell.changes is None:
            continue
        params = check_params(changed(table.base, cell.changes), source=f"tables/{table.name}.yaml, {cell.name}")
        epochs, end = params.epochs, ramp_up_epoch(params.epochs, params.rampup)
        curves[f"β = {params.beta:g}"] = [
            ramp_up(
                epoch,
                beta=params.beta,
                lambda_max=params.lambda_max,
                rampup=end,
                after_rampup=course_after(params.compat, params.after_rampup),
            )
            for epoch in range(epochs + 1)
        ]
        parts = {"E": epochs, "e_r": end, "λ_max": params.lambda_max}
    title = "Figure 3: λ by epoch"
    epochs = int(parts["E"])
    chart = line_chart(
        list(range(epochs + 1)), curves, title=title, x_label="epoch", y_label="λ, weight of the consistency"
    )
    chosen = sorted({round(share * epochs) for share in _SHARES})
    lines = [
        f"# {title}, {table.base['dataset']}",
        "",
        "λ(e) = λ_max exp(−β (1 − e/e_r)²) (Eq. 4), with "
        + ", ".join(f"{key} = {value:g}" for key, value in parts.items())
        + ".",
        "",
        "| e | " + " | ".join(str(epoch) for epoch in chosen) + " |",
        "|---|" + "---|" * len(chosen),
        *(
            f"| {name} | " + " | ".join(f"{values[epoch]:.3f}" for epoch in chosen) + " |"
            for name, values in curves.items()
        ),
    ]
    return "\n".join(lines) + "\n", svg_file(title, [("", chart)])
