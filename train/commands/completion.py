"""`cct completion`: TAB in the shell."""

import os
from enum import StrEnum
from typing import Annotated

import typer

_COMPINIT = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }"
"""A zsh whose completion is not switched on yet knows no compdef."""


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
    if shell is Shell.ZSH:
        print(_COMPINIT, flush=True)
    root = context.find_root()
    os.environ["_CCT_COMPLETE"] = f"source_{shell}"
    root.command.main(args=[], prog_name="cct", complete_var="_CCT_COMPLETE")
