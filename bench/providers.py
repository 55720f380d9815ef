"""Do the router's providers get from a real llama-server what they promise?

Every promise is kept or not, in both dialects that llama-server speaks: OpenAI's (`/v1/chat/completions`,
`/v1/embeddings`, `/v1/models`) and Anthropic's (`/v1/messages`). What is printed as `kept` should be as many as
`promises`; `note` says what was not.

The file is golek-tiny; where tools are offered with functionary's chat template, for llama-server cannot read
golek-tiny's own then, and with others leaves this model free to talk where a call must be made. Vectors are asked of
MiniLM. Needs a llama-server: GOLEK_BENCH_LLAMA_SERVER, or one is built, as `engine.py` says.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any, Final, TypeGuard

import peers
import shapes
from support import figure, note

from golek_wire.errors import (
    BadRequestError,
    ContextBudgetExceededError,
    DeadlineExceededError,
    InferenceServiceError,
    ProviderFailedError,
)
from golek_wire.replies import Delta, EmbeddingReply, InferenceReply
from golek_wire.requests import (
    EmbeddingRequest,
    InferenceRequest,
    JsonSchema,
    Message,
    Params,
    Request,
    ResponseFormat,
    Resume,
)
from golek_worker.providers import quirks
from golek_worker.providers.anthropic import AnthropicProvider
from golek_worker.providers.base import Call
from golek_worker.providers.openai import OpenAIProvider
from golek_worker.providers.transport import Server
from tests.support import minilm

BENCH = "providers"
TEMPLATE = "models/templates/meetkai-functionary-medium-v3.2.jinja"
ANSWER: Final = "A lease is a job that a worker has taken but not yet finished, with a deadline."
GREEDY: Final = Params(temperature=0.0, max_tokens=60)
TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]},
    },
}
IMAGE: Final[list[dict[str, Any]]] = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
Cloudy = OpenAIProvider | AnthropicProvider
Promise = Callable[[Cloudy], Awaitable[object]]


def call(request: Request, seconds: float = 60.0) -> Call:
    return Call("golek-tiny", request, "job-0123456789abcdef", seconds)


def text(**fields: Any) -> InferenceRequest:
    return InferenceRequest(**{"input": "What is a lease?", "params": GREEDY} | fields)


async def said(provider: Cloudy, request: InferenceRequest) -> InferenceReply:
    """The reply, once its text is what the pieces made."""
    *pieces, reply = [one async for one in provider.answer(call(request))]
    assert isinstance(reply, InferenceReply)
    begun = request.resume.text if request.resume is not None else ""
    read = "".join(one if isinstance(one, str) else one.text for one in pieces if isinstance(one, str) or first(one))
    assert begun + read == reply.text, f"{begun + read!r} was read, {reply.text!r} is told"
    return reply


async def failure(provider: Cloudy, request: InferenceRequest) -> InferenceServiceError:
    """The error that it ends with."""
    try:
        reply = await said(provider, request)
    except InferenceServiceError as error:
        return error
    raise AssertionError(f"it was answered: {reply}")


def first(piece: object) -> TypeGuard[Delta]:
    """Whether it is of the first text."""
    return isinstance(piece, Delta) and piece.index == 0


async def a_text(provider: Cloudy) -> None:
    reply = await said(provider, text())
    assert reply.text.startswith(ANSWER), reply.text
    assert (reply.finish_reason, reply.tokens_in > 0, reply.tokens_out > 10) == ("stop", True, True), reply


async def a_limit(provider: Cloudy) -> None:
    reply = await said(provider, text(params=Params(temperature=0.0, max_tokens=3)))
    assert (reply.finish_reason, reply.tokens_out) == ("length", 3), reply


async def a_call(provider: Cloudy) -> None:
    """In pieces and as a whole: this model cannot call of itself, the grammar of a call that must be made makes it."""
    reply = await said(provider, text(tools=[TOOL], tool_choice="required", parallel_tool_calls=False))
    called = reply.tool_calls or []
    assert called, reply
    assert {one.function.name for one in called} == {"get_weather"}, reply
    assert all(json.loads(one.function.arguments)["city"] in ("Paris", "Rome") for one in called), reply
    assert len({one.id for one in called}) == len(called), reply


async def a_result(provider: Cloudy) -> None:
    """A conversation with a call and its result is read."""
    made = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    turns = [
        Message("user", "Weather?"),
        Message("assistant", None, tool_calls=[made]),
        Message("tool", "Rain", tool_call_id="c1"),
    ]
    short = Params(temperature=0.0, max_tokens=3)
    assert (await said(provider, InferenceRequest(messages=turns, params=short))).tokens_in > 5


async def a_schema(provider: Cloudy) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    reply = await said(provider, text(response_format=ResponseFormat("json_schema", JsonSchema(schema))))
    assert reply.text.startswith("{"), reply.text
    assert '"a"' in reply.text, reply.text


async def a_grammar(provider: Cloudy) -> None:
    params = Params(temperature=0.0, max_tokens=9, grammar='root ::= "yes" | "no"')
    assert (await said(provider, text(params=params))).text in ("yes", "no")


async def several_texts(provider: Cloudy) -> None:
    reply = await said(provider, text(params=Params(temperature=0.0, max_tokens=4, n=2)))
    assert len(reply.all_choices) == 2, reply


async def log_probabilities(provider: Cloudy) -> None:
    reply = await said(provider, text(params=Params(temperature=0.0, max_tokens=4, logprobs=True, top_logprobs=2)))
    told = reply.logprobs or []
    assert (len(told), len(told[0].top_logprobs)) == (4, 2), told


async def going_on(provider: Cloudy) -> None:
    """Behind a text that ends with a blank: only what follows is told, and nothing is doubled."""
    reply = await said(provider, text(resume=Resume("A lease is a job that a ")))
    assert reply.text.startswith(ANSWER), reply.text


async def unknown_fields(provider: Cloudy) -> None:
    assert (await said(provider, text(extra={"of_a_later_api": {"a": 1}}))).text.startswith(ANSWER)


async def the_context(provider: Cloudy) -> None:
    error = await failure(provider, text(input="word " * 9000))
    assert isinstance(error, ContextBudgetExceededError), error
    assert error.current_tokens > error.budget > 0, error


async def what_is_wrong(provider: Cloudy) -> None:
    """No image is read there: an error with the server's own words, at once."""
    error = await failure(provider, InferenceRequest(messages=[Message("user", "", parts=IMAGE)], params=GREEDY))
    assert isinstance(error, BadRequestError | ProviderFailedError), error
    assert "image" in error.message, error


