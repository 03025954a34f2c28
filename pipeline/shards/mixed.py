"""What the stage mix found out about the sets that are trained on together, for the stages that train."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.contract import UserError
from pipeline.shards.naming import named_manifest

MIX, PRETRAIN_MIX = Path("data/mix.json"), Path("data/mix-pretrain.json")
"""Of training and of pre-training; small, and kept by git like data/start.json."""


def other_sets(folder: Path, mix: Iterable[str]) -> dict[str, Path]:
    """The folders of the sets that are trained on together with the one in `folder`: its neighbours, by name."""
    return {name: folder.parent / name for name in mix}


def mix_record(folders: Mapping[str, Path]) -> dict[str, Any]:
    """Which sets these are: the digest of each manifest by name; nothing for a set alone."""
    return {name: named_manifest(folder) for name, folder in folders.items()} if len(folders) > 1 else {}


def require_checked(path: Path, folder: Path, mix: Iterable[str]) -> None:
    """Refuses to train on several sets that the stage mix has not seen as they are now."""
    others = other_sets(folder, mix)
    if others and (not path.exists() or files.read_json(path) != mix_record({folder.name: folder} | others)):
        names = ", ".join((folder.name, *others))
        raise UserError(f"{path} is not about the sets {names} as they are now; run `dvc repro mix`")
