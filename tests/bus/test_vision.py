"""What images show, over the bus: real nats-server, real workers, golek-tiny with eyes in llama.cpp."""

import asyncio
import json
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from golek_client import BadRequestError, Golek, JobCancelledError, PayloadTooLargeError, VisionReply, image
from golek_wire.requests import Message
from golek_worker.labelling import QUESTION
from golek_worker.local import LocalGolek
from tests.bus.test_cli import run
from tests.support import image_server, llama_server, pictures, raw
from tests.support.eyes import png, projector
from tests.support.ports import free_port
from tests.support.workers import WorkerProcess

MODEL = "golek-tiny"
REQUEST = f"vision.request.{MODEL}"
LABELS = ["NATS is", "JetStream is", "Golek is"]
SHOWS = {"red": "NATS is", "green": "JetStream is"}
"""What the model says of an image of each colour."""
SMALL = 1_000_000


@pytest.fixture
def port() -> int:
    """Of a server of images that the worker may ask."""
    return free_port()


@pytest.fixture
def seeing(nats_server: str, tmp_path: Path, port: int) -> Iterator[WorkerProcess]:
    """A worker whose model has eyes."""
    settings = {
        "MMPROJ_PATH": projector(),
        "VISION_ALLOWED_DOMAINS": f"127.0.0.1:{port}",
        "VISION_MAX_BYTES": 4_000_000,
    }
    with WorkerProcess(nats_server, tmp_path / "data", MODEL, MODEL_THREADS=1, **settings) as worker:
        yield worker


def best(reply: VisionReply) -> list[str]:
    return [result.label for result in reply.results]


async def likely(golek: Golek, colour: str, label: str) -> float:
    """The log-probability of a label below an image, by what a chat tells of each token."""
    turn = Message("user", "?", parts=[image(png(colour)), {"type": "text", "text": "?"}])
    reply = await golek.chat(MODEL, [turn], choice=[label], temperature=0.0, logprobs=True, max_tokens=20)
    assert reply.logprobs is not None
    return sum(token.logprob for token in reply.logprobs)


async def test_images_are_classified(seeing: WorkerProcess, nats_server: str, tmp_path: Path, golek: Golek) -> None:
    """One and several; a score is the label's share of the probability that all have; without labels the model speaks;
    answered elsewhere as well, submitted, logged without the image."""
    reply = await golek.classify(MODEL, png("green"), labels=LABELS, prompt="?")
    sums = [math.exp(await likely(golek, "green", label)) for label in LABELS]
    (result,) = reply.results
    assert (result.label, result.index) == ("JetStream is", 0)
    shares = {label: one / sum(sums) for label, one in zip(LABELS, sums, strict=True)}
    assert {one.label: pytest.approx(one.score, abs=1e-4) for one in result.scores} == shares
    assert [one.score for one in result.scores] == sorted(shares.values(), reverse=True) or result.score > 0.9
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens

    several = await golek.classify(MODEL, [png("red"), png("green"), png("red")], labels=LABELS, prompt="?", top_k=1)
    assert best(several) == ["NATS is", "JetStream is", "NATS is"]
    assert [(len(one.scores), one.index) for one in several.results] == [(1, 0), (1, 1), (1, 2)]
    assert several.results[1].score == pytest.approx(result.score, abs=1e-4)

    spoken = await golek.classify(MODEL, png("green"))
    said = await golek.chat(
        MODEL,
        [Message("user", "", parts=[image(png("green")), {"type": "text", "text": QUESTION}])],
        temperature=0.0, logprobs=True, max_tokens=48,
    )  # fmt: skip
    assert spoken.results[0].label == said.text.strip()
    assert spoken.results[0].score == pytest.approx(math.exp(sum(t.logprob for t in said.logprobs or [])), rel=1e-3)

    async with raw.connected(nats_server) as client:
        other = await client.subscribe("my.classes")
        body = {
            "image": pictures.url(png("red")),
            "labels": LABELS,
            "prompt": "?",
            "req_id": "v1",
            "reply_to": "my.classes",
        }
        answer, message = await raw.ask(client, REQUEST, body)
        assert list(message.headers or ()) == ["Golek-Worker"]
        assert json.loads((await other.next_msg(5)).data) == answer
        assert (answer["req_id"], answer["model"], answer["object"]) == ("v1", MODEL, "classifications")
        assert answer["results"][0]["label"] == "NATS is"
    left = await golek.submit(MODEL, kind="vision", images=png("red"), labels=LABELS, prompt="?")
    kept = await golek.wait(left)
    assert isinstance(kept, VisionReply)
    assert best(kept) == ["NATS is"]
    (record,) = await golek.models()
    assert record.kinds == ["inference", "vision"]
    seeing.end()
    with sqlite3.connect(tmp_path / "data" / "logs" / f"{MODEL}.sqlite") as log:
        row = log.execute("SELECT kind, raw_input, output, texts FROM requests WHERE req_id = 'v1'").fetchone()
    told = json.loads(row[1])
    size = len(pictures.url(png("red")).partition(",")[2])
    assert (row[0], told["labels"]) == ("vision", LABELS)
    assert told["images"] == [f"data:image/png;base64,… ({size} characters)"]
    assert row[2].startswith("NATS is (")
    assert row[3] == len(LABELS)


