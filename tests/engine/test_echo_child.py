"""The engine's process with the engine that needs no model."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from golek_wire.requests import Params
from golek_worker.engine.base import (
    Cancel,
    Exit,
    Finished,
    Ready,
    Refused,
    Step,
    Stopped,
    Submit,
    Tokens,
    frame,
)
from golek_worker.engine.echo import CRASH
from golek_worker.output import Output
from tests.engine.driver import PATIENCE_S, Child, counted, counting, echo, running


@pytest.fixture
def child() -> Iterator[Child]:
    """An unpaced echo with four slots."""
    with running(echo()) as child:
        yield child


@pytest.fixture
def paced() -> Iterator[Child]:
    """An echo with eight slots and 20 ms a step."""
    with running(echo(slots=8, step_min_ms=20.0)) as child:
        yield child


@pytest.mark.parametrize(
    ("prompt", "params", "answer"),
    [
        ("one  two\nthree ", Params(), Finished("j", "one  two\nthree ", "stop", 3, 3)),
        ("one two three", Params(max_tokens=2), Finished("j", "one two ", "length", 3, 2)),
        ("one two three", Params(max_tokens=0), Finished("j", "", "length", 3, 0)),
        ("one two three", Params(max_tokens=3), Finished("j", "one two three", "stop", 3, 3)),
        ("a b", Params(max_tokens=5, ignore_eos=True), Finished("j", "a b #2 #3 #4", "length", 2, 5)),
        ("one two three", Params(stop="wo"), Finished("j", "one t", "stop", 3, 2, stopped_by="wo")),
        ("", Params(), Finished("j", "", "stop", 0, 0)),
        (" \n", Params(), Finished("j", " \n", "stop", 1, 1)),
    ],
)
def test_echo_repeats_the_prompt(child: Child, prompt: str, params: Params, answer: Finished) -> None:
    """The documented answer, whether streamed or not; only the figure of a stop string's tokens may differ."""
    child.send(Submit("j", prompt, params, 1))
    assert child.until_a(Finished) == answer
    child.send(Submit("s", prompt, params, 1, stream=True))
    streamed = child.until_a(Finished)
    assert (streamed.text, streamed.finish_reason) == (answer.text, answer.finish_reason)
    assert "".join(text for _, text in child.streamed("s")) == answer.text
    assert child.streamed("j") == []


@pytest.mark.parametrize("params", [Params(logprobs=True), Params(stop_token_ids=[1]), Params(logit_bias={"1": 1.0})])
def test_what_needs_a_vocabulary_is_refused(child: Child, params: Params) -> None:
    """Better than silence: the error names the wish."""
    child.send(Submit("j", "a b", params, 1))
    refusal = child.until_a(Refused)
    assert refusal.code == "BAD_REQUEST"
    assert getattr(params, refusal.details["param"].removeprefix("params."))


def test_a_prompt_over_the_context_is_refused_and_the_next_one_runs(child: Child) -> None:
    """A refusal is that request's end and nobody else's."""
    child.send(Submit("long", "w " * 8192, Params(), 1), Submit("j", "ok", Params(), 1))
    child.until_ended("long", "j")
    refused = child.ends()[0]
    assert isinstance(refused, Refused)
    assert (refused.code, refused.details["budget"]) == ("CONTEXT_BUDGET_EXCEEDED", 8192)
    assert child.finished("j").text == "ok"


def test_one_frame_carries_all_text_of_a_step_and_the_end_comes_after_it(child: Child) -> None:
    """Each step sends at most one Tokens frame, before the ends of the same step."""
    child.send(*[counting(f"j{i}", 50) for i in range(4)])
    child.until_ended(*[f"j{i}" for i in range(4)])
    numbers = [event.n for event in child.events if isinstance(event, Tokens)]
    assert numbers == sorted(set(numbers))
    assert isinstance(child.events[-1], Finished)
    for i in range(4):
        assert child.finished(f"j{i}").text == counted(50)
        assert "".join(text for _, text in child.streamed(f"j{i}")) == counted(50)


