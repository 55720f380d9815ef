"""How the monitor's terminal says figures, which columns have room, and what orders are said to do."""

import msgspec
import pytest

from golek_monitor.tui import models, orders, plot, words
from golek_monitor.tui.columns import Column, arranged, fit
from golek_monitor.tui.messages import Wanted
from golek_monitor.tui.opening import needs_ascii, unfit
from golek_wire.signals import Residence
from tests.support.fleets import picture


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "-"), (0, "0"), (9_999, "9999"), (10_000, "10.0k"), (123_456, "123k"), (4_500_000, "4.5M"), (2e9, "2.0G")],
)
def test_a_count_has_six_characters_at_most(value: int | None, said: str) -> None:
    """Whatever its size."""
    assert words.count(value) == said
    assert len(words.count(value)) <= 6


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "-"), (0.0, "0.0"), (0.123, "0.12"), (12.34, "12.3"), (345.6, "346"), (44e3, "44.0k")],
)
def test_a_rate_has_as_many_places_as_say_something(value: float | None, said: str) -> None:
    """Two below ten, none above a hundred."""
    assert words.rate(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (0.2, "0ms"),
        (999.4, "999ms"),
        (999.6, "1.00s"),
        (9_994, "9.99s"),
        (12_345, "12.3s"),
        (150_000, "2m"),
    ],
)
def test_a_time_is_said_in_the_unit_that_fits(value: float | None, said: str) -> None:
    """Milliseconds below a second, then seconds, then minutes."""
    assert words.millis(value) == said


@pytest.mark.parametrize(
    ("value", "said"), [(None, "-"), (0.4, "now"), (1.0, "1s"), (89, "89s"), (90, "2m"), (3_600, "1h"), (200_000, "2d")]
)
def test_an_age_has_four_characters_at_most(value: float | None, said: str) -> None:
    """For a column that is narrow."""
    assert words.age(value) == said
    assert len(said) <= 4


def test_a_bar_shows_the_least_and_never_more_than_all() -> None:
    """A share above nothing is seen; one above one is full."""
    assert words.bar(0.0, 4)[0].text == ""
    assert words.bar(0.01, 4)[0].text == "█"
    assert words.bar(1.7, 4)[0].text == "████"
    assert words.bar(None, 4)[0].text == "-"


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0, "", "0"), (0.5, "", "0.50"), (1.0, "", "1"), (7.25, "", "7.25"), (12.4, "", "12"), (0.25, "/s", "0.25"),
        (0.4, "ms", "0.4ms"), (0.0, "ms", "0ms"), (7.9, "ms", "7.9ms"), (42.4, "ms", "42ms"),
    ],
)  # fmt: skip
def test_small_figures_of_an_axis_differ(value: float, unit: str, said: str) -> None:
    """Below one, too: halves of them are not all 0."""
    assert plot.shown(value, unit) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1.0, ["-1s", "now"]), (4.1, ["-4s", "-3s", "-2s", "-1s", "now"]), (4.8, ["-5s", "-4s", "-2s", "-1s", "now"]),
        (300.0, ["-5m", "-4m", "-3m", "-2m", "-60s", "now"]),
    ],
)  # fmt: skip
def test_marks_of_time_differ(seconds: float, said: list[str]) -> None:
    """From the first seconds on."""
    assert [plot.ago(1000.0 + seconds - at) for at in plot.moments(1000.0, 1000.0 + seconds)] == said


def test_a_model_without_http_of_its_own_has_the_gateways() -> None:
    """Those that are ready, as long as it takes requests; its workers' own addresses come first."""
    seen = picture(1)
    (service,) = seen.services()
    without = msgspec.structs.replace(service, endpoints=[])
    http = "http://127.0.0.1:8000"
    assert dict(models.told(service, [http]))["HTTP"] == service.endpoints[0]
    assert dict(models.told(without, [http]))["HTTP"] == f"{http}, by the gateway"
    assert "no gateway" in dict(models.told(without))["HTTP"]
    assert "none" in dict(models.told(msgspec.structs.replace(without, in_rotation=False), [http]))["HTTP"]


def test_text_for_a_plain_terminal_is_as_wide_as_it_was() -> None:
    """Each character has one in its place; those that nobody thought of become question marks."""
    text = "● online ░░█ ▲ ✕ … ⣿ é"
    assert words.plainest(text).isascii()
    assert len(words.plainest(text)) == len(text)


def column(key: str, width: int, rank: int, most: int = 0) -> Column[dict[str, int]]:
    """A column of rows that are dicts."""
    return Column(
        key=key, title=key, width=width, most=most, rank=rank, cell=lambda row: words.said(str(row.get(key))),
        order=lambda row: row.get(key),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("width", "shown"),
    [(100, {"a": 20, "b": 5, "c": 5}), (22, {"a": 10, "b": 5, "c": 5}), (21, {"a": 15, "b": 5}), (8, {"a": 8})],
)
def test_columns_give_way_by_rank_and_room_goes_to_those_that_want_it(width: int, shown: dict[str, int]) -> None:
    """The most important one stays, cut if it must be."""
    found = fit([column("a", 10, 0, most=20), column("b", 5, 1), column("c", 5, 2)], width)
    assert {one.key: size for one, size in found} == shown


def test_rows_without_a_value_come_last_either_way() -> None:
    """An unknown figure is no smallest one, and equal rows stay as they were."""
    rows = [{"a": 2}, {"b": 1}, {"a": 1, "b": 7}, {"a": 1, "b": 8}]
    by_a = column("a", 5, 0)
    assert arranged(rows, by_a, falling=False) == [{"a": 1, "b": 7}, {"a": 1, "b": 8}, {"a": 2}, {"b": 1}]
    assert arranged(rows, by_a, falling=True)[-1] == {"b": 1}


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "en_US.utf8", "TERM": "xterm"}, False),
        ({}, False),
        ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, True),
        ({"LANG": "C.UTF-8", "TERM": "linux"}, True),
    ],
)
def test_what_a_terminal_can_show_is_told_by_its_locale(said: dict[str, str], plain: bool) -> None:
    """LC_ALL wins over LANG; a console's font has few characters whatever they say."""
    assert needs_ascii(said) is plain


def test_where_no_screen_can_be_drawn_the_other_command_is_named() -> None:
    """A pipe and a dumb terminal."""
    assert "golek monitor status" in unfit({"TERM": "xterm"}, terminal=False)
    assert "TERM=dumb" in unfit({"TERM": "dumb"}, terminal=True)
    assert unfit({"TERM": "xterm"}, terminal=True) == ""


def test_every_order_says_what_it_does() -> None:
    """With the jobs that it concerns."""
    for verb in orders.TITLES:
        wanted = Wanted(verb, model="m", worker_id="w-1", job_id="j", active=1)
        assert orders.TITLES[verb] in orders.title(wanted)
        assert orders.consequence(wanted).endswith(".")
    assert "the 1 job that runs" in orders.consequence(Wanted("drain", model="m", worker_id="w-1", active=1))


def test_an_outcome_says_where_it_was_not_as_asked() -> None:
    """One replica's problem makes the whole a failure; so does silence."""
    fine, kept = Residence("m", "w-1", "unloaded", 2.0), Residence("m", "w-2", "online", 9.0, problem="others wait")
    assert orders.outcome([fine]) == ("w-1: unloaded after 2s", False)
    assert orders.outcome([fine, kept]) == ("w-1: unloaded after 2s; w-2: others wait after 9s", True)
    assert orders.outcome([])[1]
