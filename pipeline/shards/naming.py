"""Which shard set lies in a folder: a file beside it that git keeps, and that experiments depend on.

The folder itself need not be there: DVC refuses a stage whose dependency is missing (docs/decisions/060). The file
outlives the stage's next run on another `dataset`, and dvc.lock's line does not (docs/decisions/045).
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline import files
from pipeline.contract import UserError
from pipeline.shards.manifest import MANIFEST, remedy

_BUILD = "whoever has the raw set runs `dvc repro shard`, commits data/shards/*.json and dvc.lock, and runs"


def tell_name(folder: Path) -> None:
    """Publishes the digest of the set's manifest, and with it that of every byte, and the object that DVC lists it in.

    That is the MD5 of a JSON of the MD5 of each file, as DVC 3 has it (`dvc_data.hashfile.tree.Tree.as_bytes`).
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a digest leaves the interpreter free for other threads
        digests = pool.map(lambda name: files.digest_file(folder / name, "md5"), names)
    listing = [{"md5": digest, "relpath": name} for name, digest in zip(names, digests, strict=True)]
    objects = hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    found = {"manifest": files.digest_file(folder / MANIFEST), "objects": f"{objects}.dir"}
    files.write_json(_name(folder), found)


def named_manifest(folder: Path) -> str:
    """The digest of the manifest of the set that is named beside `folder`; of the one in it, if none is named.

    Raises:
        UserError: if it is neither named nor there.
    """
    name, manifest = _name(folder), folder / MANIFEST
    if name.exists():
        return str(files.read_json(name).get("manifest"))
    if not manifest.exists():
        raise UserError(f"{manifest} not found, and no {name} names the set; {_BUILD} `cct team push`")
    return files.digest_file(manifest)


def named_objects(folder: Path) -> str:
    """The name of the object that lists the set's files, in DVC's caches and remotes; raises `UserError` if unknown."""
    name = _name(folder)
    try:
        found = json.loads(name.read_bytes()).get("objects")
    except FileNotFoundError:
        raise UserError(f"no {name}, so nobody knows the files of that set: {_BUILD} `cct team push`") from None
    except (OSError, ValueError, AttributeError):
        raise UserError(f"{name} cannot be read; restore it: git checkout {name}") from None
    if not isinstance(found, str):
        raise UserError(f"{name} does not name the set's files, it is of an earlier version: {_BUILD} `cct team push`")
    return found


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
        raise UserError(f"{name} names two sets of shards; get it from one commit (`git checkout {name}`)")
    raise UserError(f"{manifest} is not of the set that {name} names; {remedy(folder)}")


def _name(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")
