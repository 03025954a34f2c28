"""A moment of fuzzing of everything that reads what others wrote; `python -m benchmarks.fuzz` goes on for minutes."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing import Target, targets

pytestmark = pytest.mark.slow

NAMES = ["annotation", "tar", "tar in a set", "sample table", "sample table in a set", "manifest", "manifest of a set"]
NAMES += ["jpeg", "mp4", "avi", "mkv", "webm", "wmv", "first packet"]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return targets(tmp_path_factory.mktemp("fuzz"))


def test_every_target_is_listed(every: dict[str, Target]) -> None:
    assert sorted(every) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_only_typed_errors(every: dict[str, Target], name: str) -> None:
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def feed(data: st.DataObject) -> None:
        every[name].check(data.draw(every[name].inputs))

    feed()