async def test_where_images_come_from(seeing: WorkerProcess, nats_server: str, port: int, golek: Golek) -> None:
    """A server that is allowed, an object store, a body too large for a message; in chats as well."""
    async with raw.connected(nats_server) as client, image_server.serving({"/green.png": png("green")}, port) as server:
        store = await client.jetstream().create_object_store("GOLEK_IMAGES")
        await store.put("pets/green.png", png("green"))
        large = pictures.bmp(pictures.GREEN, 700, 700)
        assert len(large) > SMALL
        sources = [
            server.at("/green.png"),
            server.at("/to/green.png"),
            "nats-object://GOLEK_IMAGES/pets/green.png",
            large,
        ]
        for source in sources:
            assert best(await golek.classify(MODEL, source, labels=LABELS, prompt="?")) == ["JetStream is"]
            shown = await golek.chat(MODEL, [Message("user", "", parts=[image(source)])], temperature=0.0, max_tokens=8)
            assert shown.text.startswith("JetStream is")
        wrong = {
            server.at("/green.png", "localhost"): f"only 127.0.0.1:{port} may be asked here (VISION_ALLOWED_DOMAINS)",
            server.at("/to/http://169.254.169.254/"): "leads to 'http://169.254.169.254/', which is not asked",
            server.at("/page"): "declared as text/html",
            server.at("/status/404"): "answers 404",
            "nats-object://GOLEK_OBJECTS/x": "images lie in the bucket GOLEK_IMAGES",
            "nats-object://GOLEK_IMAGES/none": "there is no object 'none' in the bucket GOLEK_IMAGES",
        }
        for source, says in wrong.items():
            with pytest.raises(BadRequestError) as refused:
                await golek.classify(MODEL, source, labels=LABELS)
            assert says in refused.value.message
            assert refused.value.details["param"] == "image"
            with pytest.raises(BadRequestError) as refused:
                await golek.chat(MODEL, [Message("user", "", parts=[image(source)])])
            assert says in refused.value.message
            assert refused.value.details["param"] == "messages[0].parts[0].image_url.url"
        for source in (pictures.bmp(width=2000, height=1000), server.at("/endless")):
            with pytest.raises(PayloadTooLargeError, match="at most 4000000 of one image are read here"):
                await golek.classify(MODEL, source, labels=LABELS)


