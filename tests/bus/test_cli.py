"""The commands of the client, as a person or a script runs them."""

import asyncio
import json
import os
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from golek_client.connection import flush
from golek_wire import codec, headers, subjects
from golek_wire.errors import BadRequestError, PoisonJobError, QueueFullError
from golek_wire.replies import Delta, FunctionCall, InferenceReply, ToolCall
from golek_wire.signals import DeadLetter, Health, ModelInfo
from tests.support import pictures
from tests.support.programs import GOLEK, Done
from tests.support.scripted_worker import ScriptedWorker
from tests.support.workers import WorkerProcess

REQUESTERS = {"golek req": [*GOLEK, "req"]} | ({"nats req": ["nats", "req"]} if shutil.which("nats") else {})
"""The real `nats` as well, where there is one: what is promised of `golek req` is what that one does."""


GREETING = "tiny: empty line or Ctrl-D leaves, Ctrl-C stops an answer\n"


STARTED: list[asyncio.subprocess.Process] = []


@pytest.fixture(autouse=True)
async def ended_programs() -> AsyncIterator[None]:
    """Programs end with the test that started them, also when it fails."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.returncode is None:
            process.kill()
        await process.communicate()


class Running:
    """A program that runs while the test answers it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def end(self) -> Done:
        out, err = await asyncio.wait_for(self.process.communicate(), 20)
        return Done(self.process.returncode, out.decode(), err.decode())


