"""Take the pictures of pages that README and docs show, in Debian's Chromium, as large as a reader sees them.

    python scripts/draw_pages.py chat http://127.0.0.1:8000
    python scripts/draw_pages.py several http://127.0.0.1:8000
    python -m tests.support.sample_monitor 12 5799 &
    python scripts/draw_pages.py monitor http://127.0.0.1:5799

The chat page asks golek-tiny behind that address: chat.png, chat-dark.png and chat-phone.png in docs; with `several` it
asks golek-quiz-a, -b and -c, which answer together by a router: several.png. The last one shows the fleet that is
there, with the figures of the last minutes: monitor.png, monitor-dark.png and monitor-phone.png.
"""

import shutil
import sys
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, sync_playwright

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
ENDED: Final = ".turn.assistant:not(.growing)"
SETTLED_MS: Final = 2500
"""A message or two after the first."""


def ask(page: Page, text: str) -> None:
    """Ask, and wait for the whole answer."""
    before = page.locator(ENDED).count()
    page.fill("#question", text)
    page.press("#question", "Control+Enter")
    page.locator(ENDED).nth(before).wait_for()


def opened(browser: Browser, url: str, width: int, height: int, scheme: Any, model: str = "golek-tiny") -> Page:
    """The chat page, with this model chosen."""
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    page.goto(url)
    page.locator("#model option").first.wait_for(state="attached")
    page.select_option("#model", model)
    page.click("#open-side")
    page.fill("#temperature", "0")
    return page


def draw_chat(browser: Browser, url: str) -> None:
    """A conversation, a call of a tool, and both on a phone."""
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


def draw_several(browser: Browser, url: str) -> None:
    """An ensemble whose members agree, and one whose members do not."""
    page = opened(browser, url, 1100, 640, "light", "auto")
    page.select_option("#mode", "ensemble")
    ask(page, "What is the capital of Norway?")
    ask(page, "What is the capital of Italy?")
    page.screenshot(path=DOCS / "several.png")


def draw_monitor(browser: Browser, url: str) -> None:
    """The whole fleet, one model in the dark, and the fleet on a phone."""
    for name, view, width, height, scheme in (
        ("monitor", "fleet", 1440, 1200, "light"),
        ("monitor-dark", "models", 1440, 900, "dark"),
        ("monitor-phone", "fleet", 390, 844, "light"),
    ):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{url}/#/{view}")
        page.locator(f"#view-{view} .u-over").first.wait_for()
        page.wait_for_timeout(SETTLED_MS)
        page.screenshot(path=DOCS / f"{name}.png")


DRAWS: Final = {"chat": draw_chat, "several": draw_several, "monitor": draw_monitor}


def main() -> None:
    """Take those that are asked for."""
    what, url = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        DRAWS[what](browser, url)
        browser.close()


if __name__ == "__main__":
    main()