async def test_wrong_requests_are_told_at_once(seeing: WorkerProcess, nats_server: str) -> None:
    """Before a job is stored: what is no image, and too many."""
    red = pictures.url(png("red"))
    many = {"images": [red] * 16, "labels": [f"l{i}" for i in range(40)]}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"image": pictures.url(b"no image")}, "image: it is no image: PNG, JPEG, WebP, GIF or BMP are read"),
        (
            {"images": [red, pictures.url(png("red"), "image/gif")]},
            "images[1]: is declared as image/gif and is image/p",
        ),
        ({"image": "!!"}, "image: is no base64"),
        ({"images": [red] * 17}, "images[16]: 17 images; at most 16"),
        (many, "labels: 40 labels of 16 images are 640 questions"),
        ({"image": red, "resume": {"text": "x"}}, "resume: "),
        ({}, "image: a request has either `image` or `images`"),
    ]
    async with raw.connected(nats_server) as client:
        for body, says in wrong:
            answer, message = await raw.ask(client, REQUEST, body)
            assert answer["error"]["message"].startswith(says), answer
            assert "Golek-Worker" not in (message.headers or {})
    with sqlite3.connect(seeing.data / "logs" / f"{MODEL}.sqlite") as log:
        assert log.execute("SELECT count(*) FROM requests").fetchone() == (0,)


async def test_a_model_without_eyes_says_who_has_some(
    seeing: WorkerProcess, nats_server: str, tmp_path: Path, golek: Golek
) -> None:
    """Asked what an image shows, and shown one in a chat."""
    with WorkerProcess(nats_server, tmp_path / "blind", "golek-tiny", 1, MODEL_NAME="blind"):
        for asking in (
            golek.classify("blind", png("red"), labels=LABELS),
            golek.chat("blind", [Message("user", "", parts=[image(png("red"))])]),
        ):
            with pytest.raises(BadRequestError, match="blind reads no images") as refused:
                await asking
            assert refused.value.details["available"] == [MODEL]
            assert MODEL in refused.value.message


async def test_a_router_passes_images_on(seeing: WorkerProcess, nats_server: str, tmp_path: Path, golek: Golek) -> None:
    """By the model's name, by an alias, and to whichever model sees; a body of any size."""
    data = tmp_path / "router"
    data.mkdir()
    (data / "routes.yaml").write_text(f"routes: {{eyes: {{targets: ['local:{MODEL}']}}}}")
    with (
        WorkerProcess(nats_server, tmp_path / "blind", "golek-tiny", 1, MODEL_NAME="blind"),
        WorkerProcess(nats_server, data, "router", ROUTES_FILE=data / "routes.yaml"),
    ):
        for name in ("eyes", "auto"):
            routed = await golek.classify(name, png("green"), labels=LABELS, prompt="?")
            assert best(routed) == ["JetStream is"]
            assert routed.route
            assert routed.route.target == f"local:{MODEL}"
            chat = await golek.chat(
                name, [Message("user", "", parts=[image(png("green"))])], temperature=0.0, max_tokens=8
            )
            assert chat.text.startswith("JetStream is")
        large = await golek.classify("eyes", pictures.bmp(pictures.GREEN, 700, 700), labels=LABELS, prompt="?")
        assert best(large) == ["JetStream is"]
        for _ in range(6):  # some of them come to the router first
            assert best(await golek.classify(MODEL, png("green"), labels=LABELS, prompt="?")) == ["JetStream is"]


async def test_a_cancelled_question_leaves_nothing_running(seeing: WorkerProcess, golek: Golek) -> None:
    """All its sequences end, and the next one is answered."""
    labels = [f"label {i} is a long one that takes its time to be written down" for i in range(60)]
    asking = asyncio.create_task(golek.classify(MODEL, [png("red")] * 8, labels=labels))
    while not (await golek.health(MODEL)).active:
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises((asyncio.CancelledError, JobCancelledError)):
        await asking
    while (await golek.health(MODEL)).active:
        await asyncio.sleep(0.01)
    assert best(await golek.classify(MODEL, png("red"), labels=LABELS, prompt="?")) == ["NATS is"]


