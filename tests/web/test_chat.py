"""The page to talk to a model, as a person uses it."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Page, expect

from golek_client import Golek
from tests.support.browser import apart
from tests.support.fronts import Fleet
from tests.support.together import MODEL as COUNCIL
from tests.support.together import announced, council
from tests.web.conftest import KEY, SLOW_KEY, Opens

LEASE = "A lease is a job that a worker has taken but not yet finished, with a deadline."
ENDED = ".turn.assistant:not(.growing)"


def ask(page: Page, text: str) -> None:
    page.fill("#question", text)
    page.press("#question", "Control+Enter")


def setting(page: Page, tab: str = "settings") -> None:
    if page.locator("#side").is_hidden():
        page.click("#open-side")
    page.click(f"#tab-{tab}")


def request(page: Page) -> dict[str, object]:
    """The JSON of the last request, as the page shows it."""
    setting(page, "json")
    found: dict[str, object] = json.loads(page.locator("#json-request").inner_text())
    return found


async def busy(nats: str, model: str) -> int:
    """How many jobs a model's worker runs."""
    async with Golek(nats) as golek:
        return (await golek.health(model)).active


async def free(nats: str, model: str, within_s: float) -> float:
    """Seconds until no job of a model runs."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while await busy(nats, model):
            await asyncio.sleep(0.01)
    return time.monotonic() - began


def test_a_question_is_answered_while_it_is_written(page: Page) -> None:
    """Text grows on the page; below it stand tokens, speed and the time to the first one; the next turn knows it."""
    ask(page, "What is a lease?")
    growing = page.locator(".turn.growing .body")
    expect(growing).to_contain_text("A lease")
    expect(page.locator("#stop")).to_be_visible()
    expect(page.locator(ENDED)).to_contain_text(LEASE)
    facts = page.locator(f"{ENDED} .facts").inner_text()
    assert re.search(r"\d+ tokens\s+[\d,]+ tokens/s\s+first token \d+ ms\s+prompt \d+ tokens", facts), facts
    ask(page, "Thanks")
    expect(page.locator(ENDED)).to_have_count(2)
    assert [turn["role"] for turn in request(page)["messages"]] == ["user", "assistant", "user"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stop_frees_the_slot(page: Page, fleet: Fleet, how: str) -> None:
    """Within a second nothing runs, and what was written stays."""
    page.select_option("#model", "echo")
    ask(page, "word " * 400)
    expect(page.locator(".turn.growing .body")).to_contain_text("word word")
    assert apart(busy(fleet.nats, "echo")) == 1
    if how == "button":
        page.click("#stop")
    else:
        page.keyboard.press("Escape")
    assert apart(free(fleet.nats, "echo", 1.0)) < 1.0
    expect(page.locator(f"{ENDED} .facts")).to_contain_text("stopped")
    expect(page.locator("#send")).to_be_visible()


def test_a_place_in_the_queue_is_told(page: Page, opens: Opens, fleet: Fleet) -> None:
    """Who waits sees where; then the answer comes."""
    page.select_option("#model", "echo")
    ask(page, "word " * 400)
    expect(page.locator(".turn.growing .body")).to_contain_text("word")
    other = opens(f"{fleet.gateway}/").page
    other.locator("#model option").first.wait_for(state="attached")
    other.select_option("#model", "echo")
    ask(other, "me, too")
    expect(other.locator(".queued")).to_contain_text(re.compile("Yours is next|before yours"))
    page.click("#stop")
    expect(other.locator(f"{ENDED} .body")).to_have_text("me, too")


def test_a_tool_goes_there_and_back(page: Page) -> None:
    """The call is shown, its result is typed, and the model goes on with it."""
    setting(page, "tools")
    page.click("#tools-example")
    page.select_option("#tool-choice", "required")
    ask(page, "What is the weather in Paris?")
    card = page.locator(".call")
    expect(card).to_contain_text("get_weather")
    expect(card.locator("pre")).to_contain_text('"city"')
    card.locator("textarea").fill('{"temperature": 21}')
    page.get_by_role("button", name="Send the result").click()
    expect(page.locator(ENDED)).to_have_count(2)
    asked = request(page)
    assert asked["tool_choice"] == "auto"  # it must call once, not for ever
    messages = asked["messages"]
    assert isinstance(messages, list)
    assert [turn["role"] for turn in messages] == ["user", "assistant", "tool"]
    assert messages[2]["tool_call_id"] == messages[1]["tool_calls"][0]["id"]
    assert messages[2]["content"] == '{"temperature": 21}'


def test_settings_are_in_the_request(page: Page) -> None:
    """What is set is sent, what is left empty is not; an answer may come as a whole and follow a schema."""
    setting(page)
    page.fill("#system", "You are brief.")
    page.fill("#temperature", "0")
    page.fill("#max_tokens", "60")
    page.fill("#seed", "7")
    page.fill("#stop-strings", "END\nSTOP")
    page.fill("#schema", '{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}')
    page.uncheck("#streaming")
    ask(page, "Are you well?")
    expect(page.locator(f"{ENDED} .body")).to_contain_text('"ok"')
    asked = request(page)
    assert asked["temperature"] == 0
    assert asked["seed"] == 7
    assert asked["stop"] == ["END", "STOP"]
    assert not {"top_p", "stream", "tools"} & set(asked)
    assert isinstance(json.loads(page.locator("#json-reply").inner_text())["choices"][0]["message"]["content"], str)
    setting(page)
    page.fill("#schema", "{")
    ask(page, "And now?")
    expect(page.locator("#schema-wrong")).to_contain_text("not JSON")
    expect(page.locator(ENDED)).to_have_count(1)


def test_what_a_model_writes_is_never_part_of_the_page(page: Page) -> None:
    """Tags are shown as text; code, lists and bold letters are shown as such."""
    page.select_option("#model", "echo")
    ask(page, "<img src=x onerror=alert(1)> **bold** and `code`\n\n- one\n- two\n\n```js\nlet a = '<b>';\n```")
    body = page.locator(f"{ENDED} .body")
    expect(body).to_contain_text("<img src=x onerror=alert(1)>")
    expect(body.locator("strong")).to_have_text("bold")
    expect(body.locator("li")).to_have_text(["one", "two"])
    expect(body.locator("pre")).to_have_text("let a = '<b>';")
    assert body.locator("img, b").count() == 0


def test_models_are_marked_and_loaded(page: Page, fleet: Fleet) -> None:
    """One out of memory says so and can be brought back; those in memory stand first."""

    async def unload() -> None:
        async with Golek(fleet.nats) as golek:
            await golek.unload("echo")

    apart(unload())
    page.reload()
    expect(page.locator("#model optgroup").last).to_have_attribute("label", "not in memory")
    page.select_option("#model", "echo")
    page.click("#load")
    expect(page.locator("#load")).to_be_hidden()
    expect(page.locator("#model")).to_have_value("echo")
    expect(page.locator("#model optgroup").first).to_have_attribute("label", "ready")
    expect(page.locator("#model optgroup").first.locator("option")).to_have_text(["echo", "golek-tiny"])


def test_an_error_is_a_sentence_and_can_be_tried_again(opens: Opens, fleet: Fleet) -> None:
    """What the fleet refuses is told in words, with a way on."""
    watched = opens(f"{fleet.gateway}/")
    page = watched.page
    page.locator("#model option").first.wait_for(state="attached")
    page.select_option("#model", "golek-tiny")
    setting(page)
    page.fill("#max_tokens", "999999")
    ask(page, "Hello")
    problem = page.locator(".problem")
    expect(problem).to_contain_text("999999")
    page.fill("#max_tokens", "30")
    problem.get_by_role("button", name="Try again").click()
    expect(page.locator(f"{ENDED} .body")).not_to_be_empty()
    expect(problem).to_have_count(0)
    assert all("400" in line for line in watched.complaints)  # Chromium logs each refusal by itself
    watched.complaints.clear()


def test_a_key_is_asked_for_and_kept_in_the_tab(opens: Opens, locked: Fleet) -> None:
    """Without a key the page asks for it; with it all is there; nothing of it is kept beyond the tab."""
    watched = opens(f"{locked.gateway}/")
    page = watched.page
    expect(page.locator("#status")).to_contain_text("A key is needed")
    expect(page.locator("#key")).to_be_focused()
    page.fill("#key", "wrong")
    page.press("#key", "Tab")
    expect(page.locator("#status")).to_contain_text("Nobody knows this key")
    page.fill("#key", KEY)
    page.press("#key", "Tab")
    expect(page.locator("#model")).to_have_value("echo")
    ask(page, "the key is right")
    expect(page.locator(f"{ENDED} .body")).to_have_text("the key is right")
    assert KEY not in page.evaluate("JSON.stringify({...localStorage})") + page.evaluate("document.cookie")
    assert page.evaluate("sessionStorage.getItem('golek.key')") == KEY
    assert all("401" in line for line in watched.complaints)
    watched.complaints.clear()


def test_a_limit_says_when_to_come_again(opens: Opens, locked: Fleet) -> None:
    """The second request of a key for one a minute: a sentence with a time."""
    watched = opens(f"{locked.gateway}/")
    page = watched.page
    page.fill("#key", SLOW_KEY)
    page.press("#key", "Tab")
    expect(page.locator("#model")).to_have_value("echo")
    ask(page, "one")
    expect(page.locator(f"{ENDED} .body")).to_have_text("one")
    ask(page, "two")
    expect(page.locator(".problem")).to_contain_text(
        re.compile(r"limit is reached for now\. Try again in (\d+ (seconds|minutes)|a)")
    )
    assert all("401" in line or "429" in line for line in watched.complaints)
    watched.complaints.clear()


def test_the_fleet_keeps_a_conversation(page: Page) -> None:
    """With a session only the new turn is sent; all of it can be exported and deleted."""
    setting(page)
    page.check("#session")
    ask(page, "What is a lease?")
    expect(page.locator(ENDED)).to_have_count(1)
    ask(page, "Thanks")
    expect(page.locator(ENDED)).to_have_count(2)
    asked = request(page)
    assert asked["messages"] == [{"role": "user", "content": "Thanks"}]
    assert asked["session_id"]
    setting(page)
    with page.expect_download() as waiting:
        page.click("#session-export")
    kept = waiting.value.path().read_text("utf-8")
    assert "What is a lease?" in kept
    assert "Thanks" in kept
    page.click("#session-delete")
    expect(page.locator("#session-said")).to_have_text("Deleted.")
    expect(page.locator(ENDED)).to_have_count(0)


def test_what_the_fleet_keeps_is_shown_after_a_reload(page: Page) -> None:
    """The next question goes on with it: so it is seen."""
    setting(page)
    page.check("#session")
    ask(page, "What is a lease?")
    expect(page.locator(ENDED)).to_contain_text(LEASE)
    page.reload()
    expect(page.locator(".turn.user")).to_have_text(re.compile("What is a lease"))
    expect(page.locator(ENDED)).to_contain_text(LEASE)
    expect(page.locator("#welcome")).to_be_hidden()
    page.click("#new")
    page.reload()
    page.locator("#model option").first.wait_for(state="attached")
    expect(page.locator(".turn")).to_have_count(0)


@pytest.fixture
def together(fleet: Fleet) -> Iterator[str]:
    """The name of several models that answer together: a scripted router, in a thread of its own."""
    ready, over = threading.Event(), threading.Event()

    async def run() -> None:
        async with council(fleet.nats) as router, announced(router):
            ready.set()
            await asyncio.to_thread(over.wait)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, run())
        assert ready.wait(10)
        yield COUNCIL
        over.set()
        running.result(10)


def test_several_models_answer_together(page: Page, together: str) -> None:
    """They stand in the list with what they do; below their answer stands how they came to it. A mode may be chosen."""
    page.reload()
    option = page.locator("#model optgroup[label='several models'] option")
    expect(option).to_have_text([f"{together} (debate of left, right)"])
    page.select_option("#model", together)
    expect(page.locator("#load")).to_be_hidden()
    ask(page, "Two and two?")
    expect(page.locator(f"{ENDED} .body")).to_have_text("four")
    facts = page.locator(f"{ENDED} .facts")
    expect(facts).to_contain_text("debate of left, right")
    expect(facts).to_contain_text("2 rounds")
    expect(facts).to_contain_text("agreement 0.85 (embedding)")
    expect(facts).to_contain_text("in conflict: four or five")
    expect(page.locator(f"{ENDED} .steps")).to_be_hidden()
    assert request(page)["orchestration"] == {"progress": "steps"}
    setting(page)
    page.select_option("#mode", "pipeline")
    page.fill("#partners", "left, right")
    ask(page, "partial")
    expect(page.locator(ENDED)).to_have_count(2)
    expect(facts.last).to_contain_text("partial, after 2 of 3 steps: ENGINE_FAILED")
    asked = request(page)
    assert asked["orchestration_mode"] == "pipeline"
    assert asked["orchestration"] == {"models": ["left", "right"], "progress": "steps"}


def test_steps_are_told_while_they_run(page: Page) -> None:
    """In one line, which is gone once the answer has ended."""
    step = {"req_id": "r", "duty": "critic", "total": 3}
    told = [
        step | {"name": "generate", "model": "left", "round": 1, "number": 1, "state": "ended", "outcome": "answered"},
        step | {"name": "critique", "model": "right", "round": 2, "number": 2, "state": "ended", "outcome": "BAD"},
        step | {"name": "revise", "model": "left", "round": 2, "number": 3, "state": "began"},
    ]
    chunks = [json.dumps({"choices": [], "orchestration_step": one}) for one in told]
    page.evaluate(
        """(chunks) => {
            const rest = window.fetch;
            window.fetch = (path, how) => {
                if (!String(path).includes('chat/completions')) return rest(path, how);
                const body = new ReadableStream({start(control) {
                    const say = (text) => control.enqueue(new TextEncoder().encode(`data: ${text}\n\n`));
                    chunks.forEach(say);
                    window.finish = () => {
                        say('{"choices":[{"index":0,"delta":{"content":"Yes."},"finish_reason":"stop"}]}');
                        say('[DONE]');
                        control.close();
                    };
                }});
                return Promise.resolve(new Response(body, {headers: {'content-type': 'text/event-stream'}}));
            };
        }""",
        chunks,
    )
    ask(page, "Are you sure?")
    steps = page.locator(".turn.growing .steps")
    expect(steps).to_have_text("generate left ✓ · critique 2 right BAD · revise 2 left …")
    page.evaluate("window.finish()")
    expect(page.locator(f"{ENDED} .body")).to_have_text("Yes.")
    expect(page.locator(f"{ENDED} .steps")).to_be_hidden()


@pytest.mark.parametrize("tab", ["schema", "tools"])
def test_broken_json_keeps_the_question(page: Page, tab: str) -> None:
    """Nothing was sent, so that it is still in its box and nowhere else, and the page says why."""
    setting(page, "tools" if tab == "tools" else "settings")
    page.fill(f"#{tab}", "{")
    ask(page, "What is a lease?")
    expect(page.locator("#status.wrong")).to_have_text("Nothing was sent: the JSON in the panel is wrong.")
    expect(page.locator("#question")).to_have_value("What is a lease?")
    expect(page.locator(".turn")).to_have_count(0)
    page.fill(f"#{tab}", "")
    page.press("#question", "Enter")
    expect(page.locator(ENDED)).to_contain_text(LEASE)


def test_thoughts_stand_apart(page: Page) -> None:
    """What a model thinks is not part of its answer."""
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(
            content_type="text/event-stream",
            body='data: {"choices":[{"index":0,"delta":{"reasoning_content":"Let me see."}}]}\n\n'
            'data: {"choices":[{"index":0,"delta":{"content":"Yes."},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
        ),
    )
    ask(page, "Are you there?")
    expect(page.locator(f"{ENDED} .body")).to_have_text("Yes.")
    expect(page.locator(f"{ENDED} .thoughts div")).to_have_text("Let me see.")


def test_the_page_holds_to_its_policy(page: Page, opens: Opens, fleet: Fleet) -> None:
    """A script in the page does not run, and nobody else can be asked."""
    watched = opens(f"{fleet.gateway}/")
    watched.page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'window.bad = 1';
            document.head.append(script);
        }"""
    )
    assert watched.page.evaluate("window.bad") is None
    assert watched.page.evaluate("fetch('http://127.0.0.1:9/').catch((error) => error.name)") == "TypeError"
    assert watched.elsewhere == []
    assert len([line for line in watched.complaints if "Content Security Policy" in line]) >= 2
    watched.complaints.clear()


