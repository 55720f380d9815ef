"""What does one request look like, from the broker's start to its row in the log?

`make demo`: starts broker and demo model, asks it over plain NATS as any program would, and shows each message.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec
import nats.errors
import typer
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from golek_client.connection import connect, publish
from golek_wire import codec, headers, subjects
from golek_wire.errors import InferenceServiceError
from golek_wire.replies import Chunk, InferenceReply
from golek_wire.signals import Health
from golek_worker import settings
from golek_worker.machine import check, lifecycle
from golek_worker.machine.lifecycle import StartError
from golek_worker.settings import Settings
from golek_worker.store.requests import recent_requests

DEPLOYMENT = "golek-tiny"
QUESTION = "What is backpressure?"
EXPECTED = ("pending", "queue", "load", "busy", "slow", "wait", "warning", "critical", "full")
"""An answer to the question has one of these words in it; none is in the question."""
ANSWER_S = 60.0
SIGNAL_S = 5.0
BEAT_S = 0.5
SHOWN_COLUMNS = ("req_id", "worker_id", "status", "raw_input", "output", "tokens_in", "tokens_out", "dur_ms", "ttft_ms")

Say = Callable[[str], None]


async def run(say: Say) -> None:
    """Show one request from end to end; the worker keeps running. Raises StartError with the cause when it fails."""
    file = settings.env_file(DEPLOYMENT)
    if wrong := await check.problems(file):
        raise StartError("\n".join(wrong))
    loaded = settings.load(file)
    _title(say, "Broker and worker")
    await lifecycle.ensure_broker(loaded.nats_url, loaded.data, say, loaded.login)
    try:
        client = await connect(loaded.nats_url, "golek-demo", login=loaded.login)
    except InferenceServiceError as error:
        raise StartError(error.message) from error
    try:
        # Before the worker starts: it sends a heartbeat as soon as it is online.
        beats = await client.subscribe(subjects.heartbeat(loaded.token))
        await client.flush()
        await lifecycle.start(DEPLOYMENT, say=lambda line: None if line.startswith("broker") else say(line))
        req_id = f"demo-{secrets.token_hex(4)}"
        await _show_request(client, req_id, loaded, say)
        await _show_row(req_id, loaded, say)
        await _show_signal(client, beats, loaded, say)
    except (nats.errors.Error, InferenceServiceError) as error:
        raise StartError(f"the demo failed: {type(error).__name__}: {error}") from error
    finally:
        await client.close()
    _title(say, "Go on")
    say(_next_steps(loaded))


async def _show_request(client: Client, req_id: str, loaded: Settings, say: Say) -> None:
    """Ask and show request, stream and final message. Raises StartError for an answer that is none."""
    subject = loaded.request_subjects("inference")[0]
    request = {"req_id": req_id, "input": QUESTION, "stream": True, "params": {"temperature": 0, "max_tokens": 200}}
    _title(say, f"Request to {subject}")
    say(_pretty(request))
    _title(say, "Answer, as it is written")
    began = time.monotonic()
    inbox = client.new_inbox()
    replies = await client.subscribe(inbox)
    await publish(client, subject, codec.encode(request), reply=inbox)
    streamed, final = await _read_stream(replies)
    await replies.unsubscribe()
    typer.echo()
    _title(say, f"Final message, after {time.monotonic() - began:.2f} s")
    say(_pretty(msgspec.to_builtins(final)))
    check_answer(streamed, final)


async def _read_stream(replies: Subscription) -> tuple[str, InferenceReply]:
    """Print each chunk as it comes; the text of all and the final message. Raises what an error message tells."""
    pieces: list[str] = []
    try:
        async with asyncio.timeout(ANSWER_S):
            while True:
                message = await replies.next_msg(timeout=ANSWER_S)
                if _is_final(message):
                    return "".join(pieces), codec.decode_final(message.data, InferenceReply)
                chunk = codec.decode(message.data, Chunk)
                if chunk.seq == 0:  # another attempt starts at the beginning
                    pieces.clear()
                pieces.append(chunk.delta)
                typer.echo(chunk.delta, nl=False)
    except (TimeoutError, nats.errors.TimeoutError):
        raise StartError(f"no final message within {ANSWER_S:.0f} s") from None
    except msgspec.DecodeError as error:
        raise StartError(f"a message that is neither chunk nor answer: {error}") from error


def _is_final(message: Msg) -> bool:
    """True for the answer and for an error. Raises StartError when nobody took the request."""
    found = message.headers or {}
    if found.get(headers.NATS_STATUS) == headers.NO_RESPONDERS:
        raise StartError(f"nobody serves {message.subject}; `make list-workers` shows what runs")
    return found.get(headers.FINAL) == "1" or headers.ERROR_CODE in found


def check_answer(streamed: str, final: InferenceReply) -> None:
    text = final.text.strip()
    if not text:
        raise StartError("the answer is empty")
    if streamed.strip() != text:
        raise StartError(f"the stream says {streamed!r}, the final message {final.text!r}")
    if not any(word in text.lower() for word in EXPECTED):
        raise StartError(f"the answer has nothing to do with the question {QUESTION!r}: {text!r}")


async def _show_row(req_id: str, loaded: Settings, say: Say) -> None:
    """The row is written a moment after the answer."""
    _title(say, f"Its row in {loaded.log_file}")
    deadline = time.monotonic() + SIGNAL_S
    while time.monotonic() < deadline:
        for row in recent_requests(loaded.log_file, 50) if loaded.log_file.exists() else []:
            if row["req_id"] == req_id:
                say(_pretty({column: row[column] for column in SHOWN_COLUMNS}))
                return
        await asyncio.sleep(0.05)
    raise StartError(f"no row for {req_id} in {loaded.log_file} within {SIGNAL_S:.0f} s")


async def _show_signal(client: Client, beats: Subscription, loaded: Settings, say: Say) -> None:
    """The heartbeat that the worker sent when it came online; one that ran before is asked for its health."""
    subject, body = subjects.heartbeat(loaded.token), await _online_beat(beats)
    if body is None:
        subject = subjects.health(loaded.model_name)
        body = (await client.request(subject, b"", timeout=SIGNAL_S)).data
    _title(say, f"What the worker says of itself on {subject}")
    say(msgspec.json.format(body, indent=2).decode())


async def _online_beat(beats: Subscription) -> bytes | None:
    """The first heartbeat that tells of a loaded model; those before it are of a worker that still loads."""
    with contextlib.suppress(nats.errors.TimeoutError):
        while True:
            body = (await beats.next_msg(timeout=BEAT_S)).data
            if codec.decode(body, Health).status == "online":
                return body
    return None


def _next_steps(loaded: Settings) -> str:
    asked = f'{loaded.request_subjects("inference")[0]} \'{{"input":"What is NATS?"}}\''
    return f"""\
ask again       nats req {asked}
without nats    .venv/bin/golek req {asked}
the log         make logs WORKER={DEPLOYMENT}
what runs       make list-workers
another model   cp envs/worker.example.env envs/worker.NAME.env, then make start WORKER=NAME
all targets     make help
stop            make stop"""


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _title(say: Say, text: str) -> None:
    say("\n" + typer.style(text, bold=True))