def test_steps_are_at_least_the_set_time_apart(paced: Child) -> None:
    """ENGINE_STEP_MIN_MS stretches each step, and hardly more than asked."""
    paced.send(counting("j", 26))
    paced.until_a(Tokens)
    start = time.monotonic()
    paced.until_ended("j")
    assert 0.48 <= time.monotonic() - start < 2.0


def test_a_first_token_is_not_held_back_by_pacing() -> None:
    """An idle engine starts a sequence at once; the pace is between its tokens."""
    with running(echo(step_min_ms=5000.0)) as child:
        start = time.monotonic()
        child.send(counting("j", 2))
        child.until_a(Tokens)
        assert time.monotonic() - start < 2.5


def test_streams_share_steps_fairly(paced: Child) -> None:
    """Eight streams each get one token in each step, all in the same steps."""
    paced.send(*[counting(f"j{i}", 10) for i in range(8)])
    paced.until_ended(*[f"j{i}" for i in range(8)])
    steps = [[n for n, _ in paced.streamed(f"j{i}")] for i in range(8)]
    assert steps == [list(range(1, 11))] * 8


def test_a_cancel_takes_effect_before_the_next_step(paced: Child) -> None:
    """After Stopped the sequence has no text, its neighbours lose nothing."""
    paced.send(counting("gone", 1000), counting("stays", 20))
    paced.until(lambda event: isinstance(event, Tokens) and event.n == 5)
    paced.send(Cancel("gone"))
    stopped = paced.until_a(Stopped)
    written = paced.streamed("gone")
    assert stopped == Stopped("gone", 1, len(written))
    paced.until_ended("stays")
    assert paced.streamed("gone") == written
    assert paced.finished("stays").text == counted(20)


def test_an_unknown_cancel_is_ignored(child: Child) -> None:
    """A cancel may come after the end."""
    child.send(Cancel("nobody"), Submit("j", "ok", Params(), 1))
    assert child.until_a(Finished).job_id == "j"
    assert len(child.ends()) == 1


def test_an_idle_child_tells_that_it_lives(child: Child) -> None:
    """Steps come at most a second apart without any work."""
    child.until_a(Step)
    start = time.monotonic()
    assert child.until_a(Step) == Step(0, 0, 0.0, 0)
    assert time.monotonic() - start <= 1.0


def test_a_parent_that_does_not_read_pauses_decoding(child: Child) -> None:
    """Nothing is lost, the buffer stays bounded, and the pause is counted."""
    word = "x" * 100_000
    jobs = [Submit(f"j{i}", f"{word} " * 60, Params(), 1, stream=True) for i in range(4)]
    child.socket.settimeout(PATIENCE_S)
    child.send(*jobs)  # 24 MB of answers, read only now
    child.until_ended(*[job.job_id for job in jobs])
    for job in jobs:
        assert child.finished(job.job_id).text == job.prompt
        assert "".join(text for _, text in child.streamed(job.job_id)) == job.prompt
    step = child.until(lambda event: isinstance(event, Step) and event.running == 0)
    assert isinstance(step, Step)
    assert step.paused > 0


def test_signals_of_a_terminal_do_not_end_it(child: Child) -> None:
    """SIGINT and SIGTERM are the parent's to handle; it goes on serving."""
    for number in (signal.SIGINT, signal.SIGTERM):
        child.process.send_signal(number)
    child.send(Submit("j", "still here", Params(), 1))
    assert child.until_a(Finished).text == "still here"


def test_exit_ends_it_with_status_0(child: Child) -> None:
    """An orderly end, with sequences running or not."""
    child.send(counting("j", 8000), Exit())
    assert child.wait() == 0


def test_it_ends_when_the_parent_closes_the_socket(child: Child) -> None:
    """End-of-file is the parent's death, whether or not it read everything."""
    child.socket.close()
    assert child.process.wait(PATIENCE_S) == 0


def test_it_ends_when_the_parent_closes_the_socket_with_events_unread(child: Child) -> None:
    """Then the kernel says "connection reset" instead of end-of-file."""
    child.send(Submit("j", "unread", Params(), 1))
    select.select([child.socket], [], [], PATIENCE_S)
    child.socket.close()
    assert child.process.wait(PATIENCE_S) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")