async def start(command: list[str], url: str, *args: str, stdin: bytes | None = None) -> Running:
    """`command` with `args` against the server at `url`; `stdin` is its whole input, else there is none."""
    process = await launch([*command, *args], url, asyncio.subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(stdin or b"")
    process.stdin.close()
    return Running(process)


async def launch(
    command: list[str], url: str, stdin: int, stderr: int = asyncio.subprocess.PIPE
) -> asyncio.subprocess.Process:
    """A program that is ended with the test."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "NATS_URL": url, "COLUMNS": "80"},
    )
    STARTED.append(process)
    return process


async def run(url: str, *args: str, stdin: bytes | None = None) -> Done:
    """What `golek` with `args` leaves behind."""
    return await (await start(GOLEK, url, *args, stdin=stdin)).end()


async def answer_with(
    worker: ScriptedWorker, subject: str, *replies: bytes, headers: dict[str, str] | None = None
) -> None:
    """Answer every request on `subject` with `replies`."""

    async def reply(message: object) -> None:
        for body in replies:
            await worker.client.publish(message.reply, body, headers=headers)  # type: ignore[attr-defined]

    await worker.client.subscribe(subject, cb=reply)
    await flush(worker.client)


async def test_help_is_quick_and_teaches(nats_server: str) -> None:
    """`golek --help` shows examples, within 300 ms on the best of five runs."""
    took = []
    for _ in range(5):
        began = time.monotonic()
        done = await run(nats_server, "--help")
        took.append(time.monotonic() - began)
    assert done.status == 0
    req_help = " ".join((await run(nats_server, "req", "--help")).out.split())
    assert "Of the options of `nats req` it takes these: --server, --timeout" in req_help
    assert 'With `"stream": true` the answer is many messages' in req_help
    assert "Nats-Service-Error-Code" in req_help
    for example in ('golek chat golek-tiny "Why', "golek req inference.request.golek-tiny", "NATS_URL"):
        assert example in done.out
    lines = [*done.out.splitlines(), *(await run(nats_server, "dlq", "--help")).out.splitlines()]
    assert not [line for line in lines if (line.endswith("...") and not line.startswith("Usage:")) or len(line) > 80]
    assert min(took) < 0.3


@pytest.mark.parametrize("tool", REQUESTERS)
async def test_req_prints_the_reply(nats_server: str, mute: ScriptedWorker, tool: str) -> None:
    """The body goes to standard output, with headers and round trip beside it."""
    await answer_with(mute, "echo", b'{"a":1}', headers={"Golek-Final": "1"})
    done = await (await start(REQUESTERS[tool], nats_server, "echo", "hi")).end()
    assert done.status == 0
    assert '{"a":1}' in done.out.splitlines()
    assert 'Sending request on "echo"' in done.err
    assert "Received with rtt " in done.err
    assert "Golek-Final: 1" in done.err


@pytest.mark.parametrize("tool", REQUESTERS)
async def test_req_takes_one_reply_or_more(nats_server: str, mute: ScriptedWorker, tool: str) -> None:
    """One by default; --replies takes so many, and 0 as many as come until the timeout."""
    await answer_with(mute, "many", b"one", b"two", b"three")
    expected = {(): 1, ("--replies=2",): 2, ("--replies=0", "--timeout=500ms"): 3}
    for options, count in expected.items():
        done = await (await start(REQUESTERS[tool], nats_server, "many", "hi", "--raw", *options)).end()
        assert [line for line in done.out.splitlines() if line] == ["one", "two", "three"][:count]
        assert done.status == 0


async def test_req_reads_a_stream_to_its_empty_message(nats_server: str, mute: ScriptedWorker) -> None:
    """--wait-for-empty takes every message until the empty one, which is not printed."""
    await answer_with(mute, "stream", b"one", b"two", b"", b"never")
    done = await run(nats_server, "req", "stream", "hi", "--raw", "--wait-for-empty")
    assert (done.status, done.out) == (0, "one\ntwo\n")
    await answer_with(mute, "endless", b"one")
    done = await run(nats_server, "req", "endless", "hi", "--raw", "--wait-for-empty", "--reply-timeout=100ms")
    assert (done.status, done.out) == (1, "one\n")
    assert "no reply for 100ms and no empty one yet; --reply-timeout waits longer" in done.err


@pytest.mark.parametrize("options", [[], ["--wait-for-empty"], ["--count=2"]])
async def test_req_with_an_error_for_an_answer_exits_with_1(
    nats_server: str, mute: ScriptedWorker, options: list[str]
) -> None:
    """Scripts see a refusal without reading the reply, which is printed all the same."""
    await answer_with(mute, "refuse", b"{}", b"", headers={"Nats-Service-Error-Code": "429"})
    done = await run(nats_server, "req", "refuse", "hi", "--raw", *options)
    assert (done.status, done.out) == (1, "{}\n" * (2 if "--count=2" in options else 1))


async def test_req_sends_headers_and_standard_input(nats_server: str, mute: ScriptedWorker) -> None:
    """-H adds headers, and without a BODY the body comes from a pipe; --count repeats the request."""
    heard = await mute.client.subscribe("hear")
    await flush(mute.client)
    running = await start(
        GOLEK, nats_server, "req", "hear", "-r", "-H", "A: b:c", "-H", "D:e", "--count=2", stdin=b"pi\npe"
    )
    for _ in range(2):
        message = await heard.next_msg(timeout=10)
        assert (message.data, message.headers) == (b"pi\npe", {"A": "b:c", "D": "e"})
        await message.respond(b"ok")
    assert (await running.end()).out == "ok\nok\n"


async def test_req_sends_bytes_as_they_are(nats_server: str, mute: ScriptedWorker) -> None:
    """A body need not be text, whether it comes from a pipe or stands on the command line."""
    heard = await mute.client.subscribe("hear")
    await flush(mute.client)
    body = b"\xff\x00\xfe\r\n"
    running = await start(GOLEK, nats_server, "req", "hear", "-r", stdin=body)
    message = await heard.next_msg(timeout=10)
    assert message.data == body
    await message.respond(body)
    assert (await running.process.communicate())[0] == body
    await start(GOLEK, nats_server, "req", "hear", os.fsdecode(b"\xffa"), "-r")
    assert (await heard.next_msg(timeout=10)).data == b"\xffa"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["sub", "a b"], "error BAD_REQUEST: 'a b' is no subject"),
        (["sub", "a..b"], "error BAD_REQUEST: 'a..b' is no subject"),
        (["req", "a b", "hi"], "error BAD_REQUEST: 'a b' is no subject"),
        (["req", "a", "hi", "-H", "k y:v"], "error BAD_REQUEST: 'k y' is no name of a header"),
        (
            ["models", "-s", "http://x"],
            "error BAD_REQUEST: 'http://x' is no URL of a NATS server: its scheme is 'http'",
        ),
        (["sub", "a", "-s", "nats://me:secret@127.0.0.1:1"], "no NATS server answers at nats://127.0.0.1:1 "),
        (["chat", "tiny", "hi", "--deadline", "0"], "error BAD_REQUEST: deadline: a number of seconds above 0"),
        (["submit", "tiny", "hi", "--kind", "embedding"], "error MODEL_NOT_FOUND: "),
        (["dlq", "drop", ""], "error: say which: an ID"),
        (["dlq", "retry", ""], "error: say which: an ID"),
        (["result", ">"], "error BAD_REQUEST: job: '>' is no job id, which is 26 characters"),
        (["result", "a", "--wait", "--timeout", "0"], "error BAD_REQUEST: timeout: a number of seconds above 0"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_line(nats_server: str, args: list[str], says: str) -> None:
    """A mistake in a subject, header, URL or time is an error with a name, not a traceback."""
    done = await run(nats_server, *args)
    assert (done.status, done.out) == (1, "")
    assert says in done.err
    assert "Traceback" not in done.err
    assert "secret" not in done.err


async def test_chat_refuses_what_is_no_text(nats_server: str) -> None:
    """A binary file on standard input is a mistake, and said to be one."""
    done = await run(nats_server, "chat", "tiny", stdin=b"\xff")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: standard input is no UTF-8 text")


async def test_req_without_an_answer_exits_with_1(nats_server: str, mute: ScriptedWorker) -> None:
    """Nobody listening and nobody answering are told apart."""
    done = await run(nats_server, "req", "nobody", "hi")
    assert (done.status, done.out) == (1, "")
    assert "No responders are available" in done.err
    await answer_with(mute, "silent")
    done = await run(nats_server, "req", "silent", "hi", "--timeout=100ms")
    assert done.status == 1
    assert "no reply within 100ms; --timeout waits longer" in done.err
    await answer_with(mute, "one", b"1")
    done = await run(nats_server, "req", "one", "hi", "--replies=2", "--reply-timeout=50ms", "--raw")
    assert (done.status, done.out) == (1, "1\n")
    assert "1 of 2 replies" in done.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["req", "a", "b", "--timeout", "5"], "'5' is no duration; write 30s, 500ms, 2m or 1m30s"),
        (["req", "a", "b", "-H", "novalue"], "'novalue' is no header; write K:V"),
        (["chat", "tiny", "hi", "--deadline", "soon"], "'soon' is no duration"),
        (["submit", "tiny", "hi", "--kind", "embedding", "--max-tokens", "3"], "a vector has no tokens"),
        (["submit", "tiny", "hi", "--param", "top_q=1"], "'top_q=1' is not NAME=VALUE with one of max_tokens, "),
        (["chat", "tiny", "hi", "--param", "n=2"], "goes on from one text"),
    ],
)
async def test_a_wrong_option_says_what_would_have_been_right(nats_server: str, args: list[str], says: str) -> None:
    """Mistakes on the command line end with status 2, before anything is sent."""
    done = await run(nats_server, *args)
    assert done.status == 2
    assert says in done.err


async def publish_two(running: Running, worker: ScriptedWorker) -> None:
    """Two messages, as soon as the program says that it listens on both subjects."""
    assert running.process.stderr is not None
    for subject in (b"a.*", b"c"):
        assert (await running.process.stderr.readline()).endswith(b"Subscribing on " + subject + b"\n")
    await worker.client.publish("a.b", b"body", headers={"K": "v"})
    await worker.client.publish("c", b"body2", reply="r")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "body\nbody2\n"),
        (["--headers-only"], '[#1] Received on "a.b"\nK: v\n\n[#2] Received on "c" with reply "r"\n'),
    ],
)
async def test_sub_writes_bodies_into_a_pipe(
    nats_server: str, mute: ScriptedWorker, options: list[str], expected: str
) -> None:
    """What follows the pipe reads the bodies and nothing else, unless it asks for headers; --count ends it."""
    running = await start(GOLEK, nats_server, "sub", "a.*", "c", "--count=2", *options)
    await publish_two(running, mute)
    done = await running.end()
    assert (done.status, done.out) == (0, expected)


async def test_sub_prints_messages_at_a_terminal(
    nats_server: str, mute: ScriptedWorker, terminal: tuple[int, int]
) -> None:
    """Numbered, with subject, headers and body, as `nats sub` does."""
    screen, output = terminal
    process = await asyncio.create_subprocess_exec(
        *GOLEK, "sub", "a.*", "c", "--count=2", stdout=output, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NATS_URL": nats_server},
    )  # fmt: skip
    STARTED.append(process)
    await publish_two(Running(process), mute)
    assert await asyncio.wait_for(process.wait(), 20) == 0
    shown = os.read(screen, 4096).replace(b"\r\n", b"\n")
    assert shown == b'[#1] Received on "a.b"\nK: v\n\nbody\n\n[#2] Received on "c" with reply "r"\nbody2\n\n'


async def test_sub_raw_prints_bodies_alone(nats_server: str, mute: ScriptedWorker) -> None:
    """What a pipe reads is the body and nothing else."""
    running = await start(GOLEK, nats_server, "sub", "a", "--count=1", "--raw")
    ending = asyncio.create_task(running.end())
    while not ending.done():
        await mute.client.publish("a", b"body")
        await asyncio.wait([ending], timeout=0.02)
    assert ending.result() == Done(0, "body\n", "")


@pytest.mark.parametrize(
    ("subject", "token"),
    [
        ("monitoring.inference.qwen2.5", "monitoring.inference.qwen2_5"),
        ("models.qwen2.5.heartbeat", "models.qwen2_5.heartbeat"),
        ("models.tiny.heartbeat", None),
        ("models.*.heartbeat", None),
        ("monitoring.inference.>", None),
    ],
)
async def test_sub_hints_at_the_token(nats_server: str, mute: ScriptedWorker, subject: str, token: str | None) -> None:
    """Who listens where nothing is published is told where it is."""
    running = await start(GOLEK, nats_server, "sub", subject, "--count=1", "--raw")
    ending = asyncio.create_task(running.end())
    while not ending.done():
        await mute.client.publish(subject.replace("*", "a").replace(">", "a"), b"body")
        await asyncio.wait([ending], timeout=0.02)
    hint = f"hint: reports of a model with a dot in its name go to its token: {token}\n" if token else ""
    assert ending.result() == Done(0, "body\n", hint)


async def test_chat_streams_the_answer(nats_server: str, worker: ScriptedWorker) -> None:
    """The answer goes to standard output and its figures to standard error; options reach the worker."""
    running = await start(
        GOLEK, nats_server, "chat", "tiny", "hi", "--system=Be brief.", "--max-tokens=9", "--temperature=0",
        "--seed=7", "--deadline=30s", "--stats", "--param", "top_p=0.5", "--param", "stop=END",
    )  # fmt: skip
    job = await worker.next(patience=10)
    assert codec.decode(job.payload, dict)["params"] == {
        "top_p": 0.5, "stop": "END", "max_tokens": 9, "temperature": 0.0, "seed": 7,
    }  # fmt: skip
    assert job.request.deadline_ms == 30_000
    assert [(turn.role, turn.content) for turn in job.request.messages or []] == [
        ("system", "Be brief."),
        ("user", "hi"),
    ]
    await job.chunk(1, 0, "Hello ")
    await job.chunk(1, 1, "there")
    await job.final("Hello there")
    done = await running.end()
    assert (done.status, done.out) == (0, "Hello there\n")
    assert "1 tokens in, 1 out" in done.err
    assert "seed 7" in done.err


async def test_chat_reads_a_pipe(nats_server: str, worker: ScriptedWorker) -> None:
    """Without a MESSAGE the text comes from standard input; an empty one is a mistake."""
    running = await start(GOLEK, nats_server, "chat", "tiny", stdin=b"from a pipe\n")
    job = await worker.next(patience=10)
    assert job.request.messages is not None
    assert job.request.messages[0].content == "from a pipe"
    await job.final("ok")
    assert (await running.end()).out == "ok\n"
    for nothing in ([], [""], ["  "]):
        done = await run(nats_server, "chat", "tiny", *nothing)
        assert done.status == 1
        assert "nothing to say" in done.err


async def test_chat_shows_an_image_alone(nats_server: str, worker: ScriptedWorker, tmp_path: Path) -> None:
    """An image is something to say; one that nobody fetches is told before anybody is asked."""
    file = tmp_path / "red.png"
    file.write_bytes(pictures.png())
    running = await start(GOLEK, nats_server, "chat", "tiny", "", "--image", str(file))
    job = await worker.next(patience=10)
    assert job.request.messages is not None
    assert [one["type"] for one in job.request.messages[0].parts or ()] == ["image_url"]
    await job.final("red")
    assert (await running.end()).out == "red\n"
    done = await run(nats_server, "chat", "tiny", "", "--image", "ftp://x/y.png")
    assert (done.status, "ftp://x/y.png: images are fetched from https://" in done.err) == (1, True)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: where a person's keys go in, and what a program reads them from."""
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


async def converse(
    nats_server: str, worker: ScriptedWorker, terminal: tuple[int, int]
) -> tuple[int, asyncio.subprocess.Process]:
    """`golek chat tiny` at the terminal, with a worker that serves tiny: where keys are typed, and the process."""
    await worker.register(datetime.now(UTC).isoformat())
    keys, keyboard = terminal
    return keys, await launch([*GOLEK, "chat", "tiny"], nats_server, keyboard)


async def test_chat_at_a_terminal_is_a_conversation(
    nats_server: str, worker: ScriptedWorker, terminal: tuple[int, int]
) -> None:
    """Each turn brings what was said before, an error ends a turn and not the conversation, and Ctrl-D ends it."""
    keys, process = await converse(nats_server, worker, terminal)
    os.write(keys, b"one\n")
    await (await worker.next(patience=10)).final("first")
    os.write(keys, b"two\n")
    await (await worker.next(patience=10)).fail(QueueFullError("2000 jobs wait"))
    os.write(keys, b"three\n")
    job = await worker.next(patience=10)
    assert [turn.content for turn in job.request.messages or []] == ["one", "first", "three"]
    await job.final("third")
    os.write(keys, b"\x04")
    done = await Running(process).end()
    assert (done.status, done.err) == (0, f"{GREETING}error QUEUE_FULL: 2000 jobs wait\n")
    assert done.out == "> first\n> > third\n> \n"


async def test_chat_tells_a_person_the_place_in_the_queue(
    nats_server: str, worker: ScriptedWorker, terminal: tuple[int, int]
) -> None:
    """At a terminal, in a line of standard error that is gone when the text begins; into a pipe nothing is written."""
    screen, stderr = terminal
    for errors in (stderr, asyncio.subprocess.PIPE):
        process = await launch([*GOLEK, "chat", "tiny", "hi"], nats_server, asyncio.subprocess.DEVNULL, errors)
        job = await worker.next(patience=10)
        await job.queued(3, None)
        await job.queued(2, 4.2)
        await job.chunk(1, 0, "Hello")
        await job.final("Hello")
        out, err = await asyncio.wait_for(process.communicate(), 20)
        assert (out, err or b"") == (b"Hello\n", b"")
    shown = os.read(screen, 1000).decode()
    assert shown == "\r\x1b[Kposition 3\r\x1b[Kposition 2, about 4 s\r\x1b[K"


async def test_chat_shows_thoughts_to_a_person_and_calls_to_all(
    nats_server: str, worker: ScriptedWorker, terminal: tuple[int, int], tmp_path: Path
) -> None:
    """Dimmed at a terminal, nowhere else; a call is a line of standard error. Standard output has the text alone."""
    screen, stderr = terminal
    tools = [{"type": "function", "function": {"name": "look"}}]
    (tmp_path / "tools.json").write_text(json.dumps(tools))
    call = [*GOLEK, "chat", "tiny", "hi", "--reasoning", "high", "--tools", str(tmp_path / "tools.json")]
    calls = [ToolCall("call_1", FunctionCall("look", '{"x": 1}'))]
    for errors in (stderr, asyncio.subprocess.PIPE):
        process = await launch(call, nats_server, asyncio.subprocess.DEVNULL, errors)
        job = await worker.next(patience=10)
        assert (job.request.tools, job.request.reasoning_effort) == (tools, "high")
        await job.chunk(1, 0, Delta(reasoning_content="Let me "))
        await job.chunk(1, 1, Delta(reasoning_content="see."))
        await job.chunk(1, 2, "I look.")
        await job.final("I look.", reasoning_content="Let me see.", tool_calls=calls)
        out, err = await asyncio.wait_for(process.communicate(), 20)
        assert (out, err or b"") == (b"I look.\n", b"" if errors == stderr else b'[calls look({"x": 1})]\n')
    shown = os.read(screen, 1000).decode().replace("\r\n", "\n")
    assert shown.endswith('\x1b[2mLet me see.\x1b[0m\n[calls look({"x": 1})]\n')


@pytest.mark.parametrize("leave", [b"\n", b"/bye\n"])
async def test_a_conversation_is_left(
    nats_server: str, worker: ScriptedWorker, terminal: tuple[int, int], leave: bytes
) -> None:
    """By an empty line or /bye as well."""
    keys, process = await converse(nats_server, worker, terminal)
    os.write(keys, leave)
    assert await Running(process).end() == Done(0, "> ", GREETING)


async def test_interrupting_an_answer_returns_to_the_prompt(
    nats_server: str, worker: ScriptedWorker, terminal: tuple[int, int]
) -> None:
    """Ctrl-C cancels the job that writes; what was said in that turn is forgotten."""
    keys, process = await converse(nats_server, worker, terminal)
    os.write(keys, b"one\n")
    job = await worker.next(patience=10)
    await job.chunk(1, 0, "Hel")
    process.send_signal(2)
    assert await worker.next_cancel() == job.job_id
    os.write(keys, b"two\n")
    job = await worker.next(patience=10)
    assert [turn.content for turn in job.request.messages or []] == ["two"]
    await job.final("second")
    os.write(keys, b"\x04")
    done = await Running(process).end()
    assert (done.status, done.err) == (0, GREETING)
    assert done.out.endswith("\n> second\n> \n")


# Makes the terminal on descriptor 0 the one whose Ctrl-C reaches this program, then becomes it.
AT_TERMINAL = """import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])"""


async def seen(keys: int, text: str) -> str:
    """What a terminal shows, up to and with `text`."""
    shown = ""
    while text not in shown:
        shown += (await asyncio.wait_for(asyncio.to_thread(os.read, keys, 4096), 10)).decode()
    return shown


async def test_the_keys_of_a_terminal(nats_server: str, worker: ScriptedWorker, terminal: tuple[int, int]) -> None:
    """Typed at a real terminal: Ctrl-C stops the answer and not the program, Ctrl-D ends it."""
    await worker.register(datetime.now(UTC).isoformat())
    keys, screen = terminal
    command = [sys.executable, "-c", AT_TERMINAL, *GOLEK, "chat", "tiny", "-i"]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=screen,
        stdout=screen,
        stderr=screen,
        env={**os.environ, "NATS_URL": nats_server, "TERM": "dumb"},
    )
    STARTED.append(process)
    await seen(keys, "> ")
    os.write(keys, b"one\n")
    job = await worker.next(patience=10)
    await job.chunk(1, 0, "Hel")
    await seen(keys, "Hel")
    os.write(keys, b"\x03")
    assert await worker.next_cancel() == job.job_id
    await seen(keys, "> ")
    os.write(keys, b"two\n")
    job = await worker.next(patience=10)
    assert [turn.content for turn in job.request.messages or []] == ["two"]
    await job.final("second")
    await seen(keys, "> ")
    os.write(keys, b"\x04")
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_conversation_in_a_pipe(nats_server: str, worker: ScriptedWorker) -> None:
    """With -i each line is a turn with what was said before; answers alone are written, and an error is status 1."""
    await worker.register(datetime.now(UTC).isoformat())
    running = await start(GOLEK, nats_server, "chat", "tiny", "zero", "-i", stdin=b"one\n\ntwo\nthree")
    for answer in ("none", "first"):
        await (await worker.next(patience=10)).final(answer)
    await (await worker.next(patience=10)).fail(QueueFullError("2000 jobs wait"))
    job = await worker.next(patience=10)
    assert [turn.content for turn in job.request.messages or []] == ["zero", "none", "one", "first", "three"]
    await job.final("third")
    done = await running.end()
    assert done == Done(1, "none\nfirst\nthird\n", "error QUEUE_FULL: 2000 jobs wait\n")


