"""Commands that are loaded when they are asked for: `cct --help` needs none of the libraries behind them."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a command is, a function or a `typer.Typer` of several, and how its help begins."""

    module: str
    name: str
    summary: str

    def load(self, command: str) -> Any:
        """The command under the name that it is called by."""
        found = getattr(import_module(self.module), self.name)
        if isinstance(found, typer.Typer):
            loaded = typer.main.get_group(found)
            loaded.name = command
            return loaded
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(command)(found)
        return typer.main.get_command(alone)


class LazyGroup(TyperGroup):
    """A group whose commands are listed without being loaded; a subclass says where they are."""

    places: ClassVar[dict[str, Place]]

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help."""
        return list(self.places)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The loaded command; None if there is none of this name: then all are loaded, to suggest one like it."""
        for name in (cmd_name,) if cmd_name in self.places else self.places:
            if name not in self.commands:
                self.commands[name] = self.places[name].load(name)
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list at the end of the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.summary) for name, place in self.places.items()])
