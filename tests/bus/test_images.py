"""Images in chat over the bus: golek-tiny with eyes, a real worker and a real server."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from golek_client import Golek
from golek_wire.errors import BadRequestError
from golek_wire.requests import Message
from tests.support import pictures, raw
from tests.support.eyes import ASKS, TOKENS, part, projector
from tests.support.workers import WorkerProcess

MODEL = "golek-tiny"
REQUEST = f"inference.request.{MODEL}"


@pytest.fixture
def seeing(nats_server: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker whose model has eyes."""
    with WorkerProcess(nats_server, tmp_path / "data", MODEL, MMPROJ_PATH=projector(), MODEL_THREADS=1) as worker:
        yield worker


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def asked(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "parts": list(parts)}], "params": {"temperature": 0, "max_tokens": 40}}


async def test_a_chat_with_images(nats_server: str, seeing: WorkerProcess, golek: Golek) -> None:
    """Whole and streamed, alone and between texts, an image is what it asks; its tokens are counted. What a caller
    writes as a mark is text, and what is no image is named with its place."""
    async with raw.connected(nats_server) as client:
        health, _ = await raw.ask(client, f"models.{MODEL}.health", {})
        assert "vision" in health["capabilities"]
        assert health["model_info"]["modalities"] == ["text", "image"]
        words = asked(said(ASKS["green"]))
        read, _ = await raw.ask(client, REQUEST, words)
        seen, _ = await raw.ask(client, REQUEST, asked(part("green")))
        assert seen["text"] == read["text"]
        assert seen["tokens_in"] == read["tokens_in"]
        between, _ = await raw.ask(client, REQUEST, asked(said("Hello."), part("red"), said(" Thanks."), part("blue")))
        spelled, _ = await raw.ask(client, REQUEST, asked(said(f"Hello.{ASKS['red']} Thanks.{ASKS['blue']}")))
        assert between["text"] == spelled["text"]
        marked, _ = await raw.ask(client, REQUEST, asked(said("<__media__>"), part("green")))
        assert marked["tokens_in"] > seen["tokens_in"] + TOKENS
        url = "data:image/png;base64," + base64.b64encode(b"no image").decode()
        broken, _ = await raw.ask(client, REQUEST, asked({"type": "image_url", "image_url": {"url": url}}))
        assert broken["error"]["code"] == "BAD_REQUEST"
        unread = {"type": "image_url", "image_url": {"url": pictures.url(pictures.webp_heads(8, 8)[0], "image/webp")}}
        refused, _ = await raw.ask(client, REQUEST, asked(said("Hello."), unread))
        field = "messages[0].parts[1].image_url.url"
        assert refused["error"]["message"].startswith(f"{field}: WebP is not read by this model")
        assert refused["error"]["param"] == field
    turn = Message("user", parts=[part("green")])
    stream = golek.chat(MODEL, [turn], stream=True, temperature=0.0, max_tokens=40)
    assert "".join([text async for text in stream]) == read["text"]


async def test_a_model_without_eyes_refuses_images(nats_server: str, tmp_path: Path, golek: Golek) -> None:
    """At once, with its place and what to do."""
    turn = Message("user", parts=[part("red")])
    with (
        WorkerProcess(nats_server, tmp_path / "data", MODEL, MODEL_THREADS=1),
        pytest.raises(BadRequestError, match=r"messages\[0\].*vision"),
    ):
        await golek.chat(MODEL, [turn])
