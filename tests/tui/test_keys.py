"""What people do in the monitor's terminal, and what comes of it: keys, mouse, filter, orders, sizes."""

import asyncio
import random
from collections.abc import Mapping

import msgspec
import pytest
from textual.widgets import Input, Static, TabbedContent

from golek_monitor.records import ReplicaRow
from golek_monitor.tui import words
from golek_monitor.tui.app import Monitor
from golek_monitor.tui.fleet import Fleet
from golek_monitor.tui.letters import Letter
from golek_monitor.tui.messages import Look
from golek_monitor.tui.told import Told
from golek_monitor.tui.waiting import Waiting
from golek_monitor.tui.worker import Worker
from golek_wire.signals import Aggregate, LoadReport, Residence
from tests.support import desks, fleets, screens
from tests.support.desks import SampleDesk


class SlowDesk(SampleDesk):
    """Tells of settings when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on.clear()
        self.asked = asyncio.Event()

    async def settings(self, row: ReplicaRow) -> Mapping[str, str]:
        self.asked.set()
        await self.go_on.wait()
        return await super().settings(row)


def shown(app: Monitor) -> list[str]:
    """The workers of the table, as they stand."""
    return [row.worker_id for row in app.query_one(Fleet).table.rows]


async def test_a_column_is_sorted_by_its_key_and_turned_round() -> None:
    """`s` goes to the next column that is seen, `S` back, `r` turns the order; the title shows which way."""
    async with screens.monitor(5) as (app, pilot):
        table = app.query_one(Fleet).table
        await pilot.press("s")
        assert table.sorted_by is not None
        assert (table.sorted_by.key, table.falling) == ("slots", True)
        assert "Active↓" in screens.text(app)
        busiest = shown(app)
        await pilot.press("r")
        assert "Active↑" in screens.text(app)
        by_use = [row.active / row.slots for row in table.rows]
        assert by_use == sorted(by_use)
        assert busiest != shown(app)
        await pilot.press("S")
        assert table.sorted_by.key == "status"


async def test_a_click_on_a_title_sorts_and_a_second_one_turns() -> None:
    """As in a file manager; the first click puts figures with the largest on top."""
    async with screens.monitor(5) as (app, pilot):
        table = app.query_one(Fleet).table
        column = screens.text(app).splitlines()[4].index("Tok/s")
        await pilot.click(table, offset=(column, 0))
        falling = [row.tokens_per_s for row in table.rows]
        assert falling == sorted(falling, reverse=True)
        await pilot.click(table, offset=(column, 0))
        assert [row.tokens_per_s for row in table.rows] == sorted(falling)


async def test_the_chosen_worker_stays_chosen_when_rows_move() -> None:
    """Whoever watches a worker does not lose it to a sort or to one that joins above it."""
    time = fleets.Time()
    picture = fleets.picture(5, time)
    async with screens.monitor(picture) as (app, pilot):
        await pilot.press("down", "down")
        table = app.query_one(Fleet).table
        assert table.chosen is not None
        chosen = table.chosen.worker_id
        await pilot.press("s", "s", "s", "r")
        assert table.chosen.worker_id == chosen
        fleets.say(picture, 5, random.Random(1), time)
        app.post_message(Look())
        await pilot.pause()
        assert len(table.rows) == 6
        assert table.chosen.worker_id == chosen


async def test_a_filter_works_while_it_is_typed_and_ends_with_escape() -> None:
    """All its words must stand somewhere in what is said of a worker."""
    async with screens.monitor(200) as (app, pilot):
        await pilot.press("slash", *"tiny stall")
        rows = app.query_one(Fleet).table.rows
        assert rows
        assert all(row.model_name == "golek-tiny" and row.status == "stalled" for row in rows)
        await pilot.press("enter")
        assert f"{len(rows)} of 200 workers" in screens.text(app)
        await pilot.press("escape")
        assert len(shown(app)) == 200
        assert app.query_one("#filter", Input).value == ""


async def test_a_filter_that_fits_nobody_says_so() -> None:
    """An empty table is never left unexplained."""
    async with screens.monitor(5) as (app, pilot):
        await pilot.press("slash", *"nobody")
        assert "No worker matches the filter" in screens.text(app)


async def test_tabs_are_reached_by_number_and_by_mouse() -> None:
    """Each view has a digit, which stands in its tab."""
    async with screens.monitor(5) as (app, pilot):
        for digit, name in enumerate(("fleet", "charts", "models", "queue", "letters", "events"), 1):
            await pilot.press(str(digit))
            assert app.query_one(TabbedContent).active == name
        line = screens.text(app).splitlines()[2]
        await pilot.click(offset=(line.index("Models"), 2))
        assert app.query_one(TabbedContent).active == "models"


async def test_enter_shows_a_worker_and_escape_leads_back() -> None:
    """Its page has what the table left out."""
    async with screens.monitor(5) as (app, pilot):
        await pilot.press("down", "enter")
        assert isinstance(app.screen, Worker)
        text = screens.text(app)
        assert "golek-tiny-host1-1" in text
        assert "llamacpp on cpu" in text
        await pilot.press("escape")
        assert not isinstance(app.screen, Worker)


async def test_a_page_may_be_left_before_it_is_told_all() -> None:
    """What a worker says of itself may take a while; who goes back meanwhile is not bothered by it."""
    desk = SlowDesk()
    async with screens.monitor(5, desk=desk) as (app, pilot):
        await pilot.press("enter")
        await asyncio.wait_for(desk.asked.wait(), 10)
        await pilot.press("escape")
        desk.go_on.set()
        await pilot.press("down", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "MAX_CONCURRENT=4" in screens.text(app)


@pytest.mark.parametrize("key", ["enter", "question_mark", "ctrl+p"])
async def test_a_key_that_is_pressed_twice_closes_once(key: str) -> None:
    """What it was for is gone by then; nothing below it goes with it."""
    async with screens.monitor(5) as (app, pilot):
        await pilot.press(key)
        screen = app.screen
        screen.dismiss()
        screen.dismiss()
        await pilot.pause()
        assert (screen is app.screen, len(app.screen_stack)) == (False, 1)


async def test_a_yes_twice_is_one_order() -> None:
    """Also where keys come faster than questions go."""
    desk = SampleDesk()
    async with screens.monitor(5, desk=desk) as (app, pilot):
        await pilot.press("d")
        question = app.screen
        question.dismiss(True)
        question.dismiss(True)
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert len(desk.given) == 1


async def test_pages_of_a_palette_without_commands_are_none() -> None:
    """A page further where nothing was found, or nothing is drawn yet."""
    async with screens.monitor(1) as (app, pilot):
        await pilot.press("ctrl+p", *"zzzz", "pagedown", "pageup", "escape")
        assert len(app.screen_stack) == 1


async def test_an_order_is_given_after_a_yes_alone() -> None:
    """The question says what will happen to which worker; Enter, n and Escape mean no."""
    desk = SampleDesk()
    async with screens.monitor(5, desk=desk) as (app, pilot):
        for no in ("enter", "n", "escape"):
            await pilot.press("d")
            text = screens.text(app)
            assert "Drain gemma3-270m-host1-1" in text
            assert "finishes the 4 jobs that run and ends" in " ".join(text.replace("│", " ").split())
            await pilot.press(no)
        assert desk.given == []
        await pilot.press("d", "y")
        await app.workers.wait_for_complete()
        await pilot.pause()
        (given,) = desk.given
        assert (given.verb, given.worker_id) == ("drain", "gemma3-270m-host1-1")
        assert "✓ gemma3-270m-host1-1: done" in screens.text(app)


async def test_what_an_order_does_is_seen_while_it_is_done() -> None:
    """Progress stands above the keys until the outcome replaces it, on a worker's own page, too."""
    desk = SampleDesk()
    desk.go_on.clear()
    async with screens.monitor(5, desk=desk) as (app, pilot):
        await pilot.press("enter", "d", "y")
        await pilot.pause()
        assert "draining, 2 running after 3s" in screens.text(app)
        desk.go_on.set()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "✓ gemma3-270m-host1-1: done" in screens.text(app)


