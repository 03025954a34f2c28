"""`cct completion`: TAB in the shell."""

import os
from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """Shells that can be completed in."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(help="The shell that you use.")],
) -> None:
    """Prints a script that completes commands, options and files in your shell; to be read when the shell starts.

    Examples: eval "$(cct completion bash)"; cct completion fish > ~/.config/fish/completions/cct.fish
    """
    root = context.find_root()
    os.environ["_CCT_COMPLETE"] = f"source_{shell}"
    root.command.main(args=[], prog_name="cct", complete_var="_CCT_COMPLETE")
