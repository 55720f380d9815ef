"""The monitor's page, as a person uses it, on a fleet that is not there."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from golek_monitor.picture import Picture
from golek_monitor.web.access import Access
from golek_wire.signals import Health, ModelInfo
from tests.support.stage import Stage
from tests.web.conftest import Opens

ROWS = "#workers-table tr.row"
KEY = "monitor-key-0123456789"
MARKUP = '<img src=x onerror="window.hit=1"><b>x</b>'
WORKER = "w<img src=x onerror=window.hit=1>"


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Five workers of five models."""
    with Stage(5) as found:
        yield found


@pytest.fixture
def page(opens: Opens, stage: Stage) -> Page:
    """The page, with its rows."""
    found = opens(f"{stage.url}/").page
    expect(found.locator(ROWS)).to_have_count(5)
    return found


def row(worker_id: str) -> str:
    """The selector of a worker's row."""
    return f'{ROWS}[data-id="{worker_id}"]'


def gone(worker_id: str) -> Callable[[Picture], None]:
    """A change: a worker's connection is gone."""
    return lambda seen: seen.missed(worker_id, "gone")


def somebody(stage: Stage) -> str:
    """A worker's id."""
    return stage.seen.replicas()[0].worker_id


def test_the_fleet_is_shown(page: Page, stage: Stage) -> None:
    """Figures, a card for each model and a row for each worker stand there, and the lamp says that they are of now."""
    expect(page.locator("#link-words")).to_have_text("Live")
    now = stage.seen.overview()
    for tile, figure in (
        ("Workers", f"{now.workers_online} / {now.workers}"),
        ("Slots busy", f"{now.active_processing} / {now.slots}"),
    ):
        expect(page.locator(f'[data-tile="{tile}"] .figure')).to_have_text(figure)
    expect(page.locator("#cards .card")).to_have_count(5)
    expect(page.locator(row("qwen3-4b-host1-1"))).to_contain_text("online")
    expect(page.locator("#gateways-table tr.row")).to_contain_text("gateway-host1")


def test_rows_are_sorted(page: Page) -> None:
    """A head sorts by its column, figures highest first, pressed again the other way; screen readers hear which."""
    tokens = page.locator("#workers-table thead [data-column=tokens]")
    expect(tokens).to_have_attribute("aria-sort", "none")
    for direction in ("descending", "ascending"):
        tokens.get_by_role("button").click()
        expect(tokens).to_have_attribute("aria-sort", direction)
        shown = [float(text) for text in page.locator(f"{ROWS} [data-column=tokens]").all_inner_texts()]
        assert shown == sorted(shown, reverse=direction == "descending")


def test_rows_are_filtered(page: Page) -> None:
    """By words of a row, by model, by status; how many are left is said, and the address keeps it."""
    page.fill("#worker-filters input", "QWEN llama")
    expect(page.locator(ROWS)).to_have_count(1)
    expect(page.locator("#worker-count")).to_have_text("1 of 5 workers")
    page.reload()
    expect(page.locator(ROWS)).to_have_count(1)
    page.fill("#worker-filters input", "")
    page.select_option('#worker-filters [aria-label="Model"]', "golek-tiny")
    expect(page.locator(ROWS)).to_have_count(1)
    page.select_option('#worker-filters [aria-label="Status"]', "lost")
    expect(page.locator("#workers .empty")).to_have_text("No worker fits these filters.")


def test_a_lost_worker_is_shown_without_reload(page: Page, stage: Stage) -> None:
    """Its row says so, an alert stands there, is told to screen readers, and counted in the tab's title."""
    worker_id = somebody(stage)
    stage.do(gone(worker_id))
    expect(page.locator(row(worker_id))).to_contain_text("lost")
    expect(page.locator("#callouts .callout")).to_contain_text(worker_id)
    expect(page.locator("#announce")).to_contain_text(f"Alert: worker {worker_id}")
    expect(page).to_have_title("(1) Golek")
    page.click("#views [data-view=alerts]")
    expect(page.locator("#alerts-firing .callout")).to_have_count(1)
    expect(page.locator("#event-log")).to_contain_text("alert.firing")


