"""Reading requests and replies."""

import pytest

from golek_wire import codec
from golek_wire.errors import BadRequestError, ErrorReply, QueueFullError, to_reply
from golek_wire.replies import InferenceReply
from golek_wire.requests import InferenceRequest, Message, Params


def test_the_smallest_request() -> None:
    """A prompt is all it takes; the rest are the documented defaults."""
    request = codec.decode_request(b'{"input": "hi"}')
    assert request.input == "hi"
    assert request.params == Params()
    assert (request.params.temperature, request.params.top_p, request.params.max_tokens) == (0.8, 0.95, None)


def test_unknown_fields_are_tolerated() -> None:
    """A client of a later release, or with fields of its own, is served."""
    request = codec.decode_request(b'{"req_id": "r", "input": "hi", "future": {"a": 1}, "params": {"mirostat": 2}}')
    assert request.req_id == "r"


def test_a_conversation() -> None:
    """`messages` instead of `input`, as in OpenAI's chat API."""
    request = codec.decode_request(b'{"messages": [{"role": "user", "content": "hi"}]}')
    assert request.messages == [Message("user", "hi")]


@pytest.mark.parametrize(
    ("payload", "param", "says"),
    [
        (b"", None, "is empty"),
        (b'{"input": ""}', "input", "at least one character"),
        (b'{"messages": [{"role": "user"}]}', "messages[0].content", "missing"),
        (b'{"messages": [{"role": "wizard"}]}', "messages[0].role", "one of assistant, developer, system, tool, user"),
        (b'{"input": "a", "tools": [{"name": "x"}]}', "tools[0]", "function"),
        (b"hi", None, "not JSON"),
        (b"\xff", None, "not JSON"),
        (b'{"a":' * 100_000, None, "nested too deep"),
        (b"[1]", None, "not an object"),
        (b"{}", "input", "neither is there"),
        (b'{"input": "a", "messages": [{"role": "user"}]}', "input", "both are there"),
        (b'{"messages": []}', "messages", "at least one message"),
        (b'{"input": 3}', "input", "got `int`"),
        (b'{"input": "a", "params": {"temperature": "hot"}}', "params.temperature", "got `str`"),
        (b'{"input": "a", "params": {"top_p": 1.5}}', "params.top_p", "<= 1.0"),
        (b'{"input": "a", "params": {"max_tokens": -1}}', "params.max_tokens", ">= 0"),
        (b'{"input": "a", "seed": -1}', "seed", ">= 0"),
        (b'{"input": "a", "deadline_ms": 0}', "deadline_ms", ">= 1"),
        (b'{"input": "a", "req_id": "a\\nb"}', "req_id", "printable"),
        (b'{"messages": [{"role": "robot"}]}', "messages[0].role", "robot"),
        (b'{"messages": [{"role": "user"}], "raw": true}', "raw", "goes with `input`"),
        (b'{"input": "a", "raw": true, "tools": [{}]}', "tools", "`raw` bypasses"),
        (b'{"input": "a", "tool_choice": "always"}', "tool_choice", "'always'; one of auto, none, required"),
        (b'{"input": "a", "tool_choice": {"type": "fun"}}', "tool_choice", '{"type": "function", "function": {"name"'),
        (b'{"input": "a", "tool_choice": {"type": "function", "name": "x"}}', "tool_choice", '"function": {"name": '),
        (b'{"input": "a", "reasoning_effort": "huge"}', "reasoning_effort", "one of high, low, medium, minimal, none"),
        (b'{"input": "a", "response_format": {"type": "yaml"}}', "response_format.type", "one of json_object, json_"),
        (b'{"input": "a", "params": {"n": 0}}', "params.n", ">= 1; got 0"),
        (b'{"input": "a", "params": {"temperature": 101}}', "params.temperature", "<= 100.0; got 101"),
        (b'{"input": "a", "params": {"temperature": 101}, x', "params.temperature", "<= 100.0"),
        (b'{"input": "a", "params": {"top_k": "' + b"9" * 6000 + b'"}}', "params.top_k", "9…)"),
        (b'{"input": "a", "params": {"repeat_penalty": 0}}', "params.repeat_penalty", ">= 0.001; got 0"),
        (b'{"input": "a", "params": {"logit_bias": {"5": 101}}}', "params.logit_bias", "token 5 has 101"),
        (b'{"input": "a", "params": {"logit_bias": {"4": 1, "5": "x"}}}', 'params.logit_bias["5"]', '`str` ("x")'),
        (b'{"input": "a", "params": {"stop": ""}}', "params.stop", ">= 1; got 0"),
        (b'{"input": "a", "params": {"stop": ["a", ""]}}', "params.stop[1]", ">= 1; got 0"),
        (b'{"input": "a", "params": {"stop": ["a", 3]}}', "params.stop[1]", "got `int` (3)"),
        (b'{"input": "a", "temperature": 0}', "temperature", 'belongs into `params`, as {"params": {"temperature": '),
        (b'{"input": "a", "max_tokens": 3}', "max_tokens", "belongs into `params`"),
        (b'{"input": "a", "params": {"response_format": {}}}', "params.response_format", "belongs beside `params`"),
        (b'{"input": "a", "params": {"stream": true}}', "params.stream", "belongs beside `params`"),
    ],
)
def test_a_wrong_request_names_its_field(payload: bytes, param: str | None, says: str) -> None:
    """What is wrong is said with the field, the value's problem and the limit."""
    with pytest.raises(BadRequestError) as raised:
        codec.decode_request(payload)
    assert raised.value.details.get("param") == param
    assert says in raised.value.message


