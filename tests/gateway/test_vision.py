"""/v1/vision over HTTP: real broker, worker and gateway, golek-tiny with eyes beside one without."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI

from golek_worker.gateway.vision import PIXEL
from tests.support import pictures
from tests.support.eyes import part, png, projector
from tests.support.fronts import Fleet
from tests.support.workers import WorkerProcess

EYES = "golek-eyes"
ASKED: dict[str, Any] = {"labels": ["NATS is", "JetStream is", "Golek is"], "prompt": "?"}


@pytest.fixture(scope="module")
def eyes(fleet: Fleet) -> Iterator[str]:
    """The name of a model in the fleet that sees."""
    given = {"MODEL_NAME": EYES, "MMPROJ_PATH": projector(), "MODEL_THREADS": 1, "HTTP_ADDR": ""}
    with WorkerProcess(fleet.nats, fleet.data / "eyes", "golek-tiny", **given):
        yield EYES


@pytest.fixture
async def client(fleet: Fleet) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"{fleet.gateway}/v1/vision", timeout=30) as found:
        yield found


async def until_well(client: httpx2.AsyncClient) -> httpx2.Response:
    """The health, once the model has said in its record that it sees."""
    while (answer := await client.get("/health")).status_code != 200:
        await asyncio.sleep(0.02)
    return answer


async def test_without_a_model_that_sees(client: httpx2.AsyncClient) -> None:
    """Health is 503, and a request that names no model is told that there is none."""
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "models": []})
    asked = await client.post("/classify", json={"image": PIXEL})
    assert (asked.status_code, asked.json()["error"]["param"]) == (400, "model")
    assert "No model for vision is served" in asked.json()["error"]["message"]
    loaded = await client.post("/load")
    assert (loaded.status_code, loaded.json()["error"]["param"]) == (400, "model")


async def test_one_image(client: httpx2.AsyncClient, eyes: str) -> None:
    """As JSON in each form, and as the body itself; the one model that sees need not be named."""
    well = await until_well(client)
    assert well.json() == {
        "status": "ok",
        "models": [{"id": EYES, "status": "loaded", "kinds": ["inference", "vision"]}],
    }
    url = pictures.url(png("green"))
    for image in (url, url.partition(",")[2], part("green")):
        answer = await client.post("/classify", json=ASKED | {"image": image})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["id"].startswith("vision-")
        assert (found["model"], found["label"], found["scores"][0]["label"]) == (EYES, "JetStream is", "JetStream is")
        assert found["score"] == found["scores"][0]["score"] > 0.9
        assert sum(one["score"] for one in found["scores"]) == pytest.approx(1)
        assert found["usage"]["total_tokens"] > 0
        assert answer.headers["x-golek-worker"]
    query = {"labels": "NATS is, JetStream is", "prompt": "?", "top_k": "1", "model": EYES}
    sent = await client.post("/classify", content=png("red"), headers={"content-type": "image/png"}, params=query)
    assert (sent.status_code, sent.json()["label"], len(sent.json()["scores"])) == (200, "NATS is", 1)
    spoken = await client.post("/classify", json={"image": url, "model": EYES})
    assert spoken.json()["label"].startswith("JetStream is the part of NATS")


async def test_several_images(client: httpx2.AsyncClient, eyes: str) -> None:
    """A result for each; one that is no image refuses all, with its place."""
    await until_well(client)
    images = [pictures.url(png(colour)) for colour in ("red", "green", "red")]
    answer = await client.post("/classify/batch", json=ASKED | {"images": images, "top_k": 2})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [(one["index"], one["label"]) for one in found["results"]] == [
        (0, "NATS is"), (1, "JetStream is"), (2, "NATS is"),
    ]  # fmt: skip
    assert [len(one["scores"]) for one in found["results"]] == [2, 2, 2]
    wrong = await client.post("/classify/batch", json={"images": [*images, pictures.url(b"hello")], "model": eyes})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "images[3]")


async def test_what_is_wrong_is_named(client: httpx2.AsyncClient, eyes: str) -> None:
    """Type, size, address, model, form, query: in the house's form, with the field."""
    await until_well(client)
    bodies: list[tuple[dict[str, Any], int, str | None, str]] = [
        ({}, 400, "image", "is missing"),
        ({"image": pictures.url(b"hello")}, 400, "image", "is no image"),
        ({"image": PIXEL.replace("bmp", "png")}, 400, "image", "declared as image/png and is image/bmp"),
        ({"image": pictures.url(b"\0" * 11_000_000)}, 413, "image", "at most 10485760"),
        ({"image": "https://example.com/a.png"}, 400, "image", "VISION_ALLOWED_DOMAINS"),
        ({"image": PIXEL, "labels": []}, 400, "labels", "length >= 1"),
        ({"image": PIXEL, "model": "golek-tiny"}, 400, "image", EYES),
        ({"image": PIXEL, "model": "nobody"}, 404, None, "nobody"),
    ]
    answers = [(await client.post("/classify", json=body), *rest) for body, *rest in bodies]
    typed: Any = {"headers": {"content-type": "image/png"}}
    answers += [
        (await client.post("/classify", content=b"GIF89a", **typed), 400, "image", "is no image"),
        (await client.post("/classify", content=png("red"), params={"top_k": "x"}, **typed), 400, "query", "top_k"),
        (await client.post("/classify", content=png("red")), 400, "content-type", "content-type: image/png"),
        (await client.post("/classify", files={"file": png("red")}), 400, "content-type", "forms are not read here"),
        (await client.post("/unload", json={"model": "golek-tiny"}), 400, "model", "is no model for vision"),
    ]
    for answer, status, param, says in answers:
        error = answer.json()["error"]
        assert (answer.status_code, error.get("param")) == (status, param), answer.text
        assert says in error["message"]


async def test_load_and_unload(client: httpx2.AsyncClient, eyes: str) -> None:
    """Out of memory and back; the model need not be named; the next request would load it, too."""
    await until_well(client)
    gone = await client.post("/unload")
    assert (gone.status_code, gone.json()["id"], gone.json()["status"]) == (200, EYES, "available")
    assert (await until_well(client)).json()["models"][0]["kinds"] == ["inference", "vision"]
    back = await client.post("/load", json={"model": EYES})
    assert (back.status_code, back.json()["status"]) == (200, "loaded")
    await client.post("/unload")
    answer = await client.post("/classify", json=ASKED | {"image": pictures.url(png("red")), "model": eyes})
    assert (answer.status_code, answer.json()["label"]) == (200, "NATS is")


async def test_openai_s_client_shows_an_image(fleet: Fleet, eyes: str) -> None:
    """In a chat and by the Responses API."""
    url = pictures.url(png("green"))
    async with AsyncOpenAI(base_url=f"{fleet.gateway}/v1", api_key="none") as openai:
        shown: Any = {"type": "image_url", "image_url": {"url": url}}
        turn: Any = {"role": "user", "content": [shown]}
        chat = await openai.chat.completions.create(model=eyes, messages=[turn], temperature=0, max_tokens=8)
        assert (chat.choices[0].message.content or "").startswith("JetStream is")
        item: Any = {"role": "user", "content": [{"type": "input_image", "image_url": url}]}
        answer = await openai.responses.create(model=eyes, input=[item], temperature=0, max_output_tokens=8)
        assert answer.output_text.startswith("JetStream is")
