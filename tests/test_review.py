"""`cct review` as a process: its server's doors, and in a real browser with the keyboard alone."""

import http.client
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from pipeline.contract import UserError
from pipeline.overrides import in_force, read_overrides
from tests.browsing import CHROMIUM, chromium
from tests.review_parts import SEVEN, review_project, reviewing
from train.cli import app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (CI installs it): apt-get install chromium"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return review_project(tmp_path_factory.mktemp("review"))


@pytest.fixture
def overrides(project: Path) -> Iterator[Path]:
    path = project / "labels/overrides.csv"
    yield path
    path.unlink(missing_ok=True)


def request(
    url: str, path: str, *, headers: dict[str, str] | None = None, body: object = None, whole_path: bool = False
) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    content = json.dumps(body) if body is not None else None
    target = path if whole_path else parts.path + path
    connection.request("POST" if content else "GET", target, content, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_only_who_knows_the_token_and_names_this_host_is_answered(project: Path, overrides: Path) -> None:
    with reviewing(project) as (_, url):
        assert urlsplit(url).hostname == "127.0.0.1"
        assert request(url, "state")[0] == 200
        assert request(url, "/", whole_path=True)[0] == 404
        assert request(url, "/state", whole_path=True)[0] == 404
        assert request(url, "state", headers={"Host": "evil.example"})[0] == 404
        decision = {"number": 0, "decision": "keep"}
        assert request(url, "decide", headers={"Origin": "http://evil.example"}, body=decision)[0] == 404
        assert request(url, "picture/999999")[0] == 404
        assert request(url, "picture/../../params.yaml")[0] in (400, 404)
        for wrong in ({"number": 99, "decision": "keep"}, {"number": 0, "decision": "Joy"}, {"number": 0}, [1], "x"):
            assert request(url, "decide", body=wrong)[0] == 400
        deep = http.client.HTTPConnection(urlsplit(url).hostname or "", urlsplit(url).port, timeout=20)
        deep.request("POST", urlsplit(url).path + "decide", "[" * 4000)
        assert deep.getresponse().status == 400
        assert not overrides.exists()


def test_labels_that_are_wrong_on_purpose_are_not_reviewed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    content = Path("params.yaml").read_text()
    Path("params.yaml").write_text(content.replace("noise_kind: none", "noise_kind: pair"))
    done = CliRunner().invoke(app, ["review", "--no-browser"])
    Path("params.yaml").write_text(content)
    assert isinstance(done.exception, UserError) and "wrong on purpose" in str(done.exception)


def test_decisions_are_on_disk_before_they_are_answered_and_outlive_a_kill(project: Path, overrides: Path) -> None:
    with reviewing(project) as (process, url):
        for number, decision in enumerate(["Anger", "keep", "exclude"]):
            assert request(url, "decide", body={"number": number, "decision": decision})[0] == 200
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [each.decision for each in read_overrides(overrides, "demo")] == ["Anger", "keep", "exclude"]
    with reviewing(project) as (_, url):
        items = json.loads(request(url, "state")[1])["items"]
        assert [item["decision"] for item in items[:4]] == ["Anger", "keep", "exclude", ""]
        assert items[0]["pictures"]
        jpeg = request(url, f"picture/{items[0]['pictures'][0]['position']}")[1]
        assert jpeg.startswith(b"\xff\xd8")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as found:
        yield found


def page_at(browser: "Browser", url: str, said: list[str], width: int = 1100) -> "Page":
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith((url, "data:")) else None)
    page.goto(url)
    page.wait_for_function("() => document.getElementById('what').textContent.includes(' of ')")
    return page


def press(page: "Page", key: str) -> None:
    """A key, and the answer to it."""
    said = page.text_content("#message")
    page.keyboard.press(key)
    page.wait_for_function("before => document.getElementById('message').textContent !== before", arg=said)


