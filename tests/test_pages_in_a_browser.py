"""The report and the page of suspects in a real browser: three widths, light and dark."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browsing import CHROMIUM, VIEWS, chromium, opened
from tests.report_parts import PARAMS, RUN, write_results
from tests.review_parts import review_project
from train.report import build_report, load_inputs

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (CI installs it): apt-get install chromium"),
]

CHARTS = (
    "Share of each class in every split",
    "Detector's probability: histogram by split, spread by class",
    "Size of the face: histogram by split, spread by class",
    "Sharpness: histogram by split, spread by class",
    "Brightness: histogram by split, spread by class",
    "Tilted (roll): histogram by split, spread by class",
    "Loss",
    "F1 on the validation set",
    "On how many faces the networks agree",
    "Weight of the consistency loss",
    "Macro-F1 of this run and of the paper",
    "F1 of each class, ensemble at the last epoch",
    "Confusion matrix: actual classes down, predicted ones across",
    "Reliability diagram of the ensemble",
    "Accuracy in each video, ensemble at the last epoch",
)
CONTRAST = """() => {
  const level = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * level(r) + 0.7152 * level(g) + 0.0722 * level(b);
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const least = { ratio: 99, text: '' };
  for (const each of document.querySelectorAll('p, th, td, dt, dd, h1, h2, h3, h4, a, summary, li')) {
    if (!each.textContent.trim() || !each.offsetParent) continue;
    let behind = each, back = [0, 0, 0, 0];
    while (behind && back[3] === 0) {
      const colour = parts(getComputedStyle(behind).backgroundColor);
      back = colour.length === 3 ? [...colour, 1] : colour;
      behind = behind.parentElement;
    }
    const [one, two] = [light(parts(getComputedStyle(each).color)), light(back)];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < least.ratio) Object.assign(least, { ratio, text: each.textContent.trim().slice(0, 60) });
  }
  return least;
}"""
"""The least contrast of any text with what is behind it, by the definition of WCAG 2."""


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of made-up results with hostile names."""
    folder = tmp_path_factory.mktemp("report")
    shard_set, results = write_results(folder)
    path = results / "training.csv"
    header, *rows = path.read_text().splitlines()
    agreed = [f"{row},0.25,0.75" for row in rows]
    path.write_text("\n".join([f"{header},agree_1,agree_2", *agreed]) + "\n")
    page = folder / "report.html"
    page.write_text(build_report(load_inputs(shard_set, results, params=PARAMS, run=RUN)))
    return page


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_report_is_whole_at_every_width_by_day_and_by_night(
    report: Path, browser: "Browser", width: int, scheme: str
) -> None:
    said: list[str] = []
    with opened(browser, report, width, scheme, said) as page:
        assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        shown = page.eval_on_selector_all(
            "svg.chart", "charts => charts.filter(c => c.getBoundingClientRect().height > 40).map(c => c.ariaLabel)"
        )
        assert set(CHARTS) <= set(shown)
        assert page.eval_on_selector_all("table", "tables => tables.every(t => t.caption && t.caption.textContent)")
        assert page.eval_on_selector_all("img", "all => all.every(i => i.alt && i.complete && i.naturalWidth > 0)")
        levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(h => Number(h.tagName[1]))")
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        least = page.evaluate(CONTRAST)
        assert least["ratio"] >= 4.5, least
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(16, 20, 26)") == (scheme == "dark")
    assert [each for each in said if not each.startswith("data:")] == []


def test_suspects_are_shown_with_their_faces(tmp_path: Path, browser: "Browser") -> None:
    from pipeline.shards.reading import ShardReader
    from tests.review_parts import SEVEN
    from train.suspect_sheets import suspect_page
    from train.suspects import SUSPECTS, read_suspects

    folder = review_project(tmp_path)
    listed = read_suspects(folder / SUSPECTS, SEVEN)
    reader = ShardReader(folder / "data/shards/demo", "train")
    path = tmp_path / "suspects.html"
    path.write_text(suspect_page(listed, reader, SEVEN, stretches=27))
    said: list[str] = []
    for width, scheme in VIEWS[1::3]:
        with opened(browser, path, width, scheme, said) as page:
            assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
            assert page.locator("article").count() == 24 and page.locator("img").count() == 24
            assert page.eval_on_selector_all("img", "all => all.every(i => i.alt && i.naturalWidth > 0)")
            assert "24 of 27 stretches, 24 faces" in page.inner_text("header")
            assert page.evaluate(CONTRAST)["ratio"] >= 4.5
    assert [each for each in said if not each.startswith("data:")] == []