def test_a_lost_connection_is_visible_and_recovers(opens: Opens, stage: Stage) -> None:
    """Old figures turn grey and a line says since when; when the monitor is back, so are they, as they are by then."""
    watched = opens(f"{stage.url}/")
    page, worker_id = watched.page, somebody(stage)
    expect(page.locator(ROWS)).to_have_count(5)
    stage.end()
    expect(page.locator("#trouble")).to_have_text(re.compile(r"lost, trying again since \d\d:\d\d:\d\d"))
    expect(page.locator("#link-words")).to_have_text("Not connected")
    expect(page.locator("#tiles")).to_have_css("opacity", "0.45")
    expect(page).to_have_title("(!) Golek")
    stage.do(gone(worker_id))
    stage.begin()
    expect(page.locator("#link-words")).to_have_text("Live")
    expect(page.locator("#trouble")).to_be_hidden()
    expect(page.locator("#tiles")).to_have_css("opacity", "1")
    expect(page.locator(row(worker_id))).to_contain_text("lost")
    assert all("Failed to load" in line or "net::" in line for line in watched.complaints)
    watched.complaints.clear()


def test_a_monitor_that_hears_nothing_says_so(opens: Opens, stage: Stage) -> None:
    """While the bus is away the page is connected, but its figures are old: they are grey, and a line says which bus it
    is and since when. The alert that says so is of now."""
    stage.seen.broker = "nats://broker.test:4222"
    page = opens(f"{stage.url}/").page
    expect(page.locator(ROWS)).to_have_count(5)
    stage.do(lambda seen: setattr(seen, "connected", False))
    expect(page.locator("#trouble")).to_have_text(
        re.compile(r"has not heard the bus at nats://broker\.test:4222 since \d\d:\d\d:\d\d")
    )
    expect(page.locator("#verdict")).to_have_text(re.compile(r"^As it was at \d\d:\d\d:\d\d$"))
    expect(page.locator("#tiles")).to_have_css("opacity", "0.45")
    stage.now.passed += 6
    stage.do(lambda _: None)
    lost = page.locator('#callouts [data-kind="bus_lost"]')
    expect(lost).to_have_css("opacity", "1")
    assert lost.evaluate("node => !node.closest('.live')")
    stage.do(lambda seen: setattr(seen, "connected", True))
    expect(page.locator("#trouble")).to_be_hidden()


def test_names_are_text(page: Page, stage: Stage) -> None:
    """Whatever a worker calls itself or says of its model, nothing of it becomes part of the page. (A name of a model
    that is none is not heard at all: tests/unit/test_fleet.py.)"""
    health = Health(
        model_name="hostile", status="stalled", last_activity="", capabilities=[MARKUP], endpoint=f"http://{MARKUP}",
        nats_topic=MARKUP, version=MARKUP, model_info=ModelInfo(architecture=MARKUP, parameter_count=MARKUP),
        worker_id=WORKER, engine=MARKUP, device=MARKUP, problem=MARKUP, adapters=[MARKUP], incarnation="i",
    )  # fmt: skip
    stage.do(lambda seen: seen.heartbeat(health))
    expect(page.locator(ROWS)).to_have_count(6)
    expect(page.locator("#callouts")).to_contain_text(WORKER)
    page.locator(ROWS).filter(has_text=WORKER).locator(".opens").click()
    expect(page.get_by_role("dialog").locator("h2")).to_have_text(WORKER)
    expect(page.get_by_role("dialog")).to_contain_text(MARKUP)
    page.keyboard.press("Escape")
    for view, text in (("models", MARKUP), ("capabilities", MARKUP), ("alerts", WORKER)):
        page.click(f"#views [data-view={view}]")
        expect(page.locator(f"#view-{view}")).to_contain_text(text)
    assert page.evaluate("[window.hit, document.querySelectorAll('main b b, img[src=x]').length]") == [None, 0]


