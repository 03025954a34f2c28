"""Pictures that sets share: every pair within reach is found, a picture saved anew too, and other faces are not."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline import files
from pipeline.contract import UserError
from pipeline.images import DamagedPictureError, decode_jpeg, encode_jpeg
from pipeline.params import Params
from pipeline.shards.leakage import doubles, leaks, told
from pipeline.shards.mixed import MIX, require_checked
from pipeline.shards.prints import print_of, prints_of
from pipeline.shards.reading import ShardReader
from pipeline.shards.twins import MOST_DISTANCE, NONE, exact_twins, near_twins
from pipeline.stages import mix as stage
from pipeline.store import WorkStore
from tests.replicas.faces import demo_faces
from tests.shard_sets import params, write_shard_set
from train.cli import app

Jpegs = dict[tuple[str, int], bytes]


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(0, 80), st.integers(0, MOST_DISTANCE))
def test_the_nearest_print_is_found_wherever_there_is_one(seed: int, left: int, right: int, distance: int) -> None:
    generator = np.random.default_rng(seed)
    rights = generator.integers(0, 2**64, (right, 2), dtype=np.uint64)
    lefts = generator.integers(0, 2**64, (left, 2), dtype=np.uint64)
    for place in range(left if right else 0):
        if generator.random() < 0.7:  # some bits away from one on the right
            bits = np.unpackbits(rights[[generator.integers(right)]].view(np.uint8))
            bits[generator.choice(128, generator.integers(0, distance + 4), replace=False)] ^= 1
            lefts[place] = np.packbits(bits).view(np.uint64)
    place, apart = near_twins(lefts, rights, distance)
    bits_left, bits_right = (np.unpackbits(each.view(np.uint8).reshape(-1, 16), axis=1) for each in (lefts, rights))
    table = (bits_left[:, None] != bits_right[None]).sum(-1).reshape(left, right)
    for row, own in enumerate(table):
        if len(own) and own.min() <= distance:
            assert (place[row], apart[row]) == (own.argmin(), own.min())
        else:
            assert place[row] == apart[row] == NONE


@given(st.lists(st.integers(0, 5), max_size=40), st.lists(st.integers(0, 5), max_size=40))
def test_equal_digests_are_found(left: list[int], right: list[int]) -> None:
    def digests(numbers: list[int]) -> np.ndarray:
        """The same first word for pairs of numbers, which differ in the last."""
        return np.array([[number // 2, 0, 0, number] for number in numbers], np.uint64).reshape(-1, 4)

    expected = [right.index(number) if number in right else NONE for number in left]
    assert exact_twins(digests(left), digests(right)).tolist() == expected


def test_pairs_are_compared_a_bounded_number_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.shards.twins._PAIRS", 7)
    same = np.zeros((30, 2), np.uint64)
    assert near_twins(same, same, 0)[0].tolist() == [0] * 30


def saved_anew(picture: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    side = len(picture)
    yield "JPEG 40", decode_jpeg(encode_jpeg(picture, 40))
    small = cv2.resize(picture, (side // 4, side // 4), interpolation=cv2.INTER_AREA)
    yield "a quarter", cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    yield "grey", np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    yield "brighter", np.clip(picture * 1.1 + 5, 0, 255).astype(np.uint8)


def test_a_picture_saved_anew_keeps_its_print_and_other_faces_differ() -> None:
    faces = [face.crop(224) for face in demo_faces()]
    prints = [np.unpackbits(print_of(encode_jpeg(face, 95))[0]).astype(int) for face in faces]
    moved = {name: [] for name, _ in saved_anew(faces[0])}
    for face, own in zip(faces[::8], prints[::8], strict=True):
        for name, again in saved_anew(face):
            moved[name].append(np.abs(np.unpackbits(print_of(encode_jpeg(again, 90))[0]).astype(int) - own).sum())
    assert {name: max(bits) for name, bits in moved.items() if max(bits) > 7} == {}
    apart = [np.abs(one - other).sum() for one, other in itertools.product(prints[:40], prints[-40:])]
    assert min(apart) > MOST_DISTANCE  # the first and the last faces are of different clips


def test_flat_pictures_and_no_pictures() -> None:
    assert print_of(encode_jpeg(np.full((224, 224, 3), 90, np.uint8), 95))[1]
    assert not print_of(encode_jpeg(demo_faces()[0].crop(224), 95))[1]
    with pytest.raises(DamagedPictureError):
        print_of(b"<html>404</html>")


def spotted(generator: np.random.Generator) -> np.ndarray:
    """A picture of blurred spots, no two alike."""
    spots = generator.integers(0, 255, (14, 14, 3), dtype=np.uint8)
    return cv2.resize(spots, (224, 224), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three sets; b trains on a picture that a validates on, on another of them saved anew, and on a flat one."""
    root = tmp_path_factory.mktemp("leaking") / "data/shards"
    generator = np.random.default_rng(5)
    places = [("train", number) for number in range(8)] + [("val", number) for number in range(4)]
    contents: dict[str, Jpegs] = {
        name: {place: encode_jpeg(spotted(generator), 92) for place in places} for name in "abc"
    }
    faces = [demo_faces()[place].crop(224) for place in (0, 60, -1)]
    contents["a"]["val", 0], contents["a"]["val", 1], contents["a"]["train", 1] = (encode_jpeg(f, 92) for f in faces)
    contents["a"]["val", 3] = encode_jpeg(np.full((224, 224, 3), 40, np.uint8), 92)
    contents["b"]["train", 2] = contents["a"]["val", 1]
    contents["b"]["train", 5] = encode_jpeg(faces[0], 55)
    contents["b"]["train", 6] = encode_jpeg(np.full((224, 224, 3), 41, np.uint8), 92)
    contents["c"]["train", 1] = contents["a"]["train", 1]
    for name, jpegs in contents.items():
        made = write_shard_set(root.parent / f"made-{name}", {"train": 8, "val": 4}, jpegs=jpegs)
        root.mkdir(exist_ok=True)
        made.rename(root / name)
    return {name: root / name for name in "abc"}


