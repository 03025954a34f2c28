"""The house as drawn: which way imports point, how large a room may be, and that dvc.yaml knows what stages import."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.params import Params

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("pipeline", "train")
    for path in (ROOT / package).rglob("*.py")
}
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_STAGE = 250, 40, 80

ALLOWED_IN_TRAIN = {
    "contract",
    "params",
    "train_params",
    "method_params",
    "files",
    "shards",
    "tables",
    "balance",
    "statistics",
    "progress",
    "geometry",
    "stage",
    "images",
    "fields",
    "explaining",
    "store",
    "sealed",
    "locks",
    "ancestors",
    "streaming",
    "findings",
}
"""Rooms of pipeline that train may use; docs/decisions/006 says why these. Face rooms are for predict.py alone."""

COMMANDS_ALSO = ALLOWED_IN_TRAIN | {"commands", "sources", "video", "watched", "disk", "overrides", "doctor"}
"""Console commands may share options with those of pipeline, name what is predicted, and ask the doctor."""

UNTRACKED = {"engine", "workers", "report", "snapshot_minutes", "stream", "stream_remote", "stream_cache_gb"}

ONLY_USER = {
    "facenet_pytorch": {"pipeline.detector"},
    "albumentations": {"train.augment"},
    "torch": {"pipeline.detector", "pipeline.mtcnn"} | {name for name in MODULES if name.startswith("train")},
    "webdataset": set(),
    "dvc": {"pipeline.streaming.remote"} | {name for name in MODULES if name.startswith("pipeline.team.")},
    "distributed": {"pipeline.workers.cluster"},
    "dask_jobqueue": {"pipeline.workers.cluster"},
}


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def local_imports(module: str) -> set[str]:
    """Modules of the project that a module imports, with the packages that are run on the way."""
    found = {name for name in imported_names(MODULES[module]) if name in MODULES}
    return found | {parent for name in found for parent in parents(name)}


def parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def closure(module: str) -> set[str]:
    seen: set[str] = set()
    waiting = [module, *parents(module)]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += local_imports(current)
    return seen


def test_pipeline_knows_nothing_of_training() -> None:
    for module in MODULES:
        if module.startswith("pipeline"):
            assert not {name for name in local_imports(module) if name.startswith("train")}, module


def test_train_uses_only_the_allowed_rooms() -> None:
    for module in MODULES:
        if module.startswith("train") and module not in ("train.predict", "train.cli"):
            used = {name.split(".")[1] for name in local_imports(module) if name.startswith("pipeline.")}
            is_command = module.startswith("train.commands") or module in ("train.overlay", "train.review.session")
            assert used <= (COMMANDS_ALSO if is_command else ALLOWED_IN_TRAIN), module


def test_imports_form_no_cycle() -> None:
    named = {module: {name for name in imported_names(path) if name in MODULES} for module, path in MODULES.items()}
    graph = {module: names - {module, *parents(module)} for module, names in named.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_stages_are_imported_by_nobody() -> None:
    for module in MODULES:
        used = {name for name in local_imports(module) if ".stages." in name}
        assert not used, module


def test_preparation_starts_without_loading_torch() -> None:
    """Torch takes seconds to load; only workers that detect faces need it."""
    stages = ", ".join(f"pipeline.stages.{stage}" for stage in ("index", "extract", "align", "shard"))
    code = f"import sys, {stages}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("library", ONLY_USER)
def test_libraries_stay_behind_their_room(library: str) -> None:
    users = {
        module
        for module, path in MODULES.items()
        if any(name.split(".")[0] == library for name in imported_names(path))
    }
    assert users <= ONLY_USER[library]


def test_contract_imports_the_standard_library_only() -> None:
    assert {name.split(".")[0] for name in imported_names(MODULES["pipeline.contract"])} <= {
        "hashlib",
        "re",
        "dataclasses",
        "enum",
        "functools",
        "pathlib",
        "urllib",
    }


@pytest.mark.parametrize("module", MODULES)
def test_rooms_and_functions_are_small(module: str) -> None:
    text = MODULES[module].read_text()
    longest = LONGEST_STAGE if ".stages." in module else LONGEST_FILE
    assert len(text.splitlines()) <= longest
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            documented = ast.get_docstring(node) or ""
            assert length - len(documented.splitlines()) <= LONGEST_FUNCTION, node.name


def stages() -> dict[str, dict[str, list[object]]]:
    """Those that run code of the project: the ones that are repeated for every set of a mix are a line of shell."""
    found = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    return {name: stage for name, stage in found.items() if "foreach" not in stage}


@pytest.mark.parametrize("stage", stages())
def test_a_stage_depends_on_exactly_the_code_it_imports(stage: str) -> None:
    entry = stages()[stage]
    module = str(entry["cmd"]).removeprefix("python -m ")
    expected = {str(MODULES[name].relative_to(ROOT)) for name in closure(module)}
    listed = {str(dep) for dep in entry["deps"] if str(dep).endswith(".py")}
    assert listed == expected


@pytest.mark.parametrize("stage", stages())
def test_a_stage_depends_on_parameters_that_exist(stage: str) -> None:
    known = set(Params.model_fields)
    for name, field in Params.model_fields.items():
        known |= {f"{name}.{key}" for key in getattr(field.annotation, "model_fields", {})}
    for entry in stages()[stage]["params"]:
        if isinstance(entry, dict):
            assert entry == {"params.yaml": None}
        else:
            assert entry in known


def test_every_parameter_belongs_to_a_stage() -> None:
    """Each key is tracked by the stage that reads it; what never changes a result is left to the report alone."""
    tracked = {str(entry).split(".")[0] for stage in stages().values() for entry in stage["params"]}
    assert set(Params.model_fields) - tracked == UNTRACKED
    assert stages()["report"]["params"] == [{"params.yaml": None}]
