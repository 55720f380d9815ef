"""`nats-chat`, `nats-embed` and `golek embed` as they are typed, against a real server."""

import asyncio
import json
import os
import sys
from typing import Any

import pytest

from golek_client.connection import flush
from golek_wire import codec
from golek_wire.errors import QueueFullError
from golek_wire.replies import Embedding, EmbeddingReply, EmbeddingUsage
from golek_wire.requests import EmbeddingRequest
from golek_wire.vectors import packed
from tests.support.programs import Done
from tests.support.scripted_worker import ScriptedWorker

CHAT = [sys.executable, "-c", "from golek_client.nats_tools import nats_chat; nats_chat()"]
EMBED = [sys.executable, "-c", "from golek_client.nats_tools import nats_embed; nats_embed()"]
GOLEK_EMBED = [sys.executable, "-m", "golek_client.cli", "embed"]


async def start(url: str, command: list[str], *args: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        *args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NATS_URL": url, "COLUMNS": "80"},
    )


async def end(process: asyncio.subprocess.Process, stdin: bytes = b"") -> Done:
    out, err = await asyncio.wait_for(process.communicate(stdin), 20)
    return Done(process.returncode, out.decode(), err.decode())


async def run(url: str, command: list[str], *args: str, stdin: bytes = b"") -> Done:
    return await end(await start(url, command, *args), stdin)


async def embed_on(worker: ScriptedWorker, subject: str) -> list[EmbeddingRequest]:
    """Answer requests on `subject` with a vector per text that counts them; the requests as they come."""
    asked: list[EmbeddingRequest] = []

    async def reply(message: Any) -> None:
        request = codec.decode_embedding(message.data)
        asked.append(request)
        vectors = [Embedding(packed([0.6, -0.8]), index) for index in range(len(request.inputs))]
        answer = EmbeddingReply(vectors, "m", EmbeddingUsage(3, 3), request.req_id, 1, 1)
        await worker.client.publish(message.reply, codec.encode(answer))

    await worker.client.subscribe(subject, cb=reply)
    await flush(worker.client)
    return asked


@pytest.mark.parametrize("dashes", ["-", "--"])
async def test_nats_chat_asks_its_subject(nats_server: str, mute: ScriptedWorker, dashes: str) -> None:
    """The options with one dash or two, on any subject; the text is all that is printed."""
    mute.model = "team.tiny"
    await mute.listen()
    args = ("subject", "inference.request.team.tiny", "input", "hi", "max-tokens", "1000", "temperature", "0.1")
    given = [f"{dashes}{word}" if number % 2 == 0 else word for number, word in enumerate(args)]
    process = await start(nats_server, CHAT, *given)
    job = await mute.next(patience=10)
    assert [turn.content for turn in job.request.messages or []] == ["hi"]
    assert (job.request.params.max_tokens, job.request.params.temperature) == (1000, 0.1)
    await job.chunk(1, 0, "Hello ")
    await job.final("Hello you")
    assert await end(process) == Done(0, "Hello you\n", "")


async def test_nats_chat_holds_a_conversation(nats_server: str, worker: ScriptedWorker) -> None:
    """With -i each line is a turn that brings what was said before; without -input a pipe is the question."""
    process = await start(nats_server, CHAT, "-subject", "inference.request.tiny", "-i")
    ending = asyncio.create_task(end(process, b"one\ntwo\n"))
    await (await worker.next(patience=10)).final("first")
    job = await worker.next(patience=10)
    assert [turn.content for turn in job.request.messages or []] == ["one", "first", "two"]
    await job.final("second")
    assert await ending == Done(0, "first\nsecond\n", "")
    ending = asyncio.create_task(run(nats_server, CHAT, "-subject", "inference.request.tiny", stdin=b"a\nb\n"))
    job = await worker.next(patience=10)
    assert [turn.content for turn in job.request.messages or []] == ["a\nb"]
    await job.final("ok")
    assert await ending == Done(0, "ok\n", "")