@pytest.mark.parametrize(
    ("payload", "label"),
    [
        (b'{"req_id": "r1", "stream": true, "params": 3}', ("r1", True)),
        (b'{"req_id": "r1", "params": 3}', ("r1", False)),
        (b'{"req_id": 3}', ("", False)),
        (b'{"req_id": "a\\nb", "stream": true}', ("", True)),
        (b"not json", ("", False)),
        (b"{}", ("", False)),
    ],
)
def test_the_label_of_a_wrong_request_is_told_where_it_can_be(payload: bytes, label: tuple[str, bool]) -> None:
    """An error about a request still carries the caller's `req_id`, and ends a stream as a stream."""
    assert codec.label_of(payload) == label


def test_a_final_message_is_a_reply_or_raises_its_error() -> None:
    """One call reads both kinds of final message."""
    reply = InferenceReply("r", "text", 1, 2, "stop", 3, 3)
    assert codec.decode_final(codec.encode(reply), InferenceReply) == reply
    with pytest.raises(QueueFullError, match="full"):
        codec.decode_final(codec.encode(to_reply(QueueFullError("full"), "r")), InferenceReply)


def test_several_stops_or_one() -> None:
    """`stop` is a string or a list."""
    assert Params(stop="x").stops == ["x"]
    assert Params(stop=["x", "y"]).stops == ["x", "y"]


def test_each_field_has_one_place() -> None:
    """A field of `params` beside it is refused, and the other way round; `seed` may stand in both, null anywhere."""
    outer, inner = set(InferenceRequest.__struct_fields__), set(Params.__struct_fields__)
    assert outer & inner == {"seed"}
    for name in inner - outer:
        with pytest.raises(BadRequestError, match=f"^{name}: belongs into"):
            codec.decode_request(codec.encode({"input": "hi", name: 1}))
    for name in outer - inner:
        with pytest.raises(BadRequestError, match=f"^params.{name}: belongs beside"):
            codec.decode_request(codec.encode({"input": "hi", "params": {name: 1}}))
    request = codec.decode_request(b'{"input": "hi", "n": null, "params": {"raw": null, "n": 2}}')
    assert (request, request.params) == (InferenceRequest(input="hi", params=Params(n=2)), Params(n=2))
    assert request != InferenceRequest(input="hi", params=Params(n=3))
    assert codec.encode(request) == b'{"input":"hi","params":{"n":2}}'


def test_an_error_message_is_never_empty() -> None:
    """An error has a body with code, message, type and status."""
    body = codec.decode(codec.encode(to_reply(QueueFullError(), "r")), ErrorReply).error
    assert (body.code, body.type, body.status, bool(body.message)) == ("QUEUE_FULL", "retriable", 429, True)
