"""The monitor's page of a fleet that runs: three workers, of which one dies and one freezes."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from golek_client import Golek
from tests.support.broker import NatsServer
from tests.support.browser import apart
from tests.support.ports import free_port
from tests.support.workers import ROOT, WorkerProcess
from tests.web.conftest import Opens

KILLED_S = 12.0
FROZEN_S = 25.0
PATIENCE_S = 30.0


class Watched(NamedTuple):
    """A fleet and where its page is."""

    nats: str
    url: str
    workers: list[WorkerProcess]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Watched]:
    """Three replicas of echo, and a monitor."""
    (tmp_path / "nats").mkdir()
    server = NatsServer(tmp_path / "nats").start()
    try:
        with ExitStack() as stack:
            made = (WorkerProcess(server.url, tmp_path, "echo", number, HTTP_ADDR="") for number in (1, 2, 3))
            workers = [stack.enter_context(worker) for worker in made]
            url = stack.enter_context(monitor(server.url, tmp_path))
            yield Watched(server.url, url, workers)
    finally:
        server.kill()


@contextmanager
def monitor(nats: str, data: Path) -> Iterator[str]:
    """A monitor in a process of its own; its URL."""
    where = f"127.0.0.1:{free_port()}"
    environment = os.environ | {"NATS_URL": nats, "GOLEK_DATA": str(data), "MONITOR_ADDR": where}
    command = [sys.executable, "-m", "golek_monitor", "serve"]
    with (data / "monitor.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://{where}/health/ready", process, data / "monitor.log")
        yield f"http://{where}"
    finally:
        process.terminate()
        process.wait(10)


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when it answers."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError(f"no monitor at {url}:\n{log.read_text()}")


def row(replica: int) -> str:
    """The row of a replica, whatever this machine is called."""
    return f'#workers-table tr.row[data-id$="-{replica}"]'


def seconds_until(page: Page, selector: str, words: str, within_s: float) -> float:
    """How long it takes until `words` stand there."""
    began = time.monotonic()
    expect(page.locator(selector)).to_contain_text(words, timeout=within_s * 1000)
    return time.monotonic() - began


def test_a_killed_and_a_frozen_worker_are_seen(opens: Opens, fleet: Watched) -> None:
    """Killed is lost within 12 s, frozen silent within 25 s; each alert comes by itself, and goes when it is back."""
    page = opens(f"{fleet.url}/").page
    for number in (1, 2, 3):
        expect(page.locator(row(number))).to_contain_text("online", timeout=PATIENCE_S * 1000)
    expect(page.locator('[data-tile="Workers"] .figure')).to_have_text("3 / 3")
    fleet.workers[1].kill()
    print(f"killed: lost after {seconds_until(page, row(2), 'lost', KILLED_S):.1f} s")
    expect(page.locator("#callouts")).to_contain_text("-2 of echo is gone")
    expect(page).to_have_title("(1) Golek")
    fleet.workers[2].signal(signal.SIGSTOP)
    print(f"frozen: silent after {seconds_until(page, row(3), 'silent', FROZEN_S):.1f} s")
    expect(page.locator("#callouts")).to_contain_text("-3 of echo does not answer", timeout=PATIENCE_S * 1000)
    expect(page).to_have_title("(2) Golek")
    fleet.workers[2].signal(signal.SIGCONT)
    expect(page.locator(row(3))).to_contain_text("online", timeout=PATIENCE_S * 1000)
    expect(page).to_have_title("(1) Golek", timeout=PATIENCE_S * 1000)


def test_requests_show_up_by_themselves(opens: Opens, fleet: Watched) -> None:
    """What was answered stands in the figures, and in the log with its story."""
    page = opens(f"{fleet.url}/").page
    expect(page.locator(row(1))).to_contain_text("online", timeout=PATIENCE_S * 1000)

    async def ask() -> None:
        async with Golek(fleet.nats) as golek:
            await golek.ask("echo", "Say something", req_id="seen-on-the-page")

    apart(ask())
    page.click("#views [data-view=requests]")
    found = page.get_by_role("link", name="seen-on-the-page")
    until = time.monotonic() + PATIENCE_S
    while not found.count() and time.monotonic() < until:  # the log is written in batches
        with page.expect_response("**/api/requests?*"):
            page.get_by_role("button", name="Search").click()
    found.click()
    expect(page.locator(".legend")).to_contain_text("ran")
    expect(page.locator("#requests")).to_contain_text("MONITOR_SHOW_PROMPTS=1")
