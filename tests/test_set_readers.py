"""Readers of the sets of pictures: labels by name, votes, and what is said when a set is not as it should be."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contract import CLASSES, Drop, UserError
from pipeline.datasets import affectnet, affwild2, cropped, ferplus, pickled, rafdb
from pipeline.datasets.affect import Tracks, beside, read_affect, read_units, with_affect
from pipeline.datasets.base import Trial, told
from pipeline.datasets.labels import class_of
from pipeline.datasets.stills import Entry, stretches
from tests.replicas.affectnet import landmarks_68


@pytest.mark.parametrize("names", [affectnet.NAMES, rafdb.NAMES, ferplus.NAMES, CLASSES])
def test_every_set_has_the_seven_classes_by_some_name(names: tuple[str, ...]) -> None:
    seven = [label for name in names if not isinstance(label := class_of(name, 7), Drop)]
    assert sorted(seven) == list(range(7))


def test_contempt_is_left_out_or_other() -> None:
    assert class_of("Contempt", 7) == Drop.CLASS_EXCLUDED and CLASSES[int(class_of("contempt", 8))] == "Other"
    for name in ("none", "uncertain", "non-face", "unknown", "NF"):
        assert class_of(name, 7) == class_of(name, 8) == Drop.CLASS_EXCLUDED


@given(st.lists(st.integers(0, 10), min_size=10, max_size=10))
def test_the_majority_is_that_of_the_sets_own_rule(votes: list[int]) -> None:
    """In floats, as in the set's published code: outliers to zero, then a peak over half of the sum."""
    counted = np.array(votes, float)
    counted[counted < 1 + np.finfo(float).eps] = 0
    has_peak = counted.max() > 0.5 * counted.sum()
    expected = class_of(ferplus.NAMES[int(counted.argmax())], 7) if has_peak else Drop.NO_MAJORITY
    assert ferplus.majority(votes, 7) == expected
    kept = ferplus.votes_of_classes(votes, 7)
    assert sum(kept) == sum(votes[:7]) and kept[0] == votes[0] and kept[4] == votes[1] and kept[1] == votes[4]


def test_five_of_sixty_eight_landmarks() -> None:
    five = np.array([[30.0, 40], [70, 41], [50, 60], [35, 80], [66, 81]])
    assert affectnet.five_points(landmarks_68(five)) == pytest.approx(five)