def test_a_worker_serves_the_same_page(opens: Opens, fleet: Fleet) -> None:
    """At a worker's own address its own model can be asked, and no other."""
    page = opens(f"{fleet.worker}/").page
    expect(page.locator("#model option")).to_have_text(["golek-tiny"])
    ask(page, "What is a lease?")
    expect(page.locator(ENDED)).to_contain_text(LEASE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(opens: Opens, fleet: Fleet, scheme: str) -> None:
    """At 390 pixels nothing is cut off sideways, with the panel open or closed."""
    page = opens(f"{fleet.gateway}/", viewport={"width": 390, "height": 780}, color_scheme=scheme).page
    page.locator("#model option").first.wait_for(state="attached")
    ask(page, "What is a lease?")
    expect(page.locator(ENDED)).to_have_count(1)
    for step in ("#new", "#open-side", "#tab-tools", "#tab-json", "#close-side"):
        page.click(step)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, step
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    expect(page.locator("header a[href=docs]")).to_be_visible()


def test_every_control_has_a_name(page: Page) -> None:
    """A screen reader has something to say of each."""
    for tab in ("settings", "tools", "json"):
        setting(page, tab)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, input, select, textarea, a')]
                .filter((one) => one.offsetParent)
                .filter((one) => !(one.labels?.length || one.textContent.trim() || one.getAttribute('aria-label')))
                .map((one) => one.outerHTML)"""
        )
        assert nameless == []