@pytest.mark.parametrize(
    ("args", "subject"),
    [
        (["-input", "search_query: machine learning"], "embedding.request.nomic-embed-v1.5"),
        (["-model", "nomic-embed-v2-moe", "-input", "Bonjour"], "embedding.request.nomic-embed-v2-moe"),
        (
            ["-subject", "embedding.request.nomic-embed-v2-moe", "-input", "Bonjour le monde", "-model", "other"],
            "embedding.request.nomic-embed-v2-moe",
        ),
        (["--subject=my.vectors", "--input=x"], "my.vectors"),
    ],
)
async def test_nats_embed_prints_openais_json(
    nats_server: str, mute: ScriptedWorker, args: list[str], subject: str
) -> None:
    """One vector as numbers, whatever it travelled as; the subject is given, the model's, or nomic's."""
    asked = await embed_on(mute, subject)
    done = await run(nats_server, EMBED, *args)
    assert (done.status, done.err) == (0, "")
    reply = json.loads(done.out)
    assert reply["object"] == "list"
    assert reply["data"] == [{"embedding": [0.6, -0.8], "index": 0, "object": "embedding"}]
    assert reply["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert len(asked) == 1


async def test_golek_embed_takes_many_texts(nats_server: str, mute: ScriptedWorker) -> None:
    """As arguments, or as the lines of a pipe."""
    asked = await embed_on(mute, "embedding.request.m")
    done = await run(nats_server, GOLEK_EMBED, "m", "one", "two", "--dimensions", "2", "--deadline=5s")
    assert [item["index"] for item in json.loads(done.out)["data"]] == [0, 1]
    assert (asked[0].input, asked[0].dimensions) == (["one", "two"], 2)
    assert 4000 < (asked[0].deadline_ms or 0) <= 5000
    done = await run(nats_server, GOLEK_EMBED, "m", stdin="eins\r\n\nzwö\u2028drei\n".encode())
    assert (done.status, asked[1].input) == (0, ["eins", "zwö\u2028drei"])
    done = await run(nats_server, GOLEK_EMBED, "m")
    assert (done.status, done.err) == (1, "error: nothing to embed: give a TEXT, or lines on standard input\n")
    assert "search_query" in (await run(nats_server, GOLEK_EMBED, "--help")).out


@pytest.mark.parametrize(
    ("command", "args", "says"),
    [
        (CHAT, [], "nats-chat: the following arguments are required: -subject/--subject; nats-chat -h shows how"),
        (CHAT, ["-subject", "s"], "nats-chat: -input is missing, and standard input is empty; nats-chat -h shows how"),
        (CHAT, ["-subject", "a b", "-input", "x"], "nats-chat: error BAD_REQUEST: subject: 'a b' is no subject"),
        (
            CHAT,
            ["-subject", "embedding.request.m", "-input", "x"],
            "nats-chat: error BAD_REQUEST: subject: 'embedding.request.m' takes embedding requests; this is for inf",
        ),
        (
            CHAT,
            ["-subject", "inference.request.m", "-i", "-s", "nats://127.0.0.1:1"],
            "nats-chat: error BUS_UNAVAILABLE: no NATS server",
        ),
        (CHAT, ["-subject", "s", "-input", "x", "-timeout", "5"], "nats-chat: argument -timeout/--timeout: '5' is no"),
        (
            CHAT,
            ["-subject", "s", "-input", "x", "-max-tokens", "-1"],
            "nats-chat: error BAD_REQUEST: params.max_tokens",
        ),
        (CHAT, ["-subject", "inference.request.x", "-input", "y"], "nats-chat: error MODEL_NOT_FOUND: No model 'x' is"),
        (EMBED, ["-input", "y"], "nats-embed: error MODEL_NOT_FOUND: No model 'nomic-embed-v1.5' is known"),
        (EMBED, ["-input", "y", "-s", "nats://127.0.0.1:1"], "nats-embed: error BUS_UNAVAILABLE: no NATS server"),
        (EMBED, ["-nosuch"], "nats-embed: unrecognized arguments: -nosuch; nats-embed -h shows how"),
    ],
)
async def test_a_mistake_is_one_line_and_status_1(
    nats_server: str, mute: ScriptedWorker, command: list[str], args: list[str], says: str
) -> None:
    """On standard error, with what would have been right."""
    done = await run(nats_server, command, *args)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(says)
    assert done.err.count("\n") == 1


async def test_an_error_of_the_fleet_is_one_line(nats_server: str, worker: ScriptedWorker) -> None:
    """With its code."""
    process = await start(nats_server, CHAT, "-subject", "inference.request.tiny", "-input", "hi")
    await (await worker.next(patience=10)).fail(QueueFullError("2000 jobs wait"))
    assert await end(process) == Done(1, "", "nats-chat: error QUEUE_FULL: 2000 jobs wait\n")


async def test_ctrl_c_cancels_the_job(nats_server: str, worker: ScriptedWorker) -> None:
    """And ends with 130, without a word."""
    process = await start(nats_server, CHAT, "-subject", "inference.request.tiny", "-input", "hi")
    job = await worker.next(patience=10)
    process.send_signal(2)
    assert await worker.next_cancel() == job.job_id
    assert await end(process) == Done(130, "", "")


async def test_help_teaches(nats_server: str) -> None:
    """-h shows what to type."""
    for command, example in ((CHAT, "-max-tokens 1000 -temperature 0.1"), (EMBED, "search_query: machine learning")):
        done = await run(nats_server, command, "-h")
        assert done.status == 0
        assert example in done.out


def test_the_tools_need_only_the_client() -> None:
    """An install without extras has them."""
    import subprocess

    code = "import sys; sys.modules['typer'] = None; import golek_client.nats_tools, golek_client.terminal_chat"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