async def a_deadline(provider: Cloudy) -> None:
    began = time.monotonic()
    try:
        _ = [one async for one in provider.answer(call(text(input="word " * 1500), 0.005))]
    except DeadlineExceededError:
        assert time.monotonic() - began < 1.0
    else:
        raise AssertionError("an answer came after its deadline")


async def leaving(provider: Cloudy) -> None:
    """Four times as many as it has slots are left in their middle: the next one is answered at once."""
    endless = text(params=Params(temperature=0.0, max_tokens=1500), extra={"ignore_eos": True})
    for _ in range(16):
        async with aclosing(provider.answer(call(endless))) as pieces:
            async for _piece in pieces:
                break
    async with asyncio.timeout(10):
        await a_limit(provider)


async def its_models(provider: Cloudy) -> None:
    (one,) = await provider.models()
    assert one.context_size > 0, one


async def many_at_once(provider: Cloudy) -> None:
    """A hundred texts at once over kept connections, some of which the server closes between two requests."""
    for _ in range(2):
        replies = await asyncio.gather(*(said(provider, text()) for _ in range(50)))
        assert all(reply.text.startswith(ANSWER) for reply in replies)


BOTH: Final[list[Promise]] = [
    a_text, a_limit, a_result, going_on, unknown_fields, the_context, what_is_wrong, a_deadline,
    leaving, its_models, many_at_once,
]  # fmt: skip
TOOLS: Final[list[Promise]] = [a_call]
OPENAI: Final[list[Promise]] = [*BOTH, a_schema, a_grammar, several_texts, log_probabilities]


async def vectors(provider: OpenAIProvider) -> None:
    """Of MiniLM, as numbers and as base64."""
    for form in ("float", "base64"):
        request = EmbeddingRequest(["What is NATS?", "What is a lease?"], encoding_format=form)  # type: ignore[arg-type]
        (reply,) = [one async for one in provider.answer(call(request))]
        assert isinstance(reply, EmbeddingReply)
        assert [len(one) for one in reply.vectors] == [384, 384]
        assert reply.usage.prompt_tokens > 0


async def kept(asked: Sequence[tuple[Any, Sequence[Callable[[Any], Awaitable[object]]]]], dialect: str) -> None:
    """Ask for all of it, and say what was kept."""
    held = 0
    for provider, promises in asked:
        for promise in promises:
            try:
                await promise(provider)
                held += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, the promise is not kept
                note(f"{dialect}: {promise.__name__}: {type(error).__name__}: {error}")
        await provider.close()
    figure(BENCH, f"{dialect}_promises", sum(len(promises) for _, promises in asked), None, "promises", 1)
    figure(BENCH, f"{dialect}_kept", held, None, "promises", 1)


async def ask(chat: int, tools: int, embeddings: int) -> None:
    own = quirks.KNOWN["llama-server"]
    there, called, vector = (
        Server("llama-server", f"http://127.0.0.1:{port}/v1") for port in (chat, tools, embeddings)
    )
    speaking = (OpenAIProvider(there, "", own), OPENAI), (OpenAIProvider(called, "", own), TOOLS)
    await kept([*speaking, (OpenAIProvider(vector, "", own), [vectors])], "openai")
    await kept([(AnthropicProvider(there, "", own), BOTH), (AnthropicProvider(called, "", own), TOOLS)], "anthropic")


def main() -> None:
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="golek-bench-")))
        sizes = ("--jinja", "--ctx-size", "8192", "--parallel", "4")
        chat = shapes.llama_server(stack, data, shapes.TINY, *sizes)
        template = str(peers.sources() / TEMPLATE)
        tools = shapes.llama_server(stack, data, shapes.TINY, *sizes, "--chat-template-file", template)
        vector = shapes.llama_server(stack, data, minilm.model_file(), "--embeddings", "--pooling", "mean")
        note(f"llama-server of llama-cpp-python {peers.LLAMA_CPP}")
        asyncio.run(ask(chat, tools, vector))


if __name__ == "__main__":
    main()
