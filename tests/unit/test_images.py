"""Images in a conversation: every surface says them alike."""

import json
from typing import Any

import pytest

from golek_wire import codec
from golek_wire.anthropic import messages
from golek_wire.errors import BadRequestError
from golek_wire.openai import chat, responses
from golek_wire.requests import InferenceRequest, Message

URL = "https://example.com/cat.png"
DATA = "data:image/png;base64,iVBORw0KGgo="
SEEN = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": URL}},
        {"type": "image_url", "image_url": {"url": DATA}}, {"type": "text", "text": "Be short."}]  # fmt: skip
TURN = Message("user", "What is this?\nBe short.", parts=SEEN)


def by_chat() -> InferenceRequest:
    """OpenAI's chat completions."""
    body = {"messages": [{"role": "user", "content": SEEN}]}
    return chat.to_wire(chat.read(json.dumps(body).encode()), 1000)


def by_responses() -> InferenceRequest:
    """OpenAI's Responses API."""
    content = [
        {"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": URL},
        {"type": "input_image", "image_url": DATA}, {"type": "input_text", "text": "Be short."},
    ]  # fmt: skip
    return responses.to_wire(
        responses.read(json.dumps({"input": [{"role": "user", "content": content}]}).encode()), 1000
    )


def by_messages() -> InferenceRequest:
    """Anthropic's Messages API."""
    content = [
        {"type": "text", "text": "What is this?"}, {"type": "image", "source": {"type": "url", "url": URL}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "text", "text": "Be short."},
    ]  # fmt: skip
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    return messages.to_wire(messages.read(json.dumps(body).encode()), 1000)


def by_bus() -> InferenceRequest:
    """The bus itself; the text need not be said twice."""
    return codec.decode_request(codec.encode({"messages": [{"role": "user", "content": TURN.content, "parts": SEEN}]}))


@pytest.mark.parametrize("asked", [by_chat, by_responses, by_messages, by_bus])
def test_every_surface_says_images_alike(asked: Any) -> None:
    """The same turn, which the bus carries as it is."""
    request = codec.decode_request(codec.encode(asked()))
    assert request.messages == [TURN]


def test_a_tool_may_show_an_image() -> None:
    """As agents do that look at a screen."""
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "Done."}, {"type": "image", "source": {"type": "url", "url": URL}}],
    }
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": "Look."}, {"role": "assistant", "content": [use]},
                                          {"role": "user", "content": [result]}]}  # fmt: skip
    request = messages.to_wire(messages.read(json.dumps(body).encode()), 1000)
    shown = [{"type": "text", "text": "Done."}, {"type": "image_url", "image_url": {"url": URL}}]
    assert (request.messages or [])[-1] == Message("tool", "Done.", tool_call_id="t1", parts=shown)
    output = [{"type": "input_text", "text": "Done."}, {"type": "input_image", "image_url": URL, "detail": "low"}]
    call = {"type": "function_call", "call_id": "t1", "name": "look", "arguments": "{}"}
    items = [call, {"type": "function_call_output", "call_id": "t1", "output": output}]
    wire = responses.to_wire(responses.read(json.dumps({"input": items}).encode()), 1000)
    parts = (wire.messages or [])[-1].parts or []
    assert parts[1] == {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([], "messages[0].parts"),
        ([{"type": "input_audio"}], "messages[0].parts[0]"),
        ([{"type": "text"}], "messages[0].parts[0]"),
        ([{"type": "image_url"}], "messages[0].parts[0].image_url.url"),
        ([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}], "messages[0].parts[0].image_url.url"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png,x"}}], "messages[0].parts[0].image_url.url"),
    ],
)
def test_on_the_bus_parts_are_checked(parts: list[dict[str, Any]], param: str) -> None:
    """Before anybody is asked, with the field's name."""
    with pytest.raises(BadRequestError) as refused:
        codec.decode_request(codec.encode({"messages": [{"role": "user", "parts": parts}]}))
    assert refused.value.details["param"] == param
