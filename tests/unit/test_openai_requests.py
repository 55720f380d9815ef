"""What a request in OpenAI's form becomes on the bus, and how a wrong one is told."""

from typing import Any

import msgspec
import pytest

from golek_wire import codec
from golek_wire.errors import BadRequestError, ContextBudgetExceededError, QueueFullError, leaves
from golek_wire.openai import chat, completions, embeddings, errors, models, rerank
from golek_wire.requests import Params
from golek_wire.signals import ModelRecord

HELLO = {"role": "user", "content": "Hello"}
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("add", "search")]


def asked(**fields: Any) -> dict[str, Any]:
    """The chat request with `fields`, as it goes on the bus."""
    request = chat.read(codec.encode({"messages": [HELLO], **fields}))
    payload = codec.encode(chat.to_wire(request, 5000))
    codec.decode_request(payload)
    found: dict[str, Any] = msgspec.json.decode(payload)
    assert found.pop("deadline_ms") == 5000
    return found


def refused(**fields: Any) -> BadRequestError:
    """What is said of the chat request with `fields`."""
    with pytest.raises(BadRequestError) as caught:
        chat.to_wire(chat.read(codec.encode({"messages": [HELLO], **fields})), 5000)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "params"),
    [
        ({}, {}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 6, "max_tokens": 5}, {"max_tokens": 6}),
        ({"temperature": 0, "top_k": 3, "min_p": 0}, {"temperature": 0.0, "top_k": 3, "min_p": 0.0}),
        ({"temperature": None, "stop": None, "n": None, "seed": None, "logit_bias": None, "logprobs": None}, {}),
        ({"stop": "END"}, {"stop": "END"}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": -1}, {"seed": 2**32 - 2}),
        ({"seed": 2**62}, {"seed": 2**62 % (2**32 - 1)}),
        ({"n": 3, "logprobs": True, "top_logprobs": 2}, {"n": 3, "logprobs": True, "top_logprobs": 2}),
        ({"logit_bias": {"5": -100}}, {"logit_bias": {"5": -100.0}}),
        ({"grammar": "json"}, {"grammar": "json"}),
        ({"regex": "a+"}, {"regex": "a+"}),
        ({"choice": ["yes", "no"]}, {"choice": ["yes", "no"]}),
    ],
)  # fmt: skip
def test_sampling_is_passed_on_and_absent_values_stay_absent(fields: dict[str, Any], params: dict[str, Any]) -> None:
    """OpenAI's names and Golek's own stand beside each other; null is as good as absent."""
    assert asked(**fields)["params"] == params


def test_every_sampling_field_of_the_bus_is_one_of_the_chat_api() -> None:
    """Whatever a NATS caller may say of sampling, an HTTP caller may, too."""
    read = chat.read(codec.encode({"messages": [HELLO]}))
    assert set(Params.__struct_fields__) <= set(read.__struct_fields__)


@pytest.mark.parametrize(
    "fields",
    [
        {"store": True, "service_tier": "auto", "verbosity": "low", "of_a_later_api": {"a": 1}},
        {"stream_options": {"include_usage": True}, "modalities": ["text"], "prediction": None},
        {"extra": {"seed_of_theirs": 1}, "later": 2},
        {"later": "x" * 70_000},
        {},
    ],
)
def test_what_means_nothing_here_is_for_clouds(fields: dict[str, Any]) -> None:
    """Clients send what OpenAI's newest API has: it goes along, as far as it is no large thing."""
    found = asked(**fields)
    extra = {
        name: value for name, value in fields.items() if value is not None and name not in ("stream_options", "extra")
    }
    extra |= fields.get("extra", {})
    assert found.pop("extra", None) == (extra if extra and len(str(extra)) < 65536 else None)
    assert found == {"messages": [HELLO], "params": {}}


