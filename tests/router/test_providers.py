"""What a cloud is asked, and what becomes of its answers: over HTTP, from a stand-in that speaks its protocol."""

import asyncio
from contextlib import aclosing

import pytest

from golek_wire.errors import BadRequestError
from golek_wire.replies import Delta, EmbeddingReply
from golek_wire.requests import EmbeddingRequest, Message, Params, RerankRequest, ResponseFormat, Resume
from golek_worker.providers import quirks
from golek_worker.providers.anthropic import AnthropicProvider
from golek_worker.providers.openai import OpenAIProvider
from tests.router.asking import IMAGE, SCHEMA, TOOLS, ask, call, everything, greedy, text, turns
from tests.router.conftest import server
from tests.support.clouds import KEY, TEXT, Cloud
from tests.support.defects import DEFECTS

Cloudy = OpenAIProvider | AnthropicProvider


@pytest.fixture(params=["openai", "anthropic", "google"])
def any_cloud(request: pytest.FixtureRequest) -> Cloudy:
    """Each of the three."""
    found: Cloudy = request.getfixturevalue(request.param)
    return found


async def test_a_text_comes_in_pieces_and_then_as_a_whole(any_cloud: Cloudy) -> None:
    """The reply is what the pieces make, with the provider's own figures."""
    answered = await ask(any_cloud, text(req_id="r1"))
    assert len(answered.pieces) == len(TEXT.split())
    assert answered.text == answered.reply.text == TEXT
    reply = answered.reply
    assert (reply.req_id, reply.model, reply.finish_reason) == ("r1", "m", "stop")
    assert (reply.tokens_in, reply.tokens_out, reply.tokens_cached) == (11, 17, 3)


async def test_tools_are_called(any_cloud: Cloudy) -> None:
    """Two calls at once: numbered from 0, each with an id, and an end that says so, whatever the cloud says."""
    answered = await ask(any_cloud, text(tools=TOOLS))
    ids, names, arguments = zip(*answered.calls, strict=True)
    assert len(set(ids)) == 2
    assert all(ids)
    assert names == ("get_weather", "get_time")
    assert [one.replace(" ", "") for one in arguments] == ['{"city":"Paris"}'] * 2
    assert answered.called == answered.calls
    assert answered.reply.finish_reason == "tool_calls"


