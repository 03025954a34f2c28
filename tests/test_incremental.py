"""What a change costs: which entries of the work store are made anew, counted by kind, and nothing else is."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import engine
from pipeline.params import Params
from pipeline.stages.align import align_all
from pipeline.stages.extract import extract_all
from pipeline.stages.index import build_index
from pipeline.stages.shard import shard_all
from pipeline.store import work_store
from tests.conftest import write_small_raw

pytestmark = pytest.mark.slow

STRIDE = 10
VIDEOS = Path("raw/videos/batch1")
TRAIN, VAL = (Path("raw/annotations/EXPR_Set") / split for split in ("Train_Set", "Validation_Set"))
ALL = 4
"""Annotated videos; the fifth is to be predicted and has no labels, so that its frames are counted and not stored."""

Made = dict[str, int]
NOTHING: Made = {}
ONE = {"frames": 1, "detections": 1, "faces": 1}
ONE_CROPPED = {"faces": 1}
SAME_SAMPLES = ("<lambda>", "change_a_video", "withdraw_a_label_that_is_not")
"""Changes after which no sample has another picture or label."""

EVERY_ONE = {"frames": ALL, "detections": ALL, "faces": ALL}


def in_this_process(
    task: Callable[[Any], Any], items: Sequence[Any], *, name: Callable[[Any], str], **_: object
) -> engine.Tally[Any]:
    """Instead of workers that would load PyTorch every time: it is the store that is looked at."""
    return engine.Tally(results={name(item): task(item) for item in items}, failures=[])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, demo: Path, params: Params) -> Path:
    """A small set that was built once."""
    folder = tmp_path_factory.mktemp("built")
    write_small_raw(demo, folder / "raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("CCT_STORE", raising=False)
        patch.setattr(engine, "run_all", in_this_process)
        build(small(params))
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it to change, which is the working folder."""
    shutil.copytree(built, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("CCT_STORE", raising=False)
    monkeypatch.setattr(engine, "run_all", in_this_process)
    yield tmp_path / "project"


def small(params: Params, **changes: Any) -> Params:
    """Few frames; changes are written `group__key`."""
    given = {"index__raw": "raw", "extract__stride": STRIDE, "engine__max_failures": 0} | changes
    for name, value in given.items():
        group, _, key = name.partition("__")
        params = params.model_copy(update={group: getattr(params, group).model_copy(update={key: value})})
    return params


def build(params: Params) -> Made:
    """Runs the preparation; how many entries of each kind were made anew."""
    before = {entry.folder for entry in work_store().entries()}
    for stage in (build_index, extract_all, align_all, shard_all):
        stage(params)
    return dict(Counter(entry.kind for entry in work_store().entries() if entry.folder not in before))


def shards() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("data/shards/demo").iterdir()}


def tars(files: dict[str, bytes]) -> dict[str, bytes]:
    """Without the tables, which say how many labels were left out."""
    return {name: content for name, content in files.items() if name.endswith(".tar")}


def set_row(path: Path, row: int, label: str) -> None:
    lines = path.read_text().splitlines()
    lines[1 + row] = label
    path.write_text("\n".join(lines) + "\n")


def add_a_video() -> None:
    shutil.copyfile(VIDEOS / "demo-041.mp4", VIDEOS / "new.mp4")
    (VIDEOS / "demo-041.mp4").unlink()
    (TRAIN.parent / "Test_Set/test_set.txt").write_text("")
    shutil.copyfile(TRAIN / "demo-001.txt", TRAIN / "new.txt")


def change_a_video() -> None:
    with (VIDEOS / "demo-001.mp4").open("ab") as stream:
        stream.write(b"\0\0\0\x08free")  # an empty box at the end of an MP4: other bytes, the same pictures


def rename_a_video() -> None:
    (VIDEOS / "demo-001.mp4").rename(VIDEOS / "other.mp4")
    (TRAIN / "demo-001.txt").rename(TRAIN / "other.txt")


def remove_a_video() -> None:
    (VIDEOS / "demo-001.mp4").unlink()
    (TRAIN / "demo-001.txt").unlink()


def move_to_another_split() -> None:
    (TRAIN / "demo-001.txt").rename(VAL / "demo-001.txt")


def change_a_label() -> None:
    set_row(TRAIN / "demo-001.txt", STRIDE, "3")


def withdraw_a_label_that_is_used() -> None:
    set_row(TRAIN / "demo-001.txt", STRIDE, "-1")


def withdraw_a_label_that_is_not() -> None:
    set_row(TRAIN / "demo-001.txt", STRIDE + 1, "-1")


def remove_one_of_two_people() -> None:
    (TRAIN / "demo-012_left.txt").unlink()


@pytest.mark.parametrize(
    ("change", "made"),
    [
        (lambda: None, NOTHING),
        (add_a_video, ONE),
        (change_a_video, ONE),
        (rename_a_video, ONE_CROPPED),
        (remove_a_video, NOTHING),
        (move_to_another_split, NOTHING),
        (change_a_label, NOTHING),
        (withdraw_a_label_that_is_used, ONE),
        (withdraw_a_label_that_is_not, NOTHING),
        (remove_one_of_two_people, ONE_CROPPED),
    ],
)
def test_a_changed_video_or_annotation_redoes_that_video_only(
    project: Path, params: Params, change: Callable[[], None], made: Made
) -> None:
    before = shards()
    change()
    assert build(small(params)) == made
    assert (tars(shards()) == tars(before)) == (change.__name__ in SAME_SAMPLES)
    assert build(small(params)) == NOTHING


def test_what_was_added_and_removed_again_leaves_no_trace(project: Path, params: Params) -> None:
    before = shards()
    shutil.copyfile(VIDEOS / "demo-041.mp4", VIDEOS / "new.mp4")
    shutil.copyfile(TRAIN / "demo-001.txt", TRAIN / "new.txt")
    build(small(params))
    assert shards() != before
    (VIDEOS / "new.mp4").unlink()
    (TRAIN / "new.txt").unlink()
    assert build(small(params)) == NOTHING
    assert shards() == before


@pytest.mark.parametrize(
    ("changes", "made"),
    [
        ({"index__tolerance": 3}, NOTHING),
        ({"extract__quality": 90}, EVERY_ONE),
        ({"extract__max_side": 400}, EVERY_ONE),
        ({"extract__stride": 5}, EVERY_ONE),
        ({"align__template_scale": 0.9}, {"faces": ALL}),
        ({"align__quality": 90}, {"faces": ALL}),
        ({"align__min_confidence": 0.5}, {"detections": ALL}),  # the same faces are sure enough: no crop is redone
        ({"align__search_every": 14}, {"detections": ALL}),
        ({"align__link_iou": 0.4}, NOTHING),
        ({"align__device": "cpu"}, NOTHING),
        ({"shard__seed": 1}, NOTHING),
        ({"shard__samples_per_shard": 2}, NOTHING),
        ({"engine__workers": 1}, NOTHING),
    ],
)
def test_a_changed_parameter_redoes_what_depends_on_it(
    project: Path, params: Params, changes: dict[str, Any], made: Made
) -> None:
    assert build(small(params, **changes)) == made
