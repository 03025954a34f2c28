"""A streamed shard set as it arrives in the cache: its tables, then single shards, verified like those of a local set.

What is refused here was never under a name that a reader opens.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import files, tables
from pipeline.shards.manifest import MANIFEST, SAMPLES, read_manifest
from pipeline.shards.verification import checked_tables, sample_columns, wrong_shard
from pipeline.streaming.cache import Pin, ShardCache
from pipeline.streaming.remote import RemoteFolder

TABLES, SHARDS = "sets", "shards"
"""Kinds of entries: what is not a shard of a set, by the set's DVC hash; a shard, by its SHA-256."""

OBJECTS = "objects.json"
"""Beside the tables: the MD5 of each file, by which the remote knows it."""

SHARD = "shard.tar"


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """One shard set of a remote, as far as it is in the cache.

    Attributes:
        tables: the pinned entry with the manifest and everything else that is no shard.
        manifest: of the set.
        objects: MD5 by file name.
    """

    remote: RemoteFolder
    cache: ShardCache
    tables: Pin
    manifest: dict[str, Any]
    objects: dict[str, str]

    @property
    def tables_bytes(self) -> int:
        """What the tables take of the cache."""
        return sum(path.stat().st_size for path in self.tables.folder.iterdir())

    def hold(self, name: str) -> Pin:
        """Fetches a shard unless it is there, and pins it.

        Raises:
            UserError: naming it, if it cannot be had.
            CacheFullError: if other runs leave no room for it now.
        """
        line = next(line for line in self.manifest["shards"] if line["name"] == name)

        def fetch(folder: Path) -> None:
            self.remote.fetch(name, self.objects[name], folder / SHARD, size=line["bytes"])
            samples = self.tables.folder / SAMPLES
            rows = tables.read_stretch(samples, sample_columns(samples), where=("shard", name))
            if wrong := wrong_shard(folder / SHARD, line, rows, self.manifest["picture"]):
                raise self.remote.damaged(
                    f"{self.remote.folder / name}", self.objects[name], wrong.removeprefix(f"{folder / SHARD}: ")
                )

        return self.cache.hold(SHARDS, line["sha256"], line["bytes"], fetch)


def arrivals(remote: RemoteFolder, cache: ShardCache) -> Arrivals:
    """Fetches and verifies the tables of a set unless they are there; raises `UserError` if they are not right."""
    cache.store.sweep()

    def fetch(folder: Path) -> None:
        objects = remote.listing()
        if MANIFEST not in objects:
            raise remote.damaged(MANIFEST, remote.id, "the listing does not name it")
        remote.fetch(MANIFEST, objects[MANIFEST], folder / MANIFEST)
        manifest = read_manifest(folder)
        expected = {MANIFEST, *manifest["files"], *(line["name"] for line in manifest["shards"])}
        for name in sorted(expected ^ objects.keys()):
            raise remote.damaged(name, remote.id, "manifest and listing disagree about it")
        for name, line in manifest["files"].items():
            remote.fetch(name, objects[name], folder / name, size=line["bytes"])
        problems, _ = checked_tables(folder, manifest)
        for problem in problems:
            raise remote.damaged(SAMPLES, objects[SAMPLES], problem)
        files.write_json(folder / OBJECTS, objects)

    key = remote.id.removesuffix(".dir")
    pin = cache.hold(TABLES, key, 0, fetch)
    return Arrivals(
        remote=remote,
        cache=cache,
        tables=pin,
        manifest=read_manifest(pin.folder),
        objects=files.read_json(pin.folder / OBJECTS),
    )
