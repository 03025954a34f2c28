"""Pages in a real headless browser, for tests."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VIEWS = [(width, scheme) for width in (390, 820, 1440) for scheme in ("light", "dark")]
"""A phone, a tablet and a desk, by day and by night."""


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A browser that asks for nothing by itself."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@contextmanager
def opened(browser: "Browser", path: Path, width: int, scheme: str, said: list[str]) -> Iterator["Page"]:
    """A file as a page; notes in `said` what the console tells and what else than the file is asked for.

    With SCREENSHOTS set to a folder, a picture of the whole page goes there.
    """
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda asked: said.append(asked.url) if asked.url != path.as_uri() else None)
    page.goto(path.as_uri())
    yield page
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{path.stem}-{width}-{scheme}.png", full_page=True)
    page.close()
