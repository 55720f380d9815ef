"""Ask a Golek worker with nothing but nats-py: `python scripts/ask_with_nats_py.py [MODEL]`.

What any NATS client in any language does. Prints one JSON line for each exchange, and fails when a reply lacks a key
that docs/subjects.md promises. NATS_URL names the server.
"""

import asyncio
import json
import os
import sys
from typing import Any

import nats
from nats.aio.client import Client

REPLY_KEYS = {"req_id", "text", "tokens_in", "tokens_out", "finish_reason", "duration_ms"}
HEALTH_KEYS = {
    "model_name", "status", "last_activity", "capabilities", "endpoint", "nats_topic", "version", "model_info",
}  # fmt: skip
MODEL_INFO_KEYS = {
    "architecture", "modalities", "parameter_count", "context_size", "embedding_size", "quantization", "model_family",
}  # fmt: skip


def show(what: str, reply: dict[str, Any], wanted: set[str]) -> None:
    """Print a reply; a missing key ends the script."""
    print(json.dumps({"exchange": what, "reply": reply}), flush=True)
    missing = wanted - reply.keys()
    if missing:
        sys.exit(f"{what}: the reply lacks {', '.join(sorted(missing))}")


async def ask(client: Client, subject: str, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """One request and its one reply: body and headers."""
    message = await client.request(subject, json.dumps(body).encode(), timeout=30)
    return json.loads(message.data), message.headers or {}


async def stream(client: Client, subject: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A streamed request: the deltas joined, and the final reply. The empty message ends it."""
    inbox = client.new_inbox()
    replies = await client.subscribe(inbox)
    await client.publish(subject, json.dumps(body | {"stream": True}).encode(), reply=inbox)
    deltas, final = [], {}
    while (message := await replies.next_msg(timeout=30)).data:
        headers = message.headers or {}
        if headers.get("Golek-Final"):
            final = json.loads(message.data)
        elif "Golek-Attempt" in headers:
            deltas.append(json.loads(message.data)["delta"])
    return "".join(deltas), final


async def main(model: str) -> None:
    client = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222").split(","))
    subject = f"inference.request.{model}"
    try:
        plain = {"req_id": "manual-req-123", "input": "What is NATS?", "params": {"max_tokens": 50, "temperature": 0}}
        show("plain", (await ask(client, subject, plain))[0], REPLY_KEYS)
        raw = {"req_id": "manual-raw-456", "input": "Hello", "params": {"max_tokens": 20}, "raw": True}
        show("raw", (await ask(client, subject, raw))[0], REPLY_KEYS)
        health, _ = await ask(client, f"models.{model}.health", {})
        show("health", health, HEALTH_KEYS)
        show("model_info", health["model_info"], MODEL_INFO_KEYS)
        text, final = await stream(client, subject, plain)
        show("stream", final, REPLY_KEYS)
        if text != final["text"]:
            sys.exit(f"stream: the deltas joined are {text!r}")
        error, headers = await ask(client, subject, {"req_id": "wrong", "input": 5})
        show("error", error, {"req_id", "error"})
        if headers.get("Nats-Service-Error-Code") != "400" or "Nats-Service-Error" not in headers:
            sys.exit(f"error: the headers are {headers}")
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "golek-tiny"))
