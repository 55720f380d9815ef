"""What turns engines whose runtime is asyncio's: frames, their order, and how a child ends; a toy in a real child."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from golek_wire.requests import Params
from golek_worker.engine.asynchronous import BUFFER_LIMIT
from golek_worker.engine.base import (
    STATUS_BUG,
    STATUS_ENGINE_DIED,
    STATUS_LOAD_FAILED,
    AdapterChanged,
    Cancel,
    EngineConfig,
    Exit,
    LoadAdapter,
    LoadFailed,
    Phase,
    Ready,
    Refused,
    Step,
    Stopped,
    Submit,
    Tokens,
    UnloadAdapter,
)
from tests.engine.driver import PATIENCE_S, Child, running
from tests.engines.toy import FLOOD

MODULE = "tests.engines.toy"
SOCKET_BYTES = 1024 * 1024
"""What the kernel holds of a socketpair, and more."""


def config(note: Path = Path(), ctx_size: int = 100) -> EngineConfig:
    return EngineConfig("echo", str(note), 2, ctx_size, 0)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    with running(config(tmp_path / "note"), MODULE) as child:
        yield child


def asked(job_id: str, prompt: str) -> Submit:
    return Submit(job_id, prompt, Params(), 1, stream=True)


def texts(child: Child, job_id: str) -> str:
    return "".join(text for _, text in child.streamed(job_id))


def until_said(child: Child, text: str) -> None:
    """Wait until the child wrote `text` to stderr."""
    deadline = time.monotonic() + PATIENCE_S
    while text not in child.stderr():
        assert time.monotonic() < deadline, child.stderr()
        time.sleep(0.01)


def test_loading_is_told_before_it_is_ready(child: Child) -> None:
    """Its progress, then what it is; nothing else comes first."""
    first = [event for event in child.events if not isinstance(event, Step)]
    assert [type(event) for event in first] == [Phase, Phase, Ready]


def test_texts_come_in_order_and_before_their_end(child: Child) -> None:
    """Of several sequences, each its own; nothing comes after an end, and steps are counted up."""
    jobs = {f"j{n}": 50 + n for n in range(8)}
    child.send(*(asked(job, f"count {count}") for job, count in jobs.items()))
    child.until_ended(*jobs)
    for job, count in jobs.items():
        assert texts(child, job) == "".join(f"{n} " for n in range(count))
        assert child.finished(job).tokens_out == count
        end = child.events.index(child.end_of(job))
        assert [e for e in child.events[end:] if isinstance(e, Tokens) and job in dict(e.deltas)] == []
    numbers = [event.n for event in child.events if isinstance(event, Tokens)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_what_is_written_in_one_turn_shares_a_frame(child: Child) -> None:
    """Sequences that write side by side cost a frame for all of them, not one each."""
    child.send(*(asked(f"j{n}", "count 100") for n in range(8)))
    child.until_ended(*(f"j{n}" for n in range(8)))
    frames = [event for event in child.events if isinstance(event, Tokens)]
    assert len(frames) < 200
    assert sum(len(event.deltas) for event in frames) == 800


def test_a_cancelled_sequence_is_closed_and_stopped(child: Child) -> None:
    """With the tokens that it wrote; a second cancel, and one of an unknown sequence, are nothing."""
    child.send(asked("a", "wait"))
    child.until_a(Tokens)
    child.send(Cancel("a"), Cancel("a"), Cancel("nobody"))
    child.until_ended("a")
    assert child.end_of("a") == Stopped("a", 0, 1)
    until_said(child, "closed: a")
    child.send(asked("b", "count 1"))
    child.until_ended("b")
    assert len(child.ends()) == 2


def test_a_sequence_that_is_cancelled_before_it_began_never_begins(child: Child) -> None:
    """It ends all the same."""
    child.send(asked("a", "wait"), Cancel("a"))
    child.until_ended("a")
    assert child.end_of("a") == Stopped("a", 0, 0)
    step = child.until(lambda event: isinstance(event, Step))
    assert isinstance(step, Step)
    assert step.gauges is not None
    assert (step.gauges.running, step.running) == (0, 0)


def test_a_refusal_ends_its_own_sequence(child: Child) -> None:
    """With its code and details; others go on."""
    child.send(asked("a", "wait"), asked("b", "refuse"), asked("c", "count 3"))
    child.until_ended("b", "c")
    assert child.end_of("b") == Refused("b", "BAD_REQUEST", "params.what: no", {"param": "params.what"})
    assert [end.job_id for end in child.ends() if end.job_id == "a"] == []


def test_an_adapter_that_it_does_not_take_is_answered(child: Child) -> None:
    """Beside what runs."""
    child.send(asked("a", "wait"), LoadAdapter("x", "x.gguf"))
    assert child.until_a(AdapterChanged) == AdapterChanged("x", [], "a toy takes no adapters")


def test_adapters_change_in_the_order_of_their_commands(child: Child) -> None:
    """Answers come in it, and a sequence that names an adapter begins behind them, as after a restart."""
    with_it = msgspec.structs.replace(asked("a", "count 1"), adapter="slow")
    child.send(LoadAdapter("slow", "x"), UnloadAdapter("nobody"), with_it, asked("b", "count 1"))
    child.until_ended("a", "b")
    assert [event.name for event in child.events if isinstance(event, AdapterChanged)] == ["slow", "nobody"]
    assert (child.finished("a").text, child.finished("b").text) == ("slow", "")


def test_a_sequence_that_waits_for_an_adapter_can_be_cancelled(child: Child) -> None:
    """It never begins."""
    child.send(LoadAdapter("slow", "x"), msgspec.structs.replace(asked("a", "wait"), adapter="slow"), Cancel("a"))
    child.until_ended("a")
    assert child.end_of("a") == Stopped("a", 0, 0)
    child.until_a(AdapterChanged)


def test_the_child_ends_when_its_runtime_goes_as_an_adapter_is_loaded(child: Child) -> None:
    """As with any other end of it."""
    child.send(LoadAdapter("dead", "x"))
    assert child.wait() == STATUS_ENGINE_DIED


@pytest.mark.parametrize("prompt", ["bug", "endless 3"])
def test_a_bug_ends_the_child(child: Child, prompt: str) -> None:
    """An exception, and a sequence that comes to no end: somebody waits for it. The reason stands on stderr."""
    child.send(asked("a", "wait"), asked("b", prompt))
    assert child.wait() == STATUS_BUG
    assert "Traceback" in child.stderr()


def test_a_bug_beside_the_sequences_ends_the_child(child: Child) -> None:
    """Who asked for an adapter would wait for ever."""
    child.send(LoadAdapter("bug", "x.gguf"))
    assert child.wait() == STATUS_BUG
    assert "ZeroDivisionError" in child.stderr()


@pytest.mark.parametrize(("prompt", "why"), [("dead", "its runtime is gone"), ("unwell", "its watch heard nothing")])
def test_the_child_ends_when_its_runtime_is_gone(child: Child, prompt: str, why: str) -> None:
    """Whoever notices first, a sequence or the watch; with a status of its own, and the reason on stderr."""
    child.send(asked("a", "wait"), asked("b", prompt))
    assert child.wait() == STATUS_ENGINE_DIED
    assert f"the engine died: {why}" in child.stderr()


def test_a_parent_that_reads_slowly_holds_the_engine_back(child: Child, tmp_path: Path) -> None:
    """Little more than the buffer is written ahead; nothing of the text is lost, and commands are still obeyed."""
    pieces = 1000
    child.send(asked("a", f"flood {pieces}"), asked("b", "wait"))
    ahead = _stands_still(tmp_path / "note")
    assert ahead * FLOOD < BUFFER_LIMIT + SOCKET_BYTES < pieces * FLOOD
    child.send(Cancel("b"))
    until_said(child, "closed: b")
    child.until_ended("a", "b")
    assert len(texts(child, "a")) == pieces * FLOOD


def _stands_still(note: Path) -> int:
    """The number in `note`, once it has not changed for a while."""
    deadline = time.monotonic() + PATIENCE_S
    for _ in itertools.count():
        before = note.read_text() if note.exists() else ""
        time.sleep(0.3)
        if before and note.read_text() == before:
            return int(before)
        assert time.monotonic() < deadline
    raise AssertionError


def test_it_leaves_with_sequences_in_it(child: Child) -> None:
    """They are closed, then the engine is, and the child ends well."""
    child.send(asked("a", "wait"), asked("b", "wait"))
    child.until(lambda event: texts(child, "a") == texts(child, "b") == "one")
    child.send(Exit())
    assert child.wait() == 0
    said = child.stderr().splitlines()
    assert sorted(said[:2]) == ["closed: a", "closed: b"]
    assert said[2:] == ["closed: the toy"]


def test_it_leaves_with_its_parent(child: Child) -> None:
    """Whatever runs in it."""
    child.send(asked("a", "wait"))
    child.until_a(Tokens)
    child.socket.close()
    assert child.process.wait(PATIENCE_S) == 0


def test_an_engine_that_cannot_be_built_says_why() -> None:
    """As other engines do."""
    child = Child(config(ctx_size=-1), MODULE)
    try:
        assert child.until_a(LoadFailed).message == "CTX_SIZE=-1: a toy has a context"
        assert child.wait() == STATUS_LOAD_FAILED
    finally:
        child.close()
