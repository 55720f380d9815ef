"""What does a body cost that no message carries?

10 MB through echo and back, beside the same bytes in messages of 1 MB sent one after the other, and eight at once. 5 MB
of texts through all-MiniLM-L6-v2: as `golek.embed` sends them, in messages, beside one request by reference; most of a
text is blanks, which are no tokens, so that it is the way that is measured. How soon a body is refused where the object
store is off: by `golek_client`, and by the worker to who sends a message that leaves no room for headers (99th
percentile, beside the 50 ms promised).
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable

import nats
from support import broker, figure, median, note, worker

from golek_client import Golek, PayloadTooLargeError, large
from golek_client.line import Line
from golek_wire import headers
from tests.support.minilm import model_file

BENCH = "payloads"
RUNS = int(os.environ.get("PAYLOADS_RUNS", "5"))
REFUSALS = int(os.environ.get("PAYLOADS_REFUSALS", "500"))
MB = 1_000_000
NAME = "all-minilm-l6-v2"
TEXTS = 2048
WORDS = ["one", "two", "three", "four", "five", "six"]
REFUSED_MS = 50.0


async def seconds(step: Callable[[], Awaitable[object]]) -> float:
    """How long `step` takes."""
    start = time.perf_counter()
    await step()
    return time.perf_counter() - start


async def echo(url: str) -> None:
    """10 MB and back."""
    whole = "x" * 10 * MB
    async with Golek(url, deadline=60) as golek:

        async def one(text: str) -> None:
            if (await golek.ask("echo", text)).text != text:
                raise RuntimeError("the answer is not what was sent")

        async def in_messages() -> None:
            for start in range(0, len(whole), MB):
                await one(whole[start : start + MB])

        async def at_once() -> None:
            await asyncio.gather(*(one(whole) for _ in range(8)))

        ours = [await seconds(lambda: one(whole)) for _ in range(RUNS)]
        peer = [await seconds(in_messages) for _ in range(RUNS)]
        figure(BENCH, "echo_10mb", median(ours), median(peer), "s", RUNS)
        eight = [await seconds(at_once) for _ in range(RUNS)]
        figure(BENCH, "echo_8x10mb", median(eight), 8 * median(ours), "s", RUNS)


async def embed(url: str) -> None:
    """5 MB of texts."""
    draw = random.Random(1)
    texts = [(" " * 120).join(draw.choices(WORDS, k=20)) for _ in range(TEXTS)]
    body = json.dumps({"input": texts, "encoding_format": "base64"}).encode()
    note(f"{len(body)} bytes of {TEXTS} texts")
    line = await Line.open(url, "bench")
    client = await nats.connect(url)

    async def by_reference() -> None:
        until = asyncio.get_running_loop().time() + 120
        about = {headers.OBJECT: await large.store(line, body, until, 120)}
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        await client.publish(f"embedding.request.{NAME}", b"", inbox, about | {headers.PARTS: "1"})
        count, size = 1, 0
        while size < count:
            message = await answers.next_msg(120)
            count = int((message.headers or {})[headers.PART].partition("/")[2])
            size += 1
        await answers.unsubscribe()

    async with Golek(url, deadline=120) as golek:
        await golek.embed(NAME, texts[:10])
        ours, peer = [], []
        for _ in range(max(1, RUNS // 2)):
            ours.append(await seconds(lambda: golek.embed(NAME, texts)))
            peer.append(await seconds(by_reference))
    figure(BENCH, "embed_5mb_in_messages_to_by_reference", median(ours), median(peer), "s", len(ours))
    await line.close()
    await client.close()


async def refused(url: str) -> None:
    """How soon the caller knows."""
    body = b'{"input": "%b"}' % (b"x" * (1024 * 1024 - 8 * 1024))
    whole = "x" * 10 * MB
    by_client, by_worker = [], []
    client = await nats.connect(url)
    async with Golek(url) as golek:
        for _ in range(REFUSALS):
            start = time.perf_counter()
            try:
                await golek.ask("echo", whole)
            except PayloadTooLargeError:
                by_client.append((time.perf_counter() - start) * 1000)
            start = time.perf_counter()
            answer = json.loads((await client.request("inference.request.echo", body, timeout=5)).data)
            if answer["error"]["status"] != 413:
                raise RuntimeError(f"not refused: {answer}")
            by_worker.append((time.perf_counter() - start) * 1000)
    await client.close()
    for name, waits in (("client", by_client), ("worker", by_worker)):
        figure(BENCH, f"refused_p99_by_{name}", sorted(waits)[len(waits) * 99 // 100], REFUSED_MS, "ms", REFUSALS)


def main() -> None:
    """Each part has a broker of its own."""
    with broker() as url, worker(url, CTX_SIZE=4_000_000):
        asyncio.run(echo(url))
    settings = {"MODEL_NAME": NAME, "MODEL_PATH": str(model_file())}
    with broker() as url, worker(url, "golek-tiny", **settings):
        asyncio.run(embed(url))
    with broker() as url, worker(url, GOLEK_OBJECTS="false"):
        asyncio.run(refused(url))


if __name__ == "__main__":
    main()
