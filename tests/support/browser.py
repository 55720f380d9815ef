"""A real browser for tests: Debian's Chromium, which a test does not download."""

import asyncio
import shutil
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Route, sync_playwright

T = TypeVar("T")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
PATIENCE_MS = 15_000


def program() -> str | None:
    """Where Chromium lies; None where it is not installed."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


@contextmanager
def running() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, with all that it complains of and whom it asks."""

    def __init__(self, browser: Browser, home: str, **context: Any) -> None:
        self._home = urlsplit(home).netloc
        self._context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context})
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self._context.route("**/*", self._pass)
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _pass(self, route: Route) -> None:
        if urlsplit(route.request.url).netloc == self._home or route.request.url.startswith("blob:"):
            route.continue_()
            return
        self.elsewhere.append(route.request.url)
        route.abort()

    def close(self) -> None:
        self._context.close()


def apart(work: Coroutine[Any, Any, T]) -> T:
    """The outcome of `work`, run in a thread: the one of the test has the browser's loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(30)
