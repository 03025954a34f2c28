"""Help and completion: every command has an example, every example parses, and TAB works in a real bash."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from tests.conftest import ROOT
from tests.projects import environment
from tests.test_architecture import stages
from train.cli import app

ROOT_COMMAND: Any = typer.main.get_command(app)


def walked(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name in names(command):
        yield from walked(command.get_command(None, name), (*path, name))


def names(command: Any) -> list[str]:
    """Of the commands of a group, which may not be loaded yet."""
    return command.list_commands(None) if isinstance(command, TyperGroup) else []


COMMANDS = dict(walked(ROOT_COMMAND))


def examples(text: str) -> list[list[str]]:
    """The `cct` calls behind `Example:` or `Examples:` in a help text, without what a shell does around them."""
    told = " ".join(re.findall(r"Examples?:\s+(.*?)(?:\n\n|\Z)", text, re.DOTALL))
    return [shlex.split(line)[1:] for line in re.findall(r"\bcct [^;|>)]*", told)]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_that_parses(path: tuple[str, ...]) -> None:
    own = examples(COMMANDS[path].help or "")
    assert own, f"cct {' '.join(path)}: no example"
    for arguments in own:
        assert tuple(arguments[: len(path)]) == path, arguments
        command, context = ROOT_COMMAND, None
        while names(command):
            name, *arguments = arguments
            command = command.get_command(None, name)
        context = command.make_context(name, list(arguments))
        assert not context.args


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_is(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        assert getattr(parameter, "help", None), (path, parameter.name)


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    for name, place in ROOT_COMMAND.places.items():
        assert " ".join((COMMANDS[(name,)].help or "").split()).startswith(place.summary), name


def test_help_and_doctor_start_without_heavy_libraries() -> None:
    """What costs most of a second: numpy, pandas, OpenCV, pydantic; and torch, which takes several."""
    loading = "import sys, train.cli, train.commands.doctor"
    code = f"{loading}; sys.exit(', '.join(sorted(set(sys.argv[1:]) & set(sys.modules))))"
    heavy = ["numpy", "pandas", "cv2", "pydantic", "torch"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "", done.stderr


@pytest.mark.parametrize(("option", "told"), [("--device", "'auto', 'cpu', 'cuda'"), ("--weights", "'last', 'best'")])
def test_a_choice_that_there_is_not_is_told_with_those_there_are(option: str, told: str) -> None:
    arguments = ["predict", "clip.mp4", "--model", "models/demo", "--out", "clip.csv", option, "gpu"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and told in done.output


def test_a_stage_explains_itself_and_takes_no_options() -> None:
    assert_stage_helps("python -m pipeline.stages.index")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.stages.index", "--fast"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "no options" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("stage", stages())
def test_every_stage_explains_itself(stage: str) -> None:
    assert_stage_helps(str(stages()[stage]["cmd"]))


def assert_stage_helps(command: str) -> None:
    module = command.removeprefix("python -m ")
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"Examples: dvc repro {module.split('.')[-1]}; {command}" in done.stdout


COMPLETE = """
eval "$(cct completion bash)"
complete -p cct >/dev/null || exit 3
complete_words() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _cct_completion cct
    echo "${COMPREPLY[*]}"
}
complete_words cct pre
complete_words cct store ""
complete_words cct predict clip.mp4 --ove
complete_words cct predict --weights ""
complete_words cct submission make p --format ""
complete_words cct completion f
"""


@pytest.mark.slow
def test_bash_completes_commands_options_and_values(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", COMPLETE], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    completed = [line.split() for line in done.stdout.splitlines()]
    assert completed[:4] == [["predict"], ["list", "verify", "prune"], ["--overlay"], ["last", "best"]], done
    assert completed[4:] == [["early", "later"], ["fish"]], done


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_a_zsh_without_any_set_up_takes_the_script(tmp_path: Path) -> None:
    code = 'eval "$(cct completion zsh)"; print $_comps[cct]'
    own = environment() | {"ZDOTDIR": str(tmp_path)}
    done = subprocess.run(["zsh", "-f", "-c", code], cwd=tmp_path, env=own, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("_cct_completion\n", "")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes_commands_and_files(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    code = 'cct completion fish | source; complete -C "cct store v"; complete -C "cct predict cl"'
    done = subprocess.run(
        ["fish", "-N", "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["verify", "clip.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_for_other_shells_are_printed(shell: str) -> None:
    done = subprocess.run(["cct", "completion", shell], env=environment(), capture_output=True, text=True, check=True)
    assert "_CCT_COMPLETE" in done.stdout and not done.stderr
