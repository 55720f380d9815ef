"""The stand-in for clouds speaks their real protocols: their own clients take it for one."""

from typing import Any

import anthropic
import openai
import pytest

from tests.support.clouds import KEY, TEXT, Cloud

TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    for name in ("get_weather", "get_time")
]
SCHEMA: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": {"type": "object"}}}
HELLO: Any = [{"role": "user", "content": "What is a lease?"}]
IMAGE: Any = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
]


def client(cloud: Cloud, key: str = KEY) -> openai.AsyncOpenAI:
    """OpenAI's own client, which refuses every answer whose shape is not OpenAI's."""
    return openai.AsyncOpenAI(api_key=key, base_url=cloud.base_url, max_retries=0, _strict_response_validation=True)


def claude(cloud: Cloud) -> anthropic.AsyncAnthropic:
    """Anthropic's own client, likewise."""
    return anthropic.AsyncAnthropic(
        api_key=KEY, base_url=cloud.base_url.removesuffix("/v1"), max_retries=0, _strict_response_validation=True
    )


async def test_openais_client_takes_its_answers(cloud: Cloud) -> None:
    """Text, calls, JSON, images and vectors, strictly validated."""
    async with client(cloud) as asking:
        whole = await asking.chat.completions.create(model="m", messages=HELLO, logprobs=True, n=2)
        assert [choice.message.content for choice in whole.choices] == [TEXT, TEXT]
        called = await asking.chat.completions.create(model="m", messages=HELLO, tools=TOOLS)
        assert [call.function.name for call in called.choices[0].message.tool_calls or ()] == [
            "get_weather",
            "get_time",
        ]
        formed = await asking.chat.completions.create(model="m", messages=HELLO, response_format=SCHEMA)
        assert formed.choices[0].message.content == '{"city": "Paris"}'
        seen = await asking.chat.completions.create(model="m", messages=[{"role": "user", "content": IMAGE}])
        assert seen.choices[0].message.content == "I see 1 image."
        vectors = await asking.embeddings.create(model="m", input=["a", "bcd"], encoding_format="float")
        assert sorted(item.embedding[0] for item in vectors.data) == [1.0, 3.0]
        assert [model.id async for model in asking.models.list()] == ["large", "text-embed-small"]


async def test_openais_client_reads_its_streams(cloud: Cloud) -> None:
    """The helper that puts a stream together finds all of it."""
    async with client(cloud) as asking, asking.chat.completions.stream(model="m", messages=HELLO) as stream:
        assert (await stream.get_final_completion()).choices[0].message.content == TEXT
    async with (
        client(cloud) as asking,
        asking.chat.completions.stream(model="m", messages=HELLO, tools=TOOLS) as stream,
    ):
        message = (await stream.get_final_completion()).choices[0].message
        assert [call.function.arguments for call in message.tool_calls or ()] == ['{"city": "Paris"}'] * 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("429", openai.RateLimitError), ("500", openai.InternalServerError), ("400", openai.BadRequestError),
     ("404", openai.NotFoundError), ("context", openai.BadRequestError)],
)  # fmt: skip
async def test_openais_client_knows_its_errors(cloud: Cloud, fault: str, kind: type[Exception]) -> None:
    """By status, as they are raised to callers of the real one."""
    cloud.then(fault)
    async with client(cloud) as asking:
        with pytest.raises(kind):
            await asking.chat.completions.create(model="m", messages=HELLO)
    async with client(cloud, "sk-other") as asking:
        with pytest.raises(openai.AuthenticationError):
            await asking.chat.completions.create(model="m", messages=HELLO)


async def test_anthropics_client_takes_its_answers(cloud: Cloud) -> None:
    """Text, calls and thoughts; whole and as a stream."""
    tools: Any = [{"name": "get_weather", "input_schema": {"type": "object"}}]
    async with claude(cloud) as asking:
        whole = await asking.messages.create(model="m", max_tokens=99, messages=HELLO)
        assert whole.content[0].type == "text"
        assert whole.content[0].text == TEXT
        thinking: Any = {"type": "enabled", "budget_tokens": 1024}
        async with asking.messages.stream(model="m", max_tokens=2000, messages=HELLO, thinking=thinking) as stream:
            assert await stream.get_final_text() == TEXT
        async with asking.messages.stream(model="m", max_tokens=99, messages=HELLO, tools=tools) as stream:
            called = (await stream.get_final_message()).content[0]
            assert called.type == "tool_use"
            assert called.input == {"city": "Paris"}
        cloud.then("529")
        with pytest.raises(anthropic.APIStatusError) as overloaded:
            await asking.messages.create(model="m", max_tokens=99, messages=HELLO)
        assert overloaded.value.status_code == 529
