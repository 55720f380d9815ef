"""What replies and streams of the bus look like in OpenAI's form: golden transcripts, and the two held equal."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golek_wire import codec
from golek_wire.openai import completions
from golek_wire.openai.completion import Shown, completion
from golek_wire.openai.events import ChatEvents
from golek_wire.replies import (
    Choice,
    Delta,
    FunctionCall,
    InferenceReply,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    TopLogprob,
)

GOLDEN = Path(__file__).parent / "golden" / "openai"
SHOWN = Shown("chatcmpl-gnzmv3lrmpikcji6bcwx5hgsiq", 1767323045, "qwen3-4b")
USAGE = msgspec.structs.replace(SHOWN, include_usage=True)
TEXT = InferenceReply("", "Hi there", 7, 2, "stop", 12, 12, tokens_cached=4)
CALL = ToolCall("call_1", FunctionCall("get_weather", '{"city": "Paris"}'))
OTHER = ToolCall("call_2", FunctionCall("add", '{"a": 1}'))
CALLS = InferenceReply("", "", 7, 9, "tool_calls", 12, 12, reasoning_content="Which?", tool_calls=[CALL, OTHER])
CALL_PIECES: list[str | Delta] = [
    Delta(reasoning_content="Which?"),
    Delta(tool_calls=[ToolCallDelta(0, "call_1", "get_weather")]),
    Delta(tool_calls=[ToolCallDelta(0, arguments='{"city": ')]),
    Delta(tool_calls=[ToolCallDelta(0, arguments='"Paris"}'), ToolCallDelta(1, "call_2", "add", '{"a": 1}')]),
]
FORMER_PIECES = [*CALL_PIECES[:3], Delta(tool_calls=[ToolCallDelta(0, arguments='"Paris"}')])]
FORMER = msgspec.structs.replace(CALLS, tool_calls=[CALL])


def logprob(token: str, value: float = -0.5) -> TokenLogprob:
    top = TopLogprob(token, value, list(token.encode()), 7)
    return TokenLogprob(token, value, list(token.encode()), [top], 7)


LOGPROBS = msgspec.structs.replace(TEXT, logprobs=[logprob("Hi"), logprob(" there")])
LOGPROB_PIECES: list[str | Delta] = [
    Delta("Hi", logprobs=[logprob("Hi")]),
    Delta(" there", logprobs=[logprob(" there")]),
]
TWO = InferenceReply(
    "", "a", 7, 2, "stop", 12, 12, choices=[Choice(0, "a", "stop", 1), Choice(1, "b", "length", 1)]
)  # fmt: skip
CHATS: dict[str, tuple[Shown, list[str | Delta], InferenceReply]] = {
    "text": (SHOWN, ["Hi", " there"], TEXT),
    "usage": (USAGE, ["Hi", " there"], TEXT),
    "calls": (SHOWN, CALL_PIECES, CALLS),
    "former-call": (msgspec.structs.replace(SHOWN, former=True), FORMER_PIECES, FORMER),
    "logprobs": (SHOWN, LOGPROB_PIECES, LOGPROBS),
    "two-texts": (msgspec.structs.replace(SHOWN, choices=2), [Delta("b", index=1), "a"], TWO),
}  # fmt: skip
TEXTS: dict[str, tuple[Shown, list[str | Delta], InferenceReply]] = {
    "completion": (USAGE, ["Hi", " there"], TEXT),
    "completion-echo": (msgspec.structs.replace(SHOWN, echo=["Oh. "]), ["Hi", " there"], TEXT),
    "completion-logprobs": (SHOWN, LOGPROB_PIECES, LOGPROBS),
}


def chat_stream(shown: Shown, pieces: list[str | Delta], reply: InferenceReply, *, numbered: bool = False) -> bytes:
    events = ChatEvents(shown, numbered=numbered)
    return b"".join([*events.opening(), *map(events.piece, pieces), *events.closing(reply)])


def text_stream(shown: Shown, pieces: list[str | Delta], reply: InferenceReply) -> bytes:
    events = completions.TextEvents(shown)
    closing = [*events.ended(reply), *events.closing([reply])]
    return b"".join([*events.opening(), *map(events.piece, pieces), *closing])


def transcripts() -> dict[str, str]:
    """By file name, what is sent."""
    found = {}
    for name, (shown, pieces, reply) in CHATS.items():
        found[f"{name}.sse"] = chat_stream(shown, pieces, reply).decode()
        found[f"{name}.json"] = pretty(completion(reply, shown))
    for name, (shown, pieces, reply) in TEXTS.items():
        found[f"{name}.sse"] = text_stream(shown, pieces, reply).decode()
        found[f"{name}.json"] = pretty(completions.completion([reply], shown))
    return found


def pretty(answer: object) -> str:
    return msgspec.json.format(codec.encode(answer), indent=2).decode() + "\n"


TRANSCRIPTS = transcripts()


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_an_answer_looks_as_its_file_says(name: str) -> None:
    """Byte for byte; write the files anew with `python -m tests.unit.test_openai_answers`."""
    assert (GOLDEN / name).read_text() == TRANSCRIPTS[name]


def test_no_file_outlives_its_answer() -> None:
    """Each file is one of the answers."""
    assert {file.name for file in GOLDEN.iterdir()} == set(TRANSCRIPTS)


def chunks(stream: bytes) -> list[dict[str, Any]]:
    """The chunks of a stream; its end is checked."""
    *events, done, rest = stream.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.rpartition("data: ")[2]) for event in events]


def accumulated(stream: bytes) -> list[dict[str, Any]]:
    """The choices that a client puts together, as OpenAI's documentation says."""
    found: dict[int, dict[str, Any]] = {}
    for chunk in chunks(stream):
        for choice in chunk["choices"]:
            one = found.setdefault(choice["index"], {"message": {"refusal": None}, "logprobs": None})
            message, delta = one["message"], choice["delta"]
            for name in ("content", "reasoning_content"):
                if delta.get(name) is not None or (name in delta and name not in message):
                    message[name] = (message.get(name) or "") + delta[name] if delta[name] is not None else None
            message |= {name: delta[name] for name in ("role",) if name in delta}
            for call in delta.get("tool_calls", ()):
                add_call(message.setdefault("tool_calls", []), call)
            if choice["logprobs"] is not None:
                one["logprobs"] = one["logprobs"] or {"content": [], "refusal": None}
                one["logprobs"]["content"] += choice["logprobs"]["content"]
            one |= {"finish_reason": choice["finish_reason"], "index": choice["index"]}
    return [found[index] for index in sorted(found)]


