"""The questions about the images of one request, come together in one run."""

from typing import Any, cast

from golek_wire.errors import BadRequestError
from golek_wire.requests import Params
from golek_worker.engine.base import Finished, Refused, Stopped, Submit
from golek_worker.engine.host import EngineDied, EngineHost, Run
from golek_worker.labelling import AT_ONCE, Labelled, LabelRun


class Host:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.cancelled: list[str] = []

    def submit(self, command: Submit, run: Run) -> Run:
        self.runs[command.job_id] = run
        return run

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def end(self, number: int) -> None:
        self.runs[f"j#{number}"].put(Finished(f"j#{number}", "cat", "stop", 5, 2))


class Asked:
    """A run of `count` questions, of which the one numbered `broken` cannot be put."""

    def __init__(self, count: int, broken: int | None = None) -> None:
        self.host, self.made, self.over = Host(), list[int](), 0
        self._broken = broken
        places = [f"images[{number // 5}]" for number in range(count)]
        self.run = LabelRun("j", places, self._submission, cast("EngineHost", self.host), self._ended)
        self.run.begin()

    def _submission(self, number: int) -> Submit | None:
        self.made.append(number)
        if number == self._broken:
            raise BadRequestError("no")
        return Submit(f"j#{number}", "p", Params(), 0)

    def _ended(self) -> None:
        self.over += 1

    async def end(self) -> Any:
        return await self.run.next(until=0.0)


async def test_a_question_is_made_when_its_turn_comes() -> None:
    """The first alone, then so many at once: each may hold an image of its own. The answer has all, in their order."""
    asked = Asked(10)
    assert asked.made == [0]
    asked.host.end(0)
    assert asked.made == list(range(1 + AT_ONCE))
    for number in (4, 3, 2, 1, 5, 7, 6, 9):
        assert await asked.end() is None
        asked.host.end(number)
    asked.host.end(8)
    end = await asked.end()
    assert isinstance(end, Labelled)
    assert [one.job_id for one in end.ends] == [f"j#{number}" for number in range(10)]
    assert (end.tokens_in, end.tokens_out, asked.over) == (50, 20, 1)


async def test_what_cannot_be_asked_ends_all() -> None:
    """Also when others run already; what they say then is nobody's."""
    asked = Asked(10, broken=3)
    asked.host.end(0)
    end = await asked.end()
    assert isinstance(end, Refused)
    assert (end.job_id, end.message, end.details["param"]) == ("j", "images[0]: no", "images[0]")
    assert asked.host.cancelled == ["j#1", "j#2"]
    asked.host.end(1)
    assert await asked.end() is None
    assert (asked.made, asked.over) == ([0, 1, 2, 3], 1)
    at_once = Asked(10, broken=0)
    assert isinstance(await at_once.end(), Refused)


async def test_what_an_engine_refuses_names_the_image() -> None:
    """As the caller counts them."""
    asked = Asked(10)
    for number in range(7):
        asked.host.end(number)
    asked.host.runs["j#7"].put(Refused("j#7", "BAD_REQUEST", "Image 1 of 1: cut off", {"size": 60}))
    assert await asked.end() == Refused(
        "j", "BAD_REQUEST", "images[1]: Image 1 of 1: cut off", {"size": 60, "param": "images[1]"}
    )


async def test_an_engine_that_dies_ends_all() -> None:
    """Once, for the job to be run again."""
    asked = Asked(3)
    asked.host.end(0)
    asked.host.runs["j#1"].put(EngineDied(ran=True))
    assert await asked.end() == EngineDied(ran=True)
    asked.host.runs["j#2"].put(EngineDied(ran=True))
    assert (await asked.end(), asked.over) == (None, 1)


async def test_a_cancel_ends_what_runs_and_asks_nothing_more() -> None:
    """One end, when all have ended, with what was read and written for it."""
    asked = Asked(10)
    asked.host.end(0)
    asked.run.stop()
    assert asked.host.cancelled == [f"j#{number}" for number in (1, 2, 3, 4)]
    for number in (1, 2, 3):
        asked.host.runs[f"j#{number}"].put(Stopped(f"j#{number}", 5, 1))
        assert await asked.end() is None
    asked.host.end(4)
    end = await asked.end()
    assert end == Stopped("j", 25, 7)
    assert asked.made == [0, 1, 2, 3, 4]