async def test_interrupting_a_conversation_in_a_pipe_ends_it(nats_server: str, worker: ScriptedWorker) -> None:
    """Nobody is at a prompt to return to: no later line is asked, and the status says that it was cut off."""
    await worker.register(datetime.now(UTC).isoformat())
    running = await start(GOLEK, nats_server, "chat", "tiny", "-i", stdin=b"one\ntwo\n")
    job = await worker.next(patience=10)
    running.process.send_signal(2)
    assert await worker.next_cancel() == job.job_id
    assert await running.end() == Done(130, "", "")


async def test_an_answer_can_be_printed_whole(nats_server: str, worker: ScriptedWorker) -> None:
    """--no-stream shows nothing before the answer has ended."""
    running = await start(GOLEK, nats_server, "chat", "tiny", "hi", "--no-stream")
    job = await worker.next(patience=10)
    await job.chunk(1, 0, "Hel")
    assert running.process.stdout is not None
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(running.process.stdout.read(1), 0.3)
    await job.final("Hello")
    assert (await running.end()).out == "Hello\n"


async def test_a_conversation_with_nobody_does_not_begin(nats_server: str, terminal: tuple[int, int]) -> None:
    """A model that nobody knows, or no server, is told before a person types."""
    _, keyboard = terminal
    done = await Running(await launch([*GOLEK, "chat", "nothing"], nats_server, keyboard)).end()
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error MODEL_NOT_FOUND: No model 'nothing' is known")
    done = await Running(await launch([*GOLEK, "chat", "tiny"], "nats://127.0.0.1:1", keyboard)).end()
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error BUS_UNAVAILABLE")


