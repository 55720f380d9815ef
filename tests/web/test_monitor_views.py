"""Requests, queues and dead letters on the monitor's page; and what holds for every view of it."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Page, expect

from golek_client.queueing import ModelQueue, QueuedJob
from golek_monitor.picture import Picture
from golek_monitor.web.requests import DeadLetterRow, DeadLetterStory
from tests.support import request_logs
from tests.support.browser import apart
from tests.support.stage import Stage
from tests.web.conftest import Opens

SOMETHING = {
    "fleet": "#workers-table tr.row",
    "models": "#models .panel",
    "capabilities": "#addresses tbody tr",
    "alerts": "#event-log li",
    "requests": "#request-results tr.row",
    "queues": "#queue-table tr.row",
}
"""What each view shows of this fleet."""
JOB = "k5ptxjq2m7zv4r3dn6ychwabfe"
UNNAMED = """() => {
  const name = (one) => one.getAttribute("aria-label") || one.labels?.[0]?.textContent || one.textContent || one.alt
    || document.getElementById(one.getAttribute("aria-labelledby"))?.textContent || "";
  const shown = [...document.querySelectorAll("button, a, input, select, textarea, dialog, [role=img], [role=region]")]
    .filter((one) => one.checkVisibility());
  return shown.filter((one) => !name(one).trim()).map((one) => one.outerHTML.slice(0, 120));
}"""
STRUCTURE = """() => {
  const shown = (what) => [...document.querySelectorAll(what)].filter((one) => one.checkVisibility());
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  return {
    headings: shown("h1").length,
    twice: ids.filter((id, at) => ids.indexOf(id) !== at),
    tables: shown("table").filter((one) => !one.caption?.textContent.trim()).length,
    heads: shown("thead th").filter((one) => one.scope !== "col").length,
    landmarks: ["header", "nav", "main", "footer"].filter((one) => shown(one).length !== 1),
    pictures: shown("img:not([alt])").length,
    language: document.documentElement.lang,
  };
}"""
COLOURS = """(names) => {
  const style = getComputedStyle(document.documentElement);
  return names.map((name) => style.getPropertyValue(`--${name}`).trim());
}"""
SOUND = {"headings": 1, "twice": [], "tables": 0, "heads": 0, "landmarks": [], "pictures": 0, "language": "en"}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Five workers; golek-tiny answered three requests on this machine."""
    rows = [request_logs.row(0), request_logs.row(1, status="CANCELLED", principal="ann"), request_logs.row(2)]
    apart(request_logs.write(tmp_path / "logs" / "golek-tiny.sqlite", *rows, worker_id="golek-tiny-host1-1"))
    with Stage(5, tmp_path, show_prompts=True) as found:
        yield found


def at(opens: Opens, stage: Stage, view: str, **context: object) -> Page:
    """A view of the page, live."""
    page = opens(f"{stage.url}/#/{view}", **context).page
    expect(page.locator("#link-words")).to_have_text("Live")
    expect(page.locator(f"#view-{view.partition('?')[0]}")).to_be_visible()
    return page


def with_bus(opens: Opens, stage: Stage, view: str, **context: object) -> Page:
    """A view of the page, of a monitor that reads queues and dead letters of a bus."""
    page = opens(f"{stage.url}/static/icon.svg", **context).page
    jobs = [
        QueuedJob(
            state="running", job_id=JOB, req_id="<b>runs</b>", kind="inference", principal="ann", priority=2,
            age_s=4.0, seq=1,
        ),
        QueuedJob(
            state="waiting", position=1, job_id="b" * 26, req_id="next", kind="inference", principal="bob",
            priority=3, age_s=61.0, left_s=12.0, bytes=2048, seq=2,
        ),
    ]  # fmt: skip
    queue = ModelQueue(
        model_name="golek-tiny", waiting=1, running=1, capacity=2000, bytes=4096, strategy="fifo", oldest_s=61.0,
        timestamp="2026-01-02T12:00:00Z", jobs=jobs,
    )  # fmt: skip
    letter = DeadLetterRow(
        job_id=JOB, req_id="crashes", model_name="golek-tiny", worker_id="w-1", at="2026-01-02T12:00:00Z",
        kind="inference", crashes=3, input_sha256="", can_retry=True,
    )  # fmt: skip
    page.route("**/api/queues/**", lambda route: route.fulfill(body=msgspec.json.encode(queue)))
    page.route("**/api/dead-letters", lambda route: route.fulfill(body=msgspec.json.encode([letter])))
    story = DeadLetterStory(letter=letter, log_tail=["assertion <i>failed</i>"], seed=1)
    page.route("**/api/dead-letters/*", lambda route: route.fulfill(body=msgspec.json.encode(story)))
    page.route("**/api/dead-letters/*/retry", lambda route: route.fulfill(json={}))
    page.goto(f"{stage.url}/#/{view}")
    expect(page.locator("#link-words")).to_have_text("Live")
    return page


