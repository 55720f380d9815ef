"""What does it cost that answers are kept?

`golek.ask` with its answer kept for a minute (`Golek-Keep`, as it always is) beside the same without; echo, medians of
interleaved runs. Then raw requests, which ask for nothing, in the same rounds.
"""

import json
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import nats
import uvloop
from fabric import latencies_ms, throughput
from support import broker, figure, median, note, worker

from golek_client import Golek, line
from golek_wire import headers

BENCH = "keep"
RUNS = int(os.environ.get("KEEP_RUNS", "5"))
LATENCY_REQUESTS = int(os.environ.get("KEEP_LATENCY_REQUESTS", "300"))
THROUGHPUT_REQUESTS = int(os.environ.get("KEEP_THROUGHPUT_REQUESTS", "4000"))
PROMPT = "Explain machine learning in simple words. " * 8
REQUEST = json.dumps({"input": PROMPT, "params": {"max_tokens": 50}}).encode()

Ask = Callable[[], Awaitable[object]]


class Forgetful(line.Line):
    """Asks for nothing to be kept."""

    def request_headers(self, inbox: str) -> dict[str, str]:
        return {name: value for name, value in super().request_headers(inbox).items() if name != headers.KEEP}


async def forgetful(url: str) -> Golek:
    """A client whose answers are not kept."""
    golek = Golek(url)
    golek._opening._open = await Forgetful.open(url, "bench")
    return golek


async def run(url: str, *, sync_always: bool) -> dict[str, list[float]]:
    """All figures of one server. A broker that syncs always takes acks slower than 64 callers ask: only latencies."""
    results: dict[str, list[float]] = defaultdict(list)
    keeping, forgetting, client = Golek(url), await forgetful(url), await nats.connect(url)

    def of(golek: Golek) -> Ask:
        async def ask() -> Any:
            return await golek.ask("echo", PROMPT, max_tokens=50)

        return ask

    async def raw() -> None:
        message = await client.request("inference.request.echo", REQUEST, timeout=30)
        if b'"text"' not in message.data:
            raise RuntimeError(message.data.decode())

    asks: dict[str, Ask] = {"kept": of(keeping), "not_kept": of(forgetting), "raw": raw}
    for ask in asks.values():
        await throughput(ask, 300)
    for number in range(RUNS):
        note(f"run {number + 1} of {RUNS}")
        for name, ask in asks.items():
            results[f"{name}_p50"].append(await latencies_ms(ask, LATENCY_REQUESTS))
            if not sync_always:
                results[f"{name}_c64"].append(await throughput(ask, THROUGHPUT_REQUESTS))
    await keeping.close()
    await forgetting.close()
    await client.close()
    return results


def main() -> None:
    for sync_always in (False, True):
        with broker(sync_always=sync_always) as url, worker(url):
            medians = {name: median(values) for name, values in uvloop.run(run(url, sync_always=sync_always)).items()}
        sync = "_sync_always" if sync_always else ""
        figure(BENCH, f"ask_p50{sync}", medians["kept_p50"], medians["not_kept_p50"], "ms", RUNS)
        figure(BENCH, f"raw_p50{sync}", medians["raw_p50"], None, "ms", RUNS)
        if not sync_always:
            figure(BENCH, "ask_c64", medians["kept_c64"], medians["not_kept_c64"], "requests/s", RUNS)
            figure(BENCH, "raw_c64", medians["raw_c64"], None, "requests/s", RUNS)


if __name__ == "__main__":
    main()