async def test_a_cut_answer_is_marked(nats_server: str, worker: ScriptedWorker) -> None:
    """Beside the text, so that nobody takes half an answer for a whole one."""
    running = await start(GOLEK, nats_server, "chat", "tiny", "hi")
    job = await worker.next(patience=10)
    reply = InferenceReply(job.request.req_id, "Hel", 1, 5, "length", 1, 1, "tiny", 7)
    await job.say(codec.encode(reply), {headers.FINAL: "1"})
    await job.say(b"")
    assert await running.end() == Done(0, "Hel\n", "[cut at 5 tokens]\n")


async def test_errors_are_said_with_code_and_hint(nats_server: str, worker: ScriptedWorker) -> None:
    """`error CODE: message`, what to do about it, and exit status 1."""
    running = await start(GOLEK, nats_server, "chat", "tiny", "hi")
    await (await worker.next(patience=10)).fail(QueueFullError("2000 jobs wait", retry_after_ms=250))
    done = await running.end()
    assert (done.status, done.out) == (1, "")
    assert done.err == "error QUEUE_FULL: 2000 jobs wait\nhint: it may succeed in 250 ms\n"
    running = await start(GOLEK, nats_server, "chat", "tiny", "hi")
    await (await worker.next(patience=10)).fail(QueueFullError("full; try again in 2 s", retry_after_ms=2479))
    assert (await running.end()).err == "error QUEUE_FULL: full; try again in 2 s\n"
    done = await run(nats_server, "chat", "nothing", "hi")
    assert done.status == 1
    assert done.err.startswith("error MODEL_NOT_FOUND: No model 'nothing' is known")
    assert "hint: `golek models` lists what there is" in done.err
    done = await run("nats://127.0.0.1:1", "models")
    assert done.status == 1
    assert done.err.startswith("error BUS_UNAVAILABLE: no NATS server answers at nats://127.0.0.1:1")
    assert "`make nats` starts one on this machine" in done.err
    assert "hint" not in done.err
    done = await run("nats://golek.invalid:4222", "models")
    assert "no NATS server answers at nats://golek.invalid:4222" in done.err
    assert "make nats" not in done.err


