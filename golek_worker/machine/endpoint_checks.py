"""Does a worker answer as its clients expect?

`make test WORKER=name` asks each endpoint once, over the bus, as a program would: health, a request, raw, a stream, a
grammar, an embedding, a ranking, an image. A `Check` says what came back, after how long, and at which rate.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from golek_client.client import Golek
from golek_wire.errors import InferenceServiceError
from golek_wire.replies import InferenceReply
from golek_wire.signals import TAKES_REQUESTS, Health
from golek_worker import one_colour, settings
from golek_worker.machine import runfile
from golek_worker.machine.lifecycle import ENVS, REMIND_S, StartError
from golek_worker.machine.runfile import RunState
from golek_worker.settings import Settings

APPEAR_S: Final = 5.0
"""So long a worker may take to be seen at all: `make NAME & make test WORKER=NAME` has only just begun to start it."""
POLL_S: Final = 0.1
MAX_TOKENS: Final = 32
QUESTION: Final = "What is a message queue?"
BEGINNING: Final = "The capital of France is"
TEXTS: Final = ["search_query: machine learning", "Hello world"]
GRAMMAR: Final = 'root ::= "yes" | "no"'
COLUMNS: Final = ["check", "result", "ms", "tokens/s", "what came back"]
_TEXT_WIDTH: Final = 60

Say = Callable[[str], None]


class Check(Struct, frozen=True):
    """One endpoint, asked once."""

    name: str
    passed: bool
    said: str
    """The beginning of the answer, or what is wrong."""
    ms: float | None = None
    """From sending to the whole answer, as the caller sees it."""
    tokens_per_s: float | None = None
    """Tokens written, or for vectors read, by the time that the worker took for the whole request."""

    @property
    def row(self) -> list[str]:
        """The cells of `COLUMNS`."""
        rate = f"{self.tokens_per_s:.0f}" if self.tokens_per_s else "-"
        waited = f"{self.ms:.1f}" if self.ms is not None else "-"
        return [self.name, "ok" if self.passed else "FAILED", waited, rate, self.said]


async def run(deployment: str, *, envs: Path = ENVS, say: Say = print) -> list[Check]:
    """Ask every endpoint that the worker's capabilities promise; health first, and alone when it is not online.

    A worker that starts or loads is waited for. Raises SettingsError, and StartError when none runs.
    """
    loaded = settings.load(settings.env_file(deployment, envs))
    health, waited_ms = await _online(deployment, loaded, say)
    info = health.model_info
    known = (info.architecture, info.parameter_count, info.quantization, f"context {info.context_size}", health.device)
    checks = [
        Check("health", health.status in TAKES_REQUESTS, f"{health.status}: {' '.join(filter(None, known))}", waited_ms)
    ]
    if health.status not in TAKES_REQUESTS:
        return checks
    async with Golek(loaded.nats_url, login=loaded.login, deadline=loaded.inference_request_timeout) as golek:
        for name, capability, check in CHECKS:
            if capability in health.capabilities:
                checks.append(await _tried(name, check(golek, loaded)))
    return checks


async def _tried(name: str, check: Awaitable[Check]) -> Check:
    """The check, or the error that the fleet answered."""
    try:
        return await check
    except InferenceServiceError as error:
        return Check(name, passed=False, said=f"{error.code}: {error.message}")


# -- health ---------------------------------------------------------------------------------------------


async def _online(deployment: str, loaded: Settings, say: Say) -> tuple[Health, float]:
    """The health of a worker that has loaded, and how many milliseconds its answer took.

    Waits without limit while a replica of this machine starts or loads. Raises StartError when none does.
    """
    began = time.monotonic()
    remind_at = began
    while True:
        problem, asked = "", time.monotonic()
        try:
            async with Golek(loaded.nats_url, login=loaded.login) as golek:
                asked = time.monotonic()
                health = await golek.health(loaded.model_name)
            if health.status not in ("starting", "loading"):
                return health, (time.monotonic() - asked) * 1000
        except InferenceServiceError as error:
            problem = error.message
        states = [state for state in runfile.read_all(loaded.data) if state.deployment == deployment]
        _raise_if_hopeless(deployment, states, problem, time.monotonic() - began)
        if time.monotonic() >= remind_at + 1.0:
            remind_at += REMIND_S
            say(f"waiting for {deployment} to come online")
        await asyncio.sleep(POLL_S)


def _raise_if_hopeless(deployment: str, states: list[RunState], problem: str, waited_s: float) -> None:
    """Raises StartError when no replica can come online any more; `problem` is empty when one answered."""
    alive = [state for state in states if runfile.alive(state) and state.state != "failed"]
    if not problem or alive:
        return
    failed = [state for state in states if state.state == "failed"]
    if failed:
        raise StartError(f"{deployment} failed: {failed[0].problem}; log: {failed[0].log}")
    if waited_s >= APPEAR_S:
        raise StartError(f"no worker of {deployment} runs: {problem}\n`make start WORKER={deployment}` starts one")


# -- text and vectors -----------------------------------------------------------------------------------


async def _request(golek: Golek, asked: Settings) -> Check:
    began = time.monotonic()
    reply = await golek.ask(
        asked.model_name, QUESTION, subject=asked.subject or None, max_tokens=MAX_TOKENS, temperature=0
    )
    return _of_reply("request", asked, reply, began)


async def _raw(golek: Golek, asked: Settings) -> Check:
    began = time.monotonic()
    reply = await golek.ask(
        asked.model_name, BEGINNING, raw=True, subject=asked.subject or None, max_tokens=5, temperature=0
    )
    return _of_reply("raw", asked, reply, began)


async def _grammar(golek: Golek, asked: Settings) -> Check:
    """Raw, so that no format of answers stands between the grammar and its text."""
    began = time.monotonic()
    reply = await golek.ask(
        asked.model_name,
        "Is water wet? ",
        raw=True,
        grammar=GRAMMAR,
        subject=asked.subject or None,
        max_tokens=MAX_TOKENS,
    )
    wrong = "" if reply.text in ("yes", "no") else f"{_short(reply.text)} does not follow {GRAMMAR}"
    return _of_reply("grammar", asked, reply, began, wrong)


async def _stream(golek: Golek, asked: Settings) -> Check:
    """The pieces joined are the reply's text."""
    began = time.monotonic()
    first_ms: float | None = None
    pieces: list[str] = []
    async with golek.stream(
        asked.model_name, QUESTION, subject=asked.subject or None, max_tokens=MAX_TOKENS, temperature=0
    ) as stream:
        async for delta in stream:
            first_ms = first_ms or (time.monotonic() - began) * 1000
            pieces.append(delta)
    reply, joined = stream.reply, "".join(pieces)
    wrong = "" if joined == reply.text else f"pieces say {_short(joined)}, the reply {_short(reply.text)}"
    told = f"first after {first_ms:.1f} ms, {len(pieces)} pieces" if first_ms else ""
    return _of_reply("stream", asked, reply, began, wrong, told)


