"""A fleet with pages, and a browser that looks at them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.support import browser as browsers
from tests.support import fronts
from tests.support.browser import Watched
from tests.support.fronts import Fleet
from tests.support.ports import free_port
from tests.support.shell import nothing_said

KEY = "ann-key-0123456789abcdef"
SLOW_KEY = "bob-key-0123456789abcdef"
"""For one request a minute."""
Opens = Callable[..., Watched]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing here can be seen without a browser."""
    here = Path(__file__).parent
    if browsers.program() is None:
        why = pytest.mark.skip(reason="no Chromium on this machine; scripts/install_test_programs.sh installs it")
        for item in items:
            if here in item.path.parents:
                item.add_marker(why)


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_the_shell() -> Iterator[None]:
    """As `_no_settings_of_the_shell`, for processes that outlive a test."""
    with nothing_said():
        yield


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """golek-tiny, slow enough to be stopped, echo with one slot, and a gateway; open to everybody."""
    workers = {
        "golek-tiny": {"HTTP_ADDR": f"127.0.0.1:{free_port()}", "MODEL_THREADS": 1, "ENGINE_STEP_MIN_MS": 10},
        "echo": {"HTTP_ADDR": "", "WORKER_CONCURRENCY": 1, "ENGINE_STEP_MIN_MS": 10},
    }
    with fronts.fleet(tmp_path_factory.mktemp("pages"), workers) as found:
        yield found


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """echo and a gateway that want a key."""
    data = tmp_path_factory.mktemp("locked")
    (data / "api_keys.txt").write_text(f"ann:{KEY}\nbob:{SLOW_KEY} rpm=1\n")
    (data / "api_keys.txt").chmod(0o600)
    echo = {"HTTP_ADDR": "", "GOLEK_NATS_IDENTITY": "keys"}
    with fronts.fleet(data, {"echo": echo}, GOLEK_NATS_IDENTITY="keys") as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.running() as found:
        yield found


@pytest.fixture
def opens(browser: Browser) -> Iterator[Opens]:
    """Opens a page that must neither complain nor ask anybody but its server, unless the test says what it expects."""
    opened: list[Watched] = []

    def open_page(url: str, **context: object) -> Watched:
        made = Watched(browser, url, **context)
        opened.append(made)
        made.page.goto(url)
        return made

    yield open_page
    for one in opened:
        one.close()
    assert [one.complaints for one in opened if one.complaints] == []
    assert [one.elsewhere for one in opened if one.elsewhere] == []


@pytest.fixture
def page(opens: Opens, fleet: Fleet) -> Page:
    """The gateway's page, with golek-tiny chosen."""
    found = opens(f"{fleet.gateway}/").page
    found.locator("#model option").first.wait_for(state="attached")
    found.select_option("#model", "golek-tiny")
    return found