async def test_a_deadline_names_the_option_that_waits_longer(nats_server: str, mute: ScriptedWorker) -> None:
    """Each command names its own."""
    await mute.listen()
    done = await run(nats_server, "chat", "tiny", "hi", "--deadline=300ms")
    assert (done.status, done.err.splitlines()[1:]) == (1, ["hint: --deadline waits longer"])
    await answer_with(mute, subjects.health("tiny"))
    done = await run(nats_server, "health", "tiny", "--timeout=300ms")
    assert (done.status, done.err.splitlines()[1:]) == (1, ["hint: --timeout waits longer"])


async def test_a_model_without_a_template_is_asked_otherwise(nats_server: str, worker: ScriptedWorker) -> None:
    """A conversation that the model has no template for: the hint shows a request that needs none."""
    running = await start(GOLEK, nats_server, "chat", "tiny", "hi")
    error = BadRequestError("messages: this model has no chat template", param="messages")
    await (await worker.next(patience=10)).fail(error)
    (hint,) = (await running.end()).err.splitlines()[1:]
    body = re.search(r"golek req inference\.request\.tiny '(.*)' --timeout=30s$", hint)
    assert body
    assert codec.decode_request(body[1].encode()).raw


async def test_a_model_that_could_run_here_is_named_with_its_start(nats_server: str) -> None:
    """Where this folder has a deployment of that name, the hint is the line that starts it."""
    hint = "hint: it is not running here: `make start WORKER=qwen3-4b` starts it"
    assert (await run(nats_server, "chat", "qwen3-4b", "hi")).err.splitlines()[-1] == hint


