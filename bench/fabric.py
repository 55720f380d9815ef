"""What does the bus path cost, beside raw request/reply of nats-py?

The full path is ingress, gate, JetStream (file storage), lease, engine child (echo), reply, log row, ack. The peer is a
nats-py responder that answers at once, in the same run on the same server. Medians of 5 interleaved runs.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable

import nats
import psutil
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from support import broker, ended, figure, median, note, worker

BENCH = "fabric"
RUNS = 5
LATENCY_REQUESTS = 300
CONCURRENCY = 64
THROUGHPUT_REQUESTS = 6000
TOKENS = 50_000
TOKEN_BYTES = 100

REQUEST = json.dumps(
    {
        "req_id": "manual-req-123",
        "input": "Explain machine learning in simple words. " * 8,
        "params": {"max_tokens": 50, "temperature": 0.7, "top_p": 0.95, "stop": ["\n\n"]},
    }
).encode()
WORD = "w" * 39 + " "
"""With its chunk's JSON a token of the stream is about 100 bytes, as the peer's."""

Act = Callable[[], Awaitable[object]]


async def responder(url: str) -> None:
    """The peer: answers requests, and streams tokens, with nothing but nats-py."""
    client = await nats.connect(url)
    reply = json.dumps(
        {"req_id": "manual-req-123", "text": "x" * 250, "tokens_in": 12, "tokens_out": 50, "finish_reason": "stop"}
    ).encode()

    async def answer(message: Msg) -> None:
        await client.publish(message.reply, reply)

    async def stream(message: Msg) -> None:
        token = b"x" * TOKEN_BYTES
        for _ in range(int(message.data)):
            await client.publish(message.reply, token)
        await client.publish(message.reply, b"")

    await client.subscribe("peer.request", queue="peer", cb=answer, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await client.subscribe("peer.stream", cb=stream)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def latencies_ms(act: Act, count: int) -> float:
    """Median of `count` calls one after the other."""
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        await act()
        taken.append((time.perf_counter() - start) * 1e3)
    return median(taken)


async def throughput(act: Act, count: int) -> float:
    """Calls per second with CONCURRENCY callers."""
    left = count

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await act()

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CONCURRENCY)))
    return count / (time.perf_counter() - start)


async def stream_rate(client: Client, subject: str, payload: bytes) -> float:
    """Messages per second of one stream, from the first to the empty one."""
    inbox, done, count, first = client.new_inbox(), asyncio.Event(), 0, 0.0

    async def receive(message: Msg) -> None:
        nonlocal count, first
        if not message.data:
            done.set()
            return
        first = first or time.perf_counter()
        count += 1

    subscription = await client.subscribe(inbox, cb=receive, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await client.publish(subject, payload, reply=inbox)
    await asyncio.wait_for(done.wait(), 60)
    rate = count / (time.perf_counter() - first)
    await subscription.unsubscribe()
    if count < TOKENS:
        raise RuntimeError(f"{count} of {TOKENS} tokens came")
    return rate


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a worker and its engine's child."""
    times = [p.cpu_times() for p in (process, *process.children())]
    return sum(t.user + t.system for t in times)


def spawn_peer(url: str) -> "subprocess.Popen[bytes]":
    peer = subprocess.Popen([sys.executable, __file__, "--peer", url], stdout=subprocess.PIPE)
    assert peer.stdout is not None
    peer.stdout.readline()
    return peer


async def checked(client: Client, subject: str, payload: bytes) -> None:
    """One request; an error message is not an answer."""
    message = await client.request(subject, payload, timeout=30)
    if b'"error"' in message.data[:40] or b'"text"' not in message.data:
        raise RuntimeError(message.data.decode())


async def run(url: str, *, sync_always: bool) -> None:
    """All figures of one server."""
    client = await nats.connect(url)
    tokens = json.dumps(
        {"input": WORD * 10, "stream": True, "params": {"max_tokens": TOKENS, "ignore_eos": True}}
    ).encode()
    results: dict[str, list[float]] = defaultdict(list)
    with ended(spawn_peer(url)), worker(url, STREAM_GATHER_MS="0", CTX_SIZE=str(TOKENS + 100)) as process:
        worker_process = psutil.Process(process.pid)

        async def core() -> None:
            await checked(client, "peer.request", REQUEST)

        async def full() -> None:
            await checked(client, "inference.request.echo", REQUEST)

        await throughput(full, 500)
        await throughput(core, 500)
        for number in range(RUNS):
            note(f"run {number + 1} of {RUNS}, sync {'always' if sync_always else 'by default'}")
            results["core_p50"].append(await latencies_ms(core, LATENCY_REQUESTS))
            results["full_p50"].append(await latencies_ms(full, LATENCY_REQUESTS))
            if sync_always:
                results["publish_p50"].append(await publish_ms(client))
                continue
            results["core_c64"].append(await throughput(core, THROUGHPUT_REQUESTS))
            before = cpu_s(worker_process)
            results["full_c64"].append(await throughput(full, THROUGHPUT_REQUESTS))
            results["cpu_us"].append((cpu_s(worker_process) - before) / THROUGHPUT_REQUESTS * 1e6)
            results["core_stream"].append(await stream_rate(client, "peer.stream", str(TOKENS).encode()))
            results["full_stream"].append(await stream_rate(client, "inference.request.echo", tokens))
    await client.close()
    report({name: median(values) for name, values in results.items()}, sync_always=sync_always)


async def publish_ms(client: Client) -> float:
    """One acknowledged publish into a stream of its own."""
    jetstream = client.jetstream()
    await jetstream.add_stream(name="BENCH", subjects=["bench.publish"])
    return await latencies_ms(lambda: client.request("bench.publish", REQUEST, timeout=10), LATENCY_REQUESTS)


def report(medians: dict[str, float], *, sync_always: bool) -> None:
    core = medians["core_p50"]
    if sync_always:
        figure(BENCH, "full_path_sync_always_p50", medians["full_p50"], core, "ms", RUNS)
        figure(BENCH, "full_path_sync_always_p50_vs_publish", medians["full_p50"], medians["publish_p50"], "ms", RUNS)
        return
    figure(BENCH, "full_path_p50", medians["full_p50"], core, "ms", RUNS)
    figure(BENCH, "throughput_c64", medians["full_c64"], medians["core_c64"], "requests/s", RUNS)
    figure(BENCH, "stream_tokens", medians["full_stream"], medians["core_stream"], "tokens/s", RUNS)
    figure(BENCH, "worker_cpu_us", medians["cpu_us"], None, "us/request", RUNS)


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        uvloop.run(responder(sys.argv[2]))
        return
    for sync_always in (False, True):
        with broker(sync_always=sync_always) as url:
            uvloop.run(run(url, sync_always=sync_always))


if __name__ == "__main__":
    main()
