"""What a table is made of: `tables/NAME.yaml`, checked; and the parameters of each of its runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen
from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.contract import UserError
from pipeline.explaining import explain
from pipeline.fields import Group
from pipeline.params import PARAMS_FILE, Params, check_params
from train import paper

TABLES = Path("tables")
PRESET = Path("params/affwild2.yaml")
Size = Literal["demo", "paper"]
Changes = dict[str, Any]
"""Dotted keys of params.yaml and their values."""


class Choice(Group):
    """A row or a column: a name, what it changes, and the paper's row it stands beside.

    `sizes` gives further changes in single sizes; if it is there, the choice exists in those sizes alone.
    """

    name: str
    set: Changes = Field(default_factory=dict)
    sizes: dict[Size, Changes] | None = None
    figure: str | None = None


class SizeOf(Group):
    """What all runs of one size change, and what a reader has to know of it."""

    set: Changes = Field(default_factory=dict)
    note: str


class Definition(Group):
    """A table: rows, columns if there is more than one condition, seeds, and two sizes."""

    title: str
    heading: str
    paper: Annotated[int, Ge(1), Le(7)] | None = None
    set: Changes = Field(default_factory=dict)
    seeds: Annotated[list[Annotated[int, Ge(0)]], MinLen(1)]
    rows: Annotated[list[Choice], MinLen(1)]
    columns: Annotated[list[Choice], MinLen(1)] = Field(default_factory=lambda: [Choice(name="")])
    sizes: dict[Size, SizeOf]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Where a row and a column meet: the changes of its runs (all but the seed), or None if it has none in this size.

    Attributes:
        row: name of the row.
        column: name of the column; empty where a table has but one.
        changes: dotted keys of params.yaml and their values.
        published: the paper's figures, where there are any.
    """

    row: str
    column: str
    changes: Changes | None
    published: paper.Row | None

    @property
    def name(self) -> str:
        """Row and column in words."""
        return f"{self.row}, {self.column}" if self.column else self.row


@dataclass(frozen=True, kw_only=True)
class Table:
    """A definition in one size on the parameters that params.yaml holds."""

    name: str
    definition: Definition
    size: Size
    base: Mapping[str, Any]
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]

    def params(self, cell: Cell, seed: int) -> Params:
        """The checked parameters of one run; raises `UserError` if they are none."""
        raw = changed(self.base, (cell.changes or {}) | {"seed": seed})
        return check_params(raw, source=f"tables/{self.name}.yaml, {cell.name}")

    def of_row(self, row: str) -> list[Cell]:
        """Its cells, by column."""
        return [cell for cell in self.cells if cell.row == row]

    @property
    def rows(self) -> list[str]:
        """Names, from the top."""
        return list(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> list[str]:
        """Names, from the left."""
        return list(dict.fromkeys(cell.column for cell in self.cells))


def names() -> list[str]:
    """The tables that there are."""
    return sorted(path.stem for path in TABLES.glob("*.yaml"))


def read_definition(name: str) -> Definition:
    """Reads and checks `tables/NAME.yaml`; raises `UserError` naming the key, or the tables that there are."""
    path = TABLES / f"{name}.yaml"
    if name not in names():
        raise UserError(
            f"there is no table {name!r}; there are {', '.join(names()) or 'none in tables/'}; figure3 is computed"
        )
    try:
        definition = Definition.model_validate(_yaml(path))
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {explain(each, Definition)}" for each in error.errors())) from None
    for kind, choices in (("rows", definition.rows), ("columns", definition.columns)):
        if len({choice.name for choice in choices}) < len(choices):
            raise UserError(f"{path}: {kind} must have different names")
    return definition


def build_table(
    name: str, *, size: Size | None = None, seeds: int | None = None, only: list[str] | None = None
) -> Table:
    """The table in the size that fits params.yaml, or the one that is asked for.

    Args:
        name: of the definition.
        size: `paper` if params.yaml has a dataset of `paper.DATASETS`, else `demo`, unless given.
        seeds: the first so many of the definition's; all of them for None.
        only: names of rows or columns; those without any of them are left out.

    Raises:
        UserError: if there is no such table, row, column or size.
    """
    definition, base = read_definition(name), _yaml(PARAMS_FILE)
    size = size or ("paper" if base.get("dataset") in paper.DATASETS else "demo")
    if size not in definition.sizes:
        raise UserError(f"tables/{name}.yaml has no size {size}; it has {', '.join(definition.sizes)}")
    rows = _chosen("row", definition.rows, definition.columns, only)
    columns = _chosen("column", definition.columns, definition.rows, only)
    cells = tuple(_cell(definition, size, row, column) for row in rows for column in columns)
    return Table(
        name=name,
        definition=definition,
        size=size,
        base=base,
        cells=cells,
        seeds=tuple(definition.seeds[:seeds]),
    )


def changed(base: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """A copy of nested parameters with dotted keys set."""
    copied: dict[str, Any] = {key: dict(value) if isinstance(value, Mapping) else value for key, value in base.items()}
    for key, value in changes.items():
        *groups, name = key.split(".")
        group = copied
        for part in groups:
            group = group.setdefault(part, {})
        group[name] = value
    return copied


def preset() -> dict[str, Any]:
    """The paper's parameters for the real set, as they are in the file."""
    return _yaml(PRESET)


def _chosen(kind: str, own: list[Choice], others: list[Choice], only: list[str] | None) -> list[Choice]:
    wanted = set(only or ())
    unknown = wanted - {choice.name for choice in (*own, *others)}
    if unknown:
        known = ", ".join(repr(choice.name) for choice in (*own, *others) if choice.name)
        raise UserError(f"there is no row or column {min(unknown)!r}; there are {known}")
    return [choice for choice in own if choice.name in wanted] or own


def _cell(definition: Definition, size: Size, row: Choice, column: Choice) -> Cell:
    changes: Changes | None = definition.set | definition.sizes[size].set
    for choice in (row, column):
        if choice.sizes is not None and size not in choice.sizes:
            changes = None
        if changes is not None:
            changes = changes | choice.set | (choice.sizes or {}).get(size, {})
    return Cell(row=row.name, column=column.name, changes=changes, published=_published(definition, row))


def _published(definition: Definition, row: Choice) -> paper.Row | None:
    if definition.paper is None:
        return None
    found = {each.method: each for each in paper.TABLES[definition.paper - 1].rows}
    return found.get(row.figure or row.name)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = YAML(typ="safe", pure=True).load(path)
    except FileNotFoundError:
        raise UserError(f"{path} not found; run from the project's folder") from None
    except (YAMLError, ValueError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path} must hold keys and values")
    return dict(content)