def test_requests_are_searched(opens: Opens, stage: Stage) -> None:
    """The newest first; filters narrow them and stand in the address; what fits nothing says so."""
    page = at(opens, stage, "requests")
    rows = page.locator("#request-results tr.row")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("label-2")
    page.select_option('[name="status"]', "errors")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("cancelled")
    page.reload()
    expect(rows).to_have_count(1)
    page.fill('[name="principal"]', "nobody")
    page.keyboard.press("Enter")
    expect(page.locator("#request-results .empty")).to_have_text("No request fits these filters.")


def test_one_request_tells_its_story(opens: Opens, stage: Stage) -> None:
    """Where its time went, as a bar and as words, and its texts where they may be shown; back leads to the list."""
    page = at(opens, stage, "requests")
    page.get_by_role("link", name="label-0").click()
    legend = page.locator(".legend")
    for words in ("in the queue 20 ms", "waited for a slot 5 ms", "read the prompt 20 ms", "wrote 65 ms"):
        expect(legend).to_contain_text(words)
    widths = page.locator(".timeline span").evaluate_all("(all) => all.map((one) => parseFloat(one.style.width))")
    assert sum(widths) == pytest.approx(100, abs=1)
    expect(page.get_by_label("Asked, as it came")).to_have_text("what was asked")
    expect(page.get_by_label("Answer")).to_have_text("an answer")
    page.go_back()
    expect(page.locator("#request-results tr.row")).to_have_count(3)


def test_an_answer_of_several_models_tells_its_steps(opens: Opens, tmp_path: Path) -> None:
    """How they answered, and each one's job with what it was for; that leads to its own story, and back."""
    whole, first, second = "a" * 26, "b" * 26, "c" * 26
    asked = request_logs.row(9, job_id=whole, asked="D3", target="local:golek-tiny", orchestration='{"mode": "debate"}')
    steps = [
        request_logs.row(5, job_id=first, parent=whole, step="answer/1"),
        request_logs.row(8, job_id=second, parent=whole, step="reconcile/1"),
    ]
    apart(request_logs.write(tmp_path / "logs" / "router.sqlite", asked, worker_id="router-host1-1"))
    apart(request_logs.write(tmp_path / "logs" / "golek-tiny.sqlite", *steps, worker_id="golek-tiny-host1-1"))
    with Stage(5, tmp_path) as stage:
        page = at(opens, stage, "requests")
        rows = page.locator("#request-results tr.row")
        expect(rows.first).to_contain_text("D3 → debate")
        expect(rows.nth(1)).to_contain_text("step reconcile/1")
        page.get_by_role("link", name="label-9").click()
        expect(page.locator("dl.facts")).to_contain_text("Togetherdebate")
        told = page.locator("ol.steps li")
        expect(told).to_have_text([re.compile("answer/1.*golek-tiny"), re.compile("reconcile/1.*golek-tiny")])
        told.first.get_by_role("link", name="answer/1").click()
        expect(page.locator("dl.facts")).to_contain_text(f"Step of{whole}")


def test_a_worker_tells_its_last_requests(opens: Opens, stage: Stage) -> None:
    """Opened from its row, or by the address alone."""
    page = at(opens, stage, "fleet?worker=golek-tiny-host1-1")
    drawer = page.get_by_role("dialog", name="golek-tiny-host1-1")
    expect(drawer).to_contain_text("in rotation")
    expect(drawer).to_contain_text("llama")
    expect(drawer.locator(".requests tr.row")).to_have_count(3)