@pytest.mark.parametrize(
    ("command", "state", "known"),
    [("chat", "loading", "loading, last seen [2-9] s ago"), ("embed", "online", r"online, no sign for 5\d s")],
)
async def test_a_wait_says_what_for(
    nats_server: str, mute: ScriptedWorker, command: str, state: str, known: str
) -> None:
    """After two seconds one line on standard error, in a pipe as well, with what the fleet knows of the model."""
    age = 50 if state == "online" else 0
    kinds = ["embedding" if command == "embed" else "inference"]
    await mute.register((datetime.now(UTC) - timedelta(seconds=age)).isoformat(), state, kinds=kinds)  # type: ignore[arg-type]
    done = await run(nats_server, command, "tiny", "hi", "--deadline=2500ms")
    lines = done.err.splitlines()
    assert re.fullmatch(rf"waiting for tiny: {known} \(Ctrl-C stops\)", lines[0])
    assert lines[1].startswith("error NO_WORKERS")


async def test_an_answer_that_nobody_goes_on_with(nats_server: str, worker: ScriptedWorker) -> None:
    """Nobody serves any more: that is said in the silence; the error begins on its own line and says where to look."""
    await worker.register(datetime.now(UTC).isoformat())
    running = await start(GOLEK, nats_server, "chat", "tiny", "hi", "--deadline=7s")
    job = await worker.next(patience=10)
    await job.chunk(1, 0, "a")
    await worker.close()
    done = await running.end()
    assert (done.status, done.out) == (1, "a\n")
    waiting, error, hint = done.err.splitlines()
    assert waiting == "waiting: no worker of tiny listens at the moment; one did a short while ago (Ctrl-C stops)"
    assert error.startswith("error NO_WORKERS: ")
    assert error.endswith("; no worker of tiny listens at the moment")
    assert hint.startswith("hint: `golek models` shows")


async def test_interrupting_chat_cancels_the_job(nats_server: str, worker: ScriptedWorker) -> None:
    """Ctrl-C ends the program with 130, and the job."""
    running = await start(GOLEK, nats_server, "chat", "tiny", "hi")
    job = await worker.next(patience=10)
    running.process.send_signal(2)
    assert await worker.next_cancel() == job.job_id
    done = await running.end()
    assert (done.status, done.err) == (130, "")


async def test_models_are_listed(nats_server: str, mute: ScriptedWorker) -> None:
    """A row per model; without any, what to do."""
    done = await run(nats_server, "models")
    assert (done.status, done.out.startswith("no models are known")) == (0, True)
    await mute.register(datetime.now(UTC).isoformat(), name="qwen2.5")
    done = await run(nats_server, "models")
    head, row = done.out.splitlines()
    assert head.split() == ["MODEL", "STATE", "KINDS", "CONTEXT", "SEEN", "DEPLOYMENT"]
    assert row.split()[:3] == ["qwen2.5", "online", "inference"]
    assert row.endswith("s ago  scripted")