def test_planted_pictures_are_found_and_nothing_else(sets: dict[str, Path], tmp_path: Path) -> None:
    found = leaks(sets, sets, distance=7, store=WorkStore(tmp_path))
    rows = found[["dataset", "frame_index", "kind", "other_dataset", "other_split", "other_key"]].values.tolist()
    keys = ShardReader(sets["a"], "val").samples.set_index("frame_index")["key"]
    assert sorted(rows) == [["b", 2, "exact", "a", "val", keys[1]], ["b", 5, "near", "a", "val", keys[0]]]
    assert 0 < found["distance"].max() <= 7
    (line,) = told(found)
    assert line.startswith("2 training pictures of b are in split val of a: 1 byte for byte, 1 nearly")
    twice = doubles(sets, distance=7, store=WorkStore(tmp_path))
    assert twice[["dataset", "frame_index", "kind", "other_dataset"]].values.tolist() == [["c", 1, "exact", "a"]]


def test_prints_are_kept_by_the_manifest_and_made_anew_for_another_set(sets: dict[str, Path], tmp_path: Path) -> None:
    store = WorkStore(tmp_path)
    made = prints_of(sets["a"], "train", store)
    entries = list(store.entries())
    again = prints_of(sets["a"], "train", store)
    assert np.array_equal(made.bits_n2, again.bits_n2) and np.array_equal(made.digests_n4, again.digests_n4)
    assert [entry.key for entry in store.entries()] == [entry.key for entry in entries]
    prints_of(sets["b"], "train", store)
    assert len(list(store.entries())) == len(entries) + 1


def test_the_command_lists_them_and_tells_by_its_exit_code(
    sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["leakage", str(sets["a"]), str(sets["b"]), "--out", "shared.csv"])
    assert done.exit_code == 1 and "2 training pictures of b are in split val of a" in done.output
    assert pd.read_csv("shared.csv")["kind"].tolist() == ["exact", "near"]
    done = CliRunner().invoke(app, ["leakage", str(sets["b"]), str(sets["c"])])
    assert done.exit_code == 0 and "no picture is both" in done.output
    for name, said in (("absent", "is not a folder"), (str(sets["a"]), "named twice")):
        refused = CliRunner().invoke(app, ["leakage", name, str(sets["a"])])
        assert isinstance(refused.exception, UserError) and said in str(refused.exception)


def test_the_command_leaves_nothing_in_the_folder_of_a_set(
    sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CCT_STORE", raising=False)
    monkeypatch.chdir(sets["b"])
    before = sorted(Path().rglob("*"))
    for _ in range(2):
        assert CliRunner().invoke(app, ["leakage", "."]).exit_code == 0
    assert sorted(Path().rglob("*")) == before


def changed(mix: dict[str, float], found: str = "error", **pretrain: object) -> Params:
    base = params(dataset="a", mix=mix)
    return base.model_copy(
        update={
            "leakage": base.leakage.model_copy(update={"found": found}),
            "pretrain": base.pretrain.model_copy(update={"dataset": "a"} | pretrain),
        }
    )


def test_the_stage_refuses_leaking_sets_or_warns_and_records_what_it_saw(
    sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sets["a"].parent, tmp_path / "data/shards")
    monkeypatch.chdir(tmp_path)
    stage.mix(changed({}))
    assert files.read_json(MIX) == {} and pd.read_csv(stage.LISTING).empty
    with pytest.raises(UserError, match=r"2 training pictures are evaluated on.*leakage\.csv lists them"):
        stage.mix(changed({"b": 0.2}))
    assert len(pd.read_csv(stage.LISTING)) == 2
    with pytest.raises(UserError, match=r"not about the sets a, b as they are now; run `dvc repro mix`"):
        require_checked(MIX, Path("data/shards/a"), {"b": 0.2})
    stage.mix(changed({"b": 0.2}, "warn"))
    assert "2 training pictures of b are in split val of a" in capsys.readouterr().err
    require_checked(MIX, Path("data/shards/a"), {"b": 0.2})
    with pytest.raises(UserError, match="2 training pictures are evaluated on"):
        stage.mix(changed({}, dataset="b", epochs=1))
    stage.mix(changed({"c": 0.5}))
    shutil.rmtree("data/shards/c")
    shutil.copytree("data/shards/b", "data/shards/c")
    with pytest.raises(UserError, match="as they are now"):
        require_checked(MIX, Path("data/shards/a"), {"c": 0.5})
