"""Corrected labels: a log that survives many writers and git merges, and what it does to annotations."""

import multiprocessing
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contract import CLASSES, Drop, UserError
from pipeline.datasets.base import NO_LABEL, Trial
from pipeline.overrides import (
    COLUMNS,
    DECISIONS,
    EXCLUDE,
    KEEP,
    UNDO,
    Override,
    append_override,
    corrected,
    in_force,
    now,
    read_overrides,
)
from tests.conftest import ROOT


def override(decision: str, first: int = 0, last: int = 3, given: str = "Neutral", minute: int = 0) -> Override:
    return Override(
        dataset="demo",
        trial='a, "b"',
        first_frame=first,
        last_frame=last,
        given=given,
        decision=decision,
        who='Zoë, "Z"\nB',
        when=f"2026-01-01T00:{minute:02d}:00.000000Z",
    )


def trial(*labels: int) -> Trial:
    return Trial(
        name='a, "b"', video="a", subject="", split="train", path=Path("a.mp4"), labels=np.array(labels, np.int8)
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "labels/overrides.csv"
    written = [override("Anger"), override(EXCLUDE, 7, 9, minute=1)]
    for each in written:
        append_override(path, each)
    assert read_overrides(path, "demo") == written
    assert read_overrides(path, "other") == []
    assert read_overrides(tmp_path / "absent.csv", "demo") == []


def write_many(path: Path, number: int) -> None:
    for frame in range(40):
        append_override(path, override("Fear", number * 100 + frame, number * 100 + frame))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "overrides.csv"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = read_overrides(path, "demo")
    assert sorted(each.first_frame for each in found) == [n * 100 + f for n in range(4) for f in range(40)]
    assert path.read_text().count(",".join(COLUMNS)) == 1


def test_a_line_that_a_kill_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "overrides.csv"
    append_override(path, override("Fear"))
    path.write_bytes(path.read_bytes() + b"demo,a,5,")
    append_override(path, override("Anger", 8, 9))
    with pytest.raises(UserError, match=r"line 3: 4 values instead of 8"):
        read_overrides(path, "demo")
    text = path.read_text().replace("demo,a,5,\n", "")
    path.write_text(text)
    assert [each.decision for each in read_overrides(path, "demo")] == ["Fear", "Anger"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("demo,a,9,5,Fear,keep,me,2026-01-01", "frames '9' to '5' are no stretch"),
        ("demo,a,-1,5,Fear,keep,me,2026-01-01", "frames '-1' to '5' are no stretch"),
        ("demo,a,1,5,Joy,keep,me,2026-01-01", "given 'Joy' is none of"),
        ("demo,a,1,5,Fear,Joy,me,2026-01-01", "decision 'Joy' is none of"),
        ("demo,a,1,5,Fear,keep,me,yesterday", "when 'yesterday' is no time"),
        ("<<<<<<< HEAD", "a merge conflict is left in it"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "overrides.csv"
    path.write_text(",".join(COLUMNS) + "\n" + line + "\n")
    with pytest.raises(UserError, match=f"line 2: {said}"):
        read_overrides(path, "demo")


def test_git_merges_two_reviews(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    path = tmp_path / "labels/overrides.csv"
    git("init", "--quiet", "--initial-branch", "main")
    (tmp_path / ".gitattributes").write_text((ROOT / ".gitattributes").read_text())
    path.parent.mkdir()
    path.write_text((ROOT / "labels/overrides.csv").read_text())
    git("add", "--all")
    git("commit", "--message", "start")
    git("checkout", "--quiet", "-b", "other")
    append_override(path, override("Fear", minute=2))
    git("commit", "--all", "--message", "theirs")
    git("checkout", "--quiet", "main")
    append_override(path, override("Anger", minute=1))
    git("commit", "--all", "--message", "ours")
    git("merge", "other", "--message", "both")
    assert [each.decision for each in read_overrides(path, "demo")] == ["Anger", "Fear"]


def test_decisions_change_the_labels_they_were_made_about() -> None:
    before = trial(0, 0, 0, 4, 4, NO_LABEL, 0, 0)
    decisions = [override("Anger", 0, 2), override(EXCLUDE, 3, 4, "Happiness", 1), override("Fear", 6, 7, "Sadness", 2)]
    (after,), dropped, changes = corrected([before], decisions, 8)
    assert after.labels.tolist() == [1, 1, 1, NO_LABEL, NO_LABEL, NO_LABEL, 0, 0]
    assert before.labels.tolist() == [0, 0, 0, 4, 4, NO_LABEL, 0, 0]
    assert [(each.reason, each.frames) for each in dropped] == [(Drop.EXCLUDED_BY_REVIEW, 2)]
    assert [(change.frames, change.stale) for change in changes] == [(3, 0), (2, 0), (0, 2)]


def test_a_decision_for_a_class_that_is_left_out_leaves_out_its_frames() -> None:
    decisions = [override("Other", 0, 1), override(EXCLUDE, 2, 2, minute=1)]
    (after,), dropped, _ = corrected([trial(0, 0, 0, 0)], decisions, 7)
    assert after.labels.tolist() == [NO_LABEL, NO_LABEL, NO_LABEL, 0]
    assert {each.reason: each.frames for each in dropped} == {Drop.EXCLUDED_BY_REVIEW: 1, Drop.CLASS_EXCLUDED: 2}
    assert corrected([trial(0, 0, 0, 0)], decisions, 8)[0][0].labels.tolist() == [7, 7, NO_LABEL, 0]


@pytest.mark.parametrize("end", ["\r\n", "\r", "\r\r\n"])
def test_a_spreadsheet_may_have_saved_them(tmp_path: Path, end: str) -> None:
    path = tmp_path / "overrides.csv"
    lines = [",".join(COLUMNS), "demo,a,1,5,Fear,keep,me,2026-01-01", "demo,b,1,5,Fear,Anger,me,2026-01-02"]
    path.write_bytes(b"\xef\xbb\xbf" + end.join([*lines, ""]).encode())
    assert [each.trial for each in read_overrides(path, "demo")] == ["a", "b"]


def test_the_latest_decision_holds_and_undo_takes_it_back() -> None:
    assert [each.decision for each in in_force([override("Anger"), override("Fear", minute=1)]).values()] == ["Fear"]
    assert not in_force([override("Anger"), override(UNDO, minute=1)])
    overlapping = [override("Anger", 0, 3), override(KEEP, 2, 5, minute=1)]
    assert corrected([trial(0, 0, 0, 0, 0, 0)], overlapping, 8)[0][0].labels.tolist() == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("later", "labels"),
    [
        ([override(KEEP, 2, 5, "Anger", 1)], [0, 0, 1, 1, 1, 1, 4, 4]),
        ([override("Fear", 2, 5, "Anger", 1)], [0, 0, 3, 3, 3, 3, 4, 4]),
        ([override(EXCLUDE, 2, 5, "Anger", 1)], [0, 0, -1, -1, -1, -1, 4, 4]),
        ([override("Fear", 0, 5, "Anger", 1)], [0, 0, 3, 3, 3, 3, 4, 4]),
        ([override("Fear", 2, 5, "Anger", 1), override(UNDO, 2, 5, "Anger", 2)], [0, 0, 1, 1, 1, 1, 4, 4]),
        ([override("Neutral", 2, 5, "Anger", 1)], [0, 0, 0, 0, 0, 0, 4, 4]),
        ([override("Neutral", 2, 5, "Anger", 1), override("Fear", 0, 5, "Neutral", 2)], [3, 3, 3, 3, 3, 3, 4, 4]),
        ([override(UNDO, 2, 5, "Neutral", 1)], [0, 0, 0, 0, 0, 0, 4, 4]),
    ],
)
def test_a_second_review_judges_the_corrected_labels(later: list[Override], labels: list[int]) -> None:
    """What it sees are shards and suspects made from the labels as the first one corrected them."""
    first = override("Anger", 2, 5)
    assert corrected([trial(0, 0, 0, 0, 0, 0, 4, 4)], [first], 8)[0][0].labels.tolist() == [0, 0, 1, 1, 1, 1, 4, 4]
    (after,), _, changes = corrected([trial(0, 0, 0, 0, 0, 0, 4, 4)], [first, *later], 8)
    assert after.labels.tolist() == labels
    assert all(change.stale == 0 for change in changes if change.override.first_frame == 2)


def test_a_trial_that_is_gone_is_counted_as_stale() -> None:
    trials, dropped, (change,) = corrected([], [override("Anger")], 8)
    assert (trials, dropped, change.frames, change.stale) == ([], [], 0, 4)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(DECISIONS)), max_size=8))
def test_corrections_agree_with_a_frame_by_frame_reading(made: list[tuple[int, int, str]]) -> None:
    labels = [0, 0, 0, 2, 2, NO_LABEL, 0, 0, 0, 0]
    decisions = [override(what, min(a, b), max(a, b), minute=n) for n, (a, b, what) in enumerate(made)]
    expected = []
    for frame, label in enumerate(labels):
        own = [each for each in in_force(decisions).values() if each.first_frame <= frame <= each.last_frame]
        if not own or label != 0:
            expected.append(label)
        else:
            named = {KEEP: 0, EXCLUDE: NO_LABEL} | {name: index for index, name in enumerate(CLASSES)}
            expected.append(named[own[-1].decision])
    assert corrected([trial(*labels)], decisions, 8)[0][0].labels.tolist() == expected


def test_moments_are_in_order_as_text() -> None:
    moments = [now() for _ in range(50)]
    assert moments == sorted(moments)