@pytest.mark.skipif(llama_server.PROGRAM is None, reason=llama_server.MISSING)
async def test_a_server_of_its_own_is_given_the_images(
    nats_server: str, tmp_path: Path, port: int, golek: Golek
) -> None:
    """As data, whatever they came as: it fetches nothing itself. Its scores are those of the worker's own engine."""
    own = {
        "ENGINE": "llama-server",
        "LLAMA_SERVER": llama_server.PROGRAM,
        "MMPROJ_PATH": projector(),
        "VISION_ALLOWED_DOMAINS": f"127.0.0.1:{port}",
    }
    async with image_server.serving({"/green.png": png("green")}, port) as server:
        with WorkerProcess(nats_server, tmp_path, MODEL, **own):
            turn = Message("user", "", parts=[image(server.at("/green.png"))])
            shown = await golek.chat(MODEL, [turn], temperature=0.0, max_tokens=8)
            assert shown.text.startswith("JetStream is")
            (served,) = (await golek.classify(MODEL, png("green"), labels=LABELS, prompt="?")).results
        assert server.asked == ["/green.png"]
    with WorkerProcess(nats_server, tmp_path, MODEL, MMPROJ_PATH=projector(), MODEL_THREADS=1):
        (ours,) = (await golek.classify(MODEL, png("green"), labels=LABELS, prompt="?")).results
    assert [(one.label, pytest.approx(one.score, abs=1e-4)) for one in served.scores] == [
        (one.label, one.score) for one in ours.scores
    ]


async def test_the_commands(seeing: WorkerProcess, nats_server: str, tmp_path: Path, golek: Golek) -> None:
    """`golek classify` with files, a line each, or JSON; `golek chat --image`; a file that is not there."""
    del seeing
    red, green = tmp_path / "red.png", tmp_path / "green.png"
    red.write_bytes(png("red"))
    green.write_bytes(png("green"))
    labels = ("--labels", ",".join(LABELS), "--prompt", "?")
    status, out, _ = await run(nats_server, "classify", MODEL, str(red), str(green), *labels)
    assert status == 0
    first, second = out.splitlines()
    assert first.startswith(f"{red}: NATS is 1.000, JetStream is 0.000")
    assert second.startswith(f"{green}: JetStream is 1.000, ")
    status, out, _ = await run(nats_server, "classify", MODEL, str(green), "--top-k", "1", "--json", *labels)
    assert (status, len(json.loads(out)["results"][0]["scores"])) == (0, 1)
    status, out, _ = await run(nats_server, "chat", MODEL, " ", "--image", str(green), "--max-tokens", "2")
    assert (status, out.strip()) == (0, "JetStream is")
    turn = Message("user", "", parts=[image(green), {"type": "text", "text": "."}])
    said = await golek.chat(MODEL, [turn], temperature=0.0, max_tokens=8)
    given = ("--image", str(green), "--temperature", "0", "--max-tokens", "8")
    status, out, err = await run(nats_server, "chat", MODEL, ".", *given)
    assert (status, out.strip()) == (0, said.text.strip()), err
    status, _, err = await run(nats_server, "classify", MODEL, "nowhere.png")
    assert (status, err) == (1, "error: nowhere.png: No such file or directory\n")
    unread = tmp_path / "unread.webp"
    unread.write_bytes(pictures.webp_heads(8, 8)[0])
    status, _, err = await run(nats_server, "classify", MODEL, str(red), str(unread))
    assert (status, f"{unread}: images[1]: WebP is not read by this model; PNG, JPEG" in err) == (1, True), err


async def test_in_a_program_of_its_own(port: int) -> None:
    """A LocalGolek sees with the same settings, and has no object store."""
    settings = {"MMPROJ_PATH": str(projector()), "MODEL_THREADS": 1, "VISION_ALLOWED_DOMAINS": f"127.0.0.1:{port}"}
    async with (
        image_server.serving({"/green.png": png("green")}, port) as server,
        LocalGolek(MODEL, settings=settings, deadline=20) as local,
    ):
        for source in (png("green"), server.at("/green.png")):
            assert best(await local.classify(MODEL, source, labels=LABELS, prompt="?")) == ["JetStream is"]
            shown = await local.chat(MODEL, [Message("user", "", parts=[image(source)])], temperature=0.0, max_tokens=8)
            assert shown.text.startswith("JetStream is")
        for wrong, says in (
            ("nats-object://GOLEK_IMAGES/a", "there is no bus here"),
            ("https://a.example/", "may be asked"),
        ):
            with pytest.raises(BadRequestError, match=says):
                await local.classify(MODEL, wrong)