@pytest.mark.parametrize(
    ("age", "state", "shown"),
    [
        (20, "online", ["online", "20 s ago"]),
        (50, "online", ["online", "no sign for 50 s"]),
        (95, "online", ["gone", "no sign for 1 min"]),
        (95, "loading", ["loading", "1 min ago"]),
        (95, "offline", ["offline", "1 min ago"]),
    ],
)
async def test_a_model_that_fell_silent_is_marked(
    nats_server: str, mute: ScriptedWorker, age: float, state: str, shown: list[str]
) -> None:
    """A missed heartbeat is said, and a model whose requests no longer wait is called gone."""
    await mute.register((datetime.now(UTC) - timedelta(seconds=age - 0.4)).isoformat(), state)  # type: ignore[arg-type]
    row = (await run(nats_server, "models")).out.splitlines()[1]
    cells = re.split(r"  +", row)
    assert [cells[1], re.sub(r"\b(2[0-9]|5[0-9])\b", lambda found: f"{int(found[0]) // 10}0", cells[-2])] == shown


@pytest.mark.parametrize(("state", "status"), [("online", 0), ("loading", 1)])
async def test_health_is_json_and_an_exit_status(
    nats_server: str, mute: ScriptedWorker, state: str, status: int
) -> None:
    """Scripts read the JSON or just the status: 0 when the model is online."""
    said = Health("tiny", state, "", ["inference"], "", "", "0.1.0", ModelInfo())  # type: ignore[arg-type]
    await answer_with(mute, subjects.health("tiny"), codec.encode(said))
    done = await run(nats_server, "health", "tiny")
    assert done.status == status
    assert json.loads(done.out)["status"] == state


async def test_dead_letters_are_listed_and_shown(nats_server: str, mute: ScriptedWorker) -> None:
    """`dlq list` is a table with a row per job, `dlq show` the JSON of one; an absent queue is said to be empty."""
    done = await run(nats_server, "dlq", "list")
    assert (done.status, done.out) == (0, "the dead letter queue is empty\n")
    jetstream = mute.client.jetstream()
    await jetstream.add_stream(name=subjects.DLQ_STREAM, subjects=[subjects.DLQ_SUBJECTS])
    for job_id, model in (("aaa1", "tiny"), ("bbb2", "other")):
        letter = DeadLetter(job_id, "r", model, "w", "2026-01-02T03:04:05Z", 3, "00", ["abort"])
        await jetstream.publish(subjects.dead_letter(model), codec.encode(letter))
    await jetstream.publish(subjects.dead_letter("other"), b"no letter")
    again = DeadLetter("bbb2", "r", "other", "w", "2026-01-02T03:04:06Z", 4, "00", ["abort"])
    await jetstream.publish(subjects.dead_letter("other"), codec.encode(again))
    done = await run(nats_server, "dlq", "list")
    rows = [re.split(r"  +", line) for line in done.out.splitlines()]
    assert rows[0] == ["ID", "MODEL", "AGE", "CRASHES", "RETRY"]
    assert [row[:2] + row[3:] for row in rows[1:]] == [["aaa1", "tiny", "3", "no"], ["bbb2", "other", "4", "no"]]
    assert all(row[2].endswith((" s", " min", " h", " d")) for row in rows[1:])
    listed = json.loads((await run(nats_server, "dlq", "list", "--json")).out)
    assert [letter["job_id"] for letter in listed] == ["aaa1", "bbb2"]
    assert "aaa1" not in (await run(nats_server, "dlq", "list", "--model=other")).out
    done = await run(nats_server, "dlq", "show", "bbb")
    shown = json.loads(done.out)
    assert (shown["job_id"], shown["crashes"], shown["log_tail"]) == ("bbb2", 4, ["abort"])
    assert done.err == "hint: it cannot be run again, for it has no request: none was kept\n"
    done = await run(nats_server, "dlq", "show", "zzz")
    assert done.status == 1
    assert "0 dead letters begin with 'zzz'" in done.err


async def bury(worker: ScriptedWorker, *job_ids: str, **fields: object) -> None:
    """Letters as a worker writes them."""
    jetstream = worker.client.jetstream()
    await jetstream.add_stream(name=subjects.DLQ_STREAM, subjects=[subjects.DLQ_SUBJECTS])
    for job_id in job_ids:
        letter = DeadLetter(job_id, "r", "tiny", "w", "2026-01-02T03:04:05Z", 3, "00", ["abort"], **fields)  # type: ignore[arg-type]
        await jetstream.publish(subjects.dead_letter("tiny"), codec.encode(letter))


async def test_a_dead_letter_is_retried(nats_server: str, worker: ScriptedWorker) -> None:
    """The same request with the same seed; the answer is printed, and the letter stays only with --keep."""
    await bury(worker, "abc1", payload='{"input": "hi", "params": {"max_tokens": 5}}', seed=77)
    for options, left in ((["--keep"], 1), ([], 0)):
        running = await start(GOLEK, nats_server, "dlq", "retry", "abc", "--deadline=9s", *options)
        job = await worker.next()
        assert (job.request.input, job.request.seed, job.request.deadline_ms) == ("hi", 77, 9000)
        assert job.request.params.max_tokens == 5
        await job.final("well again")
        done = await running.end()
        assert (done.status, done.out) == (0, "well again\n")
        assert len(json.loads((await run(nats_server, "dlq", "list", "--json")).out)) == left


async def test_a_dead_letter_that_fails_again_stays(nats_server: str, worker: ScriptedWorker) -> None:
    """The error and how to look into it are said, and nothing is dropped."""
    await bury(worker, "abc1", payload='{"input": "hi"}')
    running = await start(GOLEK, nats_server, "dlq", "retry", "abc1")
    await (await worker.next()).fail(PoisonJobError("The engine died 3 times", crashes=3, job_id="def2"))
    done = await running.end()
    assert done.status == 1
    assert "error POISON_JOB: The engine died 3 times" in done.err
    assert "golek dlq show def2" in done.err
    assert "abc1" in (await run(nats_server, "dlq", "list")).out