async def test_how_an_order_ended_is_not_said_for_ever() -> None:
    """It goes when another view is looked at; one that is still carried out stays."""
    desk = SampleDesk()
    desk.go_on.clear()
    async with screens.monitor(5, desk=desk) as (app, pilot):
        await pilot.press("d", "y")
        await pilot.pause()
        await pilot.press("2")
        await pilot.pause()
        assert "draining, 2 running after 3s" in screens.text(app)
        desk.go_on.set()
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert ": done" in screens.text(app)
        await pilot.press("3")
        await pilot.pause()
        assert ": done" not in screens.text(app)


async def test_the_queue_of_the_busiest_model_is_shown_first() -> None:
    """And stays, whichever has more to do later."""
    seen = fleets.picture(5)
    report = LoadReport(
        model_name="qwen3-4b", pending_messages=9, active_processing=2, timestamp="", worker_count=4,
        queue_capacity=2000, status="warning", worker_id="qwen3-4b-host1-1", seq=9,
    )  # fmt: skip
    seen.report(report)
    async with screens.monitor(seen) as (app, pilot):
        await pilot.press("4")
        await pilot.pause()
        assert app.query_one(Waiting).model == "qwen3-4b"
        seen.report(msgspec.structs.replace(report, pending_messages=0, active_processing=0, seq=10))
        seen.tick()
        app.post_message(Look())
        await pilot.pause()
        assert app.query_one(Waiting).model == "qwen3-4b"