async def _embedding(golek: Golek, asked: Settings) -> Check:
    """One unit vector for each text, all of one width."""
    began = time.monotonic()
    reply = await golek.embed(asked.model_name, TEXTS, subject=asked.subject or None)
    waited_ms = (time.monotonic() - began) * 1000
    widths = {len(vector) for vector in reply.vectors}
    lengths = [math.hypot(*vector) for vector in reply.vectors]
    told = f"{len(reply.vectors)} vectors of {', '.join(map(str, sorted(widths)))} numbers"
    passed = len(reply.vectors) == len(TEXTS) and len(widths) == 1
    if reply.model != asked.model_name:
        passed, told = False, f"the reply is of model {reply.model!r}, MODEL_NAME is {asked.model_name!r}"
    if passed and not all(math.isclose(length, 1.0, abs_tol=1e-3) for length in lengths):
        passed, told = False, f"{told}, of lengths {', '.join(f'{length:.3f}' for length in lengths)} instead of 1"
    rate = reply.usage.prompt_tokens / (reply.ms / 1000) if reply.ms else None
    return Check("embedding", passed, told, waited_ms, rate)


async def _rerank(golek: Golek, asked: Settings) -> Check:
    """One score for each text, the highest first."""
    began = time.monotonic()
    reply = await golek.rerank(asked.model_name, QUESTION, TEXTS, subject=asked.subject or None)
    waited_ms = (time.monotonic() - began) * 1000
    scores = [result.relevance_score for result in reply.results]
    told = f"scores {', '.join(f'{score:.3f}' for score in scores)}"
    passed = sorted(result.index for result in reply.results) == list(range(len(TEXTS)))
    if reply.model != asked.model_name:
        passed, told = False, f"the reply is of model {reply.model!r}, MODEL_NAME is {asked.model_name!r}"
    if passed and scores != sorted(scores, reverse=True):
        passed, told = False, f"{told} are not in order"
    rate = reply.usage.prompt_tokens / (reply.ms / 1000) if reply.ms else None
    return Check("rerank", passed, told, waited_ms, rate)


async def _image(golek: Golek, asked: Settings) -> Check:
    """A label with a score for one image."""
    began = time.monotonic()
    subject = asked.subject if asked.subject.startswith("vision.") else None
    reply = await golek.classify(asked.model_name, one_colour.png("red"), subject=subject)
    waited_ms = (time.monotonic() - began) * 1000
    told = f"a red square: {_short(reply.results[0].label)} {reply.results[0].score:.3f}"
    return Check("image", 0 <= reply.results[0].score <= 1, told, waited_ms)


def _of_reply(
    name: str, asked: Settings, reply: InferenceReply, began: float, wrong: str = "", told: str = ""
) -> Check:
    """A text that came; `wrong` is what is wrong with it, `told` what is said instead of its beginning.

    An empty text is wrong, unless it was cut off in the format whose thoughts are not sent: then it is only told.
    """
    waited_ms = (time.monotonic() - began) * 1000
    if reply.tokens_out < 1:
        wrong = "the answer has no token"
    elif not reply.text and not wrong:
        empty = f"the answer is empty after {reply.tokens_out} tokens: does MODEL_FORMAT suit the model?"
        may_think = asked.model_format == "harmony" and reply.finish_reason == "length"
        wrong, told = ("", empty) if may_think else (empty, told)
    rate = reply.tokens_out / (reply.ms / 1000) if reply.ms else None
    return Check(name, passed=not wrong, said=wrong or told or _short(reply.text), ms=waited_ms, tokens_per_s=rate)


def _short(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= _TEXT_WIDTH else f"{shown[: _TEXT_WIDTH - 1]}…"


CHECKS: Final[list[tuple[str, str, Callable[[Golek, Settings], Awaitable[Check]]]]] = [
    ("request", "text-generation", _request),
    ("raw", "text-generation", _raw),
    ("stream", "text-generation", _stream),
    ("grammar", "grammar-constrained", _grammar),
    ("embedding", "embeddings", _embedding),
    ("rerank", "rerank", _rerank),
    ("image", "image-classification", _image),
    ("image", "vision", _image),
]
"""Name of each check, the capability that promises it, and how it is made."""