def test_parts_of_text_are_joined_and_a_refusal_is_text() -> None:
    """Contents may be lists of parts."""
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {}}]
    assert asked(messages=[{"role": "user", "content": content}])["messages"][0]["content"] == "a\nb"
    said = [HELLO, {"role": "assistant", "content": None, "refusal": "No."}]
    assert asked(messages=said)["messages"][1] == {"role": "assistant", "content": "No."}


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"messages": []}, "messages", "length >= 1; got 0"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "'robot'; one of assistant"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "(5)"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         "messages[0].content[0].image_url.url", "'x' is no address"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]}]},
         "messages[0].content[0].image_url.url", "base64"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
         "messages[0].content[0]", "'input_audio' is neither"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "missing"),
        ({"messages": [{"role": "function", "name": "f", "content": "1"}]}, "messages[0]", "none came before"),
        ({"temperature": "hot"}, "temperature", "`str` (\"hot\")"),
        ({"temperature": 101}, "temperature", "<= 100.0; got 101"),
        ({"n": 17}, "n", "<= 16; got 17"),
        ({"max_tokens": -1}, "max_tokens", ">= 0; got -1"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "'xml'; one of json_object"),
        ({"priority": 4}, "priority", "1 (low), 2 (normal) or 3 (high)"),
        ({"orchestration_mode": "duel"}, "orchestration_mode", "one of critique, debate"),
        ({"reasoning_effort": "some"}, "reasoning_effort", "one of high"),
        ({"tool_choice": "required"}, "tool_choice", "no `tools`"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "tool_choice", "is not of the form"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "auto", "tools": [{"type": "function", "function": {"name": "fly"}}]}}}, "tool_choice", "fly"),
        ({"stream_options": True}, "stream_options", "got `bool`"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str, says: str) -> None:
    """With the field as the caller wrote it, the value and the limit."""
    error = refused(**fields)
    assert error.details["param"] == param
    assert error.message.startswith(param)
    assert says in error.message


def test_allowed_tools_leave_those_that_are_named() -> None:
    """OpenAI's `allowed_tools` is a list of tools and whether one must be called."""
    allowed = {"mode": "required", "tools": [TOOLS[1]]}
    found = asked(tools=TOOLS, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert (found["tools"], found["tool_choice"]) == ([TOOLS[1]], "required")


def test_former_functions_are_tools() -> None:
    """`functions` and `function_call`, and turns that speak of them, mean what tools mean, one call at a time."""
    turns = [
        HELLO,
        {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": "{}"}},
        {"role": "function", "name": "add", "content": "5"},
    ]
    found = asked(messages=turns, functions=[{"name": "add"}], function_call={"name": "add"})
    assert found["tools"] == [TOOLS[0]]
    assert found["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert found["parallel_tool_calls"] is False
    call, answer = found["messages"][1:]
    assert call["tool_calls"][0]["function"] == {"name": "add", "arguments": "{}"}
    assert (answer["role"], answer["tool_call_id"]) == ("tool", call["tool_calls"][0]["id"])


def test_what_a_router_reads_travels_with_the_request() -> None:
    """What kind of work it is, how several models answer it, and how urgent it is."""
    found = asked(task_type="code", orchestration_mode="critique", metadata={"team": "a"}, priority=2)
    assert found["metadata"] == {"team": "a"}
    assert (found["task_type"], found["orchestration_mode"], found["priority"]) == ("code", "critique", 2)


def test_effort_beyond_what_the_bus_knows_is_the_highest() -> None:
    """OpenAI's API adds levels; the nearest one is meant."""
    assert asked(reasoning_effort="xhigh")["reasoning_effort"] == "high"


def test_prompts_are_requests_side_by_side() -> None:
    """Each prompt is continued as it stands."""
    body = {"prompt": ["a", "b"], "max_tokens": 4, "logprobs": 2, "echo": False, "model": "m"}
    found = completions.to_wire(completions.read(codec.encode(body)), 1000)
    assert [(one.input, one.raw, one.params.max_tokens) for one in found] == [("a", True, 4), ("b", True, 4)]
    assert (found[0].params.logprobs, found[0].params.top_logprobs) == (True, 2)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": [1, 2]}, "prompt[0]"),
        ({"prompt": [[1, 2]]}, "prompt[0]"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt[1]"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "echo": True, "logprobs": 0}, "echo"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": {"a": 1}}, "prompt"),
    ],
)
def test_a_prompt_that_cannot_be_continued_is_refused(fields: dict[str, Any], param: str) -> None:
    """Numbers of tokens would be another text in each model's vocabulary."""
    with pytest.raises(BadRequestError) as caught:
        completions.read(codec.encode(fields))
    assert caught.value.details["param"] == param


