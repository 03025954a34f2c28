"""Streaming: the same samples in the same order as from disk, through a bounded cache, from a real S3 server."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.contract import UserError
from pipeline.files import digest_file
from pipeline.params import load_params
from pipeline.shards.naming import named_objects, require_named, tell_name
from pipeline.shards.reading import ShardReader
from pipeline.stages.mix import mix as mix_stage
from pipeline.store import WorkStore
from pipeline.streaming.arrivals import SHARDS
from pipeline.streaming.cache import CacheFullError, ShardCache
from pipeline.streaming.feed import Feed, feeding
from pipeline.streaming.remote import RemoteFolder
from pipeline.streaming.schedule import ENTRY_BYTES, most_bytes, require_room, uses
from tests.projects import environment
from tests.servers import S3Server, Server, s3_server, ssh_server, webdav_server
from tests.shard_sets import write_shard_set
from tests.training_runs import SETTINGS, result, set_params, snapshots, stage_process
from train.stages.evaluate import evaluate
from train.stream import Batch, Faces, Stream, epoch_windows, oversampled, split_batches

BATCHES = st.lists(st.lists(st.sampled_from("abcdef"), max_size=4), max_size=200)


@given(batches=BATCHES)
def test_every_batch_has_its_shards_while_it_is_under_way(batches: list[list[str]]) -> None:
    plan = uses(batches)
    assert plan == sorted(plan, key=lambda use: use.first)
    for number, shards in enumerate(batches):
        held = [use.shard for use in plan if use.first <= number <= use.last]
        assert set(shards) <= set(held)
        assert len(held) == len(set(held))


@given(batches=BATCHES, in_flight=st.integers(0, 9))
def test_the_worst_moment_is_found(batches: list[list[str]], in_flight: int) -> None:
    plan, sizes = uses(batches), {name: 1000 * number for number, name in enumerate("abcdef")}
    needed = (
        sum(sizes[use.shard] + ENTRY_BYTES for use in plan if use.last >= done and use.first <= done + in_flight)
        for done in range(-in_flight, len(batches))
    )
    assert most_bytes(plan, sizes, in_flight=in_flight) == max(needed, default=0)


def test_a_cache_that_is_too_small_is_refused_with_the_size_that_would_do() -> None:
    plan, sizes = uses([["a", "b"], ["c"]]), dict.fromkeys("abc", 700_000_000)
    require_room(plan, sizes, in_flight=0, limit=1_500_000_000, taken=0)
    with pytest.raises(
        UserError, match=r"stream_cache_gb is 1, .* 1\.4 GB at once; set it to at least 1\.5"
    ) as refused:
        require_room(plan, sizes, in_flight=0, limit=1_000_000_000, taken=0)
    assert "\n" not in str(refused.value)


@dataclass
class Fetches:
    """Writes an entry of so many bytes, and counts."""

    size: int = 10_000
    count: int = 0
    slow_s: float = 0.0

    def __call__(self, folder: Path) -> None:
        self.count += 1
        time.sleep(self.slow_s)
        (folder / "shard.tar").write_bytes(os.urandom(self.size))


def shard_cache(root: Path, entries: int) -> ShardCache:
    return ShardCache(store=WorkStore(root), limit=entries * (10_000 + ENTRY_BYTES))


def keys(cache: ShardCache) -> set[str]:
    return {entry.key for entry in cache.store.entries()}


def test_what_was_not_used_for_longest_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    cache, fetch = shard_cache(tmp_path / "cache", 3), Fetches()
    names = [letter * 64 for letter in "abcdef"]
    a, b, c = (cache.hold("shards", name, 10_000, fetch) for name in names[:3])
    with pytest.raises(CacheFullError):
        cache.hold("shards", names[3], 10_000, fetch)
    assert fetch.count == 3
    for age, pin in enumerate((c, b, a)):
        os.utime(pin.folder, (1e9 + age, 1e9 + age))
    a.let_go()
    b.let_go()
    cache.hold("shards", names[3], 10_000, fetch)
    assert keys(cache) == {names[0], names[2], names[3]}  # c is older, but in use
    cache.hold("shards", names[2], 10_000, fetch)
    assert fetch.count == 4


def test_one_fetches_and_the_others_wait(tmp_path: Path) -> None:
    cache, fetch = shard_cache(tmp_path / "cache", 3), Fetches(slow_s=0.3)
    threads = [threading.Thread(target=cache.hold, args=("shards", "a" * 64, 10_000, fetch)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetch.count == 1


def test_a_failed_fetch_leaves_nothing_and_holds_nobody_up(tmp_path: Path) -> None:
    cache = shard_cache(tmp_path / "cache", 1)

    def fail(folder: Path) -> None:
        (folder / "shard.tar").write_bytes(b"half")
        raise UserError("no")

    for _ in range(2):
        with pytest.raises(UserError, match="no"):
            cache.hold("shards", "a" * 64, 10_000, fail)
    assert keys(cache) == set()
    cache.hold("shards", "b" * 64, 10_000, Fetches()).let_go()
    assert keys(cache) == {"b" * 64}


def test_a_damaged_entry_is_fetched_again(tmp_path: Path) -> None:
    cache, fetch = shard_cache(tmp_path / "cache", 2), Fetches()
    with cache.hold("shards", "a" * 64, 10_000, fetch) as pin:
        path = pin.folder / "shard.tar"
    path.chmod(0o644)
    path.write_bytes(b"x" * 10_000)
    with cache.hold("shards", "a" * 64, 10_000, fetch):
        assert fetch.count == 2
        assert path.read_bytes() != b"x" * 10_000


def test_another_set_than_the_one_that_is_named_is_refused(folder: Path, whole: Path) -> None:
    require_named(folder)  # nothing is named
    tell_name(folder)
    require_named(folder)
    require_named(folder, whole)
    manifest = folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(
        UserError, match=r"manifest\.json is not of the set that .*shards\.json names; fetch .* again with `cct team"
    ):
        require_named(folder)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"not found; .* or set stream to remote"):
        require_named(folder)


# --- from a real server -------------------------------------------------------------------------------------------

SAMPLES, PER_SHARD = {"train": 216, "val": 36}, 12
"""18 shards to train from, 3 to validate: more than twice what is in use at once."""

LOOKS = 20


@dataclass
class Team:
    """A project whose shards are on a server alone, and the same set in a folder.

    `cache_gb` holds about half of the set: two windows of shards, and what is under way.
    """

    folder: Path
    local: Path
    server: S3Server
    cache: Path

    @property
    def cache_gb(self) -> float:
        return 0.55 * sum(path.stat().st_size for path in self.local.iterdir()) / 1e9

    def feed(self, cache_gb: float | None = None) -> AbstractContextManager[Feed]:
        return feeding(Path("data/shards/demo"), remote=None, cache_gb=cache_gb or self.cache_gb)

    def held_gb(self) -> float:
        """Of all files of the cache, half-made ones too; looked at again until nothing came or went meanwhile."""
        seen: dict[int, int] | None = None
        for _ in range(LOOKS):
            now = self._files()
            if now == seen:
                return sum(now.values()) / 1e9
            seen = now
        return 0.0

    def _files(self) -> dict[int, int]:
        """Size by inode. `os.walk` passes over folders that go meanwhile, `Path.rglob` does not."""
        found = {}
        for folder, _, names in os.walk(self.cache):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    status = Path(folder, name).stat()
                    found[status.st_ino] = status.st_size
        return found


def write_config(folder: Path, remote: Server) -> None:
    """Makes a folder a DVC project with this remote."""
    settings = {"url": remote.url} | remote.options | remote.secrets
    lines = [f"    {key} = {value}\n" for key, value in settings.items()]
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = True\n    remote = team\n    analytics = False\n")
    (folder / ".dvc/config.local").write_text(f"['remote \"team\"']\n{''.join(lines)}")


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    root = tmp_path_factory.mktemp("team")
    folder = root / "project"
    (folder / "data/shards").mkdir(parents=True)
    made = write_shard_set(root / "made", SAMPLES, samples_per_shard=PER_SHARD)
    shutil.copytree(made, folder / "data/shards/demo")
    with s3_server() as server:
        write_config(folder, server.remote("team"))
        beside = write_shard_set(root / "beside", {"train": 60, "val": 24}, samples_per_shard=PER_SHARD)
        shutil.copytree(beside, folder / "data/shards/rafdb")
        for name in ("demo", "rafdb"):
            tell_name(folder / "data/shards" / name)
            dvc(folder, "add", "--quiet", f"data/shards/{name}")
            added = YAML(typ="safe").load(folder / f"data/shards/{name}.dvc")["outs"][0]["md5"]
            assert added == named_objects(Path(folder, "data/shards", name)), "DVC lists a folder otherwise"
        dvc(folder, "push", "--quiet")
        for place in ("data/shards/demo", "data/shards/rafdb", ".dvc/cache"):
            shutil.rmtree(folder / place)
        yield Team(folder, made, server, root / "cache")


@pytest.fixture
def team(pushed: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    """The project as the folder of work, with an empty cache and the committed parameters."""
    (pushed.folder / "params.yaml").unlink(missing_ok=True)
    monkeypatch.chdir(pushed.folder)
    monkeypatch.setenv("CCT_STREAM_CACHE", str(tmp_path / "cache"))
    return Team(pushed.folder, pushed.local, pushed.server, tmp_path / "cache")


def dvc(folder: Path, *arguments: str) -> None:
    subprocess.run(["dvc", *arguments], cwd=folder, env=environment(), check=True)


def batches(folder: Path, *, workers: int, feed: Feed | None = None, balance: bool = False) -> Iterator[Batch]:
    reader = ShardReader(folder, "train", places=feed.places if feed else None)
    labels = reader.samples["label"].to_numpy(np.int64)
    stream = Stream(Faces(reader=reader, labels=labels, image_size=224, seed=5), workers=workers, feed=feed)
    for epoch in range(2):
        windows = epoch_windows(reader.samples["shard"].to_numpy(object), seed=5, epoch=epoch)
        order = oversampled(windows, labels, seed=5, epoch=epoch) if balance else np.concatenate(windows)
        yield from stream.batches(epoch, split_batches(order, batch_size=8, iterations=None))


def digest(shown: Iterator[Batch]) -> str:
    """Of positions, labels and pictures in their order."""
    total = hashlib.sha256()
    for batch in shown:
        for tensor in (batch.positions_b, batch.labels_b, batch.pictures_bchw):
            total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "balance"), [(0, False), (1, False), (2, False), (0, True)])
def test_streamed_samples_are_those_of_the_disk_in_their_order(team: Team, workers: int, balance: bool) -> None:
    most = 0.0

    def watched(shown: Iterator[Batch]) -> Iterator[Batch]:
        nonlocal most
        for batch in shown:
            most = max(most, team.held_gb())
            yield batch

    with team.feed() as feed:
        streamed = digest(watched(batches(feed.folder, workers=workers, feed=feed, balance=balance)))
    assert streamed == digest(batches(team.local, workers=0, balance=balance))
    assert 0 < most <= team.cache_gb


@pytest.mark.slow
def test_a_cache_that_holds_what_one_rank_reads_and_not_what_all_do_is_refused(team: Team) -> None:
    with team.feed() as feed:
        reader = ShardReader(feed.folder, "train", places=feed.places)
        labels = reader.samples["label"].to_numpy(np.int64)
        stream = Stream(Faces(reader=reader, labels=labels, image_size=224, seed=5), workers=0, feed=feed)
        firsts = np.flatnonzero(~reader.samples["shard"].duplicated())
        own, everybodys = [firsts[:1]], [firsts]
        (batch,) = stream.batches(0, own)
        assert batch.positions_b.tolist() == firsts[:1].tolist()
        with pytest.raises(UserError, match=r"^stream_cache_gb is .* at once; set it to at least"):
            next(stream.batches(0, own, together=everybodys))
        assert len(list(stream.batches(0, own, together=own))) == 1


@pytest.mark.slow
def test_a_server_that_is_started_again_is_waited_for(team: Team, capfd: pytest.CaptureFixture[str]) -> None:
    expected, said = digest(batches(team.local, workers=0)), ""

    def started_again() -> None:
        """Once the first attempt was told: S3's own library tries for some ten seconds before."""
        nonlocal said
        while "attempt 1" not in said:
            said += capfd.readouterr().err
            time.sleep(0.1)
        team.server.start()

    starting = threading.Thread(target=started_again, daemon=True)

    def interrupted(shown: Iterator[Batch]) -> Iterator[Batch]:
        for number, batch in enumerate(shown):
            if number == 0:
                team.server.stop()
                starting.start()
            yield batch

    with team.feed() as feed:
        assert digest(interrupted(batches(feed.folder, workers=0, feed=feed))) == expected
    starting.join()
    lines = [line for line in (said + capfd.readouterr().err).splitlines() if line.startswith("stream: ")]
    assert "(attempt 1 of 11, next in 1 s)" in lines[0]
    assert all("data/shards/demo/train-0000" in line for line in lines)


