"""Real remotes on loopback: a folder, OpenSSH, S3, WebDAV. One machine builds and pushes, another pulls and trains."""

import contextlib
import functools
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.shards.verification import verify
from tests.machines import EXPERIMENT, Machine, build_machine, shard_files
from tests.servers import S3Server, Server, s3_server, ssh_server, webdav_server

pytestmark = pytest.mark.slow

KINDS = ("folder", "ssh", "s3", "webdav")
METRICS = ("results/metrics.json", "results/evaluation.json")
PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Team:
    """The machine that built the set, its figures for beta 4, and the servers by the remote's name."""

    builder: Machine
    figures: dict[str, bytes]
    servers: dict[str, Server]
    s3: S3Server

    @functools.cached_property
    def client(self) -> Any:
        """Of S3; making one takes a tenth of a second of the process that serves as well."""
        return self.s3.client()

    def objects(self, kind: str) -> list[str]:
        """Keys or paths of the objects on a remote, without what killed uploads leave under temporary names."""
        if kind == "s3":
            listed = self.client.list_objects_v2(Bucket="team").get("Contents", [])
            return [entry["Key"] for entry in listed if "/files/md5/" in entry["Key"]]
        folder = self.servers[kind].folder
        return [str(path) for path in folder.glob("files/md5/*/[0-9a-f]*") if path.suffix != ".tmp"] if folder else []

    def read(self, kind: str, place: str) -> bytes:
        """The bytes of an object on a remote."""
        if kind == "s3":
            return bytes(self.client.get_object(Bucket="team", Key=place)["Body"].read())
        return Path(place).read_bytes()

    def replace(self, kind: str, place: str, content: bytes | None) -> None:
        """Puts other bytes where an object was, or none."""
        if kind == "s3":
            client = self.client
            client.delete_object(Bucket="team", Key=place)
            if content is not None:
                client.put_object(Bucket="team", Key=place, Body=content)
        else:
            Path(place).unlink()
            if content is not None:
                Path(place).write_bytes(content)

    def wrong(self, kind: str) -> list[str]:
        """Objects of a remote that are not what their name is the digest of."""
        return [place for place in self.objects(kind) if _md5(self.read(kind, place)) != _named(place)]


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _named(place: str) -> str:
    return "".join(place.split("/")[-2:]).removesuffix(".dir")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    root = tmp_path_factory.mktemp("team")
    with contextlib.ExitStack() as running:
        s3 = running.enter_context(s3_server())
        servers = {
            "folder": Server(url=str(root / "nas"), options={}, secrets={}, folder=root / "nas"),
            "ssh": running.enter_context(ssh_server(root / "ssh")),
            "s3": s3.remote("team"),
            "webdav": running.enter_context(webdav_server(root / "webdav")),
        }
        builder = build_machine(root / "builder")
        builder.add_remotes(servers)
        builder.commit("The team's remotes")
        builder.dvc(*EXPERIMENT)
        figures = {name: (builder.folder / name).read_bytes() for name in METRICS}
        builder.run("git", "checkout", "--quiet", "--force", "main")
        yield Team(builder=builder, figures=figures, servers=servers, s3=s3)


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> random.Random:
    """Drawn anew each time; `CCT_TEST_SEED=N` gives those of seed N again."""
    seed = int(os.environ.get("CCT_TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"{request.node.name}: moments drawn with seed {seed}; again: CCT_TEST_SEED={seed}")
    return random.Random(seed)


def kill_when(process: Any, reached: Callable[[], bool]) -> None:
    """SIGKILL as soon as something is reached; a process that is faster ends by itself."""
    give_up_s = time.monotonic() + PATIENCE_S
    while process.poll() is None and not reached() and time.monotonic() < give_up_s:
        time.sleep(0.005)
    process.kill()
    process.wait()


@pytest.mark.parametrize("kind", KINDS)
def test_a_teammate_trains_on_what_came_through_kills_and_damage(
    team: Team, kind: str, moments: random.Random, tmp_path: Path
) -> None:
    builder, count = team.builder, len(shard_files(team.builder)) + 1

    most = moments.randrange(count)
    kill_when(builder.start("cct", "team", "push", "-r", kind), lambda: len(team.objects(kind)) > most)
    builder.team("push", "-r", kind)
    assert len(team.objects(kind)) == count
    assert team.wrong(kind) == []

    mate = builder.clone(tmp_path / "mate")
    mate.add_secrets({kind: team.servers[kind]})
    most = moments.randrange(count)
    kill_when(mate.start("cct", "team", "pull", "-r", kind), lambda: len(list(mate.cache.glob("*/[0-9a-f]*"))) > most)
    refuses_or_is_whole(mate)

    harmed = damage(team, kind, moments)
    mate.forget()
    pulled = mate.team("pull", "-r", kind, check=False)
    assert pulled.returncode == 1
    assert "Traceback" not in pulled.stderr
    for name, way in harmed.items():
        said = "not on remote" if way == "removed" else "damaged on remote"
        assert any(name in line and said in line for line in pulled.stderr.splitlines()), (name, way, pulled.stderr)
    assert not (mate.folder / "data/shards/demo").exists()

    builder.team("push", "-r", kind, "--verify")
    assert team.wrong(kind) == []
    mate.team("pull", "-r", kind)
    assert shard_files(mate) == shard_files(builder)
    assert not any((mate.folder / name).exists() for name in ("data/frames", "data/faces", "models", "data/index"))
    mate.dvc(*EXPERIMENT)
    assert {name: (mate.folder / name).read_bytes() for name in METRICS} == team.figures


def refuses_or_is_whole(mate: Machine) -> None:
    """After a killed pull the set verifies, or training refuses it with one line that says what to do."""
    folder = mate.folder / "data/shards/demo"
    if (folder / "manifest.json").exists() and verify(folder) == []:
        return
    refused = mate.run("python", "-m", "train.stages.train", check=False)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if "error:" in line]
    assert "data/shards/demo" in line and "cct team pull" in line
    assert "Traceback" not in refused.stderr
    assert not (mate.folder / "models/demo").exists()


def damage(team: Team, kind: str, moments: random.Random) -> dict[str, str]:
    """Flips a bit of one shard on the remote, cuts off another and removes a third; which, by file name."""
    shards = [name for name in shard_files(team.builder) if name.endswith(".tar")]
    by_digest = {_md5(content): name for name, content in shard_files(team.builder).items() if name in shards}
    chosen = moments.sample([place for place in team.objects(kind) if _named(place) in by_digest], 3)
    harmed = {}
    for place, way in zip(chosen, ("flipped", "cut off", "removed"), strict=True):
        content = bytearray(team.read(kind, place))
        content[moments.randrange(len(content))] ^= 1
        changed = {"flipped": bytes(content), "cut off": bytes(content[: len(content) // 2]), "removed": None}[way]
        team.replace(kind, place, changed)
        harmed[by_digest[_named(place)]] = way
    return harmed


def test_damage_in_the_own_cache_is_noticed_and_fetched_again(team: Team, tmp_path: Path) -> None:
    team.builder.team("push", "-r", "folder")
    mate = team.builder.clone(tmp_path / "mate")
    mate.team("pull", "-r", "folder")
    shard = mate.folder / "data/shards/demo/val-000000.tar"
    content = bytearray(shard.read_bytes())
    content[600] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(content)  # the cache's object too, where they are one file
    shard.chmod(0o444)
    again = mate.team("pull", "-r", "folder", "--force")
    assert "val-000000.tar" in again.stderr
    assert shard_files(mate) == shard_files(team.builder)


@pytest.mark.parametrize("kind", KINDS)
def test_check_tries_the_remote(team: Team, kind: str) -> None:
    checked = team.builder.team("check", "-r", kind)
    assert f"remote {kind}: {team.servers[kind].url}: a file was written, read back and removed" in checked.stdout
    assert not any("cct-check" in place for place in team.objects(kind))


def test_a_server_that_is_down_is_one_line(team: Team, tmp_path: Path) -> None:
    mate = team.builder.clone(tmp_path / "mate")
    for machine, command in ((team.builder, "push"), (mate, "pull"), (mate, "check")):
        machine.dvc("remote", "add", "--local", "--force", "gone", "webdav://127.0.0.1:9/cct")
        done = machine.team(command, "-r", "gone", check=False)
        assert done.returncode == 1
        assert "remote gone (webdav://127.0.0.1:9/cct)" in done.stderr + done.stdout
        assert "Traceback" not in done.stderr


def test_a_folder_that_webdav_lacks_is_told(team: Team) -> None:
    """The client names the remote's own folder by nothing at all."""
    server = team.servers["webdav"]
    team.builder.dvc("remote", "add", "--local", "--force", "lacking", f"{server.url}-not")
    for key, value in (server.options | server.secrets).items():
        team.builder.dvc("remote", "modify", "--local", "lacking", key, value)
    for command in ("check", "push"):
        done = team.builder.team(command, "--remote", "lacking", check=False)
        assert done.returncode and "the server has no such folder, make it there first" in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) <= 8


def test_what_was_pulled_outlasts_a_change_of_the_set(team: Team, tmp_path: Path) -> None:
    """DVC clears folders that it linked and no stage makes any more; sets that are mixed in are such folders."""
    team.builder.team("push", "-r", "folder")
    mate = team.builder.clone(tmp_path / "mate")
    mate.team("pull", "-r", "folder")
    mate.set_params({"dataset": "another"})
    mate.dvc("checkout", "--allow-missing", check=False)
    assert verify(mate.folder / "data/shards/demo") == []