async def test_that_nothing_fires_is_said() -> None:
    """Where alerts would stand."""
    async with screens.monitor(1) as (app, pilot):
        await pilot.press("6")
        await pilot.pause()
        assert "No alert fires, and none did lately." in screens.text(app)


async def test_the_mark_of_an_order_is_no_alarm_in_ascii() -> None:
    """A column that is sorted has an arrow."""
    async with screens.monitor(1, ascii_only=True) as (app, _):
        assert "Status^" in words.plainest(screens.text(app))


async def test_an_order_that_fails_says_why() -> None:
    """With the error's own text."""
    async with screens.monitor(5, desk=SampleDesk(away=True)) as (app, pilot):
        await pilot.press("u", "y")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "✕ unload was not done: no connection to nats://127.0.0.1:4222" in screens.text(app)
        assert app.query_one(Told).has_class("bad")


async def test_a_dead_letter_is_read_and_its_request_stays_hidden() -> None:
    """Unless MONITOR_SHOW_PROMPTS says that people may see what was asked."""
    for allowed in (False, True):
        async with screens.monitor(5, screens.LARGE, show_prompts=allowed) as (app, pilot):
            await pilot.press("5")
            await app.workers.wait_for_complete()
            await pilot.press("enter")
            assert isinstance(app.screen, Letter)
            text = screens.text(app)
            assert "GGML_ASSERT" in text
            assert ("secret" in text) is allowed


async def test_a_dead_letter_is_dropped_after_a_question() -> None:
    """The question says that nobody can retry it then."""
    desk = SampleDesk()
    async with screens.monitor(5, desk=desk) as (app, pilot):
        await pilot.press("5")
        await app.workers.wait_for_complete()
        await pilot.press("x")
        assert "Nobody can retry it then" in screens.text(app)
        await pilot.press("y")
        await app.workers.wait_for_complete()
        assert [(one.verb, one.job_id) for one in desk.given] == [("drop", desks.dead_id(2))]


async def test_a_waiting_job_is_cancelled_after_a_question() -> None:
    """From the queue of its model."""
    desk = SampleDesk()
    async with screens.monitor(5, desk=desk) as (app, pilot):
        await pilot.press("w")
        await pilot.pause()
        await app.workers.wait_for_complete()
        await pilot.press("end", "c", "y")
        await app.workers.wait_for_complete()
        assert [(one.verb, one.job_id) for one in desk.given] == [("cancel", desks.job_id(5))]


async def test_what_cannot_be_read_is_said_where_it_would_stand() -> None:
    """Neither view dies of a bus that is away."""
    async with screens.monitor(5, desk=SampleDesk(away=True)) as (app, pilot):
        await pilot.press("5")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "could not be read: no connection" in screens.text(app)
        await pilot.press("4")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "could not be read: no connection" in screens.text(app)


async def test_a_flood_of_looks_is_one_look() -> None:
    """A terminal that is slow to draw is behind by one look, not by all that came meanwhile."""
    async with screens.monitor(200) as (app, pilot):
        looks = 0
        overview = app.picture.overview

        def counted() -> Aggregate:
            nonlocal looks
            looks += 1
            return overview()

        app.picture.overview = counted  # type: ignore[method-assign]
        for _ in range(1000):
            app.post_message(Look())
        await pilot.pause()
        assert 1 <= looks <= 3