def test_keys_lead_everywhere(page: Page, stage: Stage) -> None:
    """`/` filters, arrows go through rows, Enter opens one and Esc closes it where one was; figures change the view."""
    page.keyboard.press("/")
    expect(page.locator("#worker-filters input")).to_be_focused()
    page.keyboard.press("Escape")
    page.locator("#workers .scroll").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    second = page.locator(ROWS).nth(1).locator(".opens")
    expect(second).to_be_focused()
    page.keyboard.press("End")
    expect(page.locator(ROWS).nth(4).locator(".opens")).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.locator("dialog.drawer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog.drawer")).to_have_count(0)
    expect(page.locator(ROWS).first.locator(".opens")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(page.locator("#title-models")).to_be_visible()
    expect(page.locator("#views [aria-current=page]")).to_have_text("Models")


def test_the_first_tab_skips_to_the_content(page: Page) -> None:
    """A keyboard need not pass all links of the head."""
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_an_order_asks_first_and_tells_how_it_went(opens: Opens, stage: Stage) -> None:
    """Nothing is sent before the question is answered; then the outcome stands there, or the error."""
    watched = opens(f"{stage.url}/")
    page, sent = watched.page, list[object]()

    def answer(route: Route) -> None:
        sent.append(route.request.post_data_json)
        if len(sent) == 1:
            route.fulfill(status=409, json={"error": {"message": "2 jobs run there", "code": "BUSY"}})
            return
        route.fulfill(json=[{"model_name": "m", "worker_id": "w1", "status": "unloaded", "seconds": 1.25}])

    page.route("**/api/models/**", answer)
    page.locator(f"{ROWS} .opens").first.click()
    page.get_by_role("button", name="Unload").click()
    question = page.locator("dialog.question")
    expect(question).to_contain_text("let the model go from memory. Jobs that run there are finished first")
    question.get_by_role("button", name="Cancel").click()
    expect(question).to_have_count(0)
    assert sent == []
    page.get_by_role("button", name="Unload").click()
    question.get_by_role("button", name="Unload").click()
    expect(question.locator(".outcome")).to_have_text("2 jobs run there")
    question.get_by_label("Also while jobs run").check()
    question.get_by_role("button", name="Unload").click()
    expect(question.locator(".outcome")).to_have_text("w1: unloaded, after 1.25 s")
    worker_id = page.locator("#worker-title").inner_text()
    assert sent == [{"worker_id": worker_id}, {"worker_id": worker_id, "force": True}]
    assert all("409" in line for line in watched.complaints)
    watched.complaints.clear()


def test_charts_are_of_the_range_that_was_chosen(page: Page) -> None:
    """Both ranges are asked for when they are chosen, and the choice is kept."""
    with page.expect_request("**/api/history?seconds=10800"):
        page.get_by_role("button", name="3 h").first.click()
    page.reload()
    expect(page.get_by_role("button", name="3 h").first).to_have_attribute("aria-pressed", "true")


def test_light_or_dark_is_kept(page: Page) -> None:
    """The button turns it, and the next visit has it."""
    before = page.evaluate("document.documentElement.dataset.theme")
    page.keyboard.press("t")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") != before


def test_a_key_is_asked_for(opens: Opens) -> None:
    """Where looking needs a key nothing is shown without it; a wrong one is said to be wrong, the right one lets in."""
    with Stage(3, access=Access(KEY, public=True)) as stage:
        watched = opens(f"{stage.url}/")
        login = watched.page.locator("#login")
        login.get_by_label("Key").fill("not it")
        login.get_by_role("button").click()
        expect(login.get_by_role("alert")).to_have_text("This is not the key.")
        expect(watched.page.locator(ROWS)).to_have_count(0)
        login.get_by_label("Key").fill(KEY)
        login.get_by_role("button").click()
        expect(watched.page.locator(ROWS)).to_have_count(3)
        watched.page.reload()
        expect(watched.page.locator(ROWS)).to_have_count(3)
        assert all("401" in line for line in watched.complaints)
        watched.complaints.clear()


def test_an_empty_fleet_says_what_to_do(opens: Opens) -> None:
    """Without a worker the page tells how to start one, and shows it when it comes."""
    with Stage(0) as stage:
        page = opens(f"{stage.url}/").page
        expect(page.locator("#workers .empty")).to_contain_text("make start WORKER=echo")
        expect(page.locator("#verdict")).to_contain_text("No worker was heard yet")


def test_a_thousand_workers_are_gone_through(opens: Opens) -> None:
    """Only those in sight are in the page; all are counted, found and reached by keys."""
    with Stage(1000) as stage:
        page = opens(f"{stage.url}/").page
        expect(page.locator("#worker-count")).to_have_text("1,000 workers")
        assert page.locator(ROWS).count() < 80
        expect(page.locator("#workers-table")).to_have_attribute("aria-rowcount", "1001")
        page.locator("#workers .scroll").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("End")
        last = page.locator(f'{ROWS}[aria-rowindex="1001"] .opens')
        expect(last).to_be_focused()
        expect(last).to_be_in_viewport()
        assert page.locator(ROWS).count() < 80