def test_the_shape_of_a_completion_is_told_by_its_request() -> None:
    """`prompt` is OpenAI's, `input` Golek's own; both at once is nobody's."""
    assert completions.is_native(b'{"input": "a", "params": {}}')
    assert not completions.is_native(b'{"prompt": "a"}')
    assert not completions.is_native(b"{}")
    with pytest.raises(BadRequestError, match="both"):
        completions.is_native(b'{"input": "a", "prompt": "b"}')


@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]]])
def test_numbers_of_tokens_have_no_vector(tokens: object) -> None:
    """They are those of another vocabulary, and the refusal says what to set in the client that sends them."""
    with pytest.raises(BadRequestError, match="check_embedding_ctx_length=False") as caught:
        embeddings.read(codec.encode({"input": tokens}))
    assert caught.value.details["param"] == "input[0]"


def test_documents_are_texts_or_objects_with_one() -> None:
    """Both forms that clients send are ranked, and what they do not say is absent."""
    body = {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "max_chunks_per_doc": 10}
    wire = rerank.to_wire(rerank.read(codec.encode(body)), 1000)
    assert (wire.texts, wire.top_n, wire.return_documents) == (["a", "b"], 1, False)


def test_every_error_has_one_of_two_forms() -> None:
    """Extended with our code and details, or in OpenAI's four fields and words."""
    full = errors.body(ContextBudgetExceededError(18000, 16384), strict=False)["error"]
    assert set(full) == {"code", "message", "type", "provider", "details", "param"}
    assert (full["code"], full["details"]["budget"]) == ("CONTEXT_BUDGET_EXCEEDED", 16384)
    for kind in leaves():
        error = kind(1, 2) if kind is ContextBudgetExceededError else kind()  # type: ignore[arg-type]
        strict = errors.body(error, strict=True)["error"]
        assert set(strict) == {"message", "type", "param", "code"}
        assert strict["code"] is None or strict["code"] == strict["code"].lower()
    assert errors.body(QueueFullError(), strict=True)["error"]["type"] == "rate_limit_error"


def test_an_error_names_the_field_as_http_has_it() -> None:
    """What a worker says of `params.n` is said of `n`."""
    told = errors.body(BadRequestError("params.n: is 99", param="params.n"), strict=True)["error"]
    assert (told["param"], told["message"]) == ("n", "n: is 99")


def test_models_are_shown_as_openai_and_the_fleet_know_them() -> None:
    """OpenAI's fields, and those of the fleet; who is gone is not offered."""
    record = ModelRecord("a/b", ["inference"], "online", "a", "2026-01-02T03:04:05Z", 2048, memory_mb=4)
    one = models.shown(record, gone=False)
    assert (one.id, one.object, one.owned_by, one.created) == ("a/b", "model", "golek", 1767323045)
    assert (one.status, one.memory_mb, one.context_length) == ("loaded", 4, 2048)
    gone = models.shown(record, gone=True)
    assert gone.status == "offline"
    assert models.listed([one, gone]).data == [one]
    assert [models.plain(name) for name in ("inference:phi-4", "local:a:b", "phi-4", "local:")] == [
        "phi-4", "a:b", "phi-4", "local:",
    ]  # fmt: skip


def test_an_unknown_field_that_is_no_text_is_left_out() -> None:
    """Bytes that are not UTF-8 were passed over as long as nobody read the field; they are no error now either."""
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, "top_n": "\xed\xa0\x80"}'
    assert chat.to_wire(chat.read(body), None).extra is None