def test_who_waits_is_shown(opens: Opens, stage: Stage) -> None:
    """Place and age of each, those that run first; a dead letter tells its end and is run again after a question."""
    page = with_bus(opens, stage, "queues/golek-tiny")
    rows = page.locator("#queue-table tr.row")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("<b>runs</b>")
    expect(rows.nth(1)).to_contain_text("1 min 1 s")
    letter = page.locator(".letter")
    letter.locator("summary").click()
    expect(letter).to_contain_text("assertion <i>failed</i>")
    letter.get_by_role("button", name="Retry").click()
    question = page.locator("dialog.question")
    expect(question).to_contain_text("It crashed its engine 3 times")
    question.get_by_role("button", name="Retry").click()
    expect(question.locator(".outcome")).to_have_text("It waits in its model's queue again.")


def test_a_model_is_reached_by_the_gateway(opens: Opens, stage: Stage) -> None:
    """Where its workers serve no HTTP themselves; their own addresses come first."""
    page = opens(f"{stage.url}/#/capabilities").page
    of_model = page.locator("#addresses tbody tr").first
    gateway = stage.seen.gateways()[0].endpoint
    expect(of_model).to_be_visible()
    expect(of_model).not_to_contain_text(gateway)
    name = of_model.get_attribute("data-model")

    def serves_none(seen: Picture) -> None:
        for one in seen.view.everyone():
            if one.model == name and one.health is not None:
                seen.heartbeat(msgspec.structs.replace(one.health, endpoint=""))

    stage.do(serves_none)
    expect(of_model).to_contain_text(gateway)
    expect(of_model).to_contain_text("by the gateway")


def test_a_phone_says_where_there_are_more_views(opens: Opens, stage: Stage) -> None:
    """On which side the row of views goes on; and moving to a view draws no line around the page."""
    page = opens(f"{stage.url}/", viewport={"width": 390, "height": 844}).page
    views = page.locator("#views")
    expect(views).to_have_attribute("data-more", "right")
    views.evaluate("one => one.scrollLeft = 9999")
    expect(views).to_have_attribute("data-more", "left")
    page.keyboard.press("2")
    expect(page.locator("main")).to_be_focused()
    expect(page.locator("main")).to_have_css("outline-style", "none")
    page.set_viewport_size({"width": 1440, "height": 900})
    expect(views).to_have_attribute("data-more", "")


def test_a_phone_shows_fewer_requests_at_a_time(opens: Opens, stage: Stage) -> None:
    """Each is a card there; the next ones come when they are asked for."""
    page = opens(f"{stage.url}/", viewport={"width": 390, "height": 844}).page
    with page.expect_request(lambda sent: "/api/requests?" in sent.url) as asked:
        page.keyboard.press("5")
    expect(page.locator("#request-results")).not_to_be_empty()
    assert "limit=20" in asked.value.url


@pytest.mark.parametrize("view", SOMETHING)
def test_a_phone_needs_no_sideways_scroll(opens: Opens, stage: Stage, view: str) -> None:
    """At 390 pixels nothing is wider than the page."""
    page = with_bus(opens, stage, view, viewport={"width": 390, "height": 844})
    expect(page.locator(SOMETHING[view]).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("view", SOMETHING)
def test_all_has_a_name_and_a_role(opens: Opens, stage: Stage, view: str) -> None:
    """Controls have names, tables captions and heads, pictures words; one heading and each landmark once."""
    page = with_bus(opens, stage, view)
    expect(page.locator(SOMETHING[view]).first).to_be_visible()
    assert page.evaluate(UNNAMED) == []
    assert page.evaluate(STRUCTURE) == SOUND


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out(opens: Opens, stage: Stage, theme: str) -> None:
    """Every colour of letters has a contrast of at least 4.5 to its ground (WCAG 2.2, 1.4.3)."""
    page = at(opens, stage, "fleet", color_scheme=theme)
    pairs = [
        (ink, ground) for ink in ("ink", "ink-soft", "accent", "good", "warn", "bad") for ground in ("panel", "ground")
    ]
    pairs += [(tone, f"{tone}-soft") for tone in ("good", "warn", "bad", "busy", "accent")]
    names = [name for pair in pairs for name in pair]
    colours = page.evaluate(COLOURS, names)
    found = {pair: contrast(colours[2 * at], colours[2 * at + 1]) for at, pair in enumerate(pairs)}
    assert {pair: round(value, 2) for pair, value in found.items() if value < 4.5} == {}


def contrast(one: str, other: str) -> float:
    """Of two colours `#rrggbb`, as WCAG counts it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