def test_it_dies_with_its_parent_even_if_the_socket_stays_open() -> None:
    """A killed parent leaves no engine behind, though someone else holds its end of the socket."""
    ours, theirs = socket.socketpair()
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'golek_worker.engine.child', '--fd', sys.argv[1]],"
        " pass_fds=[int(sys.argv[1])])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    fd = theirs.fileno()
    with subprocess.Popen([sys.executable, "-c", code, str(fd)], pass_fds=[fd], stdout=subprocess.PIPE) as parent:
        theirs.close()
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        ours.settimeout(PATIENCE_S)
        ours.sendall(frame(echo()))
        assert ours.recv(1 << 16)
        parent.kill()
        while ours.recv(1 << 16):
            pass
    ours.close()
    with pytest.raises(ProcessLookupError):
        _wait_until_reaped(pid)


def _wait_until_reaped(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        os.kill(pid, 0)


def test_the_crash_word_ends_the_process_in_the_first_step(child: Child) -> None:
    """The test aid for poison jobs: an abrupt end without any event."""
    child.send(Submit("j", f"please {CRASH} now", Params(), 1))
    assert child.wait() == 134
    assert child.ends() == []
    assert CRASH in child.stderr()


def test_a_child_that_writes_much_to_stderr_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a pipe holds, which nobody reads meanwhile; all of it is there afterwards."""
    monkeypatch.setenv("PYTHONVERBOSE", "2")
    with running(echo()) as child:
        child.send(counting("j", 2))
        child.until_ended("j")
        assert len(child.stderr()) > 1 << 16


def test_a_command_that_is_no_command_is_a_bug() -> None:
    """Status 70 and a traceback: the parent restarts it and shows why."""
    child = Child(echo())
    try:
        child.until_a(Ready)
        child.socket.sendall(b"\x00\x00\x00\x01\xc0")
        assert child.wait() == 70
        assert "Traceback" in child.stderr()
    finally:
        child.close()


HARMONY = "<|start|>user<|message|>hi<|end|><|start|>assistant<|channel|>analysis<|message|>hm<|end|><|start|>assistant"


@pytest.mark.parametrize(
    ("prompt", "params", "answer"),
    [
        (HARMONY, Params(), ("", "stop")),
        (f"{HARMONY}<|channel|>final<|message|>one two <|return|> three", Params(), ("one two ", "stop")),
        (f"{HARMONY}<|channel|>final<|message|>one two <|re", Params(), ("one two <|re", "stop")),
        (f"{HARMONY}<|channel|>final<|message|>one two", Params(max_tokens=1), ("one ", "length")),
        (f"{HARMONY}<|channel|>final<|message|>one <|two", Params(stop="<|t"), ("one ", "stop")),
        ("no channel at all", Params(), ("", "stop")),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_harmony_is_the_final_channel_of_the_prompt(
    child: Child, prompt: str, params: Params, answer: tuple[str, str], stream: bool
) -> None:
    """Streamed or not; `special` shows all of it."""
    child.send(Submit("j", prompt, params, 1, stream, Output("harmony")))
    end = child.until_a(Finished)
    assert (end.text, end.finish_reason) == answer
    assert "".join(text for _, text in child.streamed("j")) == (end.text if stream else "")
    child.send(Submit("k", prompt, Params(), 1, stream, Output("special")))
    assert child.until_a(Finished).text == prompt


def test_echo_tells_what_a_cache_would_have() -> None:
    """With room for it, a prompt's beginning is there the second time, and so is what was answered; the rest takes its
    steps to read.
    """
    prompt = "".join(f"w{number} " for number in range(320))
    with running(echo(step_min_ms=10.0, cache_tokens=4096)) as child:
        told = []
        for text in (prompt, prompt + "and so on"):
            child.send(Submit("j", text, Params(max_tokens=1), 1))
            began = time.monotonic()
            ended = child.until_a(Finished)
            told.append((ended.tokens_in, ended.tokens_cached, ended.text))
            if text == prompt:
                assert time.monotonic() - began >= 0.05  # five steps to read it, and one to write
    assert told == [(320, 0, "w0 "), (323, 320, "w0 ")]