@given(st.integers(0, 2500))
def test_a_list_is_cut_into_stretches_and_no_line_moves(count: int) -> None:
    entries = [
        Entry(name=str(n), label=Drop.LABEL_IGNORED if n % 3 else n % 7, marks={"votes": [n]}) for n in range(count)
    ]
    found = list(stretches("set", "train", iter(entries), raw=Path("raw")))
    assert [trial.name for trial, _ in found] == [f"set-train-{n:04d}" for n in range(-(-count // 1000))]
    names = [name for trial, _ in found for name in (trial.pictures.names if trial.pictures else ())]
    assert names == [str(n) for n in range(count)]
    labels = [int(label) for trial, _ in found for label in trial.labels]
    assert labels == [-1 if n % 3 else n % 7 for n in range(count)]
    assert sum(entry.frames for _, dropped in found for entry in dropped) == labels.count(-1)
    assert [votes for trial, _ in found for (votes,) in trial.marks["votes"]] == list(range(count))


def test_many_details_are_told_in_one_line() -> None:
    assert told([]) == "" and told(["a"]) == "a"
    assert told(["a", "b", "b", "c", "d", "e"]) == "2 x b; a; c; and 2 more"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


LABELS = {
    "EmoLabel/list_patition_label.txt": "train_00001.jpg 5\ntest_0001.jpg 1\n",
    "Image/aligned/train_00001_aligned.jpg": "",
}
VOTES = "Usage,Image name," + ",".join(ferplus.NAMES) + "\n"
Read = Callable[[Path], object]


def read_rafdb(raw: Path) -> object:
    noise = raw / "noise01.txt"
    return rafdb.read(raw, raw / "EmoLabel", 7, noise if noise.exists() else None)


@pytest.mark.parametrize(
    ("files", "reader", "said"),
    [
        ({}, read_rafdb, r"no list of RAF-DB's labels at .*EmoLabel; it is EmoLabel/list_patition_label\.txt"),
        ({"EmoLabel/list_patition_label.txt": "x\n"}, read_rafdb, "no line like `train_00001.jpg 5`"),
        ({"EmoLabel/list_partition_label.txt": "train_00001.jpg 5\n"}, read_rafdb, "no picture there"),
        (LABELS | {"noise01.txt": "train_00001.jpg 0\n"}, read_rafdb, "label 0 of train_00001; labels are 1 to 7"),
        (LABELS | {"noise01.txt": "train_00002.jpg 3\n"}, read_rafdb, "train_00002, which has no label otherwise"),
        (LABELS | {"noise01.txt": "test_0001.jpg 3\n"}, read_rafdb, "lacks 1 of the training pictures"),
        ({}, lambda raw: ferplus.read(raw, raw, 7), r"fer2013\.csv cannot be read"),
        ({"fer2013.csv": "a,b\n"}, lambda raw: ferplus.read(raw, raw, 7), "no column 'pixels'"),
        ({"fer2013.csv": "emotion,pixels,Usage\n"}, lambda raw: ferplus.read(raw, raw, 7), "fer2013new.csv cannot be"),
        (
            {"fer2013.csv": "emotion,pixels,Usage\n0,1 2,Training\n", "fer2013new.csv": VOTES},
            lambda raw: ferplus.read(raw, raw, 7),
            r"has 0 rows and fer2013\.csv 1: they do not belong together",
        ),
        (
            {"fer2013.csv": "emotion,pixels,Usage\n0,1 2,Training\n", "fer2013new.csv": VOTES + "Training,a,x\n"},
            lambda raw: ferplus.read(raw, raw, 7),
            r"fer2013new\.csv, line 2: not a usage and ten numbers",
        ),
        ({}, lambda raw: affectnet.read(raw, raw, 7), "holds neither: it must be the old layout"),
        ({"training.csv": "", "val_set/x": ""}, lambda raw: affectnet.read(raw, raw, 7), "holds both"),
        ({"training.csv": "1/a.jpg,1,1,1,1,,0,0,0\n"}, lambda raw: affectnet.read(raw, raw, 7), "none of its first"),
        ({"train_set/x": ""}, lambda raw: affectnet.read(raw, raw, 7), "annotations: no such folder"),
        ({"annotations/EXPR_Set/Train_Set/v.txt": "0\n"}, lambda raw: cropped.read(raw / "x", raw, 7), "x"),
        ({"a.pkl": "x"}, lambda raw: pickled.read(raw, raw / "a.pkl", 7), r"a\.pkl: .*only plain lists"),
        ({"a.pkl": "(d.", "v/x": ""}, lambda raw: pickled.read(raw, raw / "a.pkl", 7), r"no data\['EXPR_Set'\]"),
        (
            {"a.pkl": "(dVEXPR_Set\ncos\nmkdir\n(tRs.", "v/x": ""},
            lambda raw: pickled.read(raw, raw / "a.pkl", 7),
            r"data\['EXPR_Set'\] is no dict, it asks for os\.mkdir; expected",
        ),
        (
            {"a.pkl": "(dVEXPR_Set\n(dVTrain_Set\n(lss.", "v/x": ""},
            lambda raw: pickled.read(raw, raw / "a.pkl", 7),
            r"data\['EXPR_Set'\]\['Train_Set'\] is no dict; expected",
        ),
    ],
)
def test_a_set_that_is_not_as_it_should_be_is_refused_in_one_line(
    tmp_path: Path, files: dict[str, str], reader: Read, said: str
) -> None:
    write(tmp_path, files)
    (tmp_path / "x").mkdir(exist_ok=True)
    with pytest.raises(UserError, match=said) as caught:
        reader(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("there", ["patition", "partition"])
@pytest.mark.parametrize("named", ["", "/list_patition_label.txt", "/list_partition_label.txt"])
def test_the_list_of_rafdb_is_read_in_either_spelling(tmp_path: Path, there: str, named: str) -> None:
    write(tmp_path, {f"EmoLabel/list_{there}_label.txt": "train_00001.jpg 5\n", "Image/aligned/train_00001.jpg": ""})
    found = rafdb.read(tmp_path, tmp_path / f"EmoLabel{named}", 7, None)
    assert [trial.labelled for trial in found.trials] == [1] and not found.dropped


@pytest.mark.parametrize("lists", ["", "Manually_Annotated_file_lists/"])
def test_pictures_of_affectnet_may_lie_beside_their_list(tmp_path: Path, lists: str) -> None:
    write(tmp_path, {f"{lists}training.csv": "1/a.jpg,1,1,9,9,,0,0,0\n", f"{lists}1/a.jpg": ""})
    (trial,) = affectnet.read(tmp_path, tmp_path, 7).trials
    assert trial.pictures is not None and trial.pictures.names == (f"{lists}1/a.jpg",)


def test_valence_arousal_and_units_by_row(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "va.txt": "arousal,valence\r\n0.5,-1\n-5,-5\n0.2,-5\n2,0\nx,0\n0.1,0.2\n",
            "au.txt": "AU1,AU02,au25\n1,0,-1\n-1,-1,-1\n0,1\n",
        },
    )
    marks, rows = read_affect(tmp_path / "va.txt", 7)
    assert rows == 6
    assert np.nan_to_num(marks["valence"], nan=9).tolist() == [-1, 9, 9, 9, 9, 0.2, 9]
    assert np.nan_to_num(marks["arousal"], nan=9).tolist() == [0.5, 9, 9, 9, 9, 0.1, 9]
    units, rows = read_units(tmp_path / "au.txt", 2)
    assert units["action_units"].tolist() == ["AU1=1 AU2=0", None] and rows == 3
    assert read_units(tmp_path / "au.txt", 4)[0]["action_units"].tolist() == ["AU1=1 AU2=0", None, None, None]


@pytest.mark.parametrize("end", ["\r\r\n", "\r", "\n\f"])
def test_line_ends_move_no_valence(tmp_path: Path, end: str) -> None:
    write(tmp_path, {"va.txt": end.join(["valence,arousal", "0.1,0.1", "0.2,0.2", ""])})
    assert read_affect(tmp_path / "va.txt", 3)[0]["valence"][:2].tolist() == [0.1, 0.2]


def test_other_annotations_are_found_however_an_accent_is_spelled(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "José")
    write(tmp_path, {f"VA_Set/Train_Set/{name}.txt": "", f"AU_Set/Train_Set/{name}.txt": "", "EXPR_Set/x": ""})
    found = beside(tmp_path / "EXPR_Set", ["Train_Set"])
    assert list(found.affect) == list(found.units) == ["José"]


def test_crops_are_found_however_an_accent_is_spelled(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "José")
    rows = f"{','.join(CLASSES)}\n0\n"
    write(tmp_path, {f"EXPR_Set/Train_Set/{name}.txt": rows, f"cropped_aligned/{name}/00001.jpg": ""})
    (trial,) = cropped.read(tmp_path, tmp_path, 7).trials
    assert trial.name == "José" and (tmp_path / trial.pictures.names[0]).is_file()


def test_landmarks_at_one_place_are_none(tmp_path: Path) -> None:
    landmarks = {"1/a.jpg": ";".join(["7"] * 136), "1/b.jpg": ";".join(map(str, range(136)))}
    lines = [f"{name},1,1,9,9,{points},0,0,0\n" for name, points in landmarks.items()]
    write(tmp_path, {"training.csv": "".join(lines), **dict.fromkeys(landmarks, "")})
    (trial,) = affectnet.read(tmp_path, tmp_path, 7).trials
    assert np.isfinite(trial.pictures.points).all(axis=(1, 2)).tolist() == [False, True]


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), 0.5, 10**400])
def test_any_number_in_a_pickle_has_an_answer(value: float) -> None:
    assert pickled._label(value, 7) in (Drop.LABEL_UNREADABLE, Drop.LABEL_OUT_OF_RANGE)


def test_other_annotations_that_cannot_be_read_are_noted(tmp_path: Path) -> None:
    write(tmp_path, {"va.txt": "Neutral\n0\n", "au.txt": "AU1,AU99\n0,0\n"})
    labels = np.zeros(3, np.int8)
    trial = Trial(name="v", video="v", subject="", split="train", path=tmp_path, labels=labels)
    noted = with_affect(trial, Tracks(affect={"v": tmp_path / "va.txt"}, units={"v": tmp_path / "au.txt"}))
    assert noted.marks == {} and "VA: va.txt: its header" in noted.note and "AU: au.txt: its header" in noted.note


def test_several_sets_beside_the_expressions_are_refused(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a/EXPR_Set/Train_Set/v.txt": "0\n", "a/VA_Set/x": "", "a/VA_Estimation_Challenge/x": "", "v.mp4": ""},
    )
    with pytest.raises(UserError, match=r"several sets, keep one of .*VA_Set"):
        affwild2.read(tmp_path, tmp_path / "a", 7)