@pytest.mark.slow
def test_attempts_end_with_a_line_that_names_remote_and_shard(team: Team) -> None:
    waited: list[float] = []
    remote = RemoteFolder(Path("data/shards/demo"), "team", wait=waited.append)

    def refused() -> None:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(UserError, match=r"remote team did not give x\.tar in 11 attempts \(nobody there\); see to"):
        remote._patiently("x.tar", refused)
    assert sum(waited) == 301
    with pytest.raises(UserError, match="nobody"):
        RemoteFolder(Path("data/shards/demo"), "nobody")
    with pytest.raises(UserError, match=r"no data/shards/other\.json, so nobody knows"):
        RemoteFolder(Path("data/shards/other"), None)


def cut(content: bytes) -> bytes | None:
    return content[:-100]


def flipped(content: bytes) -> bytes | None:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def gone(_content: bytes) -> bytes | None:
    return None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "says"), [(cut, "is damaged there: it has"), (flipped, "its MD5 differs"), (gone, "does not have")]
)
def test_a_damaged_object_is_named_and_never_shown(
    team: Team, harm: "type[cut]", says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    name = "train-000004.tar"
    content = (team.local / name).read_bytes()
    md5 = digest_file(team.local / name, "md5")
    client, place = team.server.client(), {"Bucket": "team", "Key": f"cct/files/md5/{md5[:2]}/{md5[2:]}"}
    harmed = harm(content)
    client.put_object(**place, Body=harmed) if harmed else client.delete_object(**place)
    shown: list[int] = []
    try:
        with team.feed() as feed, pytest.raises(UserError, match=says) as refused:
            shards = ShardReader(feed.folder, "train").samples["shard"]
            for batch in batches(feed.folder, workers=0, feed=feed):
                shown += batch.positions_b.tolist()
    finally:
        client.put_object(**place, Body=content)
    assert name in str(refused.value)
    assert "remote team" in str(refused.value)
    assert name not in set(shards.iloc[shown])
    assert digest_file(team.local / name) not in {entry.key for entry in WorkStore(team.cache).entries()}


@pytest.mark.slow
def test_two_runs_share_a_cache(team: Team) -> None:
    expected, found = digest(batches(team.local, workers=0)), []

    def run() -> None:
        with team.feed(1.7 * team.cache_gb) as feed:
            found.append(digest(batches(feed.folder, workers=0, feed=feed)))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 2
    assert team.held_gb() <= 1.7 * team.cache_gb


EVALUATED = "results/evaluation.json"
TRAINING = SETTINGS | {"epochs": 1, "batch_size": 12}


def trained(folder: Path, **changes: object) -> dict[str, str]:
    """What the stage train leaves there."""
    set_params(folder, **TRAINING | changes)
    process = stage_process(folder)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return result(folder)


@pytest.fixture
def beside(team: Team, tmp_path: Path) -> Path:
    """A folder with the same shards on its disk."""
    (tmp_path / "beside/data/shards").mkdir(parents=True)
    shutil.copytree(team.local, tmp_path / "beside/data/shards/demo")
    return tmp_path / "beside"


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_fetches_harms_nobody(team: Team, beside: Path) -> None:
    streaming = {"stream": "remote", "stream_cache_gb": team.cache_gb}
    set_params(team.folder, **TRAINING | streaming)
    process = stage_process(team.folder)
    while not list(team.cache.glob("unfinished/*/shard.tar")):
        assert process.poll() is None, process.communicate()[0]
    process.kill()
    process.communicate()
    for entry in WorkStore(team.cache).entries():
        if entry.kind == SHARDS:
            assert digest_file(entry.folder / "shard.tar") == entry.key
    assert trained(team.folder, **streaming) == trained(beside)
    assert not list(team.cache.glob("unfinished/*"))
    assert not snapshots(team.folder)


@pytest.mark.slow
def test_two_ranks_stream_what_they_would_read(team: Team, beside: Path) -> None:
    streaming = {"stream": "remote", "stream_cache_gb": team.cache_gb}
    assert trained(team.folder, devices=2, **streaming) == trained(beside, devices=2)


@pytest.mark.slow
def test_a_mix_is_streamed_as_it_is_read(team: Team, beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leakage check, training and scores by set of two sets on the remote: the very figures of the disk."""
    shutil.copytree(team.local.parent.parent / "beside/shards", beside / "data/shards/rafdb")
    for name in ("demo", "rafdb"):
        shutil.copyfile(team.folder / f"data/shards/{name}.json", beside / f"data/shards/{name}.json")
    streaming = {"stream": "remote", "stream_cache_gb": 1.6 * team.cache_gb}
    mixed = TRAINING | {"mix": {"rafdb": 0.25}, "leakage": {"found": "warn", "distance": 7}}
    found = []
    for folder, changes in ((beside, {}), (team.folder, streaming)):
        set_params(folder, **mixed | changes)
        monkeypatch.chdir(folder)
        params = load_params()
        mix_stage(params)
        told = trained(folder, **mixed | changes)
        evaluate(params)
        found.append((told, *(Path(name).read_bytes() for name in ("results/leakage.csv", "data/mix.json", EVALUATED))))
    assert found[0] == found[1]
    assert not (team.folder / "data/shards/rafdb").exists()
    assert team.held_gb() <= 1.6 * team.cache_gb
    sources = json.loads(Path(EVALUATED).read_text())["sources"]
    assert [(each["dataset"], each["samples"]) for each in sources] == [("demo", 36), ("rafdb", 24)]


@contextlib.contextmanager
def folder_remote(folder: Path) -> Iterator[Server]:
    yield Server(url=str(folder), options={}, secrets={})


@pytest.mark.slow
@pytest.mark.parametrize("served", [folder_remote, ssh_server, webdav_server])
def test_other_kinds_of_remotes_are_streamed_from(
    served: Callable[[Path], AbstractContextManager[Server]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects are put there by hand; DVC's client for the kind brings them, and only what a batch needs."""
    made = write_shard_set(tmp_path / "made", {"train": 24, "val": 8}, samples_per_shard=6)
    project, place = tmp_path / "project", Path("data/shards/demo")
    (project / place.parent).mkdir(parents=True)
    shutil.copytree(made, project / place)
    monkeypatch.chdir(project)
    monkeypatch.setenv("CCT_STREAM_CACHE", str(tmp_path / "cache"))
    with served(tmp_path / "server") as server:
        write_config(project, server)
        tell_name(place)
        dvc(project, "add", "--quiet", str(place))
        dvc(project, "push", "--quiet")
        shutil.rmtree(place)
        shutil.rmtree(".dvc/cache")
        with feeding(place, remote=None, cache_gb=1) as feed:
            assert digest(batches(feed.folder, workers=0, feed=feed)) == digest(batches(made, workers=0))