async def test_a_dead_letter_without_a_request_is_not_retried(nats_server: str, worker: ScriptedWorker) -> None:
    """Why there is none, and what keeps them, is said."""
    await bury(worker, "abc1", withheld="GOLEK_AUDIT_BODY=hash keeps no requests")
    done = await run(nats_server, "dlq", "retry", "abc1")
    assert done.status == 1
    assert "GOLEK_AUDIT_BODY=hash keeps no requests. Workers with GOLEK_AUDIT_BODY=full keep them" in done.err


async def test_dead_letters_are_dropped(nats_server: str, worker: ScriptedWorker) -> None:
    """One with all its copies, or all; a script says --yes, and an ID or --all, not both."""
    await bury(worker, "aaa1", "bbb2", "bbb2", "ccc3")
    assert (await run(nats_server, "dlq", "drop")).status == 1
    assert (await run(nats_server, "dlq", "drop", "aaa", "--all")).status == 1
    done = await run(nats_server, "dlq", "drop", "bbb")
    assert (done.status, done.out) == (0, "dropped 1 dead letter\n")
    assert "say --yes" in (await run(nats_server, "dlq", "drop", "--all")).err
    left = json.loads((await run(nats_server, "dlq", "list", "--json")).out)
    assert [letter["job_id"] for letter in left] == ["aaa1", "ccc3"]
    assert (await run(nats_server, "dlq", "drop", "--all", "--model=other", "--yes")).out == "dropped 0 dead letters\n"
    assert (await run(nats_server, "dlq", "drop", "--all", "--yes")).out == "dropped 2 dead letters\n"
    assert (await run(nats_server, "dlq", "list")).out == "the dead letter queue is empty\n"


async def test_a_job_that_was_left_is_cancelled(nats_server: str, tmp_path: Path) -> None:
    """`cancel` says that it ended; or that it was answered, or that nobody knows of it, with exit status 1."""
    with WorkerProcess(nats_server, tmp_path / "data", ENGINE_STEP_MIN_MS=20):
        job_id = (await run(nats_server, "submit", "echo", "word " * 2000)).out.strip()
        done = await run(nats_server, "cancel", job_id)
        assert (done.status, done.out, done.err) == (0, f"job {job_id} is cancelled\n", "")
        job_id = (await run(nats_server, "submit", "echo", "a")).out.strip()
        assert (await run(nats_server, "result", job_id, "--wait")).out == "a\n"
        done = await run(nats_server, "cancel", job_id)
        assert (done.status, f"job {job_id} was answered already" in done.err) == (1, True)
        done = await run(nats_server, "cancel", "a" * 26)
        assert (done.status, "there is no such job, or the worker" in done.err) == (1, True)


async def test_a_body_that_no_message_carries_is_told_how_it_goes(nats_server: str) -> None:
    """`req` sends bodies as they are; by reference they go in another way, which it names."""
    done = await run(nats_server, "req", "inference.request.echo", stdin=b"x" * 5_000_000)
    assert done.status == 1
    assert "error PAYLOAD_TOO_LARGE: a message of 5000000 bytes" in done.err
    assert "the header Golek-Object names it" in done.err


async def test_a_chat_has_a_priority(nats_server: str, worker: ScriptedWorker) -> None:
    """As the request's field; another number is refused by the command."""
    running = await start(GOLEK, nats_server, "chat", "tiny", "hi", "--priority=3")
    job = await worker.next(patience=10)
    assert job.request.priority == 3
    await job.final("a")
    assert (await running.end()).out == "a\n"
    assert "or equal to 3" in (await run(nats_server, "chat", "tiny", "hi", "--priority=4")).err


async def test_a_job_is_left_and_its_answer_printed_later(nats_server: str, tmp_path: Path) -> None:
    """`submit` prints the id, `result` the answer; --wait waits; an error of the job is one of the command."""
    with WorkerProcess(nats_server, tmp_path / "data"):
        left = await run(nats_server, "submit", "echo", "hello", "--key", "k")
        job_id = left.out.strip()
        assert job_id == subjects.job_id(subjects.message_id("anonymous", "inference", "echo", "k"))
        assert f"job {job_id}: place 1 in the queue; golek result {job_id}" in left.err
        assert (await run(nats_server, "result", job_id, "--wait")).out == "hello\n"
        assert (await run(nats_server, "result", job_id)).out == "hello\n"
        waited = await run(nats_server, "submit", "echo", "--wait", "--param", "n=2", stdin=b"from a pipe")
        assert (waited.status, waited.out) == (0, "[0] from a pipe\n[1] from a pipe\n")
        nosuchjob = "n" * 26
        missing = await run(nats_server, "result", nosuchjob)
        assert (missing.status, missing.out) == (1, "")
        assert f"no result of job {nosuchjob} of anonymous" in missing.err
        waited = await run(nats_server, "result", nosuchjob, "--wait", "--timeout", "2500ms")
        assert waited.err.startswith(f"waiting for job {nosuchjob} of anonymous: no answer yet (Ctrl-C stops)\nerror ")
        failed = await run(nats_server, "submit", "echo", "word " * 9000, "--wait")
        assert failed.status == 1
        assert "error CONTEXT_BUDGET_EXCEEDED" in failed.err
        assert "'x' is not one of" in (await run(nats_server, "submit", "echo", "a", "--kind", "x")).err