async def test_results_of_tools_are_told(any_cloud: Cloudy, cloud: Cloud, gemini: Cloud) -> None:
    """The cloud reads call and result as its own protocol has them."""
    calls = [
        {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": '{"city": "Rome"}'}}
        for i, name in enumerate(("get_weather", "get_time"))
    ]
    answered = await ask(
        any_cloud,
        turns(
            Message("system", "Be short."),
            Message("user", "Weather?"),
            Message("assistant", None, tool_calls=calls),
            Message("tool", "Rain", tool_call_id="c0"),
            Message("tool", "Noon", tool_call_id="c1"),
            tools=TOOLS,
        ),
    )
    assert answered.text == TEXT
    body = (cloud.asked or gemini.asked)[-1].body
    if any_cloud.name == "anthropic":
        assert body["system"] == "Be short."
        assert body["messages"][1]["content"][0] == {
            "type": "tool_use", "id": "c0", "name": "get_weather", "input": {"city": "Rome"}
        }  # fmt: skip
        assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == ["c0", "c1"]
    else:
        assert [turn["role"] for turn in body["messages"]] == ["system", "user", "assistant", "tool", "tool"]
        named = [turn.get("name") for turn in body["messages"][3:]]
        assert named == (["get_weather", "get_time"] if any_cloud.name == "gemini" else [None, None])


@pytest.mark.parametrize("choice", ["none", "required", {"type": "function", "function": {"name": "get_time"}}])
async def test_who_must_be_called_is_said(any_cloud: Cloudy, choice: object) -> None:
    """None, any, or one of them."""
    answered = await ask(any_cloud, text(tools=TOOLS, tool_choice=choice, parallel_tool_calls=False))
    called = [name for _, name, _ in answered.called]
    assert called == (
        [] if choice == "none" else ["get_time"] if isinstance(choice, dict) else ["get_weather", "get_time"]
    )


async def test_json_by_a_schema(any_cloud: Cloudy, cloud: Cloud, gemini: Cloud) -> None:
    """The schema goes to where the protocol has it."""
    answered = await ask(any_cloud, text(response_format=SCHEMA))
    assert answered.text == '{"city": "Paris"}'
    body = (cloud.asked or gemini.asked)[-1].body
    if any_cloud.name == "anthropic":
        assert body["output_config"]["format"]["schema"] == SCHEMA.json_schema.schema  # type: ignore[union-attr]
    else:
        assert body["response_format"]["json_schema"]["name"] == "answer"


async def test_images_are_shown(any_cloud: Cloudy, cloud: Cloud, gemini: Cloud) -> None:
    """Data and addresses, in the protocol's own form."""
    request = turns(Message("user", "What is this?", parts=IMAGE))
    assert (await ask(any_cloud, request)).text == "I see 2 image."
    content = (cloud.asked or gemini.asked)[-1].body["messages"][0]["content"]
    if any_cloud.name == "anthropic":
        assert [block.get("source") for block in content] == [
            None,
            {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
            {"type": "url", "url": "https://example.com/cat.png"},
        ]
    else:
        assert content == IMAGE


@pytest.mark.parametrize("any_cloud", ["openai", "google"], indirect=True)
async def test_vectors(any_cloud: Cloudy) -> None:
    """In the order of the texts, in the form that the caller wants, counted by the provider."""
    (reply,) = await everything(any_cloud, EmbeddingRequest(["a", "bcd"], "r1"))
    assert isinstance(reply, EmbeddingReply)
    assert reply.vectors == [[1.0, 1.0, 0.5], [3.0, 1.0, 0.5]]
    assert (reply.usage.prompt_tokens, reply.req_id, reply.model) == (4, "r1", "m")
    (packed,) = await everything(any_cloud, EmbeddingRequest("abc", encoding_format="base64", dimensions=2))
    assert isinstance(packed, EmbeddingReply)
    assert isinstance(packed.data[0].embedding, str)
    assert packed.vectors == [[3.0, 1.0]]


async def test_what_cannot_be_done_is_refused_before_anybody_is_asked(any_cloud: Cloudy, cloud: Cloud) -> None:
    """An answer that does not follow what was asked is worse than none; the field is named."""
    for request, param in (
        (text(params=Params(grammar='root ::= "a"')), "params.grammar"),
        (text(params=Params(choice=["a", "b"])), "params.choice"),
        (text(raw=True), "raw"),
        (text(adapter="pirate"), "adapter"),
        (text(params=Params(best_of=3)), "params.best_of"),
        (text(params=Params(max_tokens=0)), "params.max_tokens"),
    ):
        with pytest.raises(BadRequestError) as refused:
            await ask(any_cloud, request)
        assert refused.value.details["param"] == param
        assert refused.value.details["provider"] == any_cloud.name
    with pytest.raises(BadRequestError, match=r"ranks no documents|writes texts"):
        await everything(any_cloud, RerankRequest("q", ["d"]))
    assert cloud.asked == []


async def test_what_one_cloud_lacks_it_refuses(anthropic: AnthropicProvider) -> None:
    """Anthropic's API has one text, no log-probabilities, and JSON by a schema alone."""
    several, told = text(params=Params(n=2)), text(params=Params(logprobs=True))
    for request in (several, told):
        with pytest.raises(BadRequestError, match="params"):
            await ask(anthropic, request)
    with pytest.raises(BadRequestError, match="response_format"):
        await ask(anthropic, text(response_format=ResponseFormat("json_object")))
    with pytest.raises(BadRequestError, match="neither text nor image"):
        await ask(anthropic, turns(Message("user", "", parts=[{"type": "input_audio", "input_audio": {}}])))
    bad = [{"type": "image_url", "image_url": {"url": "data:image/png,abc"}}]
    with pytest.raises(BadRequestError, match="base64"):
        await ask(anthropic, turns(Message("user", "", parts=bad)))


async def test_what_the_caller_did_not_say_is_not_said(openai: OpenAIProvider, cloud: Cloud) -> None:
    """A model's own defaults hold: ours are for models of the fleet."""
    await ask(openai, text())
    assert set(cloud.asked[0].body) == {"model", "messages", "stream", "stream_options"}


async def test_all_that_the_dialect_knows_is_said(openai: OpenAIProvider, cloud: Cloud) -> None:
    """Sampling, effort and limits; and of the others nothing, for they would be refused as unknown."""
    params = Params(
        max_tokens=50, temperature=0.5, top_p=0.9, stop=["END"], n=2, logprobs=True, top_logprobs=2,
        frequency_penalty=0.5, presence_penalty=0.25, logit_bias={"7": -100}, top_k=7, min_p=0.2, mirostat=2,
    )  # fmt: skip
    extra = {"verbosity": "low", "temperature": 2.0, "model": "other", "n": 9, "max_tokens": 10_000}
    answered = await ask(openai, text(params=params, seed=5, reasoning_effort="low", extra=extra))
    assert [choice.text for choice in answered.reply.all_choices] == [TEXT, TEXT]
    logprobs = answered.reply.logprobs
    assert logprobs is not None
    assert "".join(one.token for one in logprobs) == TEXT
    body = cloud.asked[0].body
    del body["messages"], body["stream"], body["stream_options"]
    assert body == {
        "model": "m", "max_completion_tokens": 50, "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "n": 2, "seed": 5,
        "logprobs": True, "top_logprobs": 2, "frequency_penalty": 0.5, "presence_penalty": 0.25,
        "logit_bias": {"7": -100}, "reasoning_effort": "low", "verbosity": "low",
    }  # fmt: skip


async def test_gemini_is_not_told_what_it_refuses(google: OpenAIProvider, gemini: Cloud) -> None:
    """Wishes that it does not know are left out; fields of the caller's own go there as they are."""
    hints = {"store": True, "service_tier": "flex"}
    request = text(tools=TOOLS, parallel_tool_calls=True, params=Params(logit_bias={"7": 1}), extra=hints)
    assert (await ask(google, request)).called
    with pytest.raises(BadRequestError, match="Unknown name"):
        await ask(google, text(extra={"something_new": 1}))
    assert gemini.asked[-1].body["something_new"] == 1


async def test_anthropic_is_told_how_to_draw(anthropic: AnthropicProvider, cloud: Cloud) -> None:
    """`max_tokens` always, one of temperature and top_p, and a budget for thoughts where they are allowed."""
    params = Params(max_tokens=4000, temperature=1.5, top_p=0.9, top_k=5, stop="END")
    await ask(anthropic, text(params=params))
    body = cloud.asked[-1].body
    assert (body["max_tokens"], body["temperature"], body["top_k"], body["stop_sequences"]) == (4000, 1.0, 5, ["END"])
    assert "top_p" not in body
    answered = await ask(anthropic, text(params=params, reasoning_effort="high"))
    assert answered.reply.reasoning_content == "Let me see."
    assert answered.pieces[0] == Delta(reasoning_content="Let me see.")
    assert cloud.asked[-1].body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert "temperature" not in cloud.asked[-1].body
    await ask(anthropic, text(reasoning_effort="high", tools=TOOLS, tool_choice="required"))
    assert "thinking" not in cloud.asked[-1].body


@pytest.mark.parametrize("any_cloud", ["openai", "anthropic"], indirect=True)
async def test_a_text_goes_on_where_it_was_cut_off(any_cloud: Cloudy, cloud: Cloud) -> None:
    """Only what follows is told as pieces, the reply is the whole; the blank at the end is there once."""
    begun = "A lease is a job "
    answered = await ask(any_cloud, text(resume=Resume(begun, 5), params=greedy(max_tokens=60)))
    assert begun + answered.text == answered.reply.text == TEXT
    asked = cloud.asked[-1].body
    assert asked["messages"][-1]["role"] == "assistant"
    assert asked.get("max_completion_tokens", asked.get("max_tokens")) == 55


async def test_a_server_may_repeat_what_was_begun(cloud: Cloud) -> None:
    """llama-server does; vLLM has to be told to go on."""
    begun = "A lease is a job "
    provider = OpenAIProvider(server(cloud, "there"), KEY, quirks.of(("llama-server", "vllm")))
    cloud.text = f"{begun.rstrip()}\n{TEXT}"  # what follows differs from what was begun in a blank
    answered = await ask(provider, text(resume=Resume(begun)))
    assert begun + answered.text == answered.reply.text
    assert cloud.asked[-1].body["continue_final_message"] is True
    await provider.close()


@pytest.mark.parametrize("any_cloud", ["openai", "anthropic"], indirect=True)
async def test_what_was_begun_counts_against_the_limit(any_cloud: Cloudy, cloud: Cloud) -> None:
    """Also where nobody counted its tokens: then at four bytes each."""
    await ask(any_cloud, text(resume=Resume("x" * 40), params=greedy(max_tokens=60)))
    asked = cloud.asked[-1].body
    assert asked.get("max_completion_tokens", asked.get("max_tokens")) == 50


@pytest.mark.parametrize("defect", sorted({*DEFECTS, "whole", "mistyped"} - {"finish-error"}))
@pytest.mark.parametrize("tools", [False, True])
async def test_answers_with_defects_are_read(openai: OpenAIProvider, cloud: Cloud, defect: str, *, tools: bool) -> None:
    """What breaks clients elsewhere comes out right: text, calls, ids, reason and figures."""
    cloud.then(defect)
    answered = await ask(openai, text(tools=TOOLS[:1] if tools else None))
    if tools:
        ((identifier, name, arguments),) = answered.calls
        assert identifier
        assert (name, arguments.replace(" ", "")) == ("get_weather", '{"city":"Paris"}')
        assert answered.called == answered.calls
        assert answered.reply.finish_reason == ("content_filter" if defect == "finish-safety" else "tool_calls")
    else:
        assert answered.text == answered.reply.text == TEXT
        assert answered.reply.finish_reason == ("content_filter" if defect == "finish-safety" else "stop")
        assert answered.reply.tokens_out == (20 if defect == "no-usage" else 17)


@pytest.mark.parametrize(
    "defect", ["tool-without-index", "tool-all-index-0", "tool-arguments-object", "tool-repeated-id"]
)
async def test_two_calls_stay_two(openai: OpenAIProvider, cloud: Cloud, defect: str) -> None:
    """However badly they are numbered."""
    cloud.then(defect)
    answered = await ask(openai, text(tools=TOOLS))
    assert [name for _, name, _ in answered.calls] == ["get_weather", "get_time"]
    assert [one.replace(" ", "") for _, _, one in answered.calls] == ['{"city":"Paris"}'] * 2


async def test_leaving_early_hangs_up(any_cloud: Cloudy, cloud: Cloud, gemini: Cloud) -> None:
    """Who has heard enough ends the cloud's work, which is paid for."""
    asked = gemini if any_cloud.name == "gemini" else cloud
    asked.pause_s = 0.05
    async with aclosing(any_cloud.answer(call(text()))) as pieces:
        async for _ in pieces:
            break
    await asyncio.wait_for(asked.left.wait(), 5)


async def test_a_cancelled_caller_hangs_up(openai: OpenAIProvider, cloud: Cloud) -> None:
    """Likewise, while nothing has come yet."""
    cloud.then("hang")
    asking = asyncio.create_task(ask(openai, text()))
    while not cloud.asked:
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(cloud.left.wait(), 5)


async def test_connections_are_kept(openai: OpenAIProvider, cloud: Cloud) -> None:
    """Ten texts one after the other take one connection."""
    for _ in range(10):
        await ask(openai, text())
    assert len({one.headers["x-peer"] for one in cloud.asked}) == 1
