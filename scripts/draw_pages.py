"""Take the pictures of the chat page that README and docs show.

    python scripts/draw_pages.py http://127.0.0.1:8000

Asks golek-tiny behind that address, in Debian's Chromium. The pictures are as large as a reader sees them: chat.png,
chat-dark.png and chat-phone.png in docs.
"""

import shutil
import sys
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, sync_playwright

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
ENDED: Final = ".turn.assistant:not(.growing)"


def ask(page: Page, text: str) -> None:
    """Ask, and wait for the whole answer."""
    before = page.locator(ENDED).count()
    page.fill("#question", text)
    page.press("#question", "Control+Enter")
    page.locator(ENDED).nth(before).wait_for()


def opened(browser: Browser, url: str, width: int, height: int, scheme: Any) -> Page:
    """The chat page, with golek-tiny chosen."""
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    page.goto(url)
    page.locator("#model option").first.wait_for(state="attached")
    page.select_option("#model", "golek-tiny")
    page.click("#open-side")
    page.fill("#temperature", "0")
    return page


def main() -> None:
    """Take them all."""
    url = sys.argv[1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = opened(browser, url, 1100, 640, "light")
        ask(page, "What is a lease?")
        ask(page, "What is backpressure?")
        page.screenshot(path=DOCS / "chat.png")
        page = opened(browser, url, 1100, 640, "dark")
        page.click("#tab-tools")
        page.click("#tools-example")
        ask(page, "What is the weather in Paris?")
        page.locator(".call textarea").fill('{"temperature": 21}')
        page.screenshot(path=DOCS / "chat-dark.png")
        page = opened(browser, url, 390, 640, "light")
        page.click("#close-side")
        ask(page, "What is a lease?")
        page.screenshot(path=DOCS / "chat-phone.png")
        browser.close()


if __name__ == "__main__":
    main()
