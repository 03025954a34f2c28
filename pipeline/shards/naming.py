"""Which shard set lies in a folder: a line beside it that git keeps, and that experiments depend on.

The folder itself need not be there: DVC refuses a stage whose dependency is missing (docs/decisions/060).
"""

from pathlib import Path

from pipeline import files
from pipeline.contract import UserError
from pipeline.shards.manifest import MANIFEST, remedy


def tell_name(folder: Path) -> None:
    """Publishes the digest of the set's manifest, and with it that of every byte of the set."""
    files.write_json(_name(folder), {"manifest": files.digest_file(folder / MANIFEST)})


def require_named(folder: Path, streamed: Path | None = None) -> None:
    """Refuses a set that is not the one that is named beside `folder`, if one is named.

    Args:
        folder: of the set in the project.
        streamed: where its tables are, if not there.

    Raises:
        UserError: if it is another one, or is not there.
    """
    name, manifest = _name(folder), (streamed or folder) / MANIFEST
    if not name.exists():
        return
    if not manifest.exists():
        raise UserError(f"{manifest} not found; {remedy(folder)}, or set stream to remote (docs/streaming.md)")
    if files.digest_file(manifest) == files.read_json(name).get("manifest"):
        return
    if streamed is not None:
        raise UserError(
            f"{name} and dvc.lock are of different sets of shards; get both from one commit (`git checkout`)"
        )
    raise UserError(f"{manifest} is not of the set that {name} names; {remedy(folder)}")


def _name(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")