@pytest.mark.slow
@needs_chromium
def test_twenty_suspects_with_the_keyboard_alone_killed_in_the_middle_and_with_a_second_tab(
    project: Path, overrides: Path, browser: "Browser"
) -> None:
    said: list[str] = []
    keys = ["3", " ", "x", "0", "6", "1", " ", "2", "x", "4"]
    meant = ["Fear", "keep", "exclude", "Neutral", "Surprise", "Anger", "keep", "Disgust", "exclude", "Happiness"]
    with reviewing(project) as (process, url):
        page = page_at(browser, url, said)
        for key in keys:
            press(page, key)
        page.close()
        process.send_signal(signal.SIGKILL)
        process.wait()
    with reviewing(project) as (process, url):
        page, second = page_at(browser, url, said), page_at(browser, url, said, width=390)
        assert "11 of 24" in (page.text_content("#what") or "")
        for key in keys[:5]:
            press(page, key)
        press(page, "u")
        press(page, "5")
        second.wait_for_function("() => document.getElementById('progress').textContent.startsWith('15 of')")
        second.keyboard.press("ArrowRight")
        for _ in range(4):
            second.keyboard.press("ArrowRight")
        assert "16 of 24" in (second.text_content("#what") or "")
        for key in keys[5:]:
            press(second, key)
        page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('20 of')")
        assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not second.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        widths = page.eval_on_selector_all(".fill", "bars => bars.map(bar => bar.offsetWidth)")
        assert max(widths) == widths[3] > 5 * min(widths) > 0
        for each in page.query_selector_all("img"):
            assert each.get_attribute("alt") and each.evaluate("image => image.complete && image.naturalWidth > 0")
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/review.png", full_page=True)
            second.screenshot(path=f"{folder}/review-phone.png", full_page=True)
        process.send_signal(signal.SIGINT)
        assert "20 of 24 decided" in process.communicate(timeout=20)[0]
        press(page, "x")
        assert re.search("Not written down", page.text_content("#message") or "")
    held = [each.decision for each in in_force(read_overrides(overrides, "demo")).values()]
    assert held == [*meant, *meant[:4], "Sadness", *meant[5:]]
    assert [line for line in said if "ERR_CONNECTION_REFUSED" not in line] == []


@pytest.mark.slow
@needs_chromium
def test_what_a_screen_reader_hears_and_what_the_keys_do_where_the_focus_is(
    project: Path, overrides: Path, browser: "Browser"
) -> None:
    said: list[str] = []
    with reviewing(project) as (_, url):
        page = page_at(browser, url, said)
        for name in (*SEVEN, "Keep the label", "Exclude"):
            assert page.get_by_role("button", name=name, exact=True, pressed=False).count() == 1, name
        for name, key in (("Undo", "u"), ("Back", "ArrowLeft"), ("Next", "ArrowRight")):
            button = page.get_by_role("button", name=name, exact=True)
            assert button.get_attribute("aria-pressed") is None, name
            assert button.get_attribute("aria-keyshortcuts") == key
        assert page.get_by_role("progressbar", name="Decided").get_attribute("aria-valuetext") == "0 of 24"
        assert page.get_by_role("table", name="Mean probability over the stretch").count() == 1
        assert page.get_by_role("list", name="Pictures in the order of time").get_by_role("img").count() > 1
        assert page.evaluate("document.activeElement.id") == "what"

        decided, heard = page.get_by_role("status").first, page.get_by_role("status").last
        assert re.fullmatch(
            r"1 of 24: [^,]+, frame \d+\. Label given: \w+\. Networks suggest: Fear\. Decision: none yet\.",
            heard.inner_text(),
        )
        press(page, "u")
        assert decided.inner_text() == "There is nothing to take back" and not overrides.exists()
        page.get_by_role("button", name="Exclude").focus()
        press(page, " ")  # the button that has the focus, as everywhere
        assert decided.inner_text().startswith("Written down: ") and decided.inner_text().endswith(": exclude")
        assert heard.inner_text().startswith("2 of 24: ")
        page.keyboard.press("ArrowLeft")
        assert heard.inner_text().endswith("Decision: exclude.")
        assert page.get_by_role("button", name="Exclude", pressed=True).count() == 1

        page.evaluate("document.activeElement.blur()")
        page.get_by_role("button", name="Next").click()
        page.get_by_role("button", name="Anger").click()
        page.wait_for_function("() => document.getElementById('message').textContent.endsWith(': Anger')")
        press(page, " ")  # a mouse leaves no focus behind
        shown = page.text_content("#what")
        page.locator("#what").focus()
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")  # scrolls the strip that has the focus
        assert page.evaluate("document.activeElement.id") == "strip" and page.text_content("#what") == shown
        page.evaluate("document.activeElement.blur()")
        page.locator("#strip img").first.click()
        page.keyboard.press("ArrowRight")
        assert page.text_content("#what") != shown
        page.close()
    held = [each.decision for each in in_force(read_overrides(overrides, "demo")).values()]
    assert held == ["exclude", "Anger", "keep"] and said == []