async def test_stale_figures_say_that_they_are() -> None:
    """While the bus is away the first line says so and for how long; once it is back everything is as before."""
    time = fleets.Time()
    picture = fleets.picture(5, time)
    async with screens.monitor(picture, clock=time.clock, problem=lambda: "connection refused") as (app, pilot):
        picture.connected = False
        app.post_message(Look())
        await pilot.pause()
        time.passed += 12
        app.post_message(Look())
        await pilot.pause()
        assert "✕ NO BUS for 12s: figures are of before, trying again" in screens.text(app)
        assert app.screen.has_class("stale")
        picture.connected = True
        app.post_message(Look())
        await pilot.pause()
        assert "NO BUS" not in screens.text(app)
        assert not app.screen.has_class("stale")


@pytest.mark.parametrize("tab", "123456")
async def test_every_size_from_the_least_up_shows_whole_lines(tab: str) -> None:
    """No view breaks when the terminal is resized; below 80 by 24 there is a sentence, and it comes back."""
    async with screens.monitor(200) as (app, pilot):
        await pilot.press(tab)
        for width, height in ((80, 24), (100, 30), (133, 43), (250, 70), (81, 24)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            lines = screens.text(app).splitlines()
            assert len(lines) == height
            assert "q Quit" in lines[-1]
        await pilot.resize_terminal(60, 15)
        await pilot.pause()
        assert "needs 80 by 24" in " ".join(screens.text(app).split())
        assert "q Quit" not in screens.text(app)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert "q Quit" in screens.text(app)


async def test_help_teaches_and_closes() -> None:
    """`?` and F1 open it."""
    for key in ("question_mark", "f1"):
        async with screens.monitor(1, screens.LARGE) as (app, pilot):
            await pilot.press(key)
            await pilot.pause()
            assert "In every table" in screens.text(app)
            await pilot.press("escape")
            assert "In every table" not in screens.text(app)


async def test_the_palette_finds_commands_by_name() -> None:
    """Whoever knows no key writes what they want."""
    async with screens.monitor(5, screens.LARGE) as (app, pilot):
        await pilot.press("ctrl+p", *"models")
        await pilot.pause(0.3)
        await pilot.press("down", "enter")
        await pilot.pause()
        assert app.query_one(TabbedContent).active == "models"


async def test_by_day_it_is_light() -> None:
    """`t` turns it, and back."""
    async with screens.monitor(5) as (app, pilot):
        await pilot.press("t")
        assert app.theme == "light"
        await pilot.press("t")
        assert app.theme == "dark"


@pytest.mark.parametrize("tab", "123456")
async def test_a_plain_terminal_gets_plain_characters(tab: str) -> None:
    """Where the locale has no UTF-8 everything is ASCII, and no line is shorter or longer for it."""
    async with screens.monitor(5, ascii_only=True) as (app, pilot):
        await pilot.press(tab)
        await pilot.pause()
        drawn = "".join(segment.text for strip in app.screen._compositor.render_strips() for segment in strip)
        assert drawn.isascii()
        assert len(drawn) == 80 * 24


async def test_what_workers_say_cannot_steer_the_terminal() -> None:
    """Names and problems come from the bus: control characters and markup stay text."""
    time = fleets.Time()
    picture = fleets.picture(1, time)
    said = Residence("m", "evil\x1b[2J[red]x", "failed", 1.0, problem="\x07bell [bold]no[/]")
    async with screens.monitor(picture) as (app, pilot):
        app.query_one(Told).tell(f"{said.worker_id}: {said.problem}", failed=True)
        await pilot.pause()
        text = screens.text(app)
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "[red]x" in text
        assert "[bold]no[/]" in text


async def test_a_thousand_workers_are_shown_within_a_frame() -> None:
    """The work of a frame is that of the lines that are seen; the figure itself is bench/monitor.py's."""
    async with screens.monitor(1000, screens.LARGE) as (app, pilot):
        frames = []
        for _ in range(5):
            app.post_message(Look())
            await pilot.pause()
            frames.append(app.frame_ms)
        assert min(frames) < 100
        assert len(shown(app)) == 1000
        assert app.query_one("#fleet-note", Static)