def add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    if piece["index"] == len(calls):
        assert piece["id"]
        calls.append({"id": piece["id"], "type": piece["type"], "function": {"name": "", "arguments": ""}})
    else:
        assert "id" not in piece
        assert "name" not in piece["function"]
    function = calls[piece["index"]]["function"]
    for name in ("name", "arguments"):
        function[name] += piece["function"].get(name, "")


def whole(reply: InferenceReply, shown: Shown) -> list[dict[str, Any]]:
    choices: list[dict[str, Any]] = json.loads(codec.encode(completion(reply, shown)))["choices"]
    return choices


def cut(text: str, places: list[int]) -> list[str]:
    """`text` in pieces."""
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(ends) if end > start]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
places = st.lists(st.integers(0, 100), max_size=6)
calls = st.lists(st.tuples(st.text("abc", min_size=1, max_size=8), texts), max_size=3)


@settings(max_examples=300, deadline=None)
@given(texts, texts, calls, places, st.booleans())
def test_a_stream_joined_is_the_whole_answer(
    text: str, thoughts: str, called: list[tuple[str, str]], cuts: list[int], usage: bool
) -> None:
    """Whatever the pieces: what a client puts together is what it would have got at once."""
    made = [ToolCall(f"call_{number}", FunctionCall(*one)) for number, one in enumerate(called)]
    reason: Any = "tool_calls" if made else "stop"
    reply = InferenceReply(
        "", text, 7, 9, reason, 12, 12, reasoning_content=thoughts or None, tool_calls=made or None
    )  # fmt: skip
    pieces: list[str | Delta] = [Delta(reasoning_content=piece) for piece in cut(thoughts, cuts)]
    pieces += cut(text, cuts)
    for number, call in enumerate(made):
        pieces.append(Delta(tool_calls=[ToolCallDelta(number, call.id, call.function.name)]))
        rest = cut(call.function.arguments, cuts)
        pieces += [Delta(tool_calls=[ToolCallDelta(number, arguments=piece)]) for piece in rest]
    shown = USAGE if usage else SHOWN
    joined, expected = accumulated(chat_stream(shown, pieces, reply)), whole(reply, shown)
    expected[0]["message"]["content"] = expected[0]["message"]["content"] or None
    assert joined == expected


@pytest.mark.parametrize("name", ["text", "usage", "calls", "logprobs", "two-texts"])
def test_examples_joined_are_the_whole(name: str) -> None:
    """Log-probabilities and several texts, too."""
    shown, pieces, reply = CHATS[name]
    assert accumulated(chat_stream(shown, pieces, reply)) == whole(reply, shown)


@pytest.mark.parametrize("name", CHATS)
def test_a_numbered_stream_is_the_same_one_and_can_be_gone_on_with(name: str) -> None:
    """Each event says its number, and a second writer with the same pieces writes the same events."""
    shown, pieces, reply = CHATS[name]
    numbered = chat_stream(shown, pieces, reply, numbered=True)
    written = codec.decode(codec.encode(shown), Shown)
    assert chat_stream(written, pieces, reply, numbered=True) == numbered
    ids = [line for line in numbered.decode().splitlines() if line.startswith("id: ")]
    assert ids == [f"id: {number}" for number in range(len(chunks(numbered)))]
    plain = "\n".join(line for line in numbered.decode().split("\n") if not line.startswith("id: "))
    assert plain.encode() == chat_stream(shown, pieces, reply)


def test_several_prompts_are_one_answer() -> None:
    """Texts are counted through, and what they cost is added."""
    shown = msgspec.structs.replace(USAGE, choices=2)
    answer = completions.completion([TWO, TWO], shown)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "a"), (1, "b"), (2, "a"), (3, "b")]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (14, 4)
    events = completions.TextEvents(shown)
    stream = b"".join([events.piece(Delta("b", index=1), 1), *events.ended(TWO, 1), *events.closing([TWO, TWO])])
    found = chunks(stream)
    assert [choice["index"] for chunk in found for choice in chunk["choices"]] == [3, 2, 3]
    assert found[-1]["usage"]["total_tokens"] == 18


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for each, content in TRANSCRIPTS.items():
        (GOLDEN / each).write_text(content)
